"""Work in slabs gives what work on the whole volume gives, to the last bit."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import SimpleITK as sitk

from heteroreg import Field, Grid, Image
from heteroreg.data.io.displacement import displacement_to_itk, write_displacement
from heteroreg.spatial.regularity import determinant
from heteroreg.system import slabs

GRIDS = [Grid.of_shape((7, 6), (1.5, 1.25)), Grid.of_shape((7, 6, 5), (1.5, 1.25, 8.0)), Grid.of_shape((4, 3, 1))]


def field(grid: Grid) -> Field:
    vectors = np.random.default_rng(0).normal(scale=0.4, size=(grid.dims, *grid.shape))
    return Field(vectors.astype(np.float32), grid)


def image(grid: Grid) -> Image:
    return Image(np.random.default_rng(1).random(grid.shape, dtype=np.float32), grid, "image")


WORK: dict[str, Callable[[Grid], Any]] = {
    "warp": lambda grid: field(grid).warp(image(grid)).array,
    "warp labels": lambda grid: (
        field(grid).warp(Image((image(grid).array * 3).astype(np.int32), grid, "a"), labels=True).array
    ),
    "resample": lambda grid: field(grid).resample(grid.with_spacing([0.9 * s for s in grid.spacing])).vectors,
    "determinant": lambda grid: determinant(field(grid)),
    "lengths": lambda grid: field(grid).lengths_mm,
    "itk": lambda grid: sitk.GetArrayFromImage(displacement_to_itk(field(grid).vectors, grid)),
}


@pytest.mark.parametrize("voxels", [1, 50, 90])
@pytest.mark.parametrize("grid", GRIDS, ids=str)
@pytest.mark.parametrize("work", WORK)
def test_slabs_give_the_same(work: str, grid: Grid, voxels: int, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = WORK[work](grid)
    monkeypatch.setattr(slabs, "SLAB_VOXELS", voxels)
    in_slabs = WORK[work](grid)
    assert in_slabs.dtype == whole.dtype
    np.testing.assert_array_equal(in_slabs, whole)


@pytest.mark.parametrize(
    ("shape", "expected"),
    [((4, 5), [(0, 2), (2, 4), (4, 5)]), ((20, 3), [(0, 1), (1, 2), (2, 3)]), ((2, 2, 2), [(0, 2)])],
)
def test_the_slabs_of_a_shape(
    shape: tuple[int, ...], expected: list[tuple[int, int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(slabs, "SLAB_VOXELS", 8)
    assert [(part.start, part.stop) for part in slabs.slabs(shape)] == expected


def test_a_written_field_is_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    grid = GRIDS[1]
    write_displacement(field(grid).vectors, grid, tmp_path / "whole.nii.gz")
    monkeypatch.setattr(slabs, "SLAB_VOXELS", 40)
    write_displacement(field(grid).vectors, grid, tmp_path / "slabs.nii.gz")
    assert (tmp_path / "whole.nii.gz").read_bytes() == (tmp_path / "slabs.nii.gz").read_bytes()
