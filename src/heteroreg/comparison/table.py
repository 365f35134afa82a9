"""The table of a comparison: rows of evaluations, columns of metrics."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, cast

import pandas as pd

from heteroreg.comparison.result import Result
from heteroreg.evaluation.metrics import IN_VOXELS, Metric, metric
from heteroreg.evaluation.scores import Scores

# The metric that shows whether a displacement deforms, and the share of the largest below which it has collapsed.
MOTION, COLLAPSED = "sd_log_jacobian", 0.05


@dataclass(frozen=True)
class ComparisonTable:
    """Evaluations of one cohort side by side.

    A row of the comparison is one evaluation, or several of one method that differ in the seed of the training.

    Attributes:
        table: One line for each row and metric: `row`, `metric`, and the attributes of `Result`.
        values: One line for each row, metric and patient: `row`, `metric`, `patient`, `value` (the mean over the
            seeds).
        repeats: Name of the row → the scores of its seeds, in the order of the rows.
        baseline: The row that the others are tested against.
        left_out: Metric → number of slices or pairs that are left out because an evaluation lacks the metric there.
        given_names: Names of labels by number, over those of the evaluations.
    """

    table: pd.DataFrame
    values: pd.DataFrame
    repeats: Mapping[str, Sequence[Scores]]
    baseline: str
    left_out: Mapping[str, int]
    given_names: Mapping[str, str] = field(default_factory=dict)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(map(repr, self.rows))}; {len(self.metrics)} metrics)"

    @property
    def rows(self) -> list[str]:
        """The names of the rows, in order."""
        return list(self.repeats)

    @property
    def metrics(self) -> list[str]:
        """The metrics that any row has, in order."""
        return list(self.table["metric"].unique())

    @property
    def scores(self) -> dict[str, Scores]:
        """Name of the row → the scores of its first seed, to show single registrations of."""
        return {row: scores[0] for row, scores in self.repeats.items()}

    @property
    def seeds(self) -> int:
        """The largest number of seeds behind a row."""
        return max(len(scores) for scores in self.repeats.values())

    @cached_property
    def label_names(self) -> dict[int, str]:
        """Names of labels: those given, and those of the first evaluation that names a label."""
        found = {int(label): name for label, name in self.given_names.items()}
        for scores in self.repeats.values():
            for label, name in scores[0].label_names.items():
                found.setdefault(label, name)
        return found

    def label_called(self, label: int) -> str:
        """Return the name of a label, or `label 2` for one without."""
        return self.label_names.get(label, f"label {label}")

    def column(self, name: str) -> Metric:
        """Return the metric of a column, in the units and with the label names of this comparison."""
        return metric(name, voxels=self.mode in IN_VOXELS, names=self.label_names)

    @property
    def mode(self) -> str:
        """The way of scoring: `standard`, `reference` or `learn2reg`."""
        return str(next(iter(self.repeats.values()))[0].summary["mode"])

    def result(self, row: str, metric: str) -> Result | None:
        """Return one line of the table; None if the row does not have the metric."""
        return self._results.get((row, metric))

    def moves(self, row: str) -> bool:
        """Return False for a row whose displacement has collapsed: it hardly deforms, next to the others.

        Its residual is that of no registration, which is easy to predict: its noise scores are no merit.
        """
        spreads = {name: self.result(name, MOTION) for name in self.rows}
        known = [one.mean for one in spreads.values() if one is not None and math.isfinite(one.mean)]
        own = spreads[row]
        return own is None or not known or not own.mean < COLLAPSED * max(known)

    def candidates(self, column: Metric) -> list[str]:
        """Return the rows that may be the best of a column."""
        return [row for row in self.rows if column.group != "noise" or self.moves(row)]

    def misses(self) -> list[tuple[str, int, int, int]]:
        """Return row, label, in how many slices or pairs the row lost the label, and out of how many."""
        found = []
        for row, scores in self.repeats.items():
            for label in sorted({int(label) for one in scores for label in one.summary["labels"]}):
                counts = [one.summary["labels"].get(str(label), {"rows": 0, "missed": 0}) for one in scores]
                missed, rows = (sum(count[key] for count in counts) for key in ("missed", "rows"))
                if missed:
                    found.append((row, label, missed, rows))
        return found

    @cached_property
    def _results(self) -> dict[tuple[str, str], Result]:
        lines = cast("list[dict[str, Any]]", self.table.to_dict("records"))
        return {(line.pop("row"), line.pop("metric")): Result(**line) for line in lines}
