"""Other tools apply the saved field and get the saved image, on every grid of the table."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest
import SimpleITK as sitk

from benchmarks import interoperability as tools

ANTS = "HETEROREG_ANTS"
# Interpolation of labels differs between tools along the borders alone; the displacement is up to 4 mm.
IMAGE_PERCENT, LABELS_PERCENT, POINTS_MM = 0.01, 2.0, 0.001


@pytest.fixture(params=tools.GRIDS)
def case(request: pytest.FixtureRequest, tmp_path: Path) -> tools.Case:
    return tools.make(*tools.GRIDS[request.param], tmp_path / "registration")


def assert_agrees(found: tools.Difference, points_mm: float = POINTS_MM) -> None:
    assert found.image < IMAGE_PERCENT
    assert found.labels < LABELS_PERCENT
    assert found.points < points_mm


def test_on_every_grid(case: tools.Case) -> None:
    assert_agrees(tools.measure(case, tools.by_heteroreg))
    assert_agrees(tools.measure(case, tools.by_simpleitk))
    # Its displacement of a point is that of the nearest voxel.
    assert_agrees(tools.measure(case, tools.by_program(Path(sys.executable), "nitransforms")), points_mm=0.5)
    if python := os.environ.get(ANTS):
        assert_agrees(tools.measure(case, tools.by_program(Path(python), "ants")))


def test_a_wrong_field_would_be_seen(tmp_path: Path) -> None:
    """The same field in RAS, and in voxels: mistakes that are often made."""
    fixed, moving = tools.GRIDS["oblique"]
    case = tools.make(fixed, moving, tmp_path / "registration")
    path = str(case.path("displacement.nii.gz"))
    field = sitk.ReadImage(path)
    flipped = [sitk.VectorIndexSelectionCast(field, k) * sign for k, sign in enumerate((-1, -1, 1))]
    sitk.WriteImage(sitk.Compose(flipped), path)
    found = tools.measure(case, tools.by_simpleitk)
    assert found.image > 1
    assert found.points > 1
