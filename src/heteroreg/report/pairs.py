"""Static figures of the pairs, for print and for readers without scripts."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from heteroreg.evaluation.gallery import Case, spread_evenly
from heteroreg.evaluation.metrics import Metric
from heteroreg.evaluation.scores import Scores
from heteroreg.registration.plot import plot_registrations
from heteroreg.report.embed import data_uri
from heteroreg.system.progress import progress, reported


@dataclass(frozen=True)
class PairFigure:
    """The figure of one pair and its scores.

    Attributes:
        title: Pair and slice.
        source: The figure as a `data:` address.
        width: Width in pixels.
        height: Height in pixels.
        scores: Name of each evaluation with its scores, as text.
    """

    title: str
    source: str
    width: int
    height: int
    scores: tuple[tuple[str, tuple[str, ...]], ...]


def pair_figures(
    scores: Mapping[str, Scores],
    columns: Sequence[Metric],
    budget: int,
    label_names: Mapping[int, str] | None = None,
) -> list[PairFigure]:
    """Draw the pairs in the galleries of several evaluations.

    Args:
        scores: Name of the evaluation → its scores. Evaluations may lack a pair.
        columns: The scores to print with each pair.
        budget: Maximum number of bytes of all figures. Beyond it, pairs spread evenly over all are kept.
        label_names: Names of labels for the legends.

    Returns:
        The pairs in the order in which they first occur.
    """
    pairs = by_pair({name: entry.cases for name, entry in scores.items()})
    with progress("drawing the pairs", len(pairs)) as report:
        figures = [_pair_figure(pair, scores, columns, label_names) for pair in reported(pairs, report)]
    while len(figures) > 1 and sum(len(figure.source) for figure in figures) > budget:
        figures = [figures[index] for index in spread_evenly(len(figures) - 1, len(figures))]
    return figures


def by_pair(cases: Mapping[str, Iterable[Case]]) -> list[dict[str, Case]]:
    """Group the cases of several evaluations by pair and slice.

    Args:
        cases: Name of the evaluation → its cases.

    Returns:
        For each pair, in the order in which they first occur, name of the evaluation → its case. Evaluations that
        lack the pair are left out.
    """
    pairs: dict[tuple[str, str], dict[str, Case]] = {}
    for name, entries in cases.items():
        for case in entries:
            pairs.setdefault((case.id, str(case.slice)), {})[name] = case
    return list(pairs.values())


def case_title(case: Case) -> str:
    """Return `P07, slice 4`, or the id alone for a single 2D image."""
    return case.id if case.slice is None else f"{case.id}, slice {case.slice}"


def pair_scores(entry: Scores, columns: Sequence[Metric], ids: list[str]) -> list[list[float | None]]:
    """Return for each metric the mean of each pair over its slices, in the unit in which it is shown."""
    names = [column.name for column in columns]
    means = entry.table.reindex(columns=["id", *names]).groupby("id").mean().reindex(ids)
    return [
        [float(f"{value:.6g}") if math.isfinite(value) else None for value in column.scale * means[name]]
        for column, name in zip(columns, names, strict=True)
    ]


def _pair_figure(
    pair: Mapping[str, Case],
    scores: Mapping[str, Scores],
    columns: Sequence[Metric],
    label_names: Mapping[int, str] | None,
) -> PairFigure:
    first = next(iter(pair.values()))
    figure = plot_registrations(
        {name: _with_widths(case, scores[name].error_widths) for name, case in pair.items()}, label_names
    )
    width, height = (round(inches * figure.dpi) for inches in figure.get_size_inches())
    printed = []
    for name in pair:
        values = [means[0] for means in pair_scores(scores[name], columns, [first.id])]
        printed.append((name, tuple(map(_printed, columns, values))))
    return PairFigure(case_title(first), data_uri(figure), width, height, tuple(printed))


def _with_widths(case: Case, widths: Mapping[str, float]) -> Case:
    """Return a case with the width of each label's band, for the one level that the gallery shows."""
    return replace(case, error_scales={label: {0: width} for label, width in widths.items()})


def _printed(column: Metric, value: float | None) -> str:
    return column.format(math.nan if value is None else value / column.scale)
