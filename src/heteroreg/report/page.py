"""The page: one self-contained file with the table, the plots and the gallery."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib.resources import files

import numpy as np
import pandas as pd
from jinja2 import Environment, StrictUndefined
from markupsafe import Markup

from heteroreg import __version__
from heteroreg.comparison import Comparison
from heteroreg.evaluation.scores import Scores
from heteroreg.report.embed import inline_svg
from heteroreg.report.figures import Curve, box_plot, sparsification_curves
from heteroreg.report.gallery import pair_views
from heteroreg.report.style import colour
from heteroreg.report.tables import Results
from heteroreg.report.wording import column
from heteroreg.report.words import notes, summary

TEMPLATES = files("heteroreg.report") / "templates"


def render_page(comparison: Comparison, title: str, figures: Sequence[str] = ()) -> str:
    """The page as text.

    Args:
        comparison: What to show.
        title: Title of the page.
        figures: Names of the figures for print that lie beside it.

    Returns:
        An HTML document that refers to nothing outside itself. The same input gives the same text.
    """
    results, scores = Results(comparison), comparison.scores
    environment = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True, keep_trailing_newline=True
    )
    template = environment.from_string((TEMPLATES / "page.html.j2").read_text(encoding="utf-8"))
    main, full = results.table(results.main_metrics()), results.table(results.measured)
    pairs = pair_views({name: entry.cases for name, entry in scores.items()})
    return template.render(
        title=title,
        version=__version__,
        css=Markup((TEMPLATES / "page.css").read_text(encoding="utf-8")),  # noqa: S704 - a file of the package
        colour=colour,
        sentences=summary(results),
        patients="1 patient" if results.patients == 1 else f"{results.patients} patients",
        most=results.patients,
        baseline=results.baseline,
        compared=any(cell and cell.p for row in full.rows for cell in row.cells),
        intervals=any(cell and cell.interval for row in main.rows for cell in row.cells),
        main=main,
        full=full,
        explained=_explained(results),
        notes=notes(comparison),
        boxes=_boxes(results, comparison.values),
        curves=_curves(scores),
        pairs=pairs,
        outlined=any(pair.labels for pair in pairs),
        names=results.names,
        figures=figures,
    )


def _explained(results: Results) -> list[tuple[str, str]]:
    """Each kind of metric once, whatever the number of labels."""
    found: dict[str, str] = {}
    for name in results.main_metrics():
        shown = column(name)
        if shown.explanation:
            found.setdefault(shown.kind, shown.explanation)
    return list(found.items())


def _boxes(results: Results, values: pd.DataFrame) -> list[Markup]:
    plots = []
    for number, name in enumerate(results.main_metrics()):
        shown = results.column(name)
        of_metric = values[values["metric"] == name]
        patients = {
            row: shown.metric.scale * of_metric.loc[of_metric["row"] == row, "value"].to_numpy(dtype=float)
            for row in results.names
        }
        if len({number for numbers in patients.values() for number in numbers}) < 2:
            continue  # nothing to see that the table does not say
        figure = box_plot(patients, title=shown.heading)
        plots.append(inline_svg(figure, f"box{number}", f"Box plot of {shown.name} for each evaluation"))
    return plots


def _curves(scores: Mapping[str, Scores]) -> Markup | None:
    """The sparsification curves of the evaluations that have a noise map, in their colours."""
    curves: dict[str, Curve] = {}
    colours: list[str] = []
    for index, (name, entry) in enumerate(scores.items()):
        table = entry.sparsification
        if table is None or "mse" not in table:
            continue
        patients = entry.per_patient()
        shown = column("ause")
        area = float(patients["ause"].mean()) if "ause" in patients else float("nan")
        curves[name] = Curve(
            fraction=table["fraction"].to_numpy(dtype=float),
            error=table["mse"].to_numpy(dtype=float),
            oracle=table["oracle"].to_numpy(dtype=float),
            ause=shown.with_unit(area) if np.isfinite(area) else "",
        )
        colours.append(colour(index))
    if not curves:
        return None
    figure = sparsification_curves(curves, colours=colours)
    return inline_svg(figure, "curves", f"Sparsification curves of {', '.join(curves)} with their oracles")
