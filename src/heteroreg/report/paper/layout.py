"""Many small pictures on one page: rows of panels under headings, with colour bars, wrapped to the page's width.

All lengths are in mm. Places are computed, not found by trial: the same input gives the same figure.
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

from heteroreg.report.drawing import Limits
from heteroreg.report.figures import shorten
from heteroreg.report.paper.printing import COLUMN, HEIGHT, INK, MM, PAGE, SMALL, printed

GAP = 0.8
LEFT = 3.4  # a line of the labels of the rows
BAR = 12.0  # a colour bar with its numbers and its label
HEADING = 2.9  # a line of text
LEGEND = 5.0
BETWEEN = 2.5  # blocks
READABLE = 17.0  # the width below which a panel is wrapped to the next block
LARGEST = 40.0  # and above which it gains nothing
SHRUNK = 0.8  # rather fewer cases than panels narrower than this share of their place
INSET = 0.05  # of a colour bar's height, so that the numbers of two rows do not meet
LETTER = 1.5  # mean width of a letter
HEADING_LINES = 3


@dataclass(frozen=True)
class Panel:
    """One picture.

    Attributes:
        draw: Draws it into axes, in mm.
        note: A few letters in its lower left corner.
    """

    draw: Callable[[Axes], Any]
    note: str = ""


@dataclass(frozen=True)
class Bar:
    """A colour bar at the right of a row."""

    colour_map: str | Colormap
    limits: Limits
    label: str


@dataclass(frozen=True)
class Line:
    """One row of pictures.

    Attributes:
        label: At its left, upright; one line or two.
        panels: One for each heading; None stays empty.
        ratio: Height of a panel over its width.
        bar: The colour bar that its pictures share.
    """

    label: str
    panels: Sequence[Panel | None]
    ratio: float
    bar: Bar | None = None


@dataclass(frozen=True)
class Arrangement:
    """Where the panels lie.

    Attributes:
        width: Of the figure.
        height: Of the figure.
        panel: Width of a panel.
        left: Width of the labels of the rows.
        columns: Panels side by side in a block.
        blocks: How often the headings wrap.
        headings: Height of the headings of each block.
        legend: Height of the legend.
        shrunk: What is left of a panel's width where the page is not tall enough for it.
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
        """Whether the panels are wide enough to be looked at, on no more than a page."""
        return self.panel >= READABLE and self.height <= HEIGHT


def arrange(headings: Sequence[str], lines: Sequence[Line], *, legend: bool = False) -> Arrangement:
    """The arrangement with the fewest blocks that is readable on a page, else the one with the largest panels.

    Args:
        headings: One for each column.
        lines: The rows.
        legend: Whether there is a legend below.
    """
    count, bars = len(headings), any(line.bar for line in lines)
    tall = sum(line.ratio for line in lines)
    left = LEFT * max((line.label.count("\n") + 1 for line in lines), default=0)
    found = []
    for blocks in range(1, count + 1):
        columns = math.ceil(count / blocks)
        if math.ceil(count / columns) < blocks:
            continue  # the last block would be empty
        small = (COLUMN - left - GAP * columns - bars * BAR) / columns
        width = COLUMN if small >= READABLE and count <= 4 else PAGE
        panel = min((width - left - GAP * columns - bars * BAR) / columns, LARGEST)
        words = [len(wrap(name, panel)) for name in headings]
        heads = tuple(HEADING * max(words[start : start + columns]) + 0.8 for start in range(0, count, columns))
        below = LEGEND if legend else 1.0
        fixed = sum(heads) + blocks * GAP * len(lines) + (blocks - 1) * BETWEEN + below
        shrunk = min(1.0, (HEIGHT - fixed) / (blocks * tall * panel))
        panel = max(panel * shrunk, 1.0)
        height = fixed + blocks * tall * panel
        found.append(Arrangement(width, height, panel, left, columns, blocks, heads, below, shrunk))
        if found[-1].readable:
            return found[-1]
    return max(found, key=lambda one: (one.height <= HEIGHT, one.panel))


def largest(make: Callable[[int], list[Line]], headings: Sequence[str], most: int, *, legend: bool) -> list[Line]:
    """The rows of as many cases as one page holds, at least of one.

    Args:
        make: Gives the rows of this many cases.
        headings: The headings.
        most: How many cases there are.
        legend: Whether there is a legend below.
    """
    for count in range(most, 1, -1):
        lines = make(count)
        place = arrange(headings, lines, legend=legend)
        if place.readable and place.shrunk >= SHRUNK:
            return lines
    return make(1)


def picture_grid(headings: Sequence[str], lines: Sequence[Line], legend: Sequence[Any] = ()) -> Figure:
    """Draws the rows, wrapped into blocks one below the other.

    Args:
        headings: One for each column.
        lines: The rows, each with as many panels as there are headings.
        legend: Handles of a legend below.
    """
    place = arrange(headings, lines, legend=bool(legend))
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
                letters = max(int(tall / LETTER), 5)
                label = "\n".join(shorten(words, letters) for words in line.label.split("\n"))
                _text(figure, place, start - 0.7, top + tall / 2, label)
                for offset, column in enumerate(chosen):
                    left = start + offset * (place.panel + GAP)
                    axes = _axes(figure, place, left, top, place.panel, tall)
                    _panel(axes, line.panels[column])
                if line.bar is not None:
                    left = start + len(chosen) * (place.panel + GAP)
                    bar = _axes(figure, place, left + 0.6, top + INSET * tall, 1.8, (1 - 2 * INSET) * tall)
                    _bar(bar, line.bar)
                top += tall + GAP
            top += BETWEEN
        if legend:
            figure.legend(
                handles=legend, loc="lower center", ncols=len(legend), borderaxespad=0.4, handlelength=1.6
            )
    return figure


def wrap(name: str, width: float) -> list[str]:
    """A name as lines of a heading, broken after spaces and marks; the middle left out where it is too long."""
    letters = max(int(width / LETTER), 4)
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


def _panel(axes: Axes, panel: Panel | None) -> None:
    axes.set_axis_off()
    if panel is None:
        axes.text(0.5, 0.5, "–", transform=axes.transAxes, ha="center", va="center")
        return
    panel.draw(axes)
    axes.set_aspect("equal")  # no change but where the place is not of the picture's proportion
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


def _bar(axes: Axes, bar: Bar) -> None:
    mappable = ScalarMappable(Normalize(*bar.limits), bar.colour_map)
    drawn = axes.figure.colorbar(mappable, cax=axes, label=bar.label, ticks=MaxNLocator(4))
    drawn.outline.set_linewidth(0.4)
    axes.tick_params(length=1.2, width=0.4, colors=INK)
