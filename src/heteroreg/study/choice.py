"""Choice of a grid point on the validation pairs, and its record."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from heteroreg.study.matrix import StudyRow
from heteroreg.study.runs import Trained
from heteroreg.system.text import csv_text


@dataclass(frozen=True)
class Choice:
    """Chosen point of a row.

    Attributes:
        row: The row.
        point: The best point on the validation pairs; the earlier of two equal ones.
        metric: Metric that it was chosen by.
        score: Its score there, of the first seed.
        edge: Swept settings at the end of their values: values beyond may be better.
    """

    row: StudyRow
    point: Mapping[str, Any]
    metric: str
    score: float
    edge: tuple[str, ...]

    def __str__(self) -> str:
        point = " ".join(f"{key}={value}" for key, value in self.point.items()) or "its defaults"
        text = f"chosen for {self.row.network} {self.row.label}: {point} ({self.metric} {self.score:.4f})"
        if self.edge:
            text += f"; {' and '.join(self.edge)} at the end of the grid: add values beyond"
        return text


def choose(row: StudyRow, runs: Sequence[Trained], metric: str) -> Choice:
    """Return the point whose best checkpoint has the highest score on the validation pairs.

    Args:
        row: The row.
        runs: Its runs with the first seed, one for each point.
        metric: Column of `metrics.csv`.

    Raises:
        UserError: A run has no such score.
    """
    scores = [run.validation(metric)[1] for run in runs]
    best = max(range(len(runs)), key=scores.__getitem__)
    point = runs[best].point
    return Choice(row, point, metric, scores[best], _edge(row, point))


def chosen_table(runs: Sequence[Trained], choices: Sequence[Choice], metric: str) -> str:
    """Return all validation scores as CSV; `chosen` marks the chosen points.

    Columns: `network`, `row`, `method`, `seed`, a column for each setting of the grids, `run`, `step` (of the best
    checkpoint), the metric, `chosen`, `edge` (swept settings whose chosen value is the first or last).
    """
    keys = list(dict.fromkeys(key for choice in choices for key in choice.row.grid))
    of = {choice.row.name: choice for choice in choices}
    lines = []
    for run in runs:
        choice = of[run.row.name]
        step, score = run.validation(metric)
        chosen = run.point == choice.point
        lines.append(
            {
                "network": run.row.network,
                "row": run.row.label,
                "method": run.row.method,
                "seed": run.seed,
                **{key: run.point.get(key) for key in keys},
                "run": run.folder.name,
                "step": step,
                metric: score,
                "chosen": chosen,
                "edge": " ".join(choice.edge) if chosen else "",
            }
        )
    return csv_text(pd.DataFrame(lines))


def _edge(row: StudyRow, point: Mapping[str, Any]) -> tuple[str, ...]:
    swept = {
        key: [value for value in values if isinstance(value, int | float) and not isinstance(value, bool)]
        for key, values in row.grid.items()
    }
    ends = {key: (min(values), max(values)) for key, values in swept.items() if len(values) > 1}
    return tuple(key for key, both in ends.items() if point[key] in both)
