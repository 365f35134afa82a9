"""Apply saved registrations with other tools, on grids of all kinds.

    python -m benchmarks.interoperability --ants ~/ants/bin/python

Each row of the table is a fixed and a moving grid in one space. A smooth displacement is given, not trained: it is
the files that are looked at. Each tool warps the moving image, its label map and some points with
`displacement.nii.gz`, and what it makes is compared with `moved.nii.gz`, `moved_labels.nii.gz` and the known
points. ANTs is asked in a Python of its own, which has antspyx.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK as sitk
import torch
from numpy.typing import NDArray
from scipy.ndimage import binary_erosion, map_coordinates, zoom
from scipy.spatial.transform import Rotation

from heteroreg.data.grid import Grid
from heteroreg.data.image import Image, read_image, write_image
from heteroreg.registration.result import Registration
from heteroreg.spatial import invert
from heteroreg.spatial.field import Field

Floats = NDArray[np.floating[Any]]
LARGEST_MM = 4.0
POINTS = 20


def _axes(*angles: float) -> tuple[float, ...]:
    return tuple(Rotation.from_euler("xyz", angles, degrees=True).as_matrix().ravel().tolist())


def _centred(shape: tuple[int, ...], spacing: tuple[float, ...], axes: tuple[float, ...], *middle: float) -> Grid:
    """A grid about a point of the space."""
    offset = np.asarray(axes).reshape(3, 3) @ (np.asarray(spacing) * (np.asarray(shape) - 1) / 2)
    return Grid(shape, spacing, tuple((np.asarray(middle) - offset).tolist()), axes)


EYE = _axes(0, 0, 0)
PLAIN = _centred((60, 52, 24), (1.5, 1.5, 4.0), EYE, 10, -20, 30)
FLIPPED, EXCHANGED = (-1.0, 0, 0, 0, -1.0, 0, 0, 0, 1.0), (0, 0, 1.0, 1.0, 0, 0, 0, 1.0, 0)
STACK = (60, 52, 24), (1.5, 1.5, 4.0)
GRIDS: dict[str, tuple[Grid, Grid]] = {
    "axes of the space": (PLAIN, PLAIN),
    "flipped axes": (_centred(*STACK, FLIPPED, 10, -20, 30),) * 2,
    "exchanged axes": (_centred((52, 24, 60), (1.5, 4.0, 1.5), EXCHANGED, 10, -20, 30),) * 2,
    "oblique": (_centred(*STACK, _axes(25, -40, 10), 10, -20, 30),) * 2,
    "a tilted stack": (_centred(*STACK, _axes(18, 0, 0), 10, -20, 30),) * 2,
    "0.7 x 0.7 x 8 mm, oblique": (_centred((128, 110, 12), (0.7, 0.7, 8.0), _axes(30, 20, -50), 10, -20, 30),) * 2,
    "a larger field of view in moving": (PLAIN, _centred((80, 70, 30), (1.5, 1.5, 4.0), EYE, 12, -18, 31)),
    "a smaller field of view in moving": (PLAIN, _centred((44, 40, 20), (1.5, 1.5, 4.0), EYE, 8, -21, 29)),
    "two spacings and two directions": (
        _centred(*STACK, _axes(25, -40, 10), 10, -20, 30),
        _centred((90, 80, 50), (1.1, 1.2, 2.5), _axes(-10, 5, 30), 11, -20, 28),
    ),
}  # fmt: skip


@dataclass(frozen=True)
class Difference:
    """Differences between the result of a tool and the files.

    Attributes:
        image: Largest difference from `moved.nii.gz` in the interior, in % of the range of the image.
        labels: Voxels with another label than `moved_labels.nii.gz`, in %; tools interpolate labels differently.
        points: Largest distance from the known points, in mm.
    """

    image: float
    labels: float
    points: float


@dataclass(frozen=True)
class Case:
    """Files of one registration, and what is known of it."""

    folder: Path
    points_in_fixed: Floats
    points_in_moving: Floats
    span: float

    def path(self, name: str) -> Path:
        """A file of the registration."""
        return self.folder / name


# The moved image and label map, and the errors of the points.
Tool = Callable[[Case], tuple[Floats, Floats, Floats]]


def make(fixed: Grid, moving: Grid, folder: Path, seed: int = 0) -> Case:
    """Writes moving and fixed, and a registration of them by a known displacement."""
    rng = np.random.default_rng(seed)
    image = _picture(moving)
    labels = Image((image.array > 130).astype(np.uint8) + (image.array > 220), moving)
    displacement = _smooth(fixed, rng)
    inverse = invert(torch.from_numpy(displacement)[None])[0].numpy()
    field = Field(displacement, fixed)
    registration = Registration(
        fixed=_picture(fixed),
        moving=image,
        moved=field.warp(image),
        displacement=displacement,
        inverse_displacement=inverse,
        moved_labels=field.warp(labels, labels=True),
    )
    registration.save(folder)
    write_image(image, folder / "moving.nii.gz")
    write_image(labels, folder / "labels.nii.gz")
    index = rng.uniform(0.3, 0.7, size=(POINTS, 3)) * (np.array(fixed.shape) - 1)
    fixed_points = fixed.physical(index)
    moving_points = fixed.physical(index + _at(displacement, index))
    return Case(folder, fixed_points, moving_points, float(np.ptp(image.array)))


def measure(case: Case, tool: Tool) -> Difference:
    """Compares what a tool makes of a case with its files."""
    moved, labels, points = tool(case)
    ours = read_image(case.path("moved.nii.gz")).array
    our_labels = read_image(case.path("moved_labels.nii.gz")).array
    inner = (slice(2, -2),) * 3
    # Half a voxel beyond the outer centres tools end an image in their own ways.
    both = _eroded((ours > 0) & (moved > 0))[inner]
    difference = np.abs(ours - moved)[inner][both].max()
    return Difference(
        100 * float(difference) / case.span,
        100 * float((labels != our_labels)[inner][both].mean()),
        float(np.linalg.norm(points, axis=1).max()),
    )


def by_simpleitk(case: Case) -> tuple[Floats, Floats, Floats]:
    """SimpleITK's DisplacementFieldTransform."""
    field = sitk.ReadImage(str(case.path("displacement.nii.gz")), sitk.sitkVectorFloat64)
    transform = sitk.DisplacementFieldTransform(field)
    like = sitk.ReadImage(str(case.path("moved.nii.gz")))

    def resampled(name: str, method: int) -> Floats:
        image = sitk.ReadImage(str(case.path(name)))
        return np.asarray(sitk.GetArrayFromImage(sitk.Resample(image, like, transform, method, 0.0)).T)

    points = np.array([transform.TransformPoint(point.tolist()) for point in case.points_in_fixed])
    return (
        resampled("moving.nii.gz", sitk.sitkLinear),
        resampled("labels.nii.gz", sitk.sitkNearestNeighbor),
        points - case.points_in_moving,
    )


def by_heteroreg(case: Case) -> tuple[Floats, Floats, Floats]:
    """This package, from its files: `heteroreg warp`, which moves the points of moving."""
    field = Field.read(case.path("displacement.nii.gz"))
    image, labels = (read_image(case.path(name)) for name in ("moving.nii.gz", "labels.nii.gz"))
    moved = field.warp(image).array
    whole = labels.with_array(labels.array.astype(np.uint8))
    points = field.warp_points(case.points_in_moving)
    return moved, field.warp(whole, labels=True).array, points - case.points_in_fixed


def by_program(python: Path, name: str) -> Tool:
    """Another tool, by the program `by_<name>.py` beside this one.

    Args:
        python: The Python that has the tool.
        name: `ants` or `nitransforms`.
    """

    def tool(case: Case) -> tuple[Floats, Floats, Floats]:
        np.savetxt(case.path("points.csv"), case.points_in_fixed, delimiter=",")
        command = [str(python), str(Path(__file__).with_name(f"by_{name}.py")), str(case.folder)]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)  # noqa: S603 - the user's own Python
        moved, labels = (read_image(case.path(f"{name}_{part}.nii.gz")).array for part in ("moved", "labels"))
        points = np.loadtxt(case.path(f"{name}_points.csv"), delimiter=",")
        return moved, labels, points - case.points_in_moving

    return tool


def table(ants: Path | None) -> Iterator[tuple[str, str, Difference]]:
    """Every grid with every tool."""
    tools: dict[str, Tool] = {
        "heteroreg": by_heteroreg,
        "SimpleITK": by_simpleitk,
        "nitransforms": by_program(Path(sys.executable), "nitransforms"),
    }
    if ants is not None:
        tools["ANTs"] = by_program(ants, "ants")
    for name, grids in GRIDS.items():
        with tempfile.TemporaryDirectory() as folder:
            case = make(*grids, Path(folder) / "registration")
            for tool, apply in tools.items():
                yield name, tool, measure(case, apply)


def _picture(grid: Grid) -> Image:
    """Blobs about the middle of the space, the same wherever the grid lies; 60 and more everywhere."""
    index = np.stack(np.meshgrid(*[np.arange(n) for n in grid.shape], indexing="ij"), -1).astype(float)
    point = grid.physical(index) - (10, -20, 30)
    rng = np.random.default_rng(3)
    values = np.full(grid.shape, 60.0)
    for centre in rng.uniform(-25, 25, size=(7, 3)):
        values += 120 * np.exp(-((point - centre) ** 2).sum(-1) / (2 * 11.0**2))
    return Image(values.astype(np.float32), grid, "picture")


def _smooth(grid: Grid, rng: np.random.Generator) -> NDArray[np.float32]:
    """A displacement in voxels, up to about LARGEST_MM."""
    coarse = rng.uniform(-1, 1, size=(3, 4, 4, 4))
    fine = np.stack([zoom(c, np.array(grid.shape) / 4, order=1, grid_mode=True, mode="nearest") for c in coarse])
    voxels = LARGEST_MM * fine / np.array(grid.spacing).reshape(3, 1, 1, 1)
    return np.ascontiguousarray(voxels, dtype=np.float32)


def _at(displacement: Floats, index: Floats) -> Floats:
    """Interpolate the displacement linearly between voxels."""
    return np.stack([map_coordinates(c.astype(np.float64), index.T, order=1) for c in displacement], axis=-1)


def _eroded(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    return np.asarray(binary_erosion(mask, iterations=2))


def main() -> None:
    """Prints the table in Markdown."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--ants", type=Path, help="a Python that has antspyx")
    options = parser.parse_args()
    print("| grids | tool | image, % of the range | labels, % of the voxels | points, mm |")
    print("|---|---|---:|---:|---:|")
    for name, tool, found in table(options.ants):
        print(f"| {name} | {tool} | {found.image:.4f} | {found.labels:.2f} | {found.points:.4f} |", flush=True)


if __name__ == "__main__":
    main()
