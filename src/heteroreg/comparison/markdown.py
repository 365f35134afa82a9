"""A comparison as Markdown tables, laid out as the paper's."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from heteroreg.comparison.differences import to_differences
from heteroreg.comparison.marks import NOTHING, heading, shown
from heteroreg.evaluation.metrics import Metric, metric

if TYPE_CHECKING:
    from heteroreg.comparison.compare import Comparison

REGULARITY = ("folding_percent", "sd_log_jacobian", "seconds")
UNCERTAINTY = ("displacement_sd_mean", "displacement_sd_cv")
TRUTH = (
    "epe",
    "noise_correlation",
    "noise_rank_correlation",
    "noise_ratio",
    "displacement_sd_correlation",
    "displacement_sd_ratio",
    "displacement_coverage_68",
    "displacement_coverage_95",
)
DIGITS = {"folding_percent": 3, "sd_log_jacobian": 3}


def to_markdown(comparison: Comparison) -> str:
    """One table for each label, then regularity, noise and truth; mean ± sd over patients in the cells.

    The best mean of a column is bold; `*` marks a mean that differs from the baseline's with p < 0.05 (paired
    t-test over patients, Holm's correction over the rows).
    """
    known = {name: described for name in comparison.metrics if (described := metric(name))}
    labels = sorted({one.label for one in known.values() if one.label is not None})
    plain = [name for name, one in known.items() if one.label is None]
    groups = [(f"Label {label}", [n for n, one in known.items() if one.label == label]) for label in labels]
    groups += [
        ("Regularity and time", [name for name in plain if name in REGULARITY]),
        ("Noise", [name for name in plain if name not in REGULARITY + UNCERTAINTY + TRUTH]),
        ("Displacement uncertainty", [name for name in plain if name in UNCERTAINTY]),
        ("Against the truth", [name for name in plain if name in TRUTH]),
    ]
    cells = {(line["row"], line["metric"]): line for line in comparison.table.to_dict("records")}
    parts = ["# Comparison", _head(comparison)]
    for title, names in groups:
        if names:
            table = _table(comparison, [known[name] for name in names], cells)
            parts += [f"## {title}", table]
    if len(comparison.rows) > 1 or comparison.seeds > 1:
        parts += to_differences(comparison, cells)
    return "\n\n".join([*parts, *_notes(comparison)]) + "\n"


def _table(comparison: Comparison, columns: Sequence[Metric], cells: dict[tuple[str, str], Any]) -> str:
    best = {column.name: _best(column, comparison, cells) for column in columns}
    lines = [
        "| | " + " | ".join(heading(column, comparison.mode) for column in columns) + " |",
        "|---" + "|---:" * len(columns) + "|",
    ]
    for row in comparison.rows:
        texts = [_cell(column, cells.get((row, column.name)), best[column.name]) for column in columns]
        lines.append(f"| {shown(row)} | " + " | ".join(texts) + " |")
    return "\n".join(lines)


def _best(column: Metric, comparison: Comparison, cells: dict[tuple[str, str], Any]) -> float:
    means: list[float] = [cells[row, column.name]["mean"] for row in comparison.rows if (row, column.name) in cells]
    if column.higher_is_better is None or len(means) < 2:
        return math.nan
    return max(means) if column.higher_is_better else min(means)


def _cell(column: Metric, line: Any, best: float) -> str:
    if line is None:
        return NOTHING
    digits = DIGITS.get(column.name, 2)
    text = f"{line['mean'] * column.scale:.{digits}f}"
    text = f"**{text}**" if line["mean"] == best else text
    spread = f" ± {line['sd'] * column.scale:.{digits}f}" if math.isfinite(line["sd"]) else ""
    return text + spread + (r"\*" if line["p_holm"] < 0.05 else "")


def _head(comparison: Comparison) -> str:
    first = next(iter(comparison.scores.values()))
    counts = first.summary["counts"]
    rows = f", {counts['rows']} slices" if first.slicewise else ""
    return (
        f"{counts['patients']} patients, {counts['pairs']} pairs{rows}; metrics: {comparison.mode}; "
        f"baseline: {shown(comparison.baseline)}."
    ) + (f" Each row is the mean of its seeds, up to {comparison.seeds}." if comparison.seeds > 1 else "")


def _notes(comparison: Comparison) -> list[str]:
    notes = [
        "Mean ± standard deviation over patients; the best mean of a column is bold. \\* differs from the "
        "baseline with p < 0.05: paired t-test over patients, Holm's correction over the rows. Intervals, "
        "differences and Wilcoxon's test are in `table.csv`."
    ]
    misses = [
        f"{shown(row)} lost label {label} in {missed} of {rows} rows"
        for row, label, missed, rows in comparison.misses()
    ]
    if misses:
        what = "Dice 0" if comparison.mode == "standard" else "no score, as in the paper"
        notes.append(f"Misses ({what}): {'; '.join(misses)}.")
    dropped = {name: count for name, count in comparison.left_out.items() if count}
    if dropped:
        listed = ", ".join(f"{name} {count}" for name, count in dropped.items())
        notes.append(f"Rows left out because one of the evaluations has no value there: {listed}.")
    return notes
