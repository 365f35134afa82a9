"""The gallery of pairs: for each pair its images, and below them what each evaluation made of it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.colors import Colormap, to_hex
from matplotlib.figure import Figure
from numpy.typing import NDArray

from heteroreg.evaluation.gallery import Case
from heteroreg.report.drawing import (
    UNCERTAINTY,
    Limits,
    from_zero,
    label_colours,
    percentile_limits,
    uncertainty_limits,
)
from heteroreg.report.embed import data_uri
from heteroreg.report.panels import grid_panel, image_panel, map_panel, uncertainty_panel
from heteroreg.system.progress import progress, reported

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
    names = list(cases)
    pairs = by_pair(cases)
    with progress("drawing the pairs", len(pairs)) as report:
        return [_pair_view(found, names) for found in reported(pairs, report)]


def by_pair(cases: Mapping[str, Iterable[Case]]) -> list[dict[str, Case]]:
    """The cases of several evaluations by pair and slice, in the order in which they first occur.

    Args:
        cases: Name of the evaluation → its cases.

    Returns:
        For each pair: name of the evaluation → its case, without those that lack it.
    """
    pairs: dict[tuple[str, str], dict[str, Case]] = {}
    for name, entries in cases.items():
        for case in entries:
            pairs.setdefault((case.id, str(case.slice)), {})[name] = case
    return list(pairs.values())


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
    scales = Scales.of(list(found.values()), grey, colours)
    strips = tuple(
        Strip(name, index, _strip(found[name], name, title, scales))
        for index, name in enumerate(names)
        if name in found
    )
    return PairView(title, images, strips, colours)


@dataclass(frozen=True)
class Scales:
    """What the pictures of a pair share.

    Attributes:
        grey: Limits of the grey scale.
        colours: Label → colour.
        noise: Limits of the noise maps; None where no evaluation has one.
        weight: Limits of the weight maps, likewise.
        uncertainty: Limits of the displacement's uncertainty in mm, likewise.
        truth: Whether the true noise is known beside a predicted one.
    """

    grey: Limits
    colours: Mapping[int, str]
    noise: Limits | None
    weight: Limits | None
    uncertainty: Limits | None
    truth: bool

    @classmethod
    def of(cls, cases: Sequence[Case], grey: Limits, colours: Mapping[int, str]) -> Scales:
        """The scales that hold all maps of these cases."""
        predicted = [case.noise_sd for case in cases if case.noise_sd is not None]
        true = [case.true_noise_sd for case in cases if case.true_noise_sd is not None]
        weights = [case.weight for case in cases if case.weight is not None]
        uncertain = [case.displacement_sd for case in cases if case.displacement_sd is not None]
        return cls(
            grey,
            colours,
            noise=from_zero(predicted + true) if predicted else None,
            weight=from_zero(weights) if weights else None,
            uncertainty=uncertainty_limits(uncertain) if uncertain else None,
            truth=bool(predicted and true),
        )


def _strip(case: Case, name: str, title: str, scales: Scales) -> tuple[Picture, ...]:
    outlined = ""
    if case.moved_labels is not None:
        outlined = ", with the outlines of the warped labels (solid) and of the true ones (dashed)"
    length = float(np.linalg.norm(case.displacement * np.reshape(case.spacing, (2, 1, 1)), axis=0).max())
    moved = image_panel(
        case.moved,
        case.spacing,
        scales.grey,
        labels=case.moved_labels,
        true_labels=case.fixed_labels if case.moved_labels is not None else None,
        colours=scales.colours,
    )
    warped = grid_panel(case.moved, case.displacement, case.spacing, scales.grey)
    pictures = [
        _picture("Moved", f"Moving image of {title} as {name} moved it{outlined}", moved),
        _picture(
            f"Displacement, up to {length:.1f} mm",
            f"Displacement by {name} as a warped grid over the moved image of {title}; at most {length:.1f} mm",
            warped,
        ),
    ]
    if scales.uncertainty is not None:
        pictures.append(_uncertainty(case, name, title, scales.grey, scales.uncertainty))
    if scales.noise is not None:
        noise = ("intensity units", NOISE_MAP, scales.noise)
        pictures.append(
            _map("Predicted noise σ̂", f"Noise that {name} predicts in {title}", case, case.noise_sd, *noise)
        )
        if scales.truth:
            # Beside a prediction only; the empty place keeps the columns of all evaluations in line.
            true = case.true_noise_sd if case.noise_sd is not None else None
            pictures.append(
                Picture("") if true is None else _map("True noise σ", f"True noise in {title}", case, true, *noise)
            )
    if scales.weight is not None:
        alt = f"Weight of each pixel of {title} in {name}"
        pictures.append(_map("Weight", alt, case, case.weight, "factor", WEIGHT_MAP, scales.weight))
    return tuple(pictures)


def _uncertainty(case: Case, name: str, title: str, grey: Limits, limits: Limits) -> Picture:
    caption = "Uncertainty of the displacement σ̂z"
    sd = case.displacement_sd
    if sd is None:
        return Picture(caption)
    panel = uncertainty_panel(case.moved, case.displacement, sd, case.spacing, grey, limits)
    alt = (
        f"Displacement of {title} by {name} as a warped grid, red where it is uncertain and blue where it is "
        f"certain; median {_short(float(np.median(sd)))} mm, largest {_short(float(np.max(sd)))} mm"
    )
    bar = ColourBar(_gradient(UNCERTAINTY), _short(limits[0]), _short(limits[1]), "mm, red: uncertain")
    return _picture(caption, alt, panel, bar)


def _map(
    caption: str,
    alt: str,
    case: Case,
    values: NDArray[Any] | None,
    unit: str,
    colour_map: str,
    limits: Limits,
) -> Picture:
    if values is None:
        return Picture(caption)
    bar = ColourBar(_gradient(colour_map), _short(limits[0]), _short(limits[1]), unit)
    alt = f"{alt}; median {_short(float(np.median(values)))}, largest {_short(float(np.max(values)))}"
    return _picture(caption, alt, map_panel(values, case.spacing, limits, colour_map), bar)


def _picture(caption: str, alt: str, figure: Figure, bar: ColourBar | None = None) -> Picture:
    width, height = (round(inches * figure.dpi) for inches in figure.get_size_inches())
    return Picture(caption, alt, data_uri(figure), width, height, bar)


def _gradient(colour_map: str | Colormap) -> str:
    colours = mpl.colormaps.get_cmap(colour_map)(np.linspace(0, 1, STOPS))
    return ", ".join(to_hex(hue) for hue in colours)


def _short(value: float) -> str:
    """Three significant digits without an exponent where that is short: 0, 0.024, 1.36, 242."""
    text = f"{value:.3g}"
    return f"{value:.0f}" if "e" in text and abs(value) >= 1 else text
