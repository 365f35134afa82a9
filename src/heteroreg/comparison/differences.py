"""The differences to the baseline in Markdown: what the tests can tell, and what they cannot."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from heteroreg.comparison.marks import NOTHING, shown
from heteroreg.evaluation.metrics import Metric, metric

if TYPE_CHECKING:
    from heteroreg.comparison.compare import Comparison

MAIN = ("dice_2", "dice_1")  # label 2 is the myocardium in each of the cardiac data sets that are read
MINUS = "−"
Cells = Mapping[tuple[str, str], Any]


def to_differences(comparison: Comparison, cells: Cells) -> list[str]:
    """A table of differences for each label's Dice, and a plain line for each row of the main one.

    Args:
        comparison: The comparison.
        cells: (row, metric) → the line of the comparison's table.

    Returns:
        Paragraphs of Markdown; none where no label was scored.
    """
    names = [name for name in comparison.metrics if name.startswith("dice_")]
    if not names:
        return []
    main = next((name for name in MAIN if name in names), names[0])
    parts = []
    for name in names:
        described = metric(name)
        assert described is not None
        parts += [f"## Dice of label {described.label} against {shown(comparison.baseline)}"]
        parts += [_table(comparison, described, cells)]
        if name == main:
            lines = [_line(comparison, row, described, cells) for row in comparison.rows]
            parts += ["\n".join(f"- {line}" for line in lines if line)]
    return [part for part in parts if part]


def _table(comparison: Comparison, column: Metric, cells: Cells) -> str:
    head = ["Dice (%)", "sd over patients", "seeds", "sd over seeds", "difference (points)", "95 % interval"]
    head += ["p, t-test", "p, Wilcoxon", "p, Holm", ""]
    lines = ["| | " + " | ".join(head) + " |", "|---" + "|---:" * (len(head) - 1) + "|---|"]
    for row in comparison.rows:
        line = cells.get((row, column.name))
        if line is None:
            continue
        scaled = {key: line[key] * column.scale for key in ("mean", "sd", "sd_seeds")}
        texts = [_number(scaled["mean"]), _number(scaled["sd"]), str(line["seeds"]), _number(scaled["sd_seeds"])]
        texts += [_signed(line["difference"] * column.scale), _interval(line, column)]
        texts += [_p(line[key]) for key in ("p_t", "p_wilcoxon", "p_holm")]
        texts += ["baseline" if row == comparison.baseline else _mark(line)]
        lines.append(f"| {shown(row)} | " + " | ".join(texts) + " |")
    return "\n".join(lines)


def _line(comparison: Comparison, row: str, column: Metric, cells: Cells) -> str:
    """`hetero − mse: +0.03 points [−0.20, +0.30], p = 0.80 (Wilcoxon 0.75, Holm 1.00): no difference shown`."""
    line = cells.get((row, column.name))
    if line is None or row == comparison.baseline or not math.isfinite(line["difference"]):
        return ""
    names = f"{shown(row)} {MINUS} {shown(comparison.baseline)}"
    text = f"{names}: {_signed(line['difference'] * column.scale)} points"
    if math.isfinite(line["p_holm"]):
        text += f" {_interval(line, column)}, p {_compared(line['p_t'])}"
        text += f" (Wilcoxon {_p(line['p_wilcoxon'])}, Holm {_p(line['p_holm'])})"
    seeds = [cells[name, column.name]["sd_seeds"] for name in (row, comparison.baseline)]
    if all(map(math.isfinite, seeds)):
        text += f", sd over seeds {' and '.join(_number(sd * column.scale) for sd in seeds)}"
    return f"{text}: {_verdict(line)}"


def _verdict(line: Mapping[str, Any]) -> str:
    if not math.isfinite(line["p_holm"]):
        return "too few patients to test"
    if line["better"] is None:
        return "no difference shown"
    return "better" if line["better"] else "worse"


def _mark(line: Mapping[str, Any]) -> str:
    if not math.isfinite(line["p_holm"]):
        return "no test"
    return "not significant" if line["better"] is None else f"\\* {_verdict(line)}"


def _interval(line: Mapping[str, Any], column: Metric) -> str:
    ends = [line[key] * column.scale for key in ("difference_low", "difference_high")]
    return f"[{_signed(ends[0])}, {_signed(ends[1])}]" if all(map(math.isfinite, ends)) else NOTHING


def _number(value: float) -> str:
    return f"{value:.2f}" if math.isfinite(value) else NOTHING


def _signed(value: float) -> str:
    if not math.isfinite(value):
        return NOTHING
    text = f"{abs(value):.2f}"
    return text if float(text) == 0 else f"{'+' if value > 0 else MINUS}{text}"


def _compared(p: float) -> str:
    """`= 0.21`, or `< 0.001`."""
    text = _p(p)
    return f"< {text[1:]}" if text.startswith("<") else f"= {text}"


def _p(value: float) -> str:
    if not math.isfinite(value):
        return NOTHING
    if value < 0.001:
        return "<0.001"
    return f"{value:.3f}" if value < 0.1 else f"{value:.2f}"
