"""Which patients train, which validate, which test: never one patient in two parts."""

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
    """The split that a folder in a relative path names (`training/patient001` is train), or None."""
    named = [SPLIT_OF_FOLDER[part.lower()] for part in path.parts if part.lower() in SPLIT_OF_FOLDER]
    return named[0] if named else None


def split_patients(pairs: Sequence[Pair], split: tuple[int, ...] | None, seed: int) -> list[Pair]:
    """Gives each pair its split, by patients drawn at random.

    Args:
        pairs: The pairs; those of a data set with parts of its own have their `split`.
        split: Percentages train, val, test of all patients; or train, val: of the patients outside the data
            set's own test part, which stays what it is. None keeps the data set's parts; a validation part that
            it lacks is taken from its training part, 80,20, and one without parts is split 70,10,20.
        seed: Of the drawing.

    Returns:
        The pairs in the same order. Every part with a percentage above 0 has a patient if there are enough.

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
        raise UserError(f"--split {written}: write two percentages (train,val) or three (train,val,test)")
    if min(split) < 0 or sum(split) != 100:
        raise UserError(f"--split {written}: the percentages must not be negative and add up to 100")


def _counts(patients: int, split: tuple[int, ...]) -> list[int]:
    """How many patients each part has: the nearest to its share, at least one, the rest trains."""
    asked = [share > 0 for share in split]
    counts = [max(round(patients * share / 100), int(some)) for share, some in zip(split, asked, strict=True)]
    counts[0] += patients - sum(counts)
    for part in range(1, len(counts)):  # with very few patients training comes first, then the test
        while counts[0] < int(asked[0]) and counts[part] > 0:
            counts[part] -= 1
            counts[0] += 1
    return counts
