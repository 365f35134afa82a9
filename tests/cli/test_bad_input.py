"""Every mistake gets one line that names the file or option, exit code 2, and leaves nothing half-written."""

from __future__ import annotations

import json
import os
import re
import resource
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from tests.cli.conftest import Command, Outcome
from tests.data import dicom_writer

from heteroreg.data.cohort import Cohort
from heteroreg.data.grid import Grid
from heteroreg.data.image import Image, read_image, write_image
from heteroreg.data.io.displacement import write_displacement
from heteroreg.data.phantom import write_phantom
from heteroreg.training import train


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a phantom cohort and a run trained on it for two steps."""
    folder = tmp_path_factory.mktemp("trained")
    write_phantom(folder / "cohort", pairs=4, size=32)
    train(folder / "cohort", folder / "run", method="mse", steps=2, batch_size=2)
    return folder


@pytest.fixture
def work(trained: Path, tmp_path: Path) -> Path:
    """A copy to spoil."""
    shutil.copytree(trained, tmp_path / "work")
    return tmp_path / "work"


def first(work: Path, column: str = "fixed") -> Path:
    """A file of the first training pair."""
    pair = Cohort.read(work / "cohort").split("train")[0]
    path = getattr(pair, column)
    assert isinstance(path, Path)
    return path


def spoil(path: Path, change: Callable[[np.ndarray], np.ndarray]) -> None:
    image = read_image(path)
    write_image(Image.from_array(change(image.array.copy()), 1.5), path)


def one_line(outcome: Outcome, *mentions: str) -> None:
    code, _, err = outcome
    shown = re.compile(r"training.*|.* …")  # progress, on a slow machine
    lines = [line for line in err.splitlines() if line.strip() and not shown.fullmatch(line)]
    assert code == 2, err
    assert len(lines) == 1, err
    assert lines[0].startswith("heteroreg: ")
    for mention in mentions:
        assert mention in lines[0]


def missing_column(work: Path) -> str:
    table = work / "cohort" / "pairs.csv"
    table.write_text(table.read_text().replace(",fixed,", ",target,", 1))
    return "'fixed'"


def missing_image(work: Path) -> str:
    first(work).unlink()
    return "no such file"


def truncated_image(work: Path) -> str:
    path = first(work)
    path.write_bytes(path.read_bytes()[:-200])
    return "cut short"


def other_dimension(work: Path) -> str:
    write_image(Image.from_array(np.random.default_rng(0).random((32, 32, 20), np.float32)), first(work))
    return "must have the same"


def nan_in_image(work: Path) -> str:
    def put_nan(array: np.ndarray) -> np.ndarray:
        array[3, 4] = np.nan
        return array

    spoil(first(work), put_nan)
    return "1 voxels are NaN"


def infinity_in_image(work: Path) -> str:
    def put_infinity(array: np.ndarray) -> np.ndarray:
        array[:2, 4] = np.inf
        return array

    spoil(first(work), put_infinity)
    return "2 voxels are NaN or infinite"


def constant_image(work: Path) -> str:
    spoil(first(work), lambda array: np.full_like(array, 7))
    return "every voxel has the value 7"


@pytest.mark.parametrize(
    "damage",
    [missing_image, truncated_image, other_dimension, nan_in_image, infinity_in_image, constant_image],
)
def test_unfit_image(work: Path, command: Command, damage: Callable[[Path], str]) -> None:
    path = first(work)
    problem = damage(work)
    one_line(command("train", work / "cohort", "--out", work / "new", "--steps", 2), str(path.name), problem)
    assert not (work / "new").exists()
    code, out, _ = command("check", work / "cohort")
    assert code == 1
    assert problem in out


def test_missing_column(work: Path, command: Command) -> None:
    problem = missing_column(work)
    one_line(command("train", work / "cohort", "--out", work / "new"), "pairs.csv", problem)
    one_line(command("check", work / "cohort"), "pairs.csv", problem)


def test_labels_on_another_grid(work: Path, command: Command) -> None:
    pair = Cohort.read(work / "cohort").split("test")[0]
    assert pair.fixed_labels is not None
    write_image(Image.from_array(np.ones((20, 20), np.uint8)), pair.fixed_labels)
    outcome = command("evaluate", work / "cohort", "--model", work / "run", "--out", work / "scores")
    one_line(outcome, pair.fixed_labels.name, "another grid")
    assert not (work / "scores").exists()
    assert command("check", work / "cohort")[0] == 1


def test_empty_split(work: Path, command: Command) -> None:
    table = work / "cohort" / "pairs.csv"
    table.write_text(table.read_text().replace(",test,", ",train,"))
    outcome = command("evaluate", work / "cohort", "--model", work / "run", "--out", work / "scores")
    one_line(outcome, "pairs.csv", "'test' is empty")


def test_folder_that_is_no_run(work: Path, command: Command) -> None:
    pair = (first(work, "moving"), first(work, "fixed"))
    one_line(
        command("register", *pair, "--model", work / "cohort", "--out", work / "out"),
        "cohort",
        "not the folder of a run",
    )
    one_line(command("register", *pair, "--model", work / "none", "--out", work / "out"), "none")
    assert not (work / "out").exists()


@pytest.mark.parametrize("file", ["config.yaml", "checkpoints/best/state.json"])
def test_newer_schema(work: Path, command: Command, file: str) -> None:
    path = work / "run" / file
    text = path.read_text()
    newer = text.replace("schema_version: 1", "schema_version: 2").replace(
        '"schema_version": 1', '"schema_version": 2'
    )
    assert newer != text
    path.write_text(newer)
    outcome = command(
        "register", first(work, "moving"), first(work), "--model", work / "run", "--out", work / "out"
    )
    one_line(outcome, Path(file).name, "newer heteroreg")


def test_damaged_checkpoint(work: Path, command: Command) -> None:
    folder = work / "run" / "checkpoints" / "best"
    tensors = folder / json.loads((folder / "state.json").read_text())["tensors"]
    tensors.write_bytes(tensors.read_bytes()[:1000])
    outcome = command(
        "register", first(work, "moving"), first(work), "--model", work / "run", "--out", work / "out"
    )
    one_line(outcome, "best", "damaged")


def test_full_disk(work: Path, command: Command) -> None:
    """No file may grow beyond 2 kB, which is what a disk with no room left does to the writers."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    pair = (first(work, "moving"), first(work))
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (2048, hard))
        registered = command("register", *pair, "--model", work / "run", "--out", work / "out")
        trained = command("train", work / "cohort", "--out", work / "new", "--steps", 2)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    one_line(registered, "is there space")
    one_line(trained, "room")
    assert not (work / "out").exists()
    assert [path.name for path in work.iterdir() if path.name.startswith(".")] == []


@pytest.mark.parametrize("name", ["train", "register", "evaluate"])
def test_output_folder_that_holds_something_else(work: Path, command: Command, name: str) -> None:
    mine = work / "mine"
    mine.mkdir()
    (mine / "thesis.tex").write_text("years of work")
    arguments = {
        "train": [work / "cohort"],
        "register": [first(work, "moving"), first(work), "--model", work / "run"],
        "evaluate": [work / "cohort", "--model", work / "run"],
    }[name]
    one_line(command(name, *arguments, "--out", mine), "mine", "did not write")
    assert [path.name for path in mine.iterdir()] == ["thesis.tex"]


@pytest.mark.parametrize("option", [("--pairs", 3), ("--size", 48), ("--dims", 2), ("--layout", "acdc")])
def test_what_a_cohort_determines_itself(work: Path, command: Command, option: tuple[str, object]) -> None:
    outcome = command("phantom", work / "new", "--on", work / "cohort", *map(str, option))
    one_line(outcome, f"{option[0]}: is given by the cohort of --on")
    assert not (work / "new").exists()


def test_run_that_exists(work: Path, command: Command) -> None:
    one_line(command("train", work / "cohort", "--out", work / "run"), "run", "--resume")


@pytest.mark.parametrize(
    ("arguments", "mention"),
    [
        (["--method", "heterro"], "hetero"),
        (["--network", "voxelmorf"], "voxelmorph"),
        (["--set", "smoothnes=1"], "smoothness"),
        (["--set", "gamma=-1"], "gamma"),
        (["--set", "gamma"], "KEY=VALUE"),
        (["--set", "size=[8,8]"], "size"),
        (["--config", "none.yaml"], "none.yaml"),
    ],
)
def test_unknown_settings(work: Path, command: Command, arguments: list[str], mention: str) -> None:
    one_line(command("train", work / "cohort", "--out", work / "new", *arguments), mention)
    assert not (work / "new").exists()


def test_verbose_shows_the_traceback(work: Path, command: Command) -> None:
    code, _, err = command("check", work / "none", "-v")
    assert code == 2
    assert err.startswith("Traceback")
    assert "no such file" in err


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["train", "c", "--out", "o", "--steps", "-1"], "--steps: .*1"),
        (["train", "c", "--out", "o", "--stepz", "3"], ".*no such option: --stepz.*--steps.*"),
        (["train", "c"], "--out: is missing"),
        (["register", "--out", "o"], "MOVING: is missing"),
        (["phantom", "o", "--dims", "4"], "--dims: .*3"),
        (["phantom", "o", "--noise", "pink"], "--noise: 'pink' is unknown; use gaussian, rician, speckle"),
        (["phantom", "o", "--on", "c", "--pairs", "3"], "--pairs: is given by the cohort of --on; leave it out"),
        (["import", "acdc", "s", "o", "--split", "half"], "--split half: write whole percentages, .*"),
        (["study", "f", "--out", "o", "--slurm", "a=1", "--jobs", "2"], "--jobs: is for .*; with --slurm .*"),
        (["trian"], "no such command 'trian'.*train.*"),
        (["--versions"], "no such option: --versions.*"),
    ],
)
def test_options_that_do_not_fit_get_one_line(command: Command, arguments: list[str], line: str) -> None:
    outcome = command(*arguments)
    one_line(outcome)
    assert re.fullmatch(f"heteroreg: {line}(; see heteroreg( {arguments[0]})? --help)?\n", outcome[2]), outcome[2]


def test_samples_of_a_model_without_uncertainty(command: Command, work: Path) -> None:
    pair = Cohort.read(work / "cohort").split("train")[0]
    for images in ((pair.moving, pair.fixed), (work / "cohort",)):
        code, _, err = command("register", *images, "--model", work / "run", "--out", work / "out", "--samples", 4)
        assert code == 2
        assert err.count("\n") == 1
        assert "run: mse has no displacement uncertainty; train with hetero-z or" in err
        assert not (work / "out").exists()
    code, _, err = command("register", pair.moving, pair.fixed, "--model", work / "run", "--out", work / "out",
                           "--samples", 1)  # fmt: skip
    assert code == 2
    assert "--samples" in err


def test_transforms_that_do_not_fit(command: Command, work: Path) -> None:
    image, out = first(work, "moving"), work / "out.nii.gz"
    shift = work / "shift.tfm"
    sitk.WriteTransform(sitk.TranslationTransform(3, (1.0, 2.0, 3.0)), str(shift))
    points = work / "p.csv"
    points.write_text("x,y\n1,2\n")
    like = ["--like", image]
    for arguments, mentions in (
        (["warp", image, "--transform", shift], ["shift.tfm", "--like"]),
        (["warp", image, "--transform", shift, *like], ["shift.tfm", "a space of 3 dimensions"]),
        (["warp", image, "--transform", image], [image.name, "a displacement field has one for each axis"]),
        (["warp", points, "--transform", shift, *like, "--labels"], ["shift.tfm", "a space of 3 dimensions"]),
        (["convert", shift], ["shift.tfm", "--like"]),
        (["convert", work / "none.h5"], ["none.h5", "no such file"]),
    ):
        one_line(command(*arguments, "--out", out), *mentions)
        assert not out.exists()


def test_an_initial_alignment_that_does_not_fit(command: Command, work: Path) -> None:
    pair = (first(work, "moving"), first(work))
    shift, out = work / "shift.tfm", work / "out"
    sitk.WriteTransform(sitk.TranslationTransform(3, (1.0, 2.0, 3.0)), str(shift))
    model = ["--model", work / "run", "--out", out]
    one_line(command("register", *pair, *model, "--initial", shift), "the initial alignment has 3")
    one_line(command("register", *pair, *model, "--initial", work / "none.tfm"), "none.tfm", "no such file")
    one_line(command("register", *pair, *model, "--initial", "center"), "--initial: 'center' is neither a file nor")
    assert not out.exists()


@pytest.mark.parametrize("name", ["u.h5", "u.tfm", "u.nrrd"])
def test_a_full_disk_where_a_transform_is_written(command: Command, work: Path, name: str) -> None:
    field = work / "u.nii.gz"
    write_displacement(np.random.default_rng(0).normal(size=(2, 40, 40)), Grid.of_shape((40, 40)), field)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (2048, hard))
        outcome = command("convert", field, "--out", work / name)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    one_line(outcome, name, "is there space")
    assert not (work / name).exists()


def test_a_full_disk_is_a_line_and_no_crash_at_the_exit(work: Path) -> None:
    # HDF5 flushes at the exit what it could not write before: that must not be in this process.
    field = work / "v.nii.gz"
    write_displacement(np.random.default_rng(0).normal(size=(2, 40, 40)), Grid.of_shape((40, 40)), field)
    _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    done = subprocess.run(
        [sys.executable, "-m", "heteroreg", "convert", str(field), "--out", str(work / "v.h5")],
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (2048, hard)),
        capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    one_line((done.returncode, done.stdout, done.stderr), "v.h5", "is there space")


def test_frames_of_dicom(work: Path, command: Command, tmp_path: Path) -> None:
    """Those that are not there, and a cohort of series of which nobody says what is ED."""
    clip = dicom_writer.write_clip(tmp_path / "exams" / "p1" / "a4c.dcm", np.ones((3, 20, 30, 3), np.uint8))
    run = ("--model", work / "run", "--out", work / "new")
    one_line(command("register", clip, f"{clip}#1", *run), "a4c.dcm: holds 3 frames; name one")
    one_line(command("register", f"{clip}#0", f"{clip}#3", *run), "a4c.dcm#3: there are 3 frames")
    truth = Cohort.read(work / "cohort")[0].truth["true_displacement"]
    warp = command("warp", f"{clip}#x", "--transform", truth, "--out", work / "new")
    one_line(warp, "the text after # is not a frame")
    one_line(command("import", "dicom", tmp_path / "exams", work / "new"), "a4c.dcm", "give --frames")
    one_line(command("import", "dicom", tmp_path / "exams", work / "new", "--frames", "0,3"), "--frames", "0 to 2")
    one_line(command("import", "camus", tmp_path, work / "new", "--label", "1"), "--label: does not apply to camus")
    assert not (work / "new").exists()


def test_models_that_cannot_go_out(command: Command, work: Path) -> None:
    run, out = work / "run", work / "out.onnx"
    (work / "notes").mkdir()
    (work / "notes" / "a.txt").write_text("mine")
    for arguments, mentions in (
        (["export", work / "cohort", "--out", out], [str(work / "cohort"), "is not the folder of a run"]),
        (["export", run, "--out", work / "out.pt"], ["out.pt", ".onnx"]),
        (["export", run, "--out", work / "none.onnx" / "a.pt"], ["a.pt", ".onnx"]),
        (["push", work / "cohort", "./x"], [str(work / "cohort"), "is not the folder of a run"]),
        (["push", run, work / "notes"], ["notes", "not an empty folder"]),
        (["push", run, "hearts"], ["hearts", "owner/name"]),
        (["push", run, work / "new", "--scores", work / "notes"], ["notes", "no evaluation"]),
        (["pull", "hearts", out], ["hearts", "owner/name"]),
        (["pull", work / "nowhere", out], ["nowhere", "no such folder"]),
        (["pull", work / "notes", out], ["notes", "is not the folder of a run"]),
        (["pull", run, work / "notes"], ["notes", "not an empty folder"]),
        (["pull", run, work / "new", "--revision", "main"], ["--revision", "is a folder"]),
    ):
        one_line(command(*arguments), *mentions)
    assert not out.exists()
    assert not (work / "new").exists()
    assert [path.name for path in (work / "notes").iterdir()] == ["a.txt"]


def test_a_full_disk_where_a_model_is_written(command: Command, work: Path) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, hard))
        outcome = command("export", work / "run", "--out", work / "model.onnx")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    one_line(outcome, "room")
    assert not (work / "model.onnx").exists()


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "cp1252"])
def test_standard_output_that_is_not_utf8(encoding: str, tmp_path: Path) -> None:
    (tmp_path / "Bäume").mkdir()
    (tmp_path / "Bäume" / "pairs.csv").write_text("id,moving,fixed\na,x.nii.gz,y.nii.gz\n")
    for arguments in (["methods"], ["--help"], ["check", str(tmp_path / "Bäume")]):
        done = subprocess.run(
            [sys.executable, "-m", "heteroreg", *arguments],
            env={**os.environ, "PYTHONIOENCODING": encoding, "MPLBACKEND": "nonsense"},
            capture_output=True,
            check=False,
        )
        assert done.returncode == (1 if arguments[0] == "check" else 0), done.stderr
        assert b"Traceback" not in done.stderr
        assert done.stdout


def test_how_files_are_read_by_options(command: Command, tmp_path: Path) -> None:
    image = Image(np.random.default_rng(0).random((20, 20), np.float32), Grid.of_shape((20, 20), 0.3))
    labels = Image(np.eye(20, dtype=np.uint8), Grid((20, 20), (1, 1), (3.0, 0.0), (1.0, 0.0, 0.0, 1.0)))
    write_image(replace(image, grid=replace(image.grid, origin=(1.0, 0.0))), tmp_path / "a.nii.gz")
    write_image(labels, tmp_path / "gt.nii.gz")
    pair = (tmp_path / "a.nii.gz", tmp_path / "a.nii.gz", "--moving-labels", tmp_path / "gt.nii.gz")
    given = ("register", *pair, "--model", "undeformed", "--out", tmp_path / "out")
    code, _, said = command(*given)
    assert code == 2
    assert "belong voxel to voxel, set --labels-like-image, else resample" in said
    assert command(*given, "--labels-like-image", "--nifti-frame", "sform")[0] == 0
    for wrong, text in (
        ("--nifti-frame", "is unknown; choose qform or sform"),
        ("--spacing", "is not a number of mm"),
    ):
        code, _, said = command(*given, wrong, "nonsense")
        assert (code, len(said.splitlines())) == (2, 1)
        assert wrong in said
        assert text in said
