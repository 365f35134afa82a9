"""Colours, fonts and lines of all figures."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import matplotlib as mpl

# The palette of Okabe and Ito can be told apart with every common colour blindness.
PALETTE = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
# Its brighter colours, for contours over a grey image.
CONTOURS = ("#F0E442", "#56B4E9", "#E69F00", "#009E73", "#CC79A7", "#D55E00")
# The page replaces these two by its own colours, so that plots follow its light and dark themes.
INK_COLOUR = "#1b2127"
RULE_COLOUR = "#d5dbe1"

# Any: Matplotlib's types list the name of each setting.
STYLE: Any = {
    "font.family": ["sans-serif"],
    "font.sans-serif": ["DejaVu Sans"],  # part of Matplotlib, so the layout is the same everywhere
    "font.size": 10.5,
    "text.color": INK_COLOUR,
    "text.parse_math": False,  # a $ in a name is not mathematics
    "axes.labelcolor": INK_COLOUR,
    "axes.edgecolor": RULE_COLOUR,
    "axes.facecolor": "none",
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlesize": 11.5,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.formatter.useoffset": False,
    "figure.facecolor": "none",
    "grid.color": RULE_COLOUR,
    "grid.linewidth": 0.7,
    "legend.frameon": False,
    "legend.fontsize": 10,
    "xtick.color": RULE_COLOUR,
    "ytick.color": RULE_COLOUR,
    "xtick.labelcolor": INK_COLOUR,
    "ytick.labelcolor": INK_COLOUR,
    "svg.fonttype": "none",
    "svg.hashsalt": "heteroreg",  # the same figure gives the same bytes
}


@contextmanager
def styled() -> Iterator[None]:
    """Apply the project's style while a figure is made or saved, and restore Matplotlib's settings afterwards."""
    with mpl.rc_context(STYLE), warnings.catch_warnings():
        # A name may hold letters that Matplotlib's font lacks. In an SVG the browser draws them.
        warnings.filterwarnings("ignore", message=r"Glyph .* missing from font")
        yield


def colour(index: int) -> str:
    """Return the colour of the evaluation with this index."""
    return PALETTE[index % len(PALETTE)]


def label_colour(index: int) -> str:
    """Return the contour colour of the label with this index."""
    return CONTOURS[index % len(CONTOURS)]
