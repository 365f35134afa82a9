from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import yaml
from typer.testing import CliRunner

from heteroreg.cli.app import app, main
from heteroreg.data.cohort import Cohort
from heteroreg.data.image import Image, write_image
from heteroreg.system.errors import UserError


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A cohort's folder with two images, beside a folder that is none of its business."""
    image = Image.from_array(np.arange(400, dtype=np.float32).reshape(20, 20))
    for name in ("cohort/m.nii.gz", "cohort/sub/f.nii.gz", "secret/s.nii.gz", "cohort/h.mhd", "secret/h.mhd"):
        write_image(image, tmp_path / name)
    return tmp_path


def table(place: Path, moving: str = "m.nii.gz", fixed: str = "sub/f.nii.gz", **more: str) -> Path:
    path = place / "cohort" / "pairs.csv"
    columns = {"id": "a", "moving": moving, "fixed": fixed, **more}
    path.write_text(",".join(columns) + "\n" + ",".join(f'"{value}"' for value in columns.values()) + "\n")
    return path


@pytest.mark.parametrize("name", ["m.nii.gz", "sub/../m.nii.gz", "./m.nii.gz", "h.mhd", "missing.nii.gz", "sub"])
def test_what_lies_inside_is_read(place: Path, name: str) -> None:
    (pair,) = Cohort.read(table(place, moving=name), confine=True)
    assert pair.moving == place / "cohort" / name


def test_an_absolute_path_may_lie_inside(place: Path) -> None:
    assert len(Cohort.read(table(place, moving=str(place / "cohort" / "m.nii.gz")), confine=True)) == 1


@pytest.mark.parametrize(
    "name", ["../secret/s.nii.gz", "sub/../../secret/s.nii.gz", "../cohort2/m.nii.gz", "/etc", ".."]
)
@pytest.mark.parametrize("column", ["moving", "fixed", "moving_labels", "true_displacement", "fixed_noise_sd"])
def test_what_lies_outside_is_refused(place: Path, name: str, column: str) -> None:
    path = table(place, **{column: name})
    with pytest.raises(UserError, match="outside the folder") as error:
        Cohort.read(path, confine=True)
    for mention in (str(path), "line 2", column, name):
        assert mention in str(error.value)
    assert len(Cohort.read(path)) == 1  # who trusts a cohort may refer to anything


def test_an_absolute_path_outside_is_refused(place: Path) -> None:
    with pytest.raises(UserError, match="outside the folder"):
        Cohort.read(table(place, moving=str(place / "secret" / "s.nii.gz")), confine=True)


def test_links_are_followed(place: Path) -> None:
    cohort = place / "cohort"
    (cohort / "link.nii.gz").symlink_to(place / "secret" / "s.nii.gz")
    (cohort / "folder").symlink_to(place / "secret")
    (cohort / "circle.nii.gz").symlink_to(cohort / "circle.nii.gz")
    (cohort / "inner.nii.gz").symlink_to(cohort / "m.nii.gz")
    for name in ("link.nii.gz", "folder/s.nii.gz"):
        with pytest.raises(UserError, match="outside the folder"):
            Cohort.read(table(place, moving=name), confine=True)
    with pytest.raises(UserError, match=r"circle\.nii\.gz"):
        Cohort.read(table(place, moving="circle.nii.gz"), confine=True)
    assert len(Cohort.read(table(place, moving="inner.nii.gz"), confine=True)) == 1


def test_the_folder_itself_may_be_a_link(place: Path) -> None:
    (place / "alias").symlink_to(place / "cohort")
    table(place)
    assert len(Cohort.read(place / "alias", confine=True)) == 1


def test_the_files_of_a_series_count(place: Path) -> None:
    series = place / "cohort" / "series"
    series.mkdir()
    (series / "1.dcm").symlink_to(place / "secret" / "s.nii.gz")
    with pytest.raises(UserError, match=r"series/1\.dcm.*outside the folder"):
        Cohort.read(table(place, moving="series"), confine=True)


@pytest.mark.parametrize("ending", [".mhd", ".nhdr"])
@pytest.mark.parametrize("data", ["../secret/h.zraw", "/etc/passwd"])
def test_the_data_that_a_header_names_count(place: Path, ending: str, data: str) -> None:
    head = {
        ".mhd": f"NDims = 2\nDimSize = 20 20\nElementType = MET_UCHAR\nElementDataFile = {data}\n",
        ".nhdr": f"NRRD0004\ntype: uchar\ndimension: 2\nsizes: 20 20\nencoding: raw\ndata file: {data}\n\n",
    }[ending]
    (place / "cohort" / f"x{ending}").write_text(head)
    with pytest.raises(UserError, match=r"with the data in .*outside the folder"):
        Cohort.read(table(place, moving=f"x{ending}"), confine=True)


def test_initial_alignments_are_transforms_inside(place: Path) -> None:
    for name in ("shift.tfm", "shift.h5", "../secret/shift.tfm"):
        (place / "cohort" / name).write_text("#Insight Transform File V1.0\n")
    (pair,) = Cohort.read(table(place, initial="shift.tfm"), confine=True)
    assert pair.initial == place / "cohort" / "shift.tfm"
    with pytest.raises(UserError, match=r"'shift\.h5' has none of the endings \.tfm, \.txt, \.mat"):
        Cohort.read(table(place, initial="shift.h5"), confine=True)
    with pytest.raises(UserError, match="outside the folder"):
        Cohort.read(table(place, initial="../secret/shift.tfm"), confine=True)
    with pytest.raises(UserError, match="has none of the endings"):
        Cohort.read(table(place, moving="shift.tfm"), confine=True)


def test_other_formats_are_refused(place: Path) -> None:
    (place / "cohort" / "m.hdf5").write_bytes(b"x")
    with pytest.raises(UserError, match=r"'m\.hdf5' has none of the endings"):
        Cohort.read(table(place, moving="m.hdf5"), confine=True)


@pytest.mark.parametrize("command", ["check", "train", "evaluate"])
def test_the_commands(place: Path, command: str, monkeypatch, capsys) -> None:
    path = table(place, fixed="../secret/s.nii.gz")
    more = {
        "check": [],
        "train": ["--out", str(place / "run")],
        "evaluate": ["--model", "undeformed", "--out", str(place / "scores"), "--split", "all"],
    }[command]
    monkeypatch.setattr("sys.argv", ["heteroreg", command, str(path), "--confine", *more])
    with pytest.raises(SystemExit) as stop:
        main()
    assert stop.value.code == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "line 2, fixed: '../secret/s.nii.gz' lies outside the folder" in line
    assert sorted(p.name for p in place.iterdir()) == ["cohort", "secret"]


@pytest.mark.parametrize("command", ["check", "train", "evaluate", "register", "study"])
def test_every_command_that_reads_a_cohort_can_confine_it(place: Path, command: str) -> None:
    cohort = table(place, moving="../secret/s.nii.gz")
    study = {"cohort": str(cohort), "networks": ["voxelmorph"], "methods": ["mse"], "seeds": [0]}
    (place / "study.yaml").write_text(yaml.safe_dump(study))
    arguments = [str(place / "study.yaml" if command == "study" else cohort), "--confine"]
    arguments += [] if command == "check" else ["--out", str(place / "out")]
    arguments += ["--model", "undeformed"] if command == "evaluate" else []
    result = CliRunner().invoke(app, [command, *arguments])
    assert isinstance(result.exception, UserError)
    assert "'../secret/s.nii.gz' lies outside the folder of the confined cohort" in str(result.exception)
    assert not (place / "out").exists()


def test_a_single_pair_is_not_confined(place: Path) -> None:
    image = str(place / "cohort" / "m.nii.gz")
    result = CliRunner().invoke(app, ["register", image, image, "--out", str(place / "out"), "--confine"])
    assert str(result.exception) == "--confine: is for a cohort; leave it out for a single pair"
