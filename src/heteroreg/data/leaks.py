"""Patients and images that are in two splits of a cohort."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from heteroreg.data.cohort import Cohort
from heteroreg.data.image import Image
from heteroreg.data.io.frames import split_frame
from heteroreg.data.patients import guess_patients


def leaks(cohort: Cohort) -> Iterator[tuple[bool, str]]:
    """Find patients and files in several splits, from the table alone.

    Yields:
        True for a problem or False for a note, and its text.
    """
    splits: dict[str, set[str]] = defaultdict(set)
    files: dict[Path, set[str]] = defaultdict(set)
    for pair in cohort:
        if pair.split:
            splits[pair.patient].add(pair.split)
            for path in pair.files:
                files[split_frame(path)[0].resolve()].add(pair.split)
    for patient, found in sorted(splits.items()):
        if len(found) > 1:
            yield (
                True,
                f"patient {patient} is in the splits {' and '.join(sorted(found))}: keep a patient in one split",
            )
    for path, found in sorted(files.items()):
        if len(found) > 1:
            yield True, f"{path} is in the splits {' and '.join(sorted(found))}: keep an image in one split"
    yield from ((False, text) for text in _shared_stems(splits))


def _shared_stems(splits: dict[str, set[str]]) -> Iterator[str]:
    """Find patients in different splits whose names begin alike, such as p1_visit1 and p1_visit2."""
    alike: dict[str, list[str]] = defaultdict(list)
    for patient, name in zip(splits, guess_patients(list(splits)), strict=True):
        alike[name].append(patient)
    for name, patients in sorted(alike.items()):
        parts = sorted(set().union(*(splits[patient] for patient in patients)))
        if len(patients) > 1 and len(parts) > 1:
            named = ", ".join(patients[:3]) + (", …" if len(patients) > 3 else "")
            yield (
                f"{named} have the name {name} in common and are "
                f"in the splits {' and '.join(parts)}: if they are one patient, say so in the column `patient`"
            )


class Contents:
    """Contents of the images of a cohort, to find the same image under two ids."""

    def __init__(self) -> None:
        self._known: dict[str, tuple[Path, str, str | None]] = {}
        self._seen: set[Path] = set()

    def repeated(self, pair: str, split: str | None, path: Path, image: Image) -> tuple[bool, str] | None:
        """Note an image, and return a finding if another pair has the same voxels in another file.

        Args:
            pair: The id of the pair.
            split: Its split.
            path: The file, with the number of the frame.
            image: The image.

        Returns:
            True for a problem (two splits) or False for a note, and its text; None if the image is new.
        """
        place = path.resolve()
        if place in self._seen:
            return None
        self._seen.add(place)
        array = np.ascontiguousarray(image.array)
        digest = hashlib.sha256(str(array.shape).encode() + array.tobytes()).hexdigest()
        other, other_pair, other_split = self._known.setdefault(digest, (path, pair, split))
        if other_pair == pair:
            return None
        leak = split is not None and other_split is not None and split != other_split
        where = f" in the split {other_split}" if leak else ""
        return leak, f"{path}: has the same voxels as {other} of the pair {other_pair}{where}; is it a copy?"
