"""How a figure for print looks and is written: the widths of a journal's columns, small type, embedded fonts."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.figure import Figure

from heteroreg.report.style import styled
from heteroreg.system.files import atomic_file

MM = 1 / 25.4  # in inches
COLUMN, PAGE = 85.0, 174.0  # mm: one column and two of a journal's page
HEIGHT = 230.0  # mm: what a page leaves beside the caption
DPI = 300
SMALL, TEXT = 7.0, 8.0  # points
LINE = 0.9  # points
INK = "#1b2127"

PRINT: Any = {
    "font.size": SMALL,
    "text.color": INK,
    "axes.labelcolor": INK,
    "axes.edgecolor": INK,
    "axes.labelsize": SMALL,
    "axes.titlesize": TEXT,
    "axes.titleweight": "normal",
    "axes.facecolor": "white",
    "axes.linewidth": 0.5,
    "figure.facecolor": "white",
    "grid.linewidth": 0.4,
    "legend.fontsize": SMALL,
    "xtick.color": INK,
    "ytick.color": INK,
    "xtick.labelsize": SMALL,
    "ytick.labelsize": SMALL,
    "xtick.major.width": 0.5,
    "ytick.major.width": 0.5,
    "xtick.major.size": 2.0,
    "ytick.major.size": 2.0,
    "xtick.major.pad": 1.5,
    "ytick.major.pad": 1.5,
    "axes.labelpad": 2.0,
    "pdf.fonttype": 42,  # TrueType: journals refuse type 3
    "pdf.compression": 6,
    "savefig.dpi": DPI,
}


@contextmanager
def printed() -> Iterator[None]:
    """The style of print while a figure is made or saved."""
    with styled(), mpl.rc_context(PRINT):
        yield


def save(figure: Figure, folder: Path, name: str) -> tuple[Path, Path]:
    """Writes a figure as `name.pdf` and `name.png`; the same figure gives the same bytes.

    Args:
        figure: The figure, at its size in print.
        folder: Where to write.
        name: The file's name without its ending.

    Returns:
        The two files.
    """
    paths = folder / f"{name}.pdf", folder / f"{name}.png"
    nothing: tuple[dict[str, Any], dict[str, Any]] = (
        {"CreationDate": None, "Creator": None, "Producer": None},
        {"Software": None},
    )
    with printed():
        for path, metadata in zip(paths, nothing, strict=True):
            with atomic_file(path) as temporary:
                figure.savefig(temporary, format=path.suffix[1:], metadata=metadata, dpi=DPI)
    return paths
