"""Random splits by patient: a patient is never in two splits."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from heteroreg.data.cohort import SPLITS, Pair
from heteroreg.system.errors import UserError

SPLIT_OF_FOLDER = {
    "train": "train",
    "training": "train",
    "val": "val",
    "valid": "val",
    "validation": "val",
    "test": "test",
    "testing": "test",
}
USUAL = (70, 10, 20)
USUAL_WITH_TEST = (80, 20)


def part_of(path: Path) -> str | None:
    """Return the split that a folder in a relative path names (`training/patient001` is train), or None."""
    named = [SPLIT_OF_FOLDER[part.lower()] for part in path.parts if part.lower() in SPLIT_OF_FOLDER]
    return named[0] if named else None


def split_patients(pairs: Sequence[Pair], split: tuple[int, ...] | None, seed: int) -> list[Pair]:
    """Assign patients to splits at random.

    Args:
        pairs: The pairs; their `split` is that of the data set, if it has any.
        split: Percentages (train, val, test) of all patients, or (train, val) of the patients outside the data
            set's own test split, which is kept. None keeps the splits of the data set; if it has no validation
            split, its training split is divided 80, 20, and without any splits all patients 70, 10, 20.
        seed: Seed of the random numbers.

    Returns:
        The pairs in the same order. Every split with a percentage above 0 has a patient if there are enough.

    Raises:
        UserError: The percentages are not two or three, or do not add up to 100.
    """
    own = {pair.split for pair in pairs}
    if split is None:
        if "val" in own:
            return list(pairs)
        split = USUAL if own == {None} else USUAL_WITH_TEST
    _check(split)
    free = [pair for pair in pairs if len(split) == 3 or pair.split != "test"]
    patients = sorted({pair.patient for pair in free})
    shuffled = np.random.default_rng(seed).permutation(len(patients))
    counts = _counts(len(patients), split)
    ends = np.cumsum(counts)
    part = {patients[k]: SPLITS[int(np.searchsorted(ends, place, "right"))] for place, k in enumerate(shuffled)}
    drawn = {pair.id for pair in free}
    return [replace(pair, split=part[pair.patient]) if pair.id in drawn else pair for pair in pairs]


def _check(split: tuple[int, ...]) -> None:
    written = ",".join(map(str, split))
    if len(split) not in (2, 3):
        raise UserError(
            f"split: {written} must be two percentages (train,val) or three (train,val,test)", argument="split"
        )
    if min(split) < 0 or sum(split) != 100:
        raise UserError(
            f"split: the percentages {written} must not be negative and must add up to 100", argument="split"
        )


def _counts(patients: int, split: tuple[int, ...]) -> list[int]:
    """Return the number of patients in each split: close to its share, at least one, the rest in train."""
    asked = [share > 0 for share in split]
    counts = [max(round(patients * share / 100), int(some)) for share, some in zip(split, asked, strict=True)]
    counts[0] += patients - sum(counts)
    for part in range(1, len(counts)):  # with very few patients, train comes first, then test
        while counts[0] < int(asked[0]) and counts[part] > 0:
            counts[part] -= 1
            counts[0] += 1
    return counts
