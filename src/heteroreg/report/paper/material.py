"""Choose the pairs and labels that the figures for print show."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from heteroreg.comparison import Comparison
from heteroreg.evaluation.gallery import Case, spread_evenly
from heteroreg.evaluation.metrics import metric
from heteroreg.evaluation.scores import Scores
from heteroreg.report.pairs import by_pair

CasePairs = Sequence[Mapping[str, Case]]

MYOCARDIUM = 2  # in all cardiac data sets that the package reads
CARDIAC = {1, 2, 3}
FIGURE_LABELS = 8
FIGURE_PAIRS = 4


def pictured_pairs(scores: Mapping[str, Scores]) -> list[dict[str, Case]]:
    """Return the pairs in the galleries of the most evaluations."""
    pairs = by_pair({name: one.cases for name, one in scores.items()})
    most = max((len(pair) for pair in pairs), default=0)
    return [pair for pair in pairs if len(pair) == most]


def some(pairs: CasePairs, count: int) -> list[Mapping[str, Case]]:
    """Return this many of the pairs, spread evenly; the middle one if only one."""
    if count == 1 and pairs:
        return [pairs[len(pairs) // 2]]
    return [pairs[index] for index in spread_evenly(count, len(pairs))]


def shown_labels(comparison: Comparison) -> list[int]:
    """Return the myocardium for labels of a heart, or else the scored labels, at most eight."""
    scored = sorted(
        label for name in comparison.metrics if name.startswith("dice_") and (label := metric(name).label)
    )
    if MYOCARDIUM in scored and set(scored) <= CARDIAC:
        return [MYOCARDIUM]
    return scored[:FIGURE_LABELS]


def case_dice(scores: Scores, case: Case, labels: Sequence[int]) -> float:
    """Return the mean Dice over the labels of the slice of a case; NaN without one.

    Where whole volumes were scored, it is the Dice of the volume.
    """
    table = scores.table
    rows = table[(table["id"] == case.id) & (table["slice"].isna() | (table["slice"] == case.slice))]
    names = [f"dice_{label}" for label in labels if f"dice_{label}" in table]
    if not len(rows) or not names:
        return math.nan
    return float(rows.iloc[0][names].astype(float).mean())
