"""Measure the memory of `heteroreg register` on stacks of slices: `python -m benchmarks.stacks`.

`--python` names the interpreter of another installation, for instance of an earlier version.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import nibabel as nib
import numpy as np

SLICES = 50


def main() -> None:
    """Print a line for each size."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.stacks", description=__doc__)
    parser.add_argument("--python", default=sys.executable)
    parser.add_argument("--sizes", nargs="+", type=int, default=[256, 512, 1024])
    parser.add_argument("--plain", action="store_true", help="without error bars: --calibration none")
    chosen = parser.parse_args()
    words = ["--calibration", "none"] if chosen.plain else []
    print("| stack | seconds | memory of the process (MiB) |\n|---|---:|---:|")
    for size in chosen.sizes:
        with tempfile.TemporaryDirectory() as name:
            seconds, peak = measure(chosen.python, Path(name), size, words)
        print(f"| {size}×{size}×{SLICES} | {seconds:.0f} | {peak:.0f} |", flush=True)


def measure(python: str, folder: Path, size: int, words: list[str]) -> tuple[float, float]:
    """Return seconds and the largest memory in MiB of one registration with the bundled model.

    Args:
        python: The interpreter.
        folder: An empty folder for the images.
        size: Pixels along each axis of a slice.
        words: Further words of the command.
    """
    generator = np.random.default_rng(0)
    for name in ("moving", "fixed"):
        voxels = generator.integers(0, 400, (size, size, SLICES)).astype(np.int16)
        nib.save(nib.Nifti1Image(voxels, np.diag([1.5, 1.5, 8, 1])), folder / f"{name}.nii.gz")
    began = time.perf_counter()
    command = [
        python,
        "-P",
        "-m",
        "heteroreg",
        "register",
        "moving.nii.gz",
        "fixed.nii.gz",
        "--out",
        "out",
        "--quiet",
        *words,
    ]
    with subprocess.Popen(command, cwd=folder) as process:  # noqa: S603
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(process.returncode)
    return time.perf_counter() - began, usage.ru_maxrss / 1024


if __name__ == "__main__":
    main()
