"""Problems of a cohort, found before training."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from heteroreg.data.alignment import initial_affine
from heteroreg.data.cohort import Cohort, Pair, as_cohort
from heteroreg.data.findings import Finding
from heteroreg.data.image import Image, note_of_place
from heteroreg.data.io.affine import Affine, read_affine
from heteroreg.data.landmarks import read_landmarks
from heteroreg.data.leaks import Contents, leaks
from heteroreg.data.looks import is_padded, label_values, note_of_time
from heteroreg.data.samples.dataset import ImageCache
from heteroreg.data.samples.preparation import SMALLEST_AXIS, check_labels, check_pair, require_overlap, scale_of
from heteroreg.system.errors import UserError

# Relative difference between the means of the scaled images of a pair that suggests different contrasts.
UNLIKE_MEANS = 0.5


@dataclass(frozen=True)
class Start:
    """Distance between the labelled structures of a pair before the registration.

    Attributes:
        pair: The id of the pair.
        is_far: The centres of the labels are farther apart than half the radius of the fixed ones.
        distances: Distance in mm between the centres of the labels, by initial alignment; `grid` alone unless far.
    """

    pair: str
    is_far: bool
    distances: Mapping[str, float]

    @classmethod
    def of(cls, pair: str, moving: tuple[Image, Image], fixed: tuple[Image, Image]) -> Start:
        """Return the start of a pair, from its images and their label maps, which are not empty."""
        ends = [labels.grid.physical(np.argwhere(labels.array != 0)) for _, labels in (moving, fixed)]
        centres = [points.mean(axis=0) for points in ends]
        radius = np.sqrt(((ends[1] - centres[1]) ** 2).sum(axis=1).mean())  # root mean square
        distances = {"grid": float(np.linalg.norm(centres[1] - centres[0]))}
        far = bool(distances["grid"] > radius / 2)
        for how in ("centre", "mass") if far else ():
            affine = initial_affine(moving[0], fixed[0], how)
            assert affine is not None
            start = affine.linear @ centres[1] + affine.offset
            distances[how] = float(np.linalg.norm(start - centres[0]))
        return cls(pair, far, distances)


def check(cohort: Cohort | str | Path, report: Callable[[int], None] = lambda _: None) -> list[Finding]:
    """Read every file of a cohort and find problems.

    Args:
        cohort: The cohort, or its path.
        report: Called with the number of pairs done.

    Returns:
        The findings, those about the cohort first.

    Examples:
        >>> import tempfile
        >>> from pathlib import Path
        >>> from heteroreg.data.phantom import write_phantom
        >>> check(write_phantom(tempfile.mkdtemp(), pairs=3, size=32))
        []
        >>> missing = Cohort((Pair("p1", Path("missing.nii.gz"), Path("other.nii.gz"), split="train"),))
        >>> [finding.text for finding in check(missing) if finding.level == "problem"]
        ['missing.nii.gz: no such file; check the path']
    """
    cohort, cache = as_cohort(cohort), ImageCache()
    of_cohort = [*_splits(cohort), *(Finding(_level(bad), "", text) for bad, text in leaks(cohort))]
    of_pairs: list[Finding] = []
    starts: list[Start] = []
    contents = Contents()
    for number, pair in enumerate(cohort, start=1):
        of_pairs += _pair(pair, cache, starts, contents)
        report(number)
    return [*of_cohort, *_far(starts), *of_pairs]


def _far(starts: list[Start]) -> Iterator[Finding]:
    far = [start for start in starts if start.is_far]
    if not far:
        return
    distances = {how: float(np.median([start.distances[how] for start in far])) for how in far[0].distances}
    best = min(distances, key=distances.__getitem__)
    text = (
        f"{len(far)} of {len(starts)} labelled pairs start far apart, such as {far[0].pair}: the labels of moving "
        f"and fixed lie {distances['grid']:.1f} mm from each other (median)"
    )
    if best != "grid":
        text += f", {distances[best]:.1f} mm with `--initial {best}`, from where `rigid` and `affine` begin"
    yield Finding("note", "", text)


def _splits(cohort: Cohort) -> Iterator[Finding]:
    if not cohort.splits:
        yield Finding(
            "note", "", "no pair has a split: training uses all of them, and evaluation needs the split `all`"
        )
        return
    for split, use in (
        ("train", "nothing to train on, only to evaluate"),
        ("val", "no best checkpoint"),
        ("test", "nothing to evaluate"),
    ):
        if split not in cohort.splits:
            yield Finding("note", "", f"the split '{split}' is empty: {use}")
    without = [pair.id for pair in cohort if pair.split is None]
    if without:
        yield Finding("note", "", f"{len(without)} pairs have no split and are not used, such as {without[0]}")


def _level(bad: bool) -> Literal["problem", "note"]:
    return "problem" if bad else "note"


def _pair(pair: Pair, cache: ImageCache, starts: list[Start], contents: Contents) -> Iterator[Finding]:
    try:
        moving, fixed = cache.image(pair.moving), cache.image(pair.fixed)
        check_pair(moving, fixed)
        scaled = [scale_of(image, "percentile")(image.array) for image in (moving, fixed)]
        start = None if pair.initial is None else read_affine(pair.initial)
        if start is not None:
            start.require_dims(moving.grid.dims, moving.name)
    except UserError as error:
        yield Finding("problem", pair.id, str(error))
        return
    yield from _images(pair, moving, fixed, start)
    for path, image in ((pair.moving, moving), (pair.fixed, fixed)):
        for note in filter(None, (note_of_place(path), note_of_time(image, path))):
            yield Finding("note", pair.id, note)
        if repeated := contents.repeated(pair.id, pair.split, path, image):
            yield Finding(_level(repeated[0]), pair.id, repeated[1])
        if is_padded(image.array):
            text = (
                f"{image.name}: the value {image.array.min():g} lies far below the others and fills the outside of "
                "the field of view: it is left out of the intensity scale"
            )
            yield Finding("note", pair.id, text)
        if values := label_values(image.array):
            text = f"{image.name}: looks like a label map, it holds the values {values} alone; name the image"
            yield Finding("problem", pair.id, text)
    means = [float(array.mean()) for array in scaled]
    if abs(means[0] - means[1]) > UNLIKE_MEANS * max(means):
        text = f"the scaled images have means {means[0]:.2f} and {means[1]:.2f}: do they have the same contrast?"
        yield Finding("note", pair.id, text)
    try:
        read_landmarks(pair, moving.grid, fixed.grid)
    except UserError as error:
        yield Finding("problem", pair.id, str(error))
    yield from _labels(pair, moving, fixed, cache, starts)


def _images(pair: Pair, moving: Image, fixed: Image, start: Affine | None) -> Iterator[Finding]:
    for image in (moving, fixed):
        if min(image.grid.shape[:2]) < SMALLEST_AXIS:
            text = (
                f"{image.name}: has the shape {image.grid.shape}; axes below {SMALLEST_AXIS} voxels will be padded"
            )
            yield Finding("note", pair.id, text)
    if not moving.grid.same_as(fixed.grid):
        try:
            require_overlap(moving if start is None else start.place(moving), fixed)
        except UserError as error:
            yield Finding("problem", pair.id, str(error))
        else:
            yield Finding("note", pair.id, f"{moving.name}: has another grid than the fixed image and is resampled")
    elif np.array_equal(moving.array, fixed.array):
        yield Finding("problem", pair.id, f"{moving.name} and {fixed.name} are the same image")


def _labels(pair: Pair, moving: Image, fixed: Image, cache: ImageCache, starts: list[Start]) -> Iterator[Finding]:
    if not pair.labelled:
        if pair.moving_labels or pair.fixed_labels:
            yield Finding("note", pair.id, "only one of the two images has labels: no Dice for this pair")
        return
    present, maps = [], []
    for path, image in ((pair.moving_labels, moving), (pair.fixed_labels, fixed)):
        assert path is not None
        try:
            labels = check_labels(cache.labels(path), image)
        except UserError as error:
            yield Finding("problem", pair.id, str(error))
            return
        maps.append(labels)
        present.append(set(np.unique(labels.array).tolist()) - {0})
        if not present[-1]:
            yield Finding("problem", pair.id, f"{path}: is empty, every voxel is 0; check the segmentation")
    if all(present) and present[0] != present[1]:
        odd = ", ".join(map(str, sorted(present[0] ^ present[1])))
        yield Finding("note", pair.id, f"the labels {odd} are in only one of the two label maps")
    if all(present) and pair.initial is None:
        starts.append(Start.of(pair.id, (moving, maps[0]), (fixed, maps[1])))
