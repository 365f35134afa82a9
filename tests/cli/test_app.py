"""The commands, on a phantom: what they print, write and exit with."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from importlib import import_module
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import SimpleITK as sitk

from heteroreg import __version__
from heteroreg.cli.app import main
from heteroreg.data.cohort import Cohort
from heteroreg.data.image import read_image, read_labels
from heteroreg.evaluation import Scores
from heteroreg.system.outputs import growing_folder
from heteroreg.system.progress import progress
from heteroreg.training import Run

Command = Callable[..., str]


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Command:
    """Runs `heteroreg …`, which must succeed, and gives what it printed."""

    def run(*arguments: str | Path, code: int = 0) -> str:
        monkeypatch.setattr("sys.argv", ["heteroreg", *map(str, arguments)])
        with pytest.raises(SystemExit) as stop:
            main()
        captured = capsys.readouterr()
        assert (stop.value.code or 0) == code, captured.err
        return captured.out

    return run


def test_the_whole_path(command: Command, tmp_path: Path) -> None:
    """Phantom, check, train, resume, evaluate, compare, register, warp."""
    cohort, run, other = tmp_path / "my hearts", tmp_path / "run", tmp_path / "other"
    assert "5 pairs" in command("phantom", cohort, "--pairs", 5, "--size", 48, "--artefacts")
    assert "0 problems" in command("check", cohort)
    short = ["--set", "batch_size=2", "--set", "validate_every=2", "--quiet"]
    assert command("train", cohort, "--out", run, "--method", "hetero", "--steps", 4, *short) == ""
    assert command("train", cohort, "--out", run, "--resume", "--quiet") == ""  # nothing is left to do
    command("train", cohort, "--out", other, "--method", "mse", "--steps", 2, *short)
    assert {"config.yaml", "metrics.csv", "checkpoints"} <= {path.name for path in run.iterdir()}
    history = pd.read_csv(run / "metrics.csv")
    assert history["step"].tolist() == [2, 4]
    assert np.isfinite(history[["loss", "variance", "val_dice"]]).all(axis=None)

    for name, model in (("hetero", run), ("mse", other), ("undeformed", "undeformed")):
        command("evaluate", cohort, "--model", model, "--out", tmp_path / "scores" / name, "--quiet")
    scores = pd.read_csv(tmp_path / "scores" / "hetero" / "scores.csv")
    assert {"id", "patient", "dice_2", "hd95_2", "ause", "epe", "noise_correlation"} <= set(scores.columns)
    report = tmp_path / "report"
    folders = [tmp_path / "scores" / name for name in ("undeformed", "mse", "hetero")]
    printed = command("compare", *folders, "--out", report, "--baseline", folders[1])
    table = (report / "table.md").read_text().splitlines()
    assert printed.splitlines()[: len(table)] == [" ".join(line.split()) for line in table]
    assert any(line.startswith("| hetero |") for line in table)
    assert {"table.csv", "table.md", "index.html"} <= {path.name for path in report.iterdir()}

    pair = Cohort.read(cohort).split("test")[0]
    assert pair.moving_labels is not None
    out = tmp_path / "registered"
    command(
        "register", pair.moving, pair.fixed, "--model", run, "--out", out, "--moving-labels", pair.moving_labels
    )
    names = ["moved", "displacement", "inverse_displacement", "noise_sd", "weight", "moved_labels"]
    files = {*(f"{name}.nii.gz" for name in names), "summary.json", "heteroreg.json"}
    assert {path.name for path in out.iterdir()} == files
    assert json.loads((out / "summary.json").read_text())["method"] == "hetero"

    field = out / "displacement.nii.gz"
    command("warp", pair.moving, "--transform", field, "--like", pair.fixed, "--out", tmp_path / "again.nii.gz")
    again, moved = read_image(tmp_path / "again.nii.gz"), read_image(out / "moved.nii.gz")
    np.testing.assert_allclose(again.array, moved.array, atol=1e-3 * np.ptp(moved.array))
    command(
        "warp",
        pair.moving_labels,
        "--labels",
        "--transform",
        field,
        "--like",
        pair.fixed,
        "--out",
        tmp_path / "l.nii.gz",
    )
    same = read_labels(tmp_path / "l.nii.gz").array == read_labels(out / "moved_labels.nii.gz").array
    assert same.mean() > 0.999  # the field in the file is rounded to float32


def test_fields_go_from_tool_to_tool(command: Command, run_2d: Run, cohort_2d: Cohort, tmp_path: Path) -> None:
    """Register behind an alignment, convert the field, and warp an image and points by the converted one."""
    pair = cohort_2d.split("test")[0]
    fixed = read_image(pair.fixed)
    shift = tmp_path / "shift.tfm"
    sitk.WriteTransform(sitk.TranslationTransform(2, (2.0, -1.0)), str(shift))
    out = tmp_path / "registered"
    images = [pair.moving, pair.fixed, "--model", run_2d.folder, "--out", out]
    command("register", *images, "--initial", shift)
    assert json.loads((out / "summary.json").read_text())["initial"]["offset"] == [2.0, -1.0]
    for name in ("u.h5", "u.nrrd"):
        command("convert", out / "displacement.nii.gz", "--out", tmp_path / name)
        again = ["warp", pair.moving, "--transform", tmp_path / name, "--out", tmp_path / "again.nii.gz"]
        command(*again)  # onto the grid of the field
        np.testing.assert_allclose(
            read_image(tmp_path / "again.nii.gz").array, read_image(out / "moved.nii.gz").array, atol=1
        )
    for arguments in (["warp", tmp_path / "again.nii.gz", "--transform"], ["convert"]):
        command(*arguments, out / "displacement.nii.gz", "--out", out / "displacement.nii.gz", code=2)
    middle = fixed.grid.physical(np.array([15.0, 15.0]))
    transform = sitk.ReadTransform(str(tmp_path / "u.h5"))
    x, y = transform.TransformPoint(middle.tolist())  # where the middle of fixed lies in moving
    (tmp_path / "p.csv").write_text(f"x,y,label\n{x},{y},middle\n")
    command("warp", tmp_path / "p.csv", "--transform", tmp_path / "u.h5", "--out", tmp_path / "q.csv")
    found = pd.read_csv(tmp_path / "q.csv")
    assert found["label"].tolist() == ["middle"]
    np.testing.assert_allclose(found[["x", "y"]].to_numpy()[0], middle, atol=0.01)


def test_a_registration_with_its_uncertainty(command: Command, cohort_2d: Cohort, tmp_path: Path) -> None:
    run, out = tmp_path / "run", tmp_path / "registered"
    short = ["--steps", 2, "--set", "batch_size=2", "--quiet"]
    command("train", cohort_2d.name, "--out", run, "--method", "vxm-diff", *short)
    pair = cohort_2d.split("test")[0]
    assert pair.moving_labels is not None
    images = [pair.moving, pair.fixed, "--model", run, "--out", out, "--moving-labels", pair.moving_labels]
    printed = command("register", *images, "--samples", 4)
    summary = json.loads((out / "summary.json").read_text())
    assert summary["samples"] == 4
    low, high = summary["labels"]["2"]["interval_95"]
    area = summary["labels"]["2"]["area_mm2"]
    assert f"area of label 2: {area:.1f} mm², in 95 % of the samples {low:.1f}-{high:.1f}" in printed
    expected = {"displacement_sd.nii.gz", *(f"label_probability_{label}.nii.gz" for label in (1, 2, 3))}
    assert expected <= {path.name for path in out.iterdir()}
    command("evaluate", cohort_2d.name, "--model", run, "--out", tmp_path / "scores", "--quiet")
    scores = pd.read_csv(tmp_path / "scores" / "scores.csv")
    assert (scores["displacement_sd_mean"] > 0).all()
    assert scores["displacement_coverage_95"].between(0, 1).all()
    (case, *_) = Scores.read(tmp_path / "scores").cases
    assert case.displacement_sd is not None
    assert case.displacement_sd.shape == case.fixed.shape
    table = command("register", cohort_2d.name, "--model", run, "--out", tmp_path / "all", "--split", "test",
                    "--samples", 3)  # fmt: skip
    assert "2 pairs" in table
    assert len(list((tmp_path / "all").glob("*/label_probability_1.nii.gz"))) == 2


@pytest.mark.parametrize("layout", ["acdc", "camus", "mnms"])
def test_import_what_phantom_writes(command: Command, tmp_path: Path, layout: str) -> None:
    command("phantom", tmp_path / "raw", "--pairs", 4, "--size", 48, "--layout", layout, "--quiet")
    command("import", layout, tmp_path / "raw", tmp_path / "cohort", "--split", "50,25,25", "--quiet")
    cohort = Cohort.read(tmp_path / "cohort")
    assert set(cohort.splits) >= {"train", "val"}
    assert "0 problems" in command("check", tmp_path / "cohort")


def test_noise_over_another_cohort(command: Command, tmp_path: Path) -> None:
    command("phantom", tmp_path / "clean", "--pairs", 3, "--size", 48, "--strength", 0, "--quiet")
    on = ("phantom", tmp_path / "noisy", "--on", tmp_path / "clean", "--artefacts", "--noise-strength", 0.5)
    assert "3 pairs" in command(*on)
    assert "0 problems" in command("check", tmp_path / "noisy")
    assert {"moving_artefact", "fixed_artefact"} <= set(Cohort.read(tmp_path / "noisy")[0].extra)


def test_import_of_a_folder(command: Command, tmp_path: Path) -> None:
    command("phantom", tmp_path / "raw", "--pairs", 3, "--size", 48, "--quiet")
    files = tmp_path / "files"
    files.mkdir()
    for pair in Cohort.read(tmp_path / "raw"):
        for side, name in (("moving", "ED"), ("fixed", "ES")):
            (files / f"{pair.id}_{name}.nii.gz").write_bytes(getattr(pair, side).read_bytes())
    assert "3 pairs" in command("import", "folder", files, tmp_path / "cohort", "--split", "34,33,33")
    assert len(Cohort.read(tmp_path / "cohort")) == 3


@pytest.mark.slow
def test_demo(command: Command, tmp_path: Path) -> None:
    out = tmp_path / "demo"
    caution, line = command("demo", "--quick", "--out", out).strip().splitlines()
    text = Path(line.removeprefix("look at ")).read_text(encoding="utf-8")
    assert "do not judge" in caution
    assert "(quick: trained far too little for its numbers to mean anything)" in text
    assert "hetero" in text
    assert "End-point error" in text
    table = pd.read_csv(out / "report" / "table.csv")
    assert {"undeformed", "mse", "hetero"} == set(table["row"])


def test_demo_refuses_a_folder_of_the_user(command: Command, tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    command("demo", "--quick", "--out", tmp_path, code=2)
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]


def test_demo_refuses_a_file_of_the_user_in_its_report_before_the_work(command: Command, tmp_path: Path) -> None:
    with growing_folder(tmp_path, "demo"):
        (tmp_path / "report").mkdir()
        (tmp_path / "report" / "notes.txt").write_text("mine")
    command("demo", "--quick", "--out", tmp_path, code=2)
    assert {path.name for path in tmp_path.iterdir()} == {"report", "heteroreg.json"}
    assert (tmp_path / "report" / "notes.txt").is_file()


def test_a_model_goes_out_and_comes_back(command: Command, run_2d: Run, cohort_2d: Cohort, tmp_path: Path) -> None:
    """Export, publish to a folder with scores, pull, and register with what was pulled."""
    printed = command("export", run_2d.folder, "--format", "onnx", "--out", tmp_path / "model.onnx")
    assert "moving, fixed to moved, displacement, inverse_displacement, noise_sd, weight" in printed
    assert "checked: onnxruntime agrees with PyTorch" in printed
    assert (tmp_path / "model.onnx").is_file()
    scores = tmp_path / "scores"
    command("evaluate", cohort_2d.name, "--model", run_2d.folder, "--out", scores, "--quiet")
    command("push", run_2d.folder, tmp_path / "card", "--scores", scores, "--data", "hearts", "--license", "mit")
    assert "Images: hearts" in (tmp_path / "card" / "README.md").read_text()
    assert "method hetero, network pyramid, 2D" in command("pull", tmp_path / "card", tmp_path / "model")
    pair = cohort_2d.split("test")[0]
    command("register", pair.moving, pair.fixed, "--model", tmp_path / "model", "--out", tmp_path / "registered")
    assert (tmp_path / "registered" / "moved.nii.gz").is_file()


def test_methods(command: Command) -> None:
    table = json.loads(command("methods", "--json"))
    assert {"mse", "nll", "beta-nll", "hetero-paper", "hetero"} <= set(table["methods"])
    assert "voxelmorph" in table["networks"]
    assert set(table["registrars"]) == {"phantom", "phantom-3d", "elastix", "undeformed"}
    assert all(summary for rows in table.values() for summary in rows.values())
    assert "hetero-paper" in command("methods")


def test_a_study_says_what_it_does(command: Command, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Each piece of work within it shows its own progress, and would silence the lines of the study."""

    def run_study(*_: object, say: Callable[[str], None] | None, **__: object) -> None:
        with progress("study", 3):
            if say:
                say("0/3: 3 to train")

    monkeypatch.setattr(import_module("heteroreg.study"), "run_study", run_study)
    assert command("study", tmp_path / "s.yaml", "--out", tmp_path / "out") == "0/3: 3 to train\n"
    assert command("study", tmp_path / "s.yaml", "--out", tmp_path / "out", "--quiet") == ""


@pytest.mark.parametrize("argument", ["", "--help", "train --help", "study --help"])
def test_a_bare_call_explains_itself_quickly(argument: str) -> None:
    """In a process of its own: neither PyTorch nor NumPy may be loaded to show the help."""
    code = (
        f"import sys; sys.argv = ['heteroreg', *{argument.split()}]\nfrom heteroreg.cli.app import main\n"
        "try:\n    main()\nexcept SystemExit as stop:\n    assert not stop.code\n"
        "print('torch' in sys.modules or 'numpy' in sys.modules)"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "heteroreg" in result.stdout
    assert result.stdout.strip().endswith("False")


@pytest.mark.parametrize(
    "name",
    [
        "demo",
        "phantom",
        "import",
        "check",
        "train",
        "register",
        "warp",
        "convert",
        "evaluate",
        "compare",
        "export",
        "push",
        "pull",
        "study",
        "methods",
    ],
)
def test_help_has_an_example(command: Command, name: str) -> None:
    assert f"heteroreg {name}" in command(name, "--help")


def test_version(command: Command) -> None:
    assert command("--version").strip() == __version__


def test_a_model_is_calibrated_and_its_registrations_have_error_bars(command, tmp_path):
    cohort, out = tmp_path / "hearts", tmp_path / "calibration"
    command("phantom", cohort, "--pairs", 12, "--size", 32)
    said = command("calibrate", cohort, "--model", "undeformed", "--out", out, "--split", "all", "--steps", 2)
    assert "calibrated on 12 patients by the labels of 12 patients" in said
    assert "so few patients give at most 92 %: the largest level is 90 %" in said
    pair = Cohort.read(cohort)[0]
    said = command(
        "register", pair.moving, pair.fixed, "--model", "undeformed", "--calibration", out,
        "--out", tmp_path / "one", "--moving-labels", pair.moving_labels, "--label-names", "1=LV",
    )  # fmt: skip
    assert "area of label LV at the fixed image: " in said
    assert "90 % interval " in said
    assert (tmp_path / "one" / "error_90.nii.gz").is_file()
    command(
        "register", cohort, "--model", "undeformed", "--calibration", out, "--out", tmp_path / "all",
        "--label-names", "1=LV",
    )  # fmt: skip
    assert "area_mm2_LV_low_90" in (tmp_path / "all" / "registrations.csv").read_text().splitlines()[0]
    command("evaluate", cohort, "--model", "undeformed", "--calibration", out, "--out", tmp_path / "scores")
    assert "contour_coverage_90_1" in (tmp_path / "scores" / "scores.csv").read_text().splitlines()[0]
    command("register", cohort, "--model", "undeformed", "--out", tmp_path / "two", "--label-names", "LV", code=2)


def test_the_bundled_model_has_error_bars_unless_told_otherwise(command: Command, tmp_path: Path) -> None:
    command("phantom", tmp_path / "hearts", "--pairs", 1, "--size", 48)
    pair = Cohort.read(tmp_path / "hearts")[0]
    said = command("register", pair.moving, pair.fixed, "--out", tmp_path / "bars")
    assert "the error bars come from phantoms alone" in said
    assert (tmp_path / "bars" / "error_95.nii.gz").is_file()
    said = command("register", pair.moving, pair.fixed, "--calibration", "none", "--out", tmp_path / "plain")
    assert "error bars" not in said
    assert not (tmp_path / "plain" / "error_95.nii.gz").exists()
