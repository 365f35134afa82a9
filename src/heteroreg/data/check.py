"""What would go wrong with a cohort, found before the training does."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from heteroreg.data.cohort import Cohort, Pair, as_cohort
from heteroreg.data.image import Image
from heteroreg.data.io.frames import split_frame
from heteroreg.data.samples.dataset import ImageCache
from heteroreg.data.samples.preparation import SMALLEST_AXIS, check_labels, check_pair, scale_of
from heteroreg.system.errors import UserError

# Means of the scaled images of a pair that differ by more than this share hint at different contrasts.
UNLIKE_MEANS = 0.5


@dataclass(frozen=True)
class Finding:
    """Something that was found.

    Attributes:
        level: `problem`: training or evaluation would stop or be wrong. `note`: worth knowing.
        pair: The id of the pair; empty if it is about the cohort.
        text: What, in which file, and what to do.
    """

    level: Literal["problem", "note"]
    pair: str
    text: str


def check(cohort: Cohort | str | Path, report: Callable[[int], None] = lambda _: None) -> list[Finding]:
    """Read every file of a cohort and find problems.

    Args:
        cohort: The cohort, or its path.
        report: Called with the number of pairs done.

    Returns:
        The findings, those about the cohort first.
    """
    cohort, cache = as_cohort(cohort), ImageCache()
    findings = [*_splits(cohort), *_leaks(cohort)]
    for number, pair in enumerate(cohort, start=1):
        findings += _pair(pair, cache)
        report(number)
    return findings


def _splits(cohort: Cohort) -> Iterator[Finding]:
    if not cohort.splits:
        yield Finding("note", "", "no pair has a split: all will be trained on, and `evaluate` needs `--split all`")
        return
    for split, use in (
        ("train", "nothing to train on"),
        ("val", "no best checkpoint"),
        ("test", "nothing to evaluate"),
    ):
        if split not in cohort.splits:
            yield Finding("problem" if split == "train" else "note", "", f"the split '{split}' is empty: {use}")
    without = [pair.id for pair in cohort if pair.split is None]
    if without:
        yield Finding("note", "", f"{len(without)} pairs have no split and are not used, {without[0]} first")


def _leaks(cohort: Cohort) -> Iterator[Finding]:
    splits = defaultdict(set)
    files = defaultdict(set)
    for pair in cohort:
        if pair.split:
            splits[pair.patient].add(pair.split)
            for path in (pair.moving, pair.fixed):
                files[split_frame(path)[0].resolve()].add(pair.split)
    for patient, found in sorted(splits.items()):
        if len(found) > 1:
            yield Finding(
                "problem", "", f"patient {patient} is in {' and '.join(sorted(found))}: keep patients in one split"
            )
    for path, found in sorted(files.items()):
        if len(found) > 1:
            yield Finding("problem", "", f"{path} is in {' and '.join(sorted(found))}: keep images in one split")


def _pair(pair: Pair, cache: ImageCache) -> Iterator[Finding]:
    try:
        moving, fixed = cache.image(pair.moving), cache.image(pair.fixed)
        check_pair(moving, fixed)
        scaled = [scale_of(image, "percentile")(image.array) for image in (moving, fixed)]
    except UserError as error:
        yield Finding("problem", pair.id, str(error))
        return
    yield from _images(pair, moving, fixed)
    means = [float(array.mean()) for array in scaled]
    if abs(means[0] - means[1]) > UNLIKE_MEANS * max(means):
        text = f"the scaled images have means {means[0]:.2f} and {means[1]:.2f}: is the contrast another?"
        yield Finding("note", pair.id, text)
    yield from _labels(pair, moving, fixed, cache)


def _images(pair: Pair, moving: Image, fixed: Image) -> Iterator[Finding]:
    for image in (moving, fixed):
        if min(image.grid.shape[:2]) < SMALLEST_AXIS:
            text = (
                f"{image.name}: has the shape {image.grid.shape}; axes below {SMALLEST_AXIS} voxels will be padded"
            )
            yield Finding("note", pair.id, text)
    if not moving.grid.same_as(fixed.grid):
        if not _overlap(moving, fixed):
            text = (
                f"{moving.name} and {fixed.name} do not overlap in space: check their origins, or align them first"
            )
            yield Finding("problem", pair.id, text)
        else:
            yield Finding(
                "note", pair.id, f"{moving.name}: lies on another grid than the fixed image and is resampled"
            )
    elif np.array_equal(moving.array, fixed.array):
        yield Finding("problem", pair.id, f"{moving.name} and {fixed.name} are the same image")


def _overlap(moving: Image, fixed: Image) -> bool:
    """Whether the centre of one image's region lies in the other, or any corner does."""
    shape = np.asarray(fixed.grid.shape)
    points = (
        np.array(np.meshgrid(*[np.linspace(0, n - 1, 5) for n in shape], indexing="ij")).reshape(len(shape), -1).T
    )
    index = moving.grid.index(fixed.grid.physical(points))
    return bool(((index >= -0.5) & (index <= np.asarray(moving.grid.shape) - 0.5)).all(axis=1).any())


def _labels(pair: Pair, moving: Image, fixed: Image, cache: ImageCache) -> Iterator[Finding]:
    if not pair.labelled:
        if pair.moving_labels or pair.fixed_labels:
            yield Finding("note", pair.id, "only one of the two images has labels: no Dice for this pair")
        return
    present = []
    for path, image in ((pair.moving_labels, moving), (pair.fixed_labels, fixed)):
        assert path is not None
        try:
            labels = cache.labels(path)
            check_labels(labels, image)
        except UserError as error:
            yield Finding("problem", pair.id, str(error))
            return
        present.append(set(np.unique(labels.array).tolist()) - {0})
        if not present[-1]:
            yield Finding("problem", pair.id, f"{path}: is empty; every voxel is 0")
    if all(present) and present[0] != present[1]:
        odd = ", ".join(map(str, sorted(present[0] ^ present[1])))
        yield Finding("note", pair.id, f"the labels {odd} are in only one of the two label maps")
