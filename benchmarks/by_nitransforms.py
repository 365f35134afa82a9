"""Warps the files of one case with nitransforms; `benchmarks.interoperability` runs it in a process of its own.

So the HDF5 library that it brings along stays out of the process that has ITK's.
"""

from __future__ import annotations

import sys
from pathlib import Path

import nibabel as nib
import numpy as np
from nitransforms.io.itk import ITKDisplacementsField
from nitransforms.nonlinear import DenseFieldTransform
from nitransforms.resampling import apply

RAS_TO_LPS = np.array([-1.0, -1.0, 1.0])


def main(folder: Path) -> None:
    """Writes `nitransforms_moved.nii.gz`, `nitransforms_labels.nii.gz` and `nitransforms_points.csv`."""
    transform = DenseFieldTransform(ITKDisplacementsField.from_filename(str(folder / "displacement.nii.gz")))
    like = nib.load(folder / "moved.nii.gz")
    transform.reference = like
    for source, target, order in (("moving", "moved", 1), ("labels", "labels", 0)):
        image = nib.load(folder / f"{source}.nii.gz")
        moved = apply(transform, image, reference=like, order=order, prefilter=False)
        nib.save(moved, folder / f"nitransforms_{target}.nii.gz")
    points = np.loadtxt(folder / "points.csv", delimiter=",")
    found = transform.map(points * RAS_TO_LPS) * RAS_TO_LPS
    np.savetxt(folder / "nitransforms_points.csv", found, delimiter=",")


main(Path(sys.argv[1]))
