"""Landmarks of a pair: the same anatomical points set in both images."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from heteroreg.data.cohort import Pair
from heteroreg.data.grid import Grid
from heteroreg.data.io.points import Points, read_points
from heteroreg.system.arrays import Doubles
from heteroreg.system.errors import UserError


@dataclass(frozen=True)
class Landmarks:
    """Corresponding points in mm, LPS.

    Attributes:
        moving: (n, d).
        fixed: (n, d).
    """

    moving: Doubles
    fixed: Doubles


def read_landmarks(pair: Pair, moving: Grid, fixed: Grid) -> Landmarks | None:
    """Read the landmarks of a pair; None if it has none.

    Points whose files name them correspond by name, otherwise by their order.

    Args:
        pair: The pair.
        moving: Grid of the moving image.
        fixed: Grid of the fixed image.

    Raises:
        UserError: A file cannot be read, only one of the two is named, the points do not correspond, have too few
            coordinates, or lie outside their image.
    """
    if pair.moving_points is None and pair.fixed_points is None:
        return None
    if pair.moving_points is None or pair.fixed_points is None:
        given, lacking = ("fixed", "moving") if pair.moving_points is None else ("moving", "fixed")
        raise UserError(f"pair {pair.id}: has {given}_points and no {lacking}_points; name the same points in both")
    ours, theirs = read_points(pair.moving_points), read_points(pair.fixed_points)
    places = [_inside(points, grid) for points, grid in ((ours, moving), (theirs, fixed))]
    if len(places[0]) != len(places[1]):
        raise UserError(
            f"{theirs.name}: has {len(places[1])} points, and {ours.name} {len(places[0])}; save the same in both"
        )
    if len(set(ours.names)) == len(ours.names) and set(ours.names) == set(theirs.names):
        order = {name: k for k, name in enumerate(ours.names)}
        places[0] = places[0][[order[name] for name in theirs.names]]
    return Landmarks(*places)


def _inside(points: Points, grid: Grid) -> Doubles:
    """Return the coordinates of points in an image.

    Raises:
        UserError: They have too few coordinates, or lie outside the image.
    """
    if points.positions.shape[1] < grid.dims:
        raise UserError(f"{points.name}: its points have {points.positions.shape[1]} coordinates, not {grid.dims}")
    places = points.positions[:, : grid.dims]
    index = grid.index(places)
    inside = np.all((index >= -0.5) & (index <= np.asarray(grid.shape) - 0.5), axis=1)
    if not inside.all():
        name = points.names[int(np.argmin(inside))]
        raise UserError(
            f"{points.name}: {name} lies outside its image ({np.count_nonzero(~inside)} of {len(inside)} points "
            "do); positions are in mm, LPS in a CSV file: those in RAS need x and y with the other sign"
        )
    return places
