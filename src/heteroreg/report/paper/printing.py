"""Style and files of the figures for print: widths of a journal's columns, small type, embedded fonts."""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.figure import Figure

from heteroreg.registration.plot.style import INK_COLOUR, styled
from heteroreg.system.files import atomic_file

MM = 1 / 25.4  # in inches
COLUMN, PAGE = 85.0, 174.0  # mm: one column and two of a journal's page
HEIGHT = 230.0  # mm: height of a page without the caption
PRINT_DPI = 300
SMALL, TEXT = 7.0, 8.0  # points
LINE = 0.9  # points

PRINT_STYLE: Any = {
    "font.size": SMALL,
    "text.color": INK_COLOUR,
    "axes.labelcolor": INK_COLOUR,
    "axes.edgecolor": INK_COLOUR,
    "axes.labelsize": SMALL,
    "axes.titlesize": TEXT,
    "axes.titleweight": "normal",
    "axes.facecolor": "white",
    "axes.linewidth": 0.5,
    "figure.facecolor": "white",
    "grid.linewidth": 0.4,
    "legend.fontsize": SMALL,
    "xtick.color": INK_COLOUR,
    "ytick.color": INK_COLOUR,
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
    "savefig.dpi": PRINT_DPI,
}


@contextmanager
def printed() -> Iterator[None]:
    """Apply the style of print while a figure is made or saved."""
    with styled(), mpl.rc_context(PRINT_STYLE):
        yield


def save_figure(figure: Figure, folder: Path, name: str) -> tuple[Path, Path]:
    """Write a figure as `name.pdf` and `name.png`. The same figure gives the same bytes.

    Args:
        figure: The figure at its size in print.
        folder: Folder of the files.
        name: File name without its ending.

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
            # In memory first: on a full disk Matplotlib ends in errors of its own.
            buffer = io.BytesIO()
            figure.savefig(buffer, format=path.suffix[1:], metadata=metadata, dpi=PRINT_DPI)
            with atomic_file(path) as temporary:
                temporary.write_bytes(buffer.getvalue())
    return paths
