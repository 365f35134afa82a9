"""The page: one self-contained file with the table, the plots and the gallery."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files

import numpy as np
import pandas as pd
from jinja2 import Environment, StrictUndefined
from markupsafe import Markup

from heteroreg import __version__
from heteroreg.comparison import Comparison
from heteroreg.evaluation.gallery import spread_evenly
from heteroreg.evaluation.metrics import metric
from heteroreg.evaluation.scores import Scores
from heteroreg.report.embed import csv_uri, inline_svg
from heteroreg.report.figures import Curve, box_plot, sparsification_curves
from heteroreg.report.gallery import PairView, pair_views
from heteroreg.report.niivue import NiiVue, digest, load_niivue
from heteroreg.report.style import colour
from heteroreg.report.tables import Results
from heteroreg.report.viewer import OVERLAYS, Viewer, has_volumes, viewer
from heteroreg.report.words import notes, summary

TEMPLATES = files("heteroreg.report") / "templates"
PAGE_BYTES = 25 * 10**6  # of the whole page: what a mail carries and a phone opens
PICTURE_BYTES = 8 * 10**6  # of the pictures of the gallery
SPARE_BYTES = 10**6  # for what is no picture


@dataclass(frozen=True)
class Plot:
    """A plot of the page, and its numbers to take away.

    Attributes:
        name: Of the file of numbers.
        title: What it shows.
        svg: The plot.
        csv: Address of its numbers.
    """

    name: str
    title: str
    svg: Markup
    csv: str


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
    script = (TEMPLATES / "viewer.js").read_text(encoding="utf-8")
    environment = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True, keep_trailing_newline=True
    )
    template = environment.from_string((TEMPLATES / "page.html.j2").read_text(encoding="utf-8"))
    main, full = results.table(results.main_metrics()), results.table(results.measured)
    pairs = _within(pair_views({name: entry.cases for name, entry in scores.items()}), PICTURE_BYTES)
    boxes, curves = _boxes(results, comparison.values), _curves(scores)
    niivue = load_niivue() if has_volumes(scores) else None
    plots = [*boxes, *([curves] if curves else [])]
    taken = _size(pairs) + sum(len(plot.svg) + len(plot.csv) for plot in plots) + len(script) + SPARE_BYTES
    budget = PAGE_BYTES - taken - (len(niivue.packed) if niivue else 0)
    shown = viewer(scores, results, budget)
    if shown is None or not shown.volumes:
        niivue = None
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
        boxes=boxes,
        curves=curves,
        pairs=pairs,
        viewer=shown,
        overlays=_overlays(scores),
        niivue=niivue,
        script=Markup(script),  # noqa: S704 - a file of the package
        policy=_policy(shown, script, niivue),
        outlined=any(pair.labels for pair in pairs),
        names=results.names,
        figures=figures,
    )


def _explained(results: Results) -> list[tuple[str, str]]:
    """Each kind of metric once, whatever the number of labels."""
    found: dict[str, str] = {}
    for name in results.main_metrics():
        shown = metric(name)
        found.setdefault(shown.long_title, shown.explanation)
    return list(found.items())


def _within(pairs: list[PairView], most: int) -> list[PairView]:
    """As many of the pairs as their pictures leave room for, spread evenly over them."""
    while len(pairs) > 1 and _size(pairs) > most:
        pairs = [pairs[index] for index in spread_evenly(len(pairs) - 1, len(pairs))]
    return pairs


def _size(pairs: Sequence[PairView]) -> int:
    return sum(
        len(picture.source)
        for pair in pairs
        for pictures in (pair.images, *(strip.pictures for strip in pair.strips))
        for picture in pictures
    )


def _overlays(scores: Mapping[str, Scores]) -> dict[str, str]:
    """The maps that any stack has, with their names."""
    have = {name for entry in scores.values() for stack in entry.stacks[:1] for name in stack.images}
    return {key: name for key, (name, _, _) in OVERLAYS.items() if key in have}


def _policy(shown: Viewer | None, script: str, niivue: NiiVue | None) -> Markup:
    """The content security policy: nothing from outside, and no script but the two that the page brings along."""
    scripts = [digest(script.encode())] if shown else []
    rules = {"script-src": " ".join(scripts + ([niivue.digest] if niivue else [])) or "'none'"}
    if niivue:
        rules["connect-src"] = "data: blob:"  # its shaders' tables and its font are addresses of that kind
    rules |= {
        "img-src": "data: blob:",
        "style-src": "'unsafe-inline'",
        "base-uri": "'none'",
        "form-action": "'none'",
    }
    # An address holds no quotes, and a digest no sign of markup.
    return Markup("default-src 'none'; " + "; ".join(f"{key} {value}" for key, value in rules.items()))  # noqa: S704


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
            continue  # nothing to see that the table does not say
        figure = box_plot(patients, title=shown.long_heading)
        svg = inline_svg(figure, f"box{number}", f"Box plot of {shown.long_name} for each evaluation")
        points = of_metric.assign(value=shown.scale * of_metric["value"], unit=shown.unit)
        plots.append(Plot(name, shown.long_name, svg, csv_uri(points[["row", "patient", "value", "unit"]])))
    return plots


def _curves(scores: Mapping[str, Scores]) -> Plot | None:
    """The sparsification curves of the evaluations that have a noise map, in their colours."""
    curves: dict[str, Curve] = {}
    colours: list[str] = []
    numbers: list[pd.DataFrame] = []
    for index, (name, entry) in enumerate(scores.items()):
        table = entry.sparsification
        if table is None or "mse" not in table:
            continue
        patients = entry.per_patient()
        area = float(patients["ause"].mean()) if "ause" in patients else float("nan")
        curves[name] = Curve(
            fraction=table["fraction"].to_numpy(dtype=float),
            error=table["mse"].to_numpy(dtype=float),
            oracle=table["oracle"].to_numpy(dtype=float),
            ause=metric("ause").format(area, unit=True) if np.isfinite(area) else "",
        )
        colours.append(colour(index))
        numbers.append(table.assign(row=name)[["row", "fraction", "mse", "oracle"]])
    if not curves:
        return None
    figure = sparsification_curves(curves, colours=colours)
    title = f"Sparsification curves of {', '.join(curves)} with their oracles"
    return Plot("sparsification", title, inline_svg(figure, "curves", title), csv_uri(pd.concat(numbers)))
