"""Writes a comparison as a folder to look at."""

from __future__ import annotations

from pathlib import Path

from heteroreg.comparison import compare
from heteroreg.comparison.groups import Groups
from heteroreg.report.page import render_page
from heteroreg.report.paper import figures_of, write_figures
from heteroreg.system.files import atomic_folder, require_free, write_text

MARKER = "index.html"
FIGURES = "figures"
TITLE = "Registration methods compared"


def write_report(
    folders: Groups,
    out: str | Path,
    *,
    baseline: str | Path | None = None,
    title: str = TITLE,
    figures: bool = True,
) -> Path:
    """Compares evaluations and writes tables, the page `index.html` and `figures/`, all or nothing.

    Args:
        folders: Folders that `evaluate` wrote, or rows by name with the folders of their seeds; see `compare`.
        out: The folder to write. An earlier report in it is replaced.
        baseline: The row to test the others against, by its name or a folder; the first where none is named.
        title: Title of the page.
        figures: Whether to write the figures for print too, which take most of the time.

    Returns:
        The page.

    Raises:
        UserError: A folder is no evaluation, the evaluations do not fit each other, or `out` exists and holds
            something else.
    """
    out = Path(out)
    require_free(out, MARKER)  # before the work, not after it
    comparison = compare(folders, baseline=baseline)
    drawn = figures_of(comparison) if figures else {}
    page = render_page(comparison, title, list(drawn))
    with atomic_folder(out, marker=MARKER) as temporary:
        comparison.write(temporary)
        write_figures(drawn, temporary / FIGURES)
        write_text(temporary / MARKER, page)
    return out / MARKER
