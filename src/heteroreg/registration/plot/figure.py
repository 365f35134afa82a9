"""Figure of one registration, or of several registrations of one pair."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from heteroreg.registration.maps import Maps
from heteroreg.registration.plot.drawing import (
    DASHED,
    SOLID,
    ColourLimits,
    draw_band,
    draw_grid,
    draw_image,
    draw_outline,
    draw_uncertain_grid,
    height_over_width,
    label_colours,
    percentile_limits,
)
from heteroreg.registration.plot.kinds import MAP_KINDS, MapKind
from heteroreg.registration.plot.style import INK_COLOUR, styled
from heteroreg.system.errors import UserError

# Inches.
PANEL_WIDTH = 1.6
PANEL_GAP = 0.07
TITLE_HEIGHT = 0.22
NAME_HEIGHT = 0.28
COLOUR_BAR_SPACE = 0.5
LEGEND_HEIGHT = 0.25

FIGURE_DPI = 150
LEGEND_LABELS = 8  # more do not fit into a line
Draw = Callable[[Axes], Any]


def plot_registration(
    maps: Maps,
    slice: int | None = None,  # noqa: A002 - public name
    label_names: Mapping[int, str] | None = None,
) -> Figure:
    """Return the figure of one registration; see `plot_registrations`.

    Args:
        maps: Maps of the registration, 2D or 3D.
        slice: Index of the slice along the last axis of a volume; the middle one by default.
        label_names: Names of labels for the legend.

    Raises:
        UserError: `slice` lies outside the volume.
    """
    if len(maps.shape) == 3:
        count = maps.shape[-1]
        if slice is not None and not 0 <= slice < count:
            raise UserError(f"slice: {slice} is not between 0 and {count - 1}", argument="slice")
        maps = maps.at(count // 2 if slice is None else slice)
    return plot_registrations({"": maps}, label_names)


def plot_registrations(registrations: Mapping[str, Maps], label_names: Mapping[int, str] | None = None) -> Figure:
    """Return a figure of several registrations of one pair.

    The first row shows the pair before registration and, where it is known, the true noise. Each further row
    shows one registration: the moved image with the outlines of the labels (solid: moved, dashed: fixed), the
    displacement as a warped grid, and the maps that the registration has. All images share one grey scale, and
    all maps of a column one colour scale.

    Args:
        registrations: Name → 2D maps; an empty name is not shown.
        label_names: Names of labels for the legend.

    Returns:
        A figure that is not bound to a window or to pyplot.
    """
    maps = list(registrations.values())
    scales = {key: scale for key, kind in MAP_KINDS.items() if (scale := kind.scale(maps)) is not None}
    kinds = {key: MAP_KINDS[key] for key in scales}
    grey = percentile_limits([maps[0].fixed, maps[0].moving])
    labels = [found for found in (maps[0].fixed_labels, maps[0].moving_labels) if found is not None]
    hues = label_colours(labels)
    sheet = _Sheet(
        columns=2 + len(kinds),
        names=list(registrations),
        panel_height=PANEL_WIDTH * height_over_width(maps[0].fixed.shape, maps[0].spacing),
        legend=bool(hues),
    )
    with styled():
        figure = Figure(figsize=(sheet.width, sheet.height), dpi=FIGURE_DPI, facecolor="white")
        _draw_reference(partial(sheet.panel, figure, 0), maps, grey, hues, kinds, scales)
        for row, one in enumerate(maps, 1):
            _draw_registration(partial(sheet.panel, figure, row), one, grey, hues, kinds, scales)
        for row, name in enumerate(registrations, 1):
            sheet.name(figure, row, name)
        for column, (key, kind) in enumerate(kinds.items(), 2):
            sheet.colour_bar(figure, column, kind, scales[key])
        if hues:
            _draw_legend(figure, hues, label_names or {}, dashed=maps[0].fixed_labels is not None)
    return figure


Panel = Callable[[int, str, Draw], None]


def _draw_reference(
    panel: Panel,
    maps: Sequence[Maps],
    grey: ColourLimits,
    hues: Mapping[int, str],
    kinds: Mapping[str, MapKind],
    scales: Mapping[str, ColourLimits],
) -> None:
    first = maps[0]
    panel(0, "Fixed", partial(_draw_outlined, first, first.fixed, grey, hues, dashed=first.fixed_labels))
    panel(1, "Moving", partial(_draw_outlined, first, first.moving, grey, hues, solid=first.moving_labels))
    for column, (key, kind) in enumerate(kinds.items(), 2):
        found = next((found for one in maps if (found := kind.get_reference(one)) is not None), None)
        if found is not None:
            draw = partial(
                draw_image, image=found, spacing=first.spacing, limits=scales[key], colour_map=kind.colours
            )
            panel(column, kind.reference_title, draw)


def _draw_registration(
    panel: Panel,
    maps: Maps,
    grey: ColourLimits,
    hues: Mapping[int, str],
    kinds: Mapping[str, MapKind],
    scales: Mapping[str, ColourLimits],
) -> None:
    dashed = maps.fixed_labels if maps.moved_labels is not None else None
    outlined = partial(
        _draw_outlined, maps, maps.moved, grey, hues, solid=maps.moved_labels, dashed=dashed, half=maps.error_95
    )
    panel(0, "Moved", outlined)
    panel(1, f"Displacement ≤ {longest(maps):.1f} mm", partial(_draw_warped_grid, maps, grey))
    for column, (key, kind) in enumerate(kinds.items(), 2):
        values = kind.get(maps)
        if values is None:
            panel(column, kind.title, _draw_nothing)
        elif key == "displacement_sd":
            panel(column, kind.title, partial(_draw_uncertainty, maps, values, grey, scales[key]))
        else:
            draw = partial(
                draw_image, image=values, spacing=maps.spacing, limits=scales[key], colour_map=kind.colours
            )
            panel(column, kind.title, draw)


def longest(maps: Maps) -> float:
    """Return the length of the longest displacement in the plane, in mm."""
    return float(np.linalg.norm(maps.displacement * np.reshape(maps.spacing, (2, 1, 1)), axis=0).max())


def _draw_outlined(
    maps: Maps,
    image: Any,
    grey: ColourLimits,
    hues: Mapping[int, str],
    axes: Axes,
    *,
    solid: Any = None,
    dashed: Any = None,
    half: Any = None,
) -> None:
    draw_image(axes, image, maps.spacing, grey, "gray")
    if half is not None and solid is not None:
        draw_band(axes, solid, half, maps.spacing, hues, maps.error_widths)
    for labels, style in ((dashed, DASHED), (solid, SOLID)):
        if labels is not None:
            draw_outline(axes, labels, maps.spacing, hues, style, width=1.0)


def _draw_warped_grid(maps: Maps, grey: ColourLimits, axes: Axes) -> None:
    draw_image(axes, maps.moved, maps.spacing, grey, "gray")
    draw_grid(axes, maps.displacement, maps.spacing, width=0.7)


def _draw_uncertainty(maps: Maps, sd: Any, grey: ColourLimits, limits: ColourLimits, axes: Axes) -> None:
    draw_uncertain_grid(axes, maps.moved, maps.displacement, sd, maps.spacing, grey, limits, width=1.0)


def _draw_nothing(axes: Axes) -> None:
    axes.text(0.5, 0.5, "not estimated", transform=axes.transAxes, ha="center", va="center", fontsize=8)


def _draw_legend(figure: Figure, hues: Mapping[int, str], names: Mapping[int, str], *, dashed: bool) -> None:
    shown = list(hues.items())[:LEGEND_LABELS]
    handles = [
        Line2D([], [], color=hue, linewidth=2, label=names.get(label, f"label {label}")) for label, hue in shown
    ]
    if len(hues) > len(shown):
        handles.append(Line2D([], [], linewidth=0, label=f"and {len(hues) - len(shown)} more"))
    if dashed:
        handles.append(Line2D([], [], color=INK_COLOUR, linestyle=DASHED, label="dashed: fixed labels"))
    figure.legend(handles=handles, loc="upper left", ncols=len(handles), fontsize=8, borderaxespad=0.1)


class _Sheet:
    """Positions of the panels, in inches from the upper left corner."""

    def __init__(self, *, columns: int, names: Sequence[str], panel_height: float, legend: bool) -> None:
        self.panel_height = panel_height
        self.width = columns * PANEL_WIDTH + (columns + 1) * PANEL_GAP
        self.tops = [LEGEND_HEIGHT * legend]
        for name in names:
            below = self.tops[-1] + TITLE_HEIGHT + panel_height + PANEL_GAP
            self.tops.append(below + NAME_HEIGHT * bool(name))
        self.height = self.tops[-1] + TITLE_HEIGHT + panel_height + COLOUR_BAR_SPACE

    def panel(self, figure: Figure, row: int, column: int, title: str, draw: Draw) -> None:
        """Draw one panel under its title."""
        axes = self._axes(figure, column, self.tops[row] + TITLE_HEIGHT, self.panel_height)
        axes.set_axis_off()
        axes.set_title(title, fontsize=8, fontweight="normal", loc="left", pad=3)
        draw(axes)
        axes.set_aspect("equal")  # only matters for very long images

    def name(self, figure: Figure, row: int, name: str) -> None:
        """Write the name of a registration above its row."""
        height = 1 - self.tops[row] / self.height
        figure.text(PANEL_GAP / self.width, height, name, fontsize=9.5, fontweight="bold", va="bottom")

    def colour_bar(self, figure: Figure, column: int, kind: MapKind, limits: ColourLimits) -> None:
        """Draw the colour bar of a column below it."""
        axes = self._axes(figure, column, self.height - COLOUR_BAR_SPACE + 0.07, 0.07, inset=0.1)
        bar = figure.colorbar(
            ScalarMappable(Normalize(*limits), kind.colours),
            cax=axes,
            orientation="horizontal",
            ticks=MaxNLocator(3),
        )
        bar.set_label(kind.unit, fontsize=8, labelpad=1)
        axes.tick_params(labelsize=7.5, length=2, pad=1)

    def _axes(self, figure: Figure, column: int, top: float, height: float, inset: float = 0.0) -> Axes:
        left = PANEL_GAP + column * (PANEL_WIDTH + PANEL_GAP) + inset
        width, bottom = PANEL_WIDTH - 2 * inset, self.height - top - height
        return figure.add_axes((left / self.width, bottom / self.height, width / self.width, height / self.height))
