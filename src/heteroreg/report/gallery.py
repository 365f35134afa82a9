"""The gallery of pairs: for each pair its images, and below them what each evaluation made of it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from numpy.typing import NDArray

from heteroreg.evaluation.gallery import Case
from heteroreg.report.embed import data_uri
from heteroreg.report.panels import (
    Limits,
    grid_panel,
    image_panel,
    label_colours,
    map_panel,
    percentile_limits,
)

NOISE_MAP, WEIGHT_MAP = "viridis", "magma"
STOPS = 12


@dataclass(frozen=True)
class ColourBar:
    """A colour bar that the page draws itself, so that its numbers stay readable at any size.

    Attributes:
        gradient: The colours from low to high, for CSS.
        low: The value at its left end, as text.
        high: The value at its right end.
        unit: What the numbers count.
    """

    gradient: str
    low: str
    high: str
    unit: str


@dataclass(frozen=True)
class Picture:
    """One picture of the gallery; without a source it stands for what a method does not have."""

    caption: str
    alt: str = ""
    source: str = ""
    width: int = 0
    height: int = 0
    bar: ColourBar | None = None


@dataclass(frozen=True)
class Strip:
    """What one evaluation made of a pair."""

    name: str
    index: int
    pictures: tuple[Picture, ...]


@dataclass(frozen=True)
class PairView:
    """One pair: its two images, a strip for each evaluation, and the colours of its labels."""

    title: str
    images: tuple[Picture, ...]
    strips: tuple[Strip, ...]
    labels: Mapping[int, str]

    @property
    def columns(self) -> int:
        """How many pictures the longest row has."""
        return max(len(row) for row in (self.images, *(strip.pictures for strip in self.strips)))


def pair_views(cases: Mapping[str, Iterable[Case]]) -> list[PairView]:
    """Brings the cases of several evaluations together by pair and slice.

    Args:
        cases: Name of the evaluation → its cases. Evaluations may lack a case.

    Returns:
        The pairs in the order in which they first occur. Within a pair all images share one grey scale, and
        all maps of a kind one colour scale, so that methods can be compared by eye.
    """
    pairs: dict[tuple[str, str], dict[str, Case]] = {}
    for name, entries in cases.items():
        for case in entries:
            pairs.setdefault((case.id, str(case.slice)), {})[name] = case
    names = list(cases)
    return [_pair_view(found, names) for found in pairs.values()]


def case_title(case: Case) -> str:
    """`P07, slice 4`; the id alone where a pair is one image."""
    return case.id if case.slice is None else f"{case.id}, slice {case.slice}"


def _pair_view(found: Mapping[str, Case], names: Sequence[str]) -> PairView:
    first = next(iter(found.values()))
    title = case_title(first)
    grey = percentile_limits([first.fixed, first.moving])
    maps = [labels for labels in (first.fixed_labels, first.moving_labels) if labels is not None]
    colours = label_colours(maps)
    outlined = " with the outlines of its labels" if maps else ""
    images = (
        _picture(
            "Fixed",
            f"Fixed image of {title}{outlined}",
            image_panel(first.fixed, first.spacing, grey, true_labels=first.fixed_labels, colours=colours),
        ),
        _picture(
            "Moving",
            f"Moving image of {title}{outlined}",
            image_panel(first.moving, first.spacing, grey, labels=first.moving_labels, colours=colours),
        ),
    )
    everything = list(found.values())
    noise = _common_limits([part for case in everything for part in (case.noise_sd, case.true_noise_sd)])
    weight = _common_limits([case.weight for case in everything])
    strips = tuple(
        Strip(name, index, _strip(found[name], name, title, grey, colours, noise, weight))
        for index, name in enumerate(names)
        if name in found
    )
    return PairView(title, images, strips, colours)


def _strip(
    case: Case,
    name: str,
    title: str,
    grey: Limits,
    colours: Mapping[int, str],
    noise: Limits | None,
    weight: Limits | None,
) -> tuple[Picture, ...]:
    outlined = ""
    if case.moved_labels is not None:
        outlined = ", with the outlines of the warped labels (solid) and of the true ones (dashed)"
    length = float(np.linalg.norm(case.displacement * np.reshape(case.spacing, (2, 1, 1)), axis=0).max())
    pictures = [
        _picture(
            "Moved",
            f"Moving image of {title} as {name} moved it{outlined}",
            image_panel(
                case.moved,
                case.spacing,
                grey,
                labels=case.moved_labels,
                true_labels=case.fixed_labels if case.moved_labels is not None else None,
                colours=colours,
            ),
        ),
        _picture(
            f"Displacement, up to {length:.1f} mm",
            f"Displacement by {name} as a warped grid over the moved image of {title}; at most {length:.1f} mm",
            grid_panel(case.moved, case.displacement, case.spacing, grey),
        ),
    ]
    unit = "intensity units"
    if noise is not None:
        pictures.append(
            _map(
                "Predicted noise σ̂",
                f"Noise that {name} predicts in {title}",
                case.noise_sd,
                case,
                noise,
                NOISE_MAP,
                unit,
            )
        )
        if case.true_noise_sd is not None and case.noise_sd is not None:
            pictures.append(
                _map("True noise σ", f"True noise in {title}", case.true_noise_sd, case, noise, NOISE_MAP, unit)
            )
    if weight is not None:
        pictures.append(
            _map(
                "Weight",
                f"Weight of each pixel of {title} in {name}",
                case.weight,
                case,
                weight,
                WEIGHT_MAP,
                "mean 1",
            )
        )
    return tuple(pictures)


def _map(
    caption: str,
    alt: str,
    values: NDArray[Any] | None,
    case: Case,
    limits: Limits,
    colour_map: str,
    unit: str,
) -> Picture:
    if values is None:
        return Picture(caption)
    bar = ColourBar(_gradient(colour_map), _short(limits[0]), _short(limits[1]), unit)
    alt = f"{alt}; median {_short(float(np.median(values)))}, largest {_short(float(np.max(values)))}"
    return _picture(caption, alt, map_panel(values, case.spacing, limits, colour_map), bar)


def _picture(caption: str, alt: str, figure: Figure, bar: ColourBar | None = None) -> Picture:
    width, height = (round(inches * figure.dpi) for inches in figure.get_size_inches())
    return Picture(caption, alt, data_uri(figure), width, height, bar)


def _common_limits(maps: Sequence[NDArray[Any] | None]) -> Limits | None:
    """From 0 to the 99.5th percentile of all maps together; None if there is no map."""
    present = [values for values in maps if values is not None]
    if not present:
        return None
    high = percentile_limits(present)[1]
    return (0.0, high) if high > 0 else (0.0, 1.0)


def _gradient(colour_map: str) -> str:
    colours = mpl.colormaps[colour_map](np.linspace(0, 1, STOPS))
    return ", ".join(to_hex(hue) for hue in colours)


def _short(value: float) -> str:
    """Three significant digits without an exponent where that is short: 0, 0.024, 1.36, 242."""
    text = f"{value:.3g}"
    return f"{value:.0f}" if "e" in text and abs(value) >= 1 else text
