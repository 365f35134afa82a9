"""The differences to the baseline as Markdown, with their tests."""

from __future__ import annotations

import math

from heteroreg.comparison.escape import escaped
from heteroreg.comparison.numbers import interval, p_number, p_value, verdict
from heteroreg.comparison.result import Result
from heteroreg.comparison.table import ComparisonTable
from heteroreg.evaluation.metrics import MINUS, Metric

# Label 2 is the myocardium in each of the cardiac data sets that are read.
PREFERRED_DICE = ("dice_2", "dice_1")
COLUMNS = (
    "Dice (%)",
    "sd over patients",
    "seeds",
    "sd over seeds",
    "difference (points)",
    "95 % interval",
    "p, t-test",
    "p, Wilcoxon",
    "p, Holm",
    "",
)


def to_differences(comparison: ComparisonTable) -> list[str]:
    """Return a table of differences for the Dice of each label, and one line for each row of the main table.

    Returns:
        Paragraphs of Markdown; an empty list if no label was scored.
    """
    dice = [comparison.column(name) for name in comparison.metrics if name.startswith("dice_")]
    names = [one.name for one in dice]
    main = next((name for name in PREFERRED_DICE if name in names), names[0] if names else None)
    parts = []
    for column in dice:
        parts += [f"## {escaped(column.spoken)} against {escaped(comparison.baseline)}", _table(comparison, column)]
        if column.name == main:
            lines = [_line(comparison, row, column) for row in comparison.rows]
            parts += ["\n".join(f"- {line}" for line in lines if line)]
    return [part for part in parts if part]


def _table(comparison: ComparisonTable, column: Metric) -> str:
    lines = ["| | " + " | ".join(COLUMNS) + " |", "|---" + "|---:" * (len(COLUMNS) - 1) + "|---|"]
    for row in comparison.rows:
        result = comparison.result(row, column.name)
        if result is not None:
            texts = _texts(result, column, is_baseline=row == comparison.baseline)
            lines.append(f"| {escaped(row)} | " + " | ".join(texts) + " |")
    return "\n".join(lines)


def _texts(result: Result, column: Metric, *, is_baseline: bool) -> list[str]:
    if is_baseline:
        mark = "baseline"
    elif not result.tested:
        mark = "no test"
    elif result.better is None:
        mark = "not significant"
    else:
        mark = f"\\* {verdict(result.p_holm, result.better)}"
    return [
        column.format(result.mean),
        column.format(result.sd),
        str(result.seeds),
        column.format(result.sd_seeds),
        column.format(result.difference, sign=True),
        interval(column, result.difference_low, result.difference_high, sign=True),
        *(p_number(p) for p in (result.p_t, result.p_wilcoxon, result.p_holm)),
        mark,
    ]


def _line(comparison: ComparisonTable, row: str, column: Metric) -> str:
    """`hetero − mse: +0.03 points [−0.20, +0.30], p = 0.80 (Wilcoxon 0.75, Holm 1.00): no difference escaped`."""
    result, base = (comparison.result(name, column.name) for name in (row, comparison.baseline))
    if result is None or base is None or row == comparison.baseline or not result.compared:
        return ""
    text = f"{escaped(row)} {MINUS} {escaped(comparison.baseline)}: "
    text += column.format(result.difference, sign=True, unit=True)
    if result.tested:
        text += f" {interval(column, result.difference_low, result.difference_high, sign=True)}"
        text += f", {p_value(result.p_t)}"
        text += f" (Wilcoxon {p_number(result.p_wilcoxon)}, Holm {p_number(result.p_holm)})"
    if math.isfinite(result.sd_seeds) and math.isfinite(base.sd_seeds):
        text += f", sd over seeds {column.format(result.sd_seeds)} and {column.format(base.sd_seeds)}"
    return f"{text}: {verdict(result.p_holm, result.better)}"
