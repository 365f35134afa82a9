"""Tables of the page: columns, cells and the best evaluation."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby

from heteroreg.comparison import Comparison
from heteroreg.comparison.numbers import interval, p_value
from heteroreg.comparison.result import Result
from heteroreg.evaluation.metrics import Metric, metric
from heteroreg.report.wording import unbroken

# The paper's metrics, error bars, regularity, and those against a known truth. The full table has all metrics.
MAIN_METRICS = (
    "dice", "whole_dice", "hd", "asd", "contour_coverage_95", "contour_width", "epe", "folding_percent",
    "sd_log_jacobian", "ause", "noise_correlation",
)  # fmt: skip
TABLE_LABELS = 3


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
class TableRow:
    """One evaluation in the table."""

    name: str
    index: int
    baseline: bool
    cells: tuple[Cell | None, ...]


@dataclass(frozen=True)
class Table:
    """A table for the page."""

    columns: tuple[Metric, ...]
    rows: tuple[TableRow, ...]

    @property
    def groups(self) -> list[tuple[Metric, int]]:
        """First column and number of columns of each run of one kind of metric."""
        runs = [list(run) for _, run in groupby(self.columns, key=lambda column: column.words)]
        return [(run[0], len(run)) for run in runs]

    @property
    def labelled(self) -> bool:
        """True if any column scores a label."""
        return any(column.label is not None for column in self.columns)


class Results:
    """Results of a comparison by evaluation and metric."""

    def __init__(self, comparison: Comparison) -> None:
        self.names: list[str] = comparison.rows
        self.metrics: list[str] = comparison.metrics
        self.baseline = comparison.baseline
        self.label_names = comparison.label_names
        self._comparison = comparison

    def get(self, name: str, metric: str) -> Result | None:
        """Return the result, or None where this evaluation lacks the metric."""
        return self._comparison.result(name, metric)

    def best(self, metric: str) -> str | None:
        """Return the evaluation with the best mean, or None for a metric without a better direction."""
        shown = self.column(metric)
        if shown.higher_is_better is None:
            return None
        best: tuple[str, float] | None = None
        for name in self._comparison.candidates(shown):
            result = self.get(name, metric)
            if result is not None and (best is None or shown.better(result.mean, best[1])):
                best = (name, result.mean)
        return best[0] if best else None

    def column(self, name: str) -> Metric:
        """Return the metric in the units of this comparison."""
        return self._comparison.column(name)

    @property
    def measured(self) -> list[str]:
        """Metrics that at least one evaluation has."""
        return [name for name in self.metrics if any(self.get(row, name) for row in self.names)]

    @property
    def patients(self) -> int:
        """Largest number of patients behind any mean."""
        return int(self._comparison.table["n"].max())

    @property
    def main_metric(self) -> str | None:
        """The metric of the summary.

        It is Dice of label 2, the myocardium in all cardiac data sets that the package reads, or else the first
        Dice, or else the first of `MAIN_METRICS`.
        """
        measured = self.measured
        order = ["dice_2", *(name for base in MAIN_METRICS for name in measured if _base(name) == base)]
        return next((name for name in order if name in measured), measured[0] if measured else None)

    def main_metrics(self) -> list[str]:
        """Return the columns of the short table."""
        labels = sorted({metric(name).label for name in self.measured} - {None}, key=lambda k: k or 0)
        shown = {None, *labels[:TABLE_LABELS]}
        return [
            name
            for base in MAIN_METRICS
            for name in self.measured
            if _base(name) == base and metric(name).label in shown and not (base == "epe" and name != "epe")
        ]

    def table(self, metrics: Sequence[str]) -> Table:
        """Return the table with these columns and a row for each evaluation."""
        rows = [
            TableRow(name, index, name == self.baseline, tuple(self._cell(name, metric) for metric in metrics))
            for index, name in enumerate(self.names)
        ]
        return Table(tuple(self.column(metric) for metric in metrics), tuple(rows))

    def _cell(self, name: str, metric: str) -> Cell | None:
        result, shown = self.get(name, metric), self.column(metric)
        if result is None:
            return None
        best = self.best(metric)
        winner = self.get(best, metric) if best else None
        # Values that are printed alike are equal: decimals that are not shown make no winner.
        texts = {shown.format(other.mean) for row in self.names if (other := self.get(row, metric))}
        candidate = name in self._comparison.candidates(shown)
        is_best = (
            candidate
            and winner is not None
            and shown.format(result.mean) == shown.format(winner.mean)
            and len(texts) > 1
        )
        return Cell(
            mean=shown.format(result.mean),
            sd=shown.format(result.sd) if result.n > 1 else "",
            interval=interval(shown, result.low, result.high) if result.n > 1 else "",
            difference=shown.format(result.difference, sign=True) if result.compared else "",
            difference_interval=(
                interval(shown, result.difference_low, result.difference_high, sign=True) if result.tested else ""
            ),
            p=unbroken(p_value(result.p_holm)) if result.compared and name != self.baseline else "",
            significant=result.significant,
            best=is_best,
            n=result.n,
            seeds=f"± {shown.format(result.sd_seeds)} over {result.seeds} seeds" if result.seeds > 1 else "",
        )


def _base(metric: str) -> str:
    return re.sub(r"_\d+$", "", metric)
