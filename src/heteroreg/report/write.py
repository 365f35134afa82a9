"""Write the report of a comparison: tables, page and figures."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from heteroreg.comparison import compare
from heteroreg.comparison.groups import Groups
from heteroreg.report.page import render_page
from heteroreg.report.paper import figures_of, write_figures
from heteroreg.system.files import write_text
from heteroreg.system.outputs import output_folder, require_output

PAGE_FILE = "index.html"
PRINT_FOLDER = "figures"
DEFAULT_TITLE = "Registration methods compared"


def write_report(
    folders: Groups,
    out: str | Path,
    *,
    baseline: str | Path | None = None,
    title: str = DEFAULT_TITLE,
    figures: bool = True,
    label_names: Mapping[str, str] | None = None,
) -> Path:
    """Compare evaluations and write tables, the page `index.html` and `figures/` atomically.

    Args:
        folders: Folders that `evaluate` wrote, or rows by name with the folders of their seeds; see `compare`.
        out: The folder to write. An earlier report in it is replaced.
        baseline: The row to test the others against, by its name or a folder; the first by default.
        title: Title of the page.
        figures: Write the figures for print too, which takes most of the time.
        label_names: Names of labels by number; by default those of the evaluations.

    Returns:
        The page.

    Raises:
        UserError: A folder is no evaluation, the evaluations do not fit each other, or `out` exists and holds
            something else.

    Examples:
        >>> import tempfile
        >>> from pathlib import Path
        >>> import heteroreg as hr
        >>> folder = Path(tempfile.mkdtemp())
        >>> cohort = hr.phantom(folder / "hearts", pairs=3, size=32)
        >>> scores = hr.evaluate("phantom", cohort, out=folder / "scores")
        >>> hr.write_report([folder / "scores"], folder / "report", figures=False).name
        'index.html'
    """
    out = Path(out)
    require_output(out, "comparison")  # before the work, not after it
    comparison = compare(folders, baseline=baseline, label_names=label_names)
    drawn = figures_of(comparison) if figures else {}
    page = render_page(comparison, title, list(drawn))
    with output_folder(out, "comparison") as temporary:
        comparison.write(temporary)
        write_figures(drawn, temporary / PRINT_FOLDER)
        write_text(temporary / PAGE_FILE, page)
    return out / PAGE_FILE
