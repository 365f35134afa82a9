import json
import os
from pathlib import Path

import pytest
from tests.watch.conftest import NOW, Folder

from heteroreg.system.errors import UserError
from heteroreg.watch.place import look
from heteroreg.watch.view import summary

ROW = {"method": "mse", "settings": {}, "grid": {"smoothness": [0.1, 0.2]}, "seeds": [0, 1]}


def study(path: Path, cohorts: tuple[str, ...] = ("cohort",)) -> Path:
    """A study of one row on each cohort: two points, of which the better one is trained with a second seed."""
    path.mkdir()
    record = {
        "choose_by": "val_dice", "score": "test", "registrars": ["undeformed"],
        "cohorts": {name: {"path": "/data", "rows": {"voxelmorph mse": ROW}} for name in cohorts},
    }  # fmt: skip
    (path / "study.yaml").write_text(json.dumps(record))  # which is YAML too
    return path


def write(path: Path, age: float) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("")
    os.utime(path, (NOW - age, NOW - age))


def test_a_run(folder):
    place = look(folder.begin().save(100).path)
    assert place.alone
    assert place.finished


@pytest.mark.parametrize("made", [True, False])
def test_what_has_not_begun_is_waited_for(made, tmp_path):
    if made:
        (tmp_path / "run").mkdir()
        (tmp_path / "run" / ".123-abcd-config.yaml").write_text("on its way")
    place = look(tmp_path / "run")
    assert place.alone
    assert not place.finished


def test_a_folder_of_runs(tmp_path):
    Folder(tmp_path / "a").begin().save(100)
    Folder(tmp_path / "b").begin().rows("10,0.5,5,,\n")
    place = look(tmp_path, NOW)
    assert [run.folder.name for run in place.runs] == ["b", "a"]  # what is at work comes first
    assert not place.finished
    assert summary(place) == f"{tmp_path.name}: 1/2 trained, 1 training"
    Folder(tmp_path / "b").save(100)
    assert look(tmp_path, NOW).finished


def test_a_study_from_its_beginning_to_its_end(tmp_path):
    path = study(tmp_path / "study")
    # Two points, and a second seed of the better one; it is scored with both seeds, and so is the registrar.
    assert summary(look(path)) == "study: 0/3 trained, 0/3 scored, the report is to come"
    for name in ("a", "b"):
        Folder(path / "runs" / name).begin().save(100)
    assert summary(look(path)) == "study: 2/3 trained, 0/3 scored, the report is to come"
    Folder(path / "runs" / "c").begin(age=5000).rows("10,0.5,5,,\n20,0.5,9,,\n", age=4000)
    assert "1 seems to have stopped" in summary(look(path, NOW))
    Folder(path / "runs" / "c").save(100)
    write(path / "report" / "index.html", age=50)  # of an earlier, smaller study
    for number in range(3):
        write(path / "scores" / f"{number}" / "scores.csv", age=10 * number)
    place = look(path)
    assert (place.trained, place.scored, place.finished) == (3, 3, False)
    write(path / "report" / "index.html", age=0)
    assert summary(look(path)) == "study: 3/3 trained, 3/3 scored, finished"


def test_a_study_of_several_cohorts(tmp_path):
    path = study(tmp_path / "study", ("clean", "noisy"))
    Folder(path / "clean" / "runs" / "a").begin().save(100)
    Folder(path / "noisy" / "runs" / "a").begin().rows("10,0.5,5,,\n")
    place = look(path, NOW)
    assert (place.trained, place.wanted, place.to_score, len(place.runs)) == (1, 6, 6, 2)


def test_something_else(tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(UserError, match=r"is no run \(no config\.yaml\) and no study"):
        look(tmp_path)
    with pytest.raises(UserError, match="is a file"):
        look(tmp_path / "notes.txt")


@pytest.mark.parametrize("text", ["", "cohorts: 1\n", "cohorts: {a: {rows: {b: {}}}}\n"])
def test_a_damaged_study(text, tmp_path):
    (tmp_path / "study.yaml").write_text(text)
    with pytest.raises(UserError, match=r"study\.yaml: "):
        look(tmp_path)
