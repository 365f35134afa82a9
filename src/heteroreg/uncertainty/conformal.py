"""Conformal prediction over patients: finite-sample levels without an assumption on the distribution."""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray


def largest_level(patients: int) -> float:
    """Return the largest level that a number of calibration patients can give, n/(n + 1).

    >>> largest_level(19)
    0.95
    """
    return patients / (patients + 1)


def patients_for(level: float) -> int:
    """Return the number of patients that a level needs.

    >>> patients_for(0.95)
    19
    """
    return math.ceil(round(level / (1 - level), 9))


def quantile(scores: NDArray[Any], patients: Sequence[Hashable] | NDArray[Any], level: float) -> float:
    """Return the bound that a random score of a new patient does not exceed with at least this probability.

    Patients are exchangeable, the points of one patient are not. So each of the n patients has the weight
    1/(n + 1), shared equally by its scores, and the new patient's 1/(n + 1) lies at infinity. The bound is the
    smallest score at which the weights up to it reach the level. With one score a patient it is the
    ⌈(n + 1)·level⌉-th smallest score, as in split conformal prediction.

    Dunn, Wasserman & Ramdas, JASA 2023; Lee, Barber & Willett, 2023 (hierarchical conformal prediction).

    >>> quantile(np.array([1.0, 2.0, 3.0]), ["a", "b", "c"], 0.5)
    2.0
    >>> quantile(np.array([1.0, 2.0, 3.0]), ["a", "b", "c"], 0.8)  # three patients give at most 0.75
    inf

    Args:
        scores: Scores of the points of all patients (n,).
        patients: The patient of each.
        level: 0 to 1.

    Returns:
        The bound; infinite if there are too few patients for the level.
    """
    scores = np.asarray(scores, dtype=np.float64)
    if scores.size == 0:
        return math.inf
    weights = patient_weights(patients)
    count = round(weights.sum())
    order = np.argsort(scores, kind="stable")
    reached = np.cumsum(weights[order]) / (count + 1)
    at = int(np.searchsorted(reached, level - 1e-9))
    return math.inf if at == scores.size else float(scores[order[at]])


def patient_weights(patients: Sequence[Hashable] | NDArray[Any]) -> NDArray[np.float64]:
    """Return the weight of each score: those of a patient sum to 1.

    >>> patient_weights(["a", "a", "b"])
    array([0.5, 0.5, 1. ])
    """
    _, group, count = np.unique(np.asarray(patients), return_inverse=True, return_counts=True)
    return np.asarray(1 / count[group], dtype=np.float64)


def conformal_p_value(score: float, scores: NDArray[Any]) -> float:
    """Return the conformal p-value of a score: (1 + the number of calibration scores that are not smaller)/(n + 1).

    If the score is exchangeable with the others, the value is at most p with probability p at most.

    >>> conformal_p_value(5.0, np.array([1.0, 2.0, 3.0]))
    0.25
    """
    return (1 + int(np.count_nonzero(np.asarray(scores) >= score))) / (len(scores) + 1)
