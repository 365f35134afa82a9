"""The comparison as tables for the page: which columns, which cells, which is best."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

import pandas as pd

from heteroreg.comparison import Comparison
from heteroreg.evaluation.metrics import IN_VOXELS
from heteroreg.report.wording import Column, column, p_value

ALPHA = 0.05
# The paper's metrics, regularity, and what a known truth adds. Everything else is in the whole table.
MAIN = ("dice", "hd", "asd", "epe", "folding_percent", "sd_log_jacobian", "ause", "noise_correlation")
MOST_LABELS = 3


@dataclass(frozen=True)
class Result:
    """One metric of one evaluation, and how it differs from the baseline; NaN where there is nothing.

    Attributes:
        n: Number of patients.
        seeds: Number of seeds.
        mean: Mean over the patients.
        sd: Standard deviation over the patients.
        low: Lower end of the bootstrap interval of the mean.
        high: Upper end.
        difference: Mean of the paired differences to the baseline.
        difference_low: Lower end of its interval.
        difference_high: Upper end.
        p: p-value of the paired t-test after Holm's correction.
        sd_seeds: Standard deviation over the seeds.
    """

    n: int
    seeds: int
    mean: float
    sd: float
    low: float
    high: float
    difference: float
    difference_low: float
    difference_high: float
    p: float
    sd_seeds: float

    @property
    def compared(self) -> bool:
        """Whether there is a difference to the baseline."""
        return math.isfinite(self.difference)

    @property
    def significant(self) -> bool:
        """Whether the difference is significant at 5 % after Holm's correction."""
        return self.p < ALPHA


@dataclass(frozen=True)
class Cell:
    """One cell of the table, as text."""

    mean: str
    sd: str
    interval: str
    difference: str
    difference_interval: str
    p: str
    significant: bool
    best: bool
    n: int
    seeds: str = ""


@dataclass(frozen=True)
class Row:
    """One evaluation in the table."""

    name: str
    index: int
    baseline: bool
    cells: tuple[Cell | None, ...]


@dataclass(frozen=True)
class Table:
    """A table for the page."""

    columns: tuple[Column, ...]
    rows: tuple[Row, ...]

    @property
    def groups(self) -> list[tuple[Column, int]]:
        """Neighbouring columns of one kind of metric: the first of them, and how many."""
        runs = [list(run) for _, run in groupby(self.columns, key=lambda column: column.kind)]
        return [(run[0], len(run)) for run in runs]

    @property
    def labelled(self) -> bool:
        """Whether any column is about a label."""
        return any(column.metric.label is not None for column in self.columns)


class Results:
    """The results of a comparison, by evaluation and metric."""

    def __init__(self, comparison: Comparison) -> None:
        table = comparison.table
        self.names: list[str] = comparison.rows
        self.metrics: list[str] = comparison.metrics
        self.baseline = comparison.baseline
        self.voxels = comparison.mode in IN_VOXELS
        self._found = {(str(row["row"]), str(row["metric"])): _result(row) for _, row in table.iterrows()}

    def get(self, name: str, metric: str) -> Result | None:
        """The result, or None where this evaluation does not have the metric."""
        result = self._found.get((name, metric))
        return result if result is not None and math.isfinite(result.mean) else None

    def best(self, metric: str) -> str | None:
        """The evaluation with the best mean; None where there is none, or neither direction is better."""
        shown = self.column(metric)
        if shown.metric.higher_is_better is None:
            return None
        best: tuple[str, float] | None = None
        for name in self.names:
            result = self.get(name, metric)
            if result is not None and (best is None or shown.better(result.mean, best[1])):
                best = (name, result.mean)
        return best[0] if best else None

    def column(self, metric: str) -> Column:
        """How to show a metric here."""
        return column(metric, voxels=self.voxels)

    @property
    def measured(self) -> list[str]:
        """The metrics that at least one evaluation has."""
        return [name for name in self.metrics if any(self.get(row, name) for row in self.names)]

    @property
    def patients(self) -> int:
        """The largest number of patients behind any mean."""
        return max((result.n for result in self._found.values()), default=0)

    @property
    def main_metric(self) -> str | None:
        """The metric that the summary speaks of.

        Dice of label 2, since that is the myocardium in each of the cardiac data sets that the package reads;
        else the first Dice, else the first of `MAIN` that there is.
        """
        measured = self.measured
        order = ["dice_2", *(name for base in MAIN for name in measured if _base(name) == base)]
        return next((name for name in order if name in measured), measured[0] if measured else None)

    def main_metrics(self) -> list[str]:
        """The columns of the short table."""
        labels = sorted({column(name).metric.label for name in self.measured} - {None}, key=lambda k: k or 0)
        shown = {None, *labels[:MOST_LABELS]}
        return [
            name
            for base in MAIN
            for name in self.measured
            if _base(name) == base and column(name).metric.label in shown and not (base == "epe" and name != "epe")
        ]

    def table(self, metrics: Sequence[str]) -> Table:
        """The table with these columns, a row for each evaluation."""
        rows = [
            Row(name, index, name == self.baseline, tuple(self._cell(name, metric) for metric in metrics))
            for index, name in enumerate(self.names)
        ]
        return Table(tuple(self.column(metric) for metric in metrics), tuple(rows))

    def _cell(self, name: str, metric: str) -> Cell | None:
        result, shown = self.get(name, metric), self.column(metric)
        if result is None:
            return None
        best = self.best(metric)
        winner = self.get(best, metric) if best else None
        # Equal as printed is equal: nobody should read a winner out of decimals that are not shown.
        texts = {shown.number(other.mean) for row in self.names if (other := self.get(row, metric))}
        is_best = winner is not None and shown.number(result.mean) == shown.number(winner.mean) and len(texts) > 1
        return Cell(
            mean=shown.number(result.mean),
            sd=shown.number(result.sd) if result.n > 1 else "",
            interval=_interval(shown, result.low, result.high) if result.n > 1 else "",
            difference=shown.number(result.difference, sign=True) if result.compared else "",
            difference_interval=(
                _interval(shown, result.difference_low, result.difference_high, sign=True)
                if result.compared
                else ""
            ),
            p=p_value(result.p) if result.compared and name != self.baseline else "",
            significant=result.significant,
            best=is_best,
            n=result.n,
            seeds=f"± {shown.number(result.sd_seeds)} over {result.seeds} seeds" if result.seeds > 1 else "",
        )


def _result(row: pd.Series[Any]) -> Result:
    names = ("mean", "sd", "low", "high", "difference", "difference_low", "difference_high", "p_holm", "sd_seeds")
    return Result(int(row["n"]), int(row["seeds"]), *(float(row[name]) for name in names))


def _interval(shown: Column, low: float, high: float, *, sign: bool = False) -> str:
    if not (math.isfinite(low) and math.isfinite(high)):
        return ""
    return f"{shown.number(low, sign=sign)} to {shown.number(high, sign=sign)}"


def _base(metric: str) -> str:
    return re.sub(r"_\d+$", "", metric)
