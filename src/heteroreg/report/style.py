"""How figures look: colours, fonts, lines."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import matplotlib as mpl

# Okabe and Ito's palette: told apart with every common colour blindness.
PALETTE = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
# The brighter ones of it, for contours over a grey image.
CONTOURS = ("#F0E442", "#56B4E9", "#E69F00", "#009E73", "#CC79A7", "#D55E00")
# The page replaces these two by its own colours, so that a plot follows light and dark.
INK = "#1b2127"
RULE = "#d5dbe1"

# Any: Matplotlib spells out the name of each of its settings in its types.
STYLE: Any = {
    "font.family": ["sans-serif"],
    "font.sans-serif": ["DejaVu Sans"],  # comes with Matplotlib: the layout is the same everywhere
    "font.size": 10.5,
    "text.color": INK,
    "text.parse_math": False,  # a $ in a name is a $
    "axes.labelcolor": INK,
    "axes.edgecolor": RULE,
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
    "grid.color": RULE,
    "grid.linewidth": 0.7,
    "legend.frameon": False,
    "legend.fontsize": 10,
    "xtick.color": RULE,
    "ytick.color": RULE,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "svg.fonttype": "none",
    "svg.hashsalt": "heteroreg",  # the same figure gives the same bytes
}


@contextmanager
def styled() -> Iterator[None]:
    """The project's style while a figure is made or saved; Matplotlib's settings are as before afterwards."""
    with mpl.rc_context(STYLE), warnings.catch_warnings():
        # A name may hold letters that Matplotlib's font lacks. It measures them only: the browser draws them.
        warnings.filterwarnings("ignore", message=r"Glyph .* missing from font")
        yield


def colour(index: int) -> str:
    """The colour of the evaluation with this index."""
    return PALETTE[index % len(PALETTE)]


def label_colour(index: int) -> str:
    """The colour of the contour of the label with this index."""
    return CONTOURS[index % len(CONTOURS)]
