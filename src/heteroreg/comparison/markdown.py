"""A comparison as Markdown tables, in the layout of the paper's."""

from __future__ import annotations

import math
from collections.abc import Sequence

from heteroreg.comparison.differences import to_differences
from heteroreg.comparison.escape import escaped
from heteroreg.comparison.label_tables import label_tables
from heteroreg.comparison.numbers import mean_and_sd
from heteroreg.comparison.result import Result
from heteroreg.comparison.table import ComparisonTable
from heteroreg.evaluation.metrics import MISSING, Group, Metric, metric

TITLES: dict[Group, str] = {
    "regularity": "Regularity and time",
    "noise": "Noise",
    "uncertainty": "Displacement uncertainty",
    "error": "Calibrated error",
    "truth": "Against the truth",
}


def to_markdown(comparison: ComparisonTable) -> str:
    """Return one table for each label, then regularity, noise and truth; mean ± sd over patients in the cells.

    The best mean of a column is bold; `*` marks a mean that differs from the baseline's with p < 0.05 (paired
    t-test over patients, Holm's correction over the rows).
    """
    known = [comparison.column(name) for name in comparison.metrics]
    labels = sorted({one.label for one in known if one.label is not None})
    groups = [
        (_title(comparison.label_called(label)), [one for one in known if one.label == label]) for label in labels
    ]
    groups += [(title, [one for one in known if one.group == group]) for group, title in TITLES.items()]
    parts = ["# Comparison", _head(comparison)]
    for title, columns in groups:
        if columns:
            parts += [f"## {title}", _table(comparison, columns)]
    for table in label_tables(comparison):
        head = [f"| {' | '.join(table.head)} |", "|---" * 2 + "|---:" * (len(table.head) - 2) + "|"]
        rows = [f"| {' | '.join(map(escaped, row))} |" for row in table.rows]
        parts += [f"## {table.title}", table.note, "\n".join(head + rows)]
    if len(comparison.rows) > 1 or comparison.seeds > 1:
        parts += to_differences(comparison)
    return "\n\n".join([*parts, *_notes(comparison)]) + "\n"


def _title(name: str) -> str:
    return escaped(name[0].upper() + name[1:])


def _table(comparison: ComparisonTable, columns: Sequence[Metric]) -> str:
    best = {column.name: _best(column, comparison) for column in columns}
    lines = [
        "| | " + " | ".join(column.heading for column in columns) + " |",
        "|---" + "|---:" * len(columns) + "|",
    ]
    for row in comparison.rows:
        texts = [
            _cell(
                column,
                comparison.result(row, column.name),
                best[column.name],
                is_candidate=row in comparison.candidates(column),
            )
            for column in columns
        ]
        lines.append(f"| {escaped(row)} | " + " | ".join(texts) + " |")
    return "\n".join(lines)


def _best(column: Metric, comparison: ComparisonTable) -> float:
    results = [comparison.result(row, column.name) for row in comparison.candidates(column)]
    means = [result.mean for result in results if result is not None]
    scored = sum(comparison.result(row, column.name) is not None for row in comparison.rows)
    if column.higher_is_better is None or not means or scored < 2:
        return math.nan
    return max(means) if column.higher_is_better else min(means)


def _cell(column: Metric, result: Result | None, best: float, *, is_candidate: bool) -> str:
    if result is None:
        return MISSING
    text = mean_and_sd(column, result.mean, result.sd)
    if is_candidate and result.mean == best:
        mean = column.format(result.mean)
        text = f"**{mean}**{text.removeprefix(mean)}"
    return text + (r"\*" if result.significant else "")


def _head(comparison: ComparisonTable) -> str:
    first = next(iter(comparison.scores.values()))
    counts = first.summary["counts"]
    rows = f", {counts['rows']} slices" if first.slicewise else ""
    seeds = f" Each row is the mean of its seeds, up to {comparison.seeds}." if comparison.seeds > 1 else ""
    return (
        f"{counts['patients']} patients, {counts['pairs']} pairs{rows}; metrics: {comparison.mode}; "
        f"baseline: {escaped(comparison.baseline)}.{seeds}"
    )


def _notes(comparison: ComparisonTable) -> list[str]:
    notes = [
        "Mean ± standard deviation over patients; the best mean of a column is bold. \\* differs from the "
        "baseline with p < 0.05: paired t-test over patients, Holm's correction over the rows. Intervals, "
        "differences and Wilcoxon's test are in `table.csv`."
    ]
    misses = [
        f"{escaped(row)} lost {escaped(comparison.label_called(label))} in {missed} of {rows} rows"
        for row, label, missed, rows in comparison.misses()
    ]
    if misses:
        score = "Dice 0" if comparison.mode == "standard" else "no score, as in the paper"
        notes.append(f"Misses ({score}): {'; '.join(misses)}.")
    still = [escaped(row) for row in comparison.rows if not comparison.moves(row)]
    if still and any(metric(name).group == "noise" for name in comparison.metrics):
        notes.append(f"Hardly deforms, and is never the best by its noise map: {', '.join(still)}.")
    dropped = {name: count for name, count in comparison.left_out.items() if count}
    if dropped:
        listed = ", ".join(f"{name} {count}" for name, count in dropped.items())
        notes.append(f"Rows left out because one of the evaluations has no value there: {listed}.")
    return notes
