from pathlib import Path

import pytest

from heteroreg.data.cohort import Cohort, Pair
from heteroreg.system.errors import UserError

TABLE = """id,patient,vendor,moving,fixed,moving_labels,fixed_labels,split
a,p1,Siemens,a_ED.nii.gz,a_ES.nii.gz,a_ED_gt.nii.gz,a_ES_gt.nii.gz,train
b,p1,Philips,sub/b ED.nii.gz,sub/b ES.nii.gz,,,val
c,,Philips,/data/c_ED.nii.gz,../c_ES.nii.gz,,,
"""


def write(folder, text, encoding="utf-8"):
    path = folder / "pairs.csv"
    path.write_bytes(text.encode(encoding))
    return path


def test_a_table_is_read(tmp_path):
    path = write(tmp_path, TABLE)
    for name in (path, str(path), tmp_path):
        cohort = Cohort.read(name)
        assert len(cohort) == 3
        assert cohort.name == str(path)
    a, b, c = cohort
    assert a == Pair(
        "a", tmp_path / "a_ED.nii.gz", tmp_path / "a_ES.nii.gz", tmp_path / "a_ED_gt.nii.gz",
        tmp_path / "a_ES_gt.nii.gz", "train", "p1", {}, {"vendor": "Siemens"},
    )  # fmt: skip
    assert a.labelled
    assert not b.labelled
    assert b.moving == tmp_path / "sub" / "b ED.nii.gz"
    assert c.moving == Path("/data/c_ED.nii.gz")
    assert (c.patient, c.split) == ("c", None)  # whose it is: its own
    assert cohort[1] is b
    assert cohort.splits == ("train", "val")
    assert [p.id for p in cohort.split("train")] == ["a"]
    assert cohort.split("all") is cohort


def test_the_truth_is_kept_apart(tmp_path):
    path = write(
        tmp_path, "id,moving,fixed,true_displacement,fixed_noise_sd,age\na,m.nii,f.nii,u.nii.gz,s.nii,61\n"
    )
    (pair,) = Cohort.read(path)
    assert pair.truth == {"true_displacement": tmp_path / "u.nii.gz", "fixed_noise_sd": tmp_path / "s.nii"}
    assert pair.extra == {"age": "61"}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("id,moving\na,b\n", "the column 'fixed' is missing; it needs id, moving, fixed"),
        ("x;y;z\n1;2;3\n", "the column 'id', 'moving', 'fixed' is missing"),
        ("id,moving,fixed\n", "holds no pairs"),
        ("", "the column 'id', 'moving', 'fixed' is missing"),
        ("id,moving,fixed\na,m.nii,\n", "line 2 has an empty cell in the column 'fixed'"),
        ("id,moving,fixed\na,m.nii\n", "line 2 has an empty cell in the column 'fixed'"),
        ("id,moving,fixed\na,m.nii,f.nii\n  ,m.nii,f.nii\n", "line 3 has an empty cell in the column 'id'"),
        ("id,moving,fixed\na,m,f\na,n,g\n", "line 3 repeats the id 'a'"),
        ("id,moving,fixed,split\na,m,f,training\n", "line 2 has the split 'training'; use train, val, test"),
        ("id,moving,fixed\na,m,f,oops,more\n", "line 2 has 5 cells where the table has 3 columns"),
        ("id,moving,fixed\na,m,f\n\nb,m,f,oops\n", "line 4 has 4 cells where the table has 3 columns"),
    ],
)
def test_mistakes_in_a_table_are_named(text, message, tmp_path):
    path = write(tmp_path, text)
    with pytest.raises(UserError, match=message) as error:
        Cohort.read(path)
    assert str(path) in str(error.value)
    assert "\n" not in str(error.value)


def test_commas_at_the_ends_of_the_rows_are_no_column(tmp_path):
    # As spreadsheets write them.
    (pair,) = Cohort.read(write(tmp_path, "id,moving,fixed\na,m.nii,f.nii,\n"))
    assert (pair.id, pair.moving, pair.fixed) == ("a", tmp_path / "m.nii", tmp_path / "f.nii")


def test_optional_cells_may_be_left_out_at_the_end(tmp_path):
    (pair,) = Cohort.read(write(tmp_path, "id,moving,fixed,moving_labels,fixed_labels,split\na,m.nii,f.nii\n"))
    assert pair == Pair("a", tmp_path / "m.nii", tmp_path / "f.nii")


def test_a_missing_table_and_one_that_is_no_text(tmp_path):
    with pytest.raises(UserError, match=r"pairs\.csv: no such file"):
        Cohort.read(tmp_path)
    (tmp_path / "pairs.csv").write_bytes(b"\xff\xfe\x00\x81id,moving")
    with pytest.raises(UserError, match="not a readable CSV table"):
        Cohort.read(tmp_path)


def test_an_empty_split_is_named(tmp_path):
    cohort = Cohort.read(write(tmp_path, TABLE))
    with pytest.raises(UserError, match=r"the split 'test' is empty \(available: train, val\)"):
        cohort.split("test")
    plain = Cohort.read(write(tmp_path, "id,moving,fixed\na,m,f\n"))
    with pytest.raises(UserError, match="no split column"):
        plain.split("train")


def test_a_mark_of_windows_at_the_beginning_and_its_line_ends(tmp_path):
    (pair,) = Cohort.read(write(tmp_path, "id,moving,fixed\r\na,m.nii,f.nii\r\n", "utf-8-sig"))
    assert (pair.id, pair.fixed.name) == ("a", "f.nii")


def test_names_with_umlauts_commas_and_spaces(tmp_path):
    (pair,) = Cohort.read(write(tmp_path, 'id,moving,fixed\nMüller 1,"a, b/Größe ED.nii.gz",心臓.nii.gz\n'))
    assert pair.id == "Müller 1"
    assert pair.moving == tmp_path / "a, b" / "Größe ED.nii.gz"
    assert pair.fixed == tmp_path / "心臓.nii.gz"


def test_numbers_and_words_stay_as_they_are_written(tmp_path):
    first, second = Cohort.read(write(tmp_path, "id,moving,fixed,note\n007,m,f,NA\n7,m,f,1.50\n"))
    assert (first.id, second.id) == ("007", "7")
    assert (first.extra["note"], second.extra["note"]) == ("NA", "1.50")


def test_a_cohort_survives_its_file(tmp_path):
    folder = tmp_path / "data with spaces"
    folder.mkdir()
    cohort = Cohort.read(write(folder, TABLE))
    cohort.write(folder / "again.csv")
    again = Cohort.read(folder / "again.csv")
    assert again.pairs[:2] == cohort.pairs[:2]
    assert again[2].moving.resolve() == cohort[2].moving
    text = (folder / "again.csv").read_text()
    assert "sub/b ED.nii.gz" in text
    assert str(folder) not in text  # relative to the table
    # From another place the paths change and the files stay.
    cohort.write(tmp_path / "elsewhere" / "pairs.csv")
    assert "../data with spaces/a_ED.nii.gz" in (tmp_path / "elsewhere" / "pairs.csv").read_text()
    for old, new in zip(cohort, Cohort.read(tmp_path / "elsewhere"), strict=True):
        assert old.moving.resolve() == new.moving.resolve()
        assert old.id == new.id


def test_columns_that_no_pair_fills_are_left_out(tmp_path):
    Cohort((Pair("a", tmp_path / "m.nii", tmp_path / "f.nii"),)).write(tmp_path / "pairs.csv")
    assert (tmp_path / "pairs.csv").read_text() == "id,patient,moving,fixed\na,a,m.nii,f.nii\n"


@pytest.mark.parametrize("separator", [";", "\t"])
def test_a_table_of_a_spreadsheet_with_other_separators(separator, tmp_path):
    lines = ["id,moving,fixed,site", "a,x.nii.gz,y.nii.gz,b"]
    (tmp_path / "pairs.csv").write_text("\n".join(line.replace(",", separator) for line in lines))
    (pair,) = Cohort.read(tmp_path / "pairs.csv")
    assert (pair.id, pair.fixed, pair.extra) == ("a", tmp_path / "y.nii.gz", {"site": "b"})
