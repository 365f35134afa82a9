"""Table of the maps that a figure or the page's viewer can show, with their titles, units and colours."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.colors import Colormap

from heteroreg.registration.maps import Maps
from heteroreg.registration.plot.drawing import UNCERTAINTY_COLOURS, ColourLimits, from_zero, uncertainty_limits
from heteroreg.system.arrays import Floats

MapGetter = Callable[[Maps], Floats | None]


@dataclass(frozen=True)
class MapKind:
    """A kind of map.

    Attributes:
        title: Heading of the map.
        unit: Label of the colour bar.
        colours: Matplotlib colour map.
        get: Return the map of a registration, or None where it has none.
        get_reference: Return the map to compare it with: before registration, or the truth.
        reference_title: Heading of the reference.
        limits: Return the ends of the colour scale for several maps together.
    """

    title: str
    unit: str
    colours: str | Colormap
    get: MapGetter
    get_reference: MapGetter = lambda _: None
    reference_title: str = ""
    limits: Callable[[Sequence[Floats]], ColourLimits] = from_zero

    def scale(self, registrations: Sequence[Maps]) -> ColourLimits | None:
        """Return the colour scale shared by these registrations and their references; None without a map."""
        maps = [found for maps in registrations if (found := self.get(maps)) is not None]
        references = [found for maps in registrations if (found := self.get_reference(maps)) is not None]
        return self.limits(maps + references) if maps else None


def residual(fixed: Floats, moved: Floats) -> Floats:
    """Return |fixed - moved|."""
    return np.asarray(np.abs(np.asarray(fixed, dtype=float) - np.asarray(moved, dtype=float)))


def _over_mean(maps: Maps) -> Floats | None:
    """Return the weight over its mean: a common factor only trades the data term for smoothness."""
    if maps.weight is None:
        return None
    weight = np.asarray(maps.weight, dtype=float)
    mean = float(weight.mean())
    return np.asarray(weight / mean) if mean > 0 else weight


MAP_KINDS = {
    "difference": MapKind(
        "|fixed − moved|",
        "intensity",
        "cividis",
        get=lambda maps: residual(maps.fixed, maps.moved),
        get_reference=lambda maps: residual(maps.fixed, maps.moving),
        reference_title="|fixed − moving|",
    ),
    "noise_sd": MapKind(
        "Predicted noise σ̂",
        "intensity",
        "viridis",
        get=lambda maps: maps.noise_sd,
        get_reference=lambda maps: maps.true_noise_sd,
        reference_title="True noise σ",
    ),
    "weight": MapKind("Weight", "× its mean", "magma", get=_over_mean),
    "displacement_sd": MapKind(
        "Displacement uncertainty",
        "mm",
        UNCERTAINTY_COLOURS,
        get=lambda maps: maps.displacement_sd,
        limits=uncertainty_limits,
    ),
    "error_95": MapKind("Error bars, half-width", "mm", "cividis", get=lambda maps: maps.error_95),
    "end_point_error": MapKind("Displacement error", "mm", "cividis", get=lambda maps: maps.end_point_error),
}
