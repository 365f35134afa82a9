"""Names of labels, from a text and from the file beside the cohort."""

import pytest

from heteroreg.data.cohort import Cohort
from heteroreg.data.label_names import label_names_of, parse_label_names
from heteroreg.system.errors import UserError


def test_a_text():
    assert parse_label_names("1 = LV, 2=left atrium (A)") == {"1": "LV", "2": "left atrium (A)"}
    assert parse_label_names(None) is None


@pytest.mark.parametrize("text", ["LV", "1=", "1=LV,1=RV", "1=LV,2=LV", "x=LV", "1=<b>", ""])
def test_a_text_that_names_no_label(text):
    with pytest.raises(UserError, match=r"label_names: .*write 1=LV"):
        parse_label_names(text)


def test_the_file_beside_the_cohort(tmp_path):
    cohort = Cohort((), str(tmp_path / "pairs.csv"))
    assert label_names_of(cohort, None) == {}
    (tmp_path / "labels.json").write_text('{"1": "LV", "2": "myocardium"}')
    assert label_names_of(cohort, None) == {"1": "LV", "2": "myocardium"}
    assert label_names_of(cohort, {"1": "ventricle"}) == {"1": "ventricle"}


@pytest.mark.parametrize("text", ["[1]", '{"LV": "1"}', '{"1": "a", "2": "a"}', '{"1": 3.5e400}', "{"])
def test_a_file_that_names_no_labels(tmp_path, text):
    (tmp_path / "labels.json").write_text(text)
    with pytest.raises(UserError, match=r"labels\.json"):
        label_names_of(Cohort((), str(tmp_path / "pairs.csv")), None)
