"""Arrange rows of small pictures under headings, with colour bars, wrapped to the page's width.

All lengths are in mm. The same input gives the same figure.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Colormap, Normalize
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from heteroreg.registration.plot.drawing import ColourLimits
from heteroreg.registration.plot.style import INK_COLOUR
from heteroreg.report.figures import shorten
from heteroreg.report.paper.printing import COLUMN, HEIGHT, MM, PAGE, SMALL, printed

GAP = 0.8
ROW_LABEL = 3.4  # a line of the labels of the rows
BAR = 12.0  # a colour bar with its numbers and its label
HEADING_LINE = 2.9
LEGEND = 5.0
BLOCK_GAP = 2.5
READABLE_PANEL = 17.0  # a narrower panel is wrapped to the next block
WIDEST_PANEL = 40.0
LEAST_SHRINKING = 0.8  # fewer cases are shown rather than panels shrunk below this factor
BAR_INSET = 0.05  # of a colour bar's height, so that the numbers of two rows do not meet
LETTER_WIDTH = 1.5  # mean
HEADING_LINES = 3


@dataclass(frozen=True)
class PrintPanel:
    """One picture.

    Attributes:
        draw: Draw it into axes in mm.
        note: Short text in its lower left corner.
    """

    draw: Callable[[Axes], Any]
    note: str = ""


@dataclass(frozen=True)
class ColourBar:
    """Colour bar to the right of a row."""

    colour_map: str | Colormap
    limits: ColourLimits
    label: str


@dataclass(frozen=True)
class PanelRow:
    """One row of pictures.

    Attributes:
        label: Upright text on the left, one or two lines.
        panels: One for each heading; None for an empty place.
        ratio: Height of a panel over its width.
        bar: Colour bar of the row.
    """

    label: str
    panels: Sequence[PrintPanel | None]
    ratio: float
    bar: ColourBar | None = None


@dataclass(frozen=True)
class Arrangement:
    """Positions of the panels.

    Attributes:
        width: Width of the figure.
        height: Height of the figure.
        panel: Width of a panel.
        left: Width of the labels of the rows.
        columns: Number of panels side by side in a block.
        blocks: Number of blocks.
        headings: Height of the headings of each block.
        legend: Height of the legend.
        shrunk: Factor by which the panels are shrunk to fit the height of the page.
    """

    width: float
    height: float
    panel: float
    left: float
    columns: int
    blocks: int
    headings: tuple[float, ...]
    legend: float
    shrunk: float

    @property
    def readable(self) -> bool:
        """True if the panels are wide enough and the figure fits on a page."""
        return self.panel >= READABLE_PANEL and self.height <= HEIGHT


def arrange_panels(headings: Sequence[str], lines: Sequence[PanelRow], *, legend: bool = False) -> Arrangement:
    """Return the arrangement with the fewest blocks that is readable, or else the largest panels.

    Args:
        headings: One for each column.
        lines: The rows.
        legend: True for a legend below.
    """
    count, bars = len(headings), any(line.bar for line in lines)
    tall = sum(line.ratio for line in lines)
    left = ROW_LABEL * max((line.label.count("\n") + 1 for line in lines), default=0)
    found = []
    for blocks in range(1, count + 1):
        columns = math.ceil(count / blocks)
        if math.ceil(count / columns) < blocks:
            continue  # the last block would be empty
        small = (COLUMN - left - GAP * columns - bars * BAR) / columns
        width = COLUMN if small >= READABLE_PANEL and count <= 4 else PAGE
        panel = min((width - left - GAP * columns - bars * BAR) / columns, WIDEST_PANEL)
        words = [len(wrap(name, panel)) for name in headings]
        heads = tuple(
            HEADING_LINE * max(words[start : start + columns]) + 0.8 for start in range(0, count, columns)
        )
        below = LEGEND if legend else 1.0
        fixed = sum(heads) + blocks * GAP * len(lines) + (blocks - 1) * BLOCK_GAP + below
        shrunk = min(1.0, (HEIGHT - fixed) / (blocks * tall * panel))
        panel = max(panel * shrunk, 1.0)
        height = fixed + blocks * tall * panel
        found.append(Arrangement(width, height, panel, left, columns, blocks, heads, below, shrunk))
        if found[-1].readable:
            return found[-1]
    return max(found, key=lambda one: (one.height <= HEIGHT, one.panel))


def largest(
    make: Callable[[int], list[PanelRow]], headings: Sequence[str], most: int, *, legend: bool
) -> list[PanelRow]:
    """Return the rows of as many cases as one page holds, at least one.

    Args:
        make: Return the rows of this many cases.
        headings: The headings.
        most: Number of cases.
        legend: True for a legend below.
    """
    for count in range(most, 1, -1):
        lines = make(count)
        place = arrange_panels(headings, lines, legend=legend)
        if place.readable and place.shrunk >= LEAST_SHRINKING:
            return lines
    return make(1)


def picture_grid(headings: Sequence[str], lines: Sequence[PanelRow], legend: Sequence[Any] = ()) -> Figure:
    """Draw the rows, wrapped into blocks one below the other.

    Args:
        headings: One for each column.
        lines: The rows, each with as many panels as there are headings.
        legend: Handles of a legend below.
    """
    place = arrange_panels(headings, lines, legend=bool(legend))
    with printed():
        figure = Figure(figsize=(place.width * MM, place.height * MM))
        bars = any(line.bar for line in lines)
        used = place.left + place.columns * (place.panel + GAP) + bars * BAR
        start = max((place.width - used) / 2, 0.0) + place.left
        top = 0.0
        for block in range(place.blocks):
            chosen = range(block * place.columns, min((block + 1) * place.columns, len(headings)))
            top += place.headings[block]
            for offset, column in enumerate(chosen):
                middle = start + offset * (place.panel + GAP) + place.panel / 2
                words = "\n".join(wrap(headings[column], place.panel))
                _text(figure, place, middle, top - 0.8, words, va="bottom")
            for line in lines:
                tall = line.ratio * place.panel
                letters = max(int(tall / LETTER_WIDTH), 5)
                label = "\n".join(shorten(words, letters) for words in line.label.split("\n"))
                _text(figure, place, start - 0.7, top + tall / 2, label)
                for offset, column in enumerate(chosen):
                    left = start + offset * (place.panel + GAP)
                    axes = _axes(figure, place, left, top, place.panel, tall)
                    _panel(axes, line.panels[column])
                if line.bar is not None:
                    left = start + len(chosen) * (place.panel + GAP)
                    bar = _axes(figure, place, left + 0.6, top + BAR_INSET * tall, 1.8, (1 - 2 * BAR_INSET) * tall)
                    _bar(bar, line.bar)
                top += tall + GAP
            top += BLOCK_GAP
        if legend:
            figure.legend(
                handles=legend, loc="lower center", ncols=len(legend), borderaxespad=0.4, handlelength=1.6
            )
    return figure


def wrap(name: str, width: float) -> list[str]:
    """Break a name into lines after spaces and marks, leaving out the middle where it is too long."""
    letters = max(int(width / LETTER_WIDTH), 4)
    lines = [""]
    for word in re.findall(r"[^\s/_-]+[\s/_-]*|[\s/_-]+", " ".join(name.split())):
        if lines[-1] and len(lines[-1]) + len(word.rstrip()) > letters:
            lines.append("")
        lines[-1] += word
    lines = [shorten(line, letters) for line in lines]
    if len(lines) > HEADING_LINES:
        lines = [*lines[: HEADING_LINES - 2], "…", lines[-1]]
    return lines


def _axes(figure: Figure, place: Arrangement, left: float, top: float, width: float, height: float) -> Axes:
    bottom = place.height - top - height
    return figure.add_axes((left / place.width, bottom / place.height, width / place.width, height / place.height))


def _text(figure: Figure, place: Arrangement, x: float, y: float, words: str, *, va: str = "center") -> None:
    upright = va == "center"
    figure.text(
        x / place.width,
        1 - y / place.height,
        words,
        rotation=90 if upright else 0,
        ha="right" if upright else "center",
        va=va,
        fontsize=SMALL,
        linespacing=1.05,
    )


def _panel(axes: Axes, panel: PrintPanel | None) -> None:
    axes.set_axis_off()
    if panel is None:
        axes.text(0.5, 0.5, "–", transform=axes.transAxes, ha="center", va="center")
        return
    panel.draw(axes)
    axes.set_aspect("equal")  # only matters for very long images
    if panel.note:
        axes.text(
            0.03,
            0.03,
            panel.note,
            transform=axes.transAxes,
            ha="left",
            va="bottom",
            color="white",
            fontsize=SMALL,
            bbox={"facecolor": "black", "alpha": 0.65, "linewidth": 0, "pad": 0.8},
        )


def _bar(axes: Axes, bar: ColourBar) -> None:
    mappable = ScalarMappable(Normalize(*bar.limits), bar.colour_map)
    drawn = axes.figure.colorbar(mappable, cax=axes, label=bar.label, ticks=MaxNLocator(4))
    drawn.outline.set_linewidth(0.4)
    axes.tick_params(length=1.2, width=0.4, colors=INK_COLOUR)
