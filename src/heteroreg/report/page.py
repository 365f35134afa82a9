"""Render the page: one self-contained file with the table, the plots and the pairs."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files

import pandas as pd
from jinja2 import Environment, StrictUndefined
from markupsafe import Markup

from heteroreg._version import __version__
from heteroreg.comparison import Comparison
from heteroreg.comparison.label_tables import label_tables
from heteroreg.evaluation.metrics import metric
from heteroreg.evaluation.scores import Scores
from heteroreg.registration.plot.style import colour
from heteroreg.report.embed import csv_uri, inline_svg
from heteroreg.report.figures import box_plot, sparsification_plot
from heteroreg.report.pairs import pair_figures
from heteroreg.report.sparsification import curves_of
from heteroreg.report.tables import Results
from heteroreg.report.viewer import viewer
from heteroreg.report.words import notes, summary_sentences

TEMPLATES = files("heteroreg.report") / "templates"
PAGE_BYTES = 25 * 10**6  # small enough for a mail and a phone
FIGURE_BYTES = 8 * 10**6  # of all figures of pairs
SPARE_BYTES = 10**6  # for tables and text


@dataclass(frozen=True)
class Plot:
    """A plot of the page and its numbers.

    Attributes:
        name: Name of the CSV file.
        title: Title of the plot.
        svg: The plot.
        csv: The numbers as a `data:` address.
    """

    name: str
    title: str
    svg: Markup
    csv: str


def render_page(comparison: Comparison, title: str, figures: Sequence[str] = ()) -> str:
    """Return the page as text.

    Args:
        comparison: The comparison.
        title: Title of the page.
        figures: Names of the figures for print beside the page.

    Returns:
        An HTML document without external references. The same input gives the same text.
    """
    results, scores = Results(comparison), comparison.scores
    script = (TEMPLATES / "viewer.js").read_text(encoding="utf-8")
    environment = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True, keep_trailing_newline=True
    )
    template = environment.from_string((TEMPLATES / "page.html.j2").read_text(encoding="utf-8"))
    main, full = results.table(results.main_metrics()), results.table(results.measured)
    pairs = pair_figures(scores, main.columns, FIGURE_BYTES, results.label_names)
    boxes, curves = _boxes(results, comparison.values), _curves(scores)
    plots = [*boxes, *([curves] if curves else [])]
    taken = sum(len(pair.source) for pair in pairs) + sum(len(plot.svg) + len(plot.csv) for plot in plots)
    shown = viewer(scores, results, PAGE_BYTES - taken - len(script) - SPARE_BYTES)
    return template.render(
        title=title,
        version=__version__,
        css=Markup((TEMPLATES / "page.css").read_text(encoding="utf-8")),  # noqa: S704 - a file of the package
        colour=colour,
        sentences=summary_sentences(results),
        patients="1 patient" if results.patients == 1 else f"{results.patients} patients",
        most=results.patients,
        baseline=results.baseline,
        compared=any(cell and cell.p for row in full.rows for cell in row.cells),
        intervals=any(cell and cell.interval for row in main.rows for cell in row.cells),
        main=main,
        full=full,
        explained=_explained(results),
        notes=notes(comparison),
        label_tables=label_tables(comparison),
        boxes=boxes,
        curves=curves,
        pairs=pairs,
        viewer=shown,
        script=Markup(script),  # noqa: S704 - a file of the package
        policy=_policy(script if shown else ""),
        names=results.names,
        figures=figures,
    )


def _explained(results: Results) -> list[tuple[str, str]]:
    """Return name and explanation of each kind of metric once, regardless of the number of labels."""
    found: dict[str, str] = {}
    for name in results.main_metrics():
        shown = metric(name)
        found.setdefault(shown.long_title, shown.explanation)
    return list(found.items())


def _policy(script: str) -> Markup:
    """Return the content security policy: no network, and no script but the viewer's."""
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode("ascii")
    rules = {
        "default-src": "'none'",
        "script-src": f"'sha256-{digest}'" if script else "'none'",
        "img-src": "data:",
        "style-src": "'unsafe-inline'",
        "base-uri": "'none'",
        "form-action": "'none'",
    }
    return Markup("; ".join(f"{key} {value}" for key, value in rules.items()))  # noqa: S704 - no names from outside


def _boxes(results: Results, values: pd.DataFrame) -> list[Plot]:
    plots = []
    for number, name in enumerate(results.main_metrics()):
        shown = results.column(name)
        of_metric = values[values["metric"] == name]
        patients = {
            row: shown.scale * of_metric.loc[of_metric["row"] == row, "value"].to_numpy(dtype=float)
            for row in results.names
        }
        if len({number for numbers in patients.values() for number in numbers}) < 2:
            continue  # the table says it all
        figure = box_plot(patients, title=shown.long_heading)
        svg = inline_svg(figure, f"box{number}", f"Box plot of {shown.long_name} for each evaluation")
        points = of_metric.assign(value=shown.scale * of_metric["value"], unit=shown.unit)
        plots.append(Plot(name, shown.long_name, svg, csv_uri(points[["row", "patient", "value", "unit"]])))
    return plots


def _curves(scores: Mapping[str, Scores]) -> Plot | None:
    """Plot the sparsification curves of the evaluations with a noise map."""
    curves = curves_of(scores)
    if not curves:
        return None
    title = f"Sparsification curves of {', '.join(curve.name for curve in curves)} with their oracles"
    numbers = [
        pd.DataFrame({"row": curve.name, "fraction": curve.fraction, "mse": curve.error, "oracle": curve.oracle})
        for curve in curves
    ]
    svg = inline_svg(sparsification_plot(curves), "curves", title)
    return Plot("sparsification", title, svg, csv_uri(pd.concat(numbers)))
