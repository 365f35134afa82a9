"""Learn2Reg, as its tasks are downloaded: `<task>_dataset.json` with the pairs, `imagesTr/`, `labelsTr/`, ….

Images are called `<task>_<subject>_<modality>.nii.gz`, label maps likewise.
Hering et al., IEEE Transactions on Medical Imaging 42, 2023.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from heteroreg.data.cohort import Pair
from heteroreg.data.readers._left_out import LeftOut
from heteroreg.system.errors import UserError
from heteroreg.system.text import read_json

LIST_ENDING = "_dataset.json"
SPLIT_OF_KEY = {"training_paired_images": "train", "registration_val": "val", "registration_test": "test"}
IMAGE_NAME = re.compile(r"(?P<task>.+)_(?P<subject>\d+)_(?P<modality>\d{4})\.nii(\.gz)?")
FIRST, SECOND = "0000", "0001"


@dataclass(frozen=True)
class _Scan:
    """An image of the task."""

    path: Path
    labels: Path | None
    subject: str
    modality: str


def read_learn2reg(source: Path, *, left_out: LeftOut | None = None) -> list[Pair]:
    """Find the pairs of a task.

    The list `training_paired_images` is the split train, `registration_val` is val, `registration_test` is test.
    Training pairs with an image of val or test are left out. If the task has training images but no training
    pairs, each image is paired with the next, and the last with the first. Label maps are in `labelsTr` beside
    `imagesTr`.

    The id of a pair is that of its field in a submission, `disp_<id>.nii.gz`.

    Args:
        source: The folder of the task, or its `<task>_dataset.json`.
        left_out: Notes pairs and images that are not used.

    Returns:
        The pairs, with the subject of the fixed image as the patient.

    Raises:
        UserError: There is no list or more than one, it is damaged, or an image is missing.
    """
    listing = _listing(Path(source).absolute())
    content = read_json(listing)
    try:
        held = {part: _named(content, key) for key, part in SPLIT_OF_KEY.items()}
        single = [
            str(entry["image"] if isinstance(entry, Mapping) else entry) for entry in content.get("training", [])
        ]
    except (KeyError, TypeError, AttributeError) as error:
        raise UserError(f"{listing}: is not a list of a Learn2Reg task ({error!r}); download it again") from error
    kept = {image for part in ("val", "test") for pair in held[part] for image in pair}
    if not held["train"]:
        free = [image for image in dict.fromkeys(single) if image not in kept]
        held["train"] = list(zip(free, free[1:] + free[:1], strict=True)) if len(free) > 1 else []
    left_out = LeftOut() if left_out is None else left_out
    for pair in held["train"]:
        if kept & set(pair):
            left_out.add("training pairs with an image of val or test", listing.parent / pair[0])
    held["train"] = [pair for pair in held["train"] if not kept & set(pair)]
    scans: dict[str, _Scan] = {}
    pairs = []
    for part, named in held.items():
        if part == "test" and not any((listing.parent / image).is_file() for pair in named for image in pair):
            for fixed, _ in named:  # organisers often keep the test images
                left_out.add("test pairs whose images are not there", listing.parent / fixed)
            continue
        for fixed, moving in named:
            for image in (fixed, moving):
                if image not in scans:
                    scans[image] = _scan(listing, image)
            pairs.append(_pair(scans[moving], scans[fixed], part))
    if not pairs:
        raise UserError(f"{listing}: lists no pairs; name the folder of a Learn2Reg task")
    left_out.add_unused(listing.parent, [path for pair in pairs for path in pair.files], "images of no pair")
    return pairs


def _listing(source: Path) -> Path:
    if source.is_file():
        return source
    if not source.is_dir():
        raise UserError(f"{source}: no such folder; name the folder of a Learn2Reg task")
    found = sorted(source.glob(f"*{LIST_ENDING}"))
    if not found:
        raise UserError(f"{source}: contains no list <task>{LIST_ENDING}; name the folder of a Learn2Reg task")
    if len(found) > 1:
        raise UserError(f"{source}: contains several lists ({', '.join(path.name for path in found)}); name one")
    return found[0]


def _named(content: Mapping[str, Any], key: str) -> list[tuple[str, str]]:
    """Return the pairs (fixed, moving) under a key of the list."""
    return [(str(entry["fixed"]), str(entry["moving"])) for entry in content.get(key, [])]


def _scan(listing: Path, image: str) -> _Scan:
    path = (listing.parent / image).resolve()
    name = IMAGE_NAME.fullmatch(path.name)
    if name is None:
        raise UserError(f"{listing}: names '{image}', which is not of the form <task>_0001_0000.nii.gz")
    if not path.is_relative_to(listing.parent.resolve()):
        raise UserError(f"{listing}: names '{image}', which lies outside its folder")
    if not path.is_file():
        raise UserError(f"{path}: is missing although {listing.name} names it; download the task again")
    folder = path.parent.name
    labels = path.parent.with_name(folder.replace("images", "labels")) / path.name
    return _Scan(path, labels if labels != path and labels.is_file() else None, name["subject"], name["modality"])


def _pair(moving: _Scan, fixed: _Scan, part: str) -> Pair:
    usual = fixed.modality == moving.modality or (fixed.modality, moving.modality) == (FIRST, SECOND)
    names = (
        (fixed.subject, moving.subject)
        if usual
        else (fixed.subject, fixed.modality, moving.subject, moving.modality)
    )
    return Pair(
        id="_".join(names),
        patient=fixed.subject,
        moving=moving.path,
        fixed=fixed.path,
        moving_labels=moving.labels,
        fixed_labels=fixed.labels,
        split=part,
    )
