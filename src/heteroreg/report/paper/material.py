"""What figures take from a comparison: which evaluations and pairs they show, and which labels."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from heteroreg.comparison import Comparison
from heteroreg.evaluation.gallery import Case, spread_evenly
from heteroreg.evaluation.metrics import metric
from heteroreg.evaluation.scores import Scores
from heteroreg.report.gallery import by_pair

Pairs = Sequence[Mapping[str, Case]]

MYOCARDIUM = 2  # in each of the cardiac data sets that the package reads
CARDIAC = {1, 2, 3}
MOST_LABELS = 8
MOST_PAIRS = 4


def pictured_pairs(scores: Mapping[str, Scores]) -> list[dict[str, Case]]:
    """The pairs of the galleries, those that every evaluation has if there are any."""
    pairs = by_pair({name: one.cases for name, one in scores.items()})
    most = max((len(pair) for pair in pairs), default=0)
    return [pair for pair in pairs if len(pair) == most]


def some(pairs: Pairs, count: int) -> list[Mapping[str, Case]]:
    """This many of the pairs, spread evenly; a single one from the middle."""
    if count == 1 and pairs:
        return [pairs[len(pairs) // 2]]
    return [pairs[index] for index in spread_evenly(count, len(pairs))]


def shown_labels(comparison: Comparison) -> list[int]:
    """The myocardium where the labels are those of a heart, else the labels that were scored, eight at most."""
    scored = sorted(
        label for name in comparison.metrics if name.startswith("dice_") and (label := metric(name).label)
    )
    if MYOCARDIUM in scored and set(scored) <= CARDIAC:
        return [MYOCARDIUM]
    return scored[:MOST_LABELS]


def case_dice(scores: Scores, case: Case, labels: Sequence[int]) -> float:
    """The Dice of the row that a case belongs to, the mean over the labels; NaN where it has none.

    The row is that of the slice, or of the whole volume where volumes were scored whole.
    """
    table = scores.table
    rows = table[(table["id"] == case.id) & (table["slice"].isna() | (table["slice"] == case.slice))]
    names = [f"dice_{label}" for label in labels if f"dice_{label}" in table]
    if not len(rows) or not names:
        return math.nan
    return float(rows.iloc[0][names].astype(float).mean())
