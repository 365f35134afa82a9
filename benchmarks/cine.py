"""Register a 3D cine: `python -m benchmarks.cine ../shared/data/cine-3d/heart.nii.gz --model phantom-3d`.

The first phase is registered to every other one, and each phase to the next, around the cycle. The heart comes back
to where it began: the composition of all steps should be the identity, as should a registration and its reverse.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path

import numpy as np

import heteroreg as hr
from heteroreg.data.image import Image, count_frames, read_image
from heteroreg.spatial.field import Field
from heteroreg.spatial.regularity import folding_percent

FOREGROUND = 0.1  # voxels above this share of the brightest percentile are the body


@dataclass(frozen=True)
class Phase:
    """What is measured of the registration of phase 0 to another phase, as means over the body.

    Attributes:
        number: Number of the phase.
        before: Root of the mean squared difference of the intensities, as they lie, in % of their range.
        after: The same after registration.
        motion: Length of the displacement in mm.
        reverse: Length in mm of this registration composed with that of the exchanged images.
        folding: Share of voxels (%) whose Jacobian determinant is not positive.
    """

    number: int
    before: float
    after: float
    motion: float
    reverse: float
    folding: float


def main() -> None:
    """Print a row for each phase, and one line for the cycle."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.cine", description=__doc__)
    parser.add_argument("series", type=Path, help="a 4D image")
    parser.add_argument("--model", default="phantom-3d", help="anything that hr.load takes")
    parser.add_argument("--every", type=int, default=1, help="take every Nth phase")
    chosen = parser.parse_args()
    registrar = hr.load(chosen.model, calibration=False)
    phases = range(0, count_frames(chosen.series), chosen.every)
    images = [read_image(f"{chosen.series}#{number}") for number in phases]
    body = body_of(images[0])
    print("| phase | difference before (%) | after (%) | motion (mm) | there and back (mm) | folding (%) |")
    print("|---:|---:|---:|---:|---:|---:|")
    for number, image in list(zip(phases, images, strict=True))[1:]:
        row = measured(registrar, images[0], image, number, body)
        print(
            f"| {row.number} | {row.before:.2f} | {row.after:.2f} | {row.motion:.2f} | {row.reverse:.2f} | "
            f"{row.folding:.3f} |",
            flush=True,
        )
    steps = [
        registrar.register(one, other).field for one, other in zip(images, images[1:] + images[:1], strict=True)
    ]
    around = steps[0]
    for step in steps[1:]:
        around = around.compose(step)
    longest = sum(mean_length(step, body) for step in steps)
    print(f"\nAround the cycle: {mean_length(around, body):.2f} mm left of {longest:.2f} mm of motion.")


def measured(registrar: hr.BaseRegistrar, first: Image, other: Image, number: int, body: np.ndarray) -> Phase:
    """Register the first phase to another one, and back."""
    there = registrar.register(first, other)
    back = registrar.register(other, first)
    return Phase(
        number,
        difference(first.array, other.array, body),
        difference(there.moved.array, other.array, body),
        mean_length(there.field, body),
        mean_length(there.field.compose(back.field), body),
        folding_percent(there.displacement),
    )


def body_of(image: Image) -> np.ndarray:
    """Return a mask of what is not air."""
    return np.asarray(image.array > FOREGROUND * np.percentile(image.array, 99))


def difference(one: np.ndarray, other: np.ndarray, body: np.ndarray) -> float:
    """Return the root of the mean squared difference in the body, in % of the range of the second image."""
    scale = np.ptp(np.percentile(other, (0.5, 99.5)))
    return float(100 * np.sqrt(np.mean((one[body] - other[body]) ** 2)) / scale)


def mean_length(field: Field, body: np.ndarray) -> float:
    """Return the mean length of a displacement in the body, in mm."""
    return float(field.lengths_mm[body].mean())


if __name__ == "__main__":
    main()
