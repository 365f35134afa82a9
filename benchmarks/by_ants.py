"""Warps the files of one case with ANTs; `benchmarks.interoperability` runs it in a Python that has antspyx."""

from __future__ import annotations

import sys
from pathlib import Path

import ants
import numpy as np
import pandas as pd


def main(folder: Path) -> None:
    """Writes `ants_moved.nii.gz`, `ants_labels.nii.gz` and `ants_points.csv`."""
    like = ants.image_read(str(folder / "moved.nii.gz"))
    field = [str(folder / "displacement.nii.gz")]
    for source, target, method in (("moving", "moved", "linear"), ("labels", "labels", "nearestNeighbor")):
        image = ants.image_read(str(folder / f"{source}.nii.gz"))
        moved = ants.apply_transforms(like, image, field, interpolator=method)
        ants.image_write(moved, str(folder / f"ants_{target}.nii.gz"))
    points = pd.DataFrame(np.loadtxt(folder / "points.csv", delimiter=","), columns=["x", "y", "z"])
    found = ants.apply_transforms_to_points(3, points, field)
    np.savetxt(folder / "ants_points.csv", found[["x", "y", "z"]].to_numpy(), delimiter=",")


main(Path(sys.argv[1]))
