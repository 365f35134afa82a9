"""Sparsification curves of the evaluations that have a noise map."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from heteroreg.evaluation.metrics import metric
from heteroreg.evaluation.scores import Scores
from heteroreg.system.arrays import Floats


@dataclass(frozen=True)
class SparsificationCurve:
    """The error of the remaining voxels after removing the most uncertain ones.

    Attributes:
        name: Name of the evaluation.
        index: Index of the evaluation in the comparison, which gives its colour.
        fraction: Removed fraction of the voxels, from 0 up.
        error: Mean squared error of the rest, removed by predicted uncertainty.
        oracle: Mean squared error of the rest, removed by the error itself: the best possible order.
        ause: Area between the two, mean over patients; NaN where it is unknown.
    """

    name: str
    index: int
    fraction: Floats
    error: Floats
    oracle: Floats
    ause: float

    @property
    def printed_ause(self) -> str:
        """AUSE with its unit, for a legend; empty where it is unknown."""
        return f" · AUSE {metric('ause').format(self.ause, unit=True)}" if math.isfinite(self.ause) else ""


def curves_of(scores: Mapping[str, Scores], suffix: str = "") -> list[SparsificationCurve]:
    """Return the curves of the evaluations, over all voxels, or over the foreground with `_foreground`."""
    found = []
    for index, (name, one) in enumerate(scores.items()):
        table = one.sparsification
        if table is None or f"mse{suffix}" not in table:
            continue
        fraction, error, oracle = (
            table[key].to_numpy(dtype=float) for key in ("fraction", f"mse{suffix}", f"oracle{suffix}")
        )
        patients = one.per_patient()
        ause = float(patients[f"ause{suffix}"].mean()) if f"ause{suffix}" in patients else math.nan
        found.append(SparsificationCurve(name, index, fraction, error, oracle, ause))
    return found
