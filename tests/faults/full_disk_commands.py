"""Commands that write to a disk that is really full; called by `test_full_disk.py` where there is such a disk.

Usage: python full_disk_commands.py COHORT RUN SCORES DISK
"""

from __future__ import annotations

import contextlib
import io
import os
import shutil
import sys
from pathlib import Path

from heteroreg.cli import main as heteroreg

ROOMS = (2, 24)  # KiB: almost nothing, and up to the middle of the writing


def main(cohort: Path, run: Path, scores: Path, disk: Path) -> None:
    """Run each command with so little room, and look at what it says and leaves."""
    os.chdir(disk)
    moving, fixed = (str(next(cohort.glob(f"*_{name}.nii.gz"))) for name in ("moving", "fixed"))
    commands = {
        "phantom": ["phantom", "out", "--pairs", "8", "--size", "64"],
        "train": ["train", str(cohort), "--out", "out", "--method", "mse", "--steps", "2", "--set", "batch_size=2"],
        "evaluate": ["evaluate", str(cohort), "--model", "undeformed", "--split", "all", "--out", "out"],
        "register": ["register", moving, fixed, "--out", "out"],
        "register a cohort": ["register", str(cohort), "--model", "undeformed", "--out", "out"],
        "compare": ["compare", str(scores), "--out", "out"],
        "push": ["push", str(run), "./out"],
        "pull": ["pull", str(run), "./out"],
        "convert": ["convert", str(disk / "field.nii.gz"), "--out", "out.h5"],
    }
    for room in ROOMS:
        for name, command in commands.items():
            field(disk / "field.nii.gz") if name == "convert" else None
            fill(disk / "ballast", room * 1024)
            code, text = said(command)
            (disk / "ballast").unlink()
            print(f"{name}, {room} KiB: {code} {text.strip()}")
            if code == 0:  # there was room
                assert text == "", text
            else:
                assert code == 2, text
                assert text.startswith("heteroreg: ")
                assert text.count("\n") == 1, text
                assert "Traceback" not in text
                assert ".heteroreg-stage" not in text, text
                assert f".{os.getpid()}-" not in text, text
            left = [str(path) for path in disk.rglob(".*")]
            assert left == [], left
            remove(disk / "out")
            remove(disk / "out.h5")
            remove(disk / "field.nii.gz")
    print("hit all")


def said(command: list[str]) -> tuple[int, str]:
    """Return the exit code of a command, and what it says on stderr."""
    text = io.StringIO()
    sys.argv = ["heteroreg", *command, "--quiet"]
    with contextlib.redirect_stderr(text):
        try:
            heteroreg()
        except SystemExit as stop:
            return int(stop.code or 0), text.getvalue()
    return 0, text.getvalue()


def field(path: Path) -> None:
    """Write a displacement field."""
    import numpy as np

    import heteroreg as hr

    vectors = np.random.default_rng(0).normal(size=(2, 64, 64)).astype(np.float32)
    hr.Field(vectors, hr.Grid.of_shape((64, 64))).write(path)


def fill(ballast: Path, room: int) -> None:
    """Leave so many bytes of room."""
    with ballast.open("wb", buffering=0) as handle, contextlib.suppress(OSError):
        while handle.write(bytes(4096)) == 4096:
            pass
    with ballast.open("rb+") as handle:
        handle.truncate(max(0, ballast.stat().st_size - room))


def remove(path: Path) -> None:
    """Delete a file or a folder, if it is there."""
    shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
