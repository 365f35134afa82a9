"""What DICOM files say of a patient is in no output: known texts go in, and all that comes out is searched."""

from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from tests.data import dicom_writer as writer

from heteroreg.cli.app import main
from heteroreg.data.image import read_image
from heteroreg.training import Run

# The name and other texts, the dates, and the identifiers of study, series and images.
PRIVATE = (writer.SECRET[:12], "19010203", "1.2.77.")


def spoken(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, *arguments: str | Path) -> str:
    """Runs a command, which must end well, and gives all that it said."""
    monkeypatch.setattr("sys.argv", ["heteroreg", *map(str, arguments)])
    with pytest.raises(SystemExit) as stop:
        main()
    captured = capsys.readouterr()
    assert not stop.value.code, captured.err
    return captured.out + captured.err


def content(path: Path) -> str:
    """The bytes of a file, unpacked where they are packed, as text."""
    data = path.read_bytes()
    return (gzip.decompress(data) if data[:2] == b"\x1f\x8b" else data).decode("latin-1")


def test_the_search_would_find_it(tmp_path: Path) -> None:
    path = writer.write_clip(tmp_path / "clip.dcm", np.zeros((2, 20, 30, 3), np.uint8))
    assert all(text in content(path) for text in PRIVATE)
    image = read_image(f"{path}#1").to_sitk()
    image.SetMetaData("comment", writer.SECRET)  # what other readers of DICOM leave in an image
    sitk.WriteImage(image, str(tmp_path / "image.nrrd"))
    assert writer.SECRET in content(tmp_path / "image.nrrd")


@pytest.mark.slow
def test_nothing_private_is_written_or_said(
    run_2d: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def run(*arguments: str | Path) -> str:
        return spoken(capsys, monkeypatch, *arguments)

    monkeypatch.setenv("HETEROREG_CACHE", str(tmp_path / "out" / "cache"))
    exams, out = tmp_path / "exams", tmp_path / "out"
    array = writer.voxels((32, 32, 2), frames=3)
    clip = np.random.default_rng(0).integers(0, 256, (3, 96, 96, 3), dtype=np.uint8)
    classic = writer.write_classic(exams / "p1" / "sax", array)
    # Another image: equal ones of two patients are a problem of the cohort.
    enhanced = writer.write_enhanced(exams / "p2" / "sax.dcm", array[::-1])
    echo = writer.write_clip(exams / "p3" / "a4c.dcm", clip)
    model = run_2d.folder
    said = [
        run("register", f"{echo}#0", f"{echo}#2", "--model", model, "--out", out / "echo"),
        run("register", f"{classic}#0", f"{enhanced}#2", "--model", model, "--out", out / "sax"),
        run(
            "warp", f"{enhanced}#1", "--transform", out / "sax" / "displacement.nii.gz", "--like", f"{classic}#0",
            "--out", out / "moved.nrrd",
        ),
        run("convert", out / "echo" / "displacement.nii.gz", "--like", f"{echo}#2", "--out", out / "field.h5"),
        run("import", "dicom", exams, out / "cohort", "--frames", "0,2", "--split", "34,33,33"),
        run("check", out / "cohort"),
        run("train", out / "cohort", "--out", out / "run", "--dims", "2", "--steps", "1", "--method", "mse"),
        run("evaluate", out / "cohort", "--model", model, "--split", "all", "--out", out / "scores"),
        run("compare", out / "scores", "--out", out / "report"),
        run("register", out / "cohort", "--model", model, "--out", out / "registered"),
    ]  # fmt: skip
    files = [path for path in out.rglob("*") if path.is_file()]
    endings = {path.name.split(".", 1)[1] for path in files}
    assert {"nii.gz", "nrrd", "h5", "json", "csv", "html", "yaml", "safetensors", "npz"} <= endings
    texts = {path: content(path) for path in files} | {Path("said"): "".join(said)}
    assert {path for path, text in texts.items() if any(private in text for private in PRIVATE)} == set()
