"""Plain folders, where the names of the files make the pairs."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from heteroreg.data.cohort import Pair
from heteroreg.data.image import shape_of
from heteroreg.data.io.dicom import is_dicom
from heteroreg.data.patients import guess_patients
from heteroreg.data.readers._cines import (
    ChosenFrames,
    Cine,
    check_pairing,
    folders_of,
    labels_beside,
    pairs_of,
    require_unique,
    series_stem,
)
from heteroreg.data.readers._files import IMAGE_ENDINGS, stem_of
from heteroreg.data.readers._left_out import LeftOut
from heteroreg.data.splits import SPLIT_OF_FOLDER, part_of
from heteroreg.system.errors import UserError

# nnU-Net writes the number of the channel behind the name of an image, not of a label map.
ROLE_NAME = re.compile(
    r"(?:(?P<id>.+)[_-])?(?P<role>moving|fixed|ED|ES)(?P<labels>[_-](?:labels?|gt|seg|segmentation|mask))?"
    r"(?P<channel>_\d{4})?",
    re.IGNORECASE,
)
ROLES = {"moving": "moving", "ed": "moving", "fixed": "fixed", "es": "fixed"}
# Folders of label maps and of images, with the part of a data set behind the word: labelsTr, images_val.
LABELS_FOLDER = re.compile(
    r"(labels?|label_?maps?|gts?|ground_?truths?|masks?|segs?|segmentations?|annotations?|contours?)[_-]?(?P<part>tr|"
    r"ts|va|train|training|val|test|testing)?",
    re.IGNORECASE,
)
IMAGES_FOLDER = re.compile(
    r"(images?|imgs?|scans?|volumes?|data)[_-]?(?P<part>tr|ts|va|train|training|val|test|testing)?", re.IGNORECASE
)
SPLIT_OF_PART = {"tr": "train", "va": "val", "ts": "test", **SPLIT_OF_FOLDER}
# Endings of files that lie beside images, such as the voxels of an .mhd file.
NO_IMAGES = {
    ".raw", ".zraw", ".bval", ".bvec", ".txt", ".csv", ".tsv", ".json", ".yaml", ".yml", ".cfg", ".ini", ".toml",
    ".md", ".rst", ".xml", ".html", ".pdf", ".doc", ".docx", ".xls", ".xlsx", ".log", ".py", ".ipynb", ".sh", ".m",
}  # fmt: skip
LOOKED_FOR = (
    "ID_moving and ID_fixed, or ID_ED and ID_ES, with _labels, _gt or _seg for label maps, "
    f"ending in {', '.join(IMAGE_ENDINGS)}"
)


@dataclass
class _Group:
    """The files of one pair.

    Attributes:
        place: Names of the folders below the source, without those that only say images or labels.
        id: The ID in the names of the files; empty if they have none.
        parts: Parts of the data set that its folders name, such as Tr.
        files: The files by role: moving, fixed, moving_labels, fixed_labels.
    """

    place: tuple[str, ...]
    id: str
    parts: tuple[str, ...]
    files: dict[str, Path] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """The ID, or else the names of the folders."""
        return self.id or "_".join(self.place)

    @property
    def whole_name(self) -> str:
        """The names of the folders and the ID."""
        return "_".join(filter(None, (*self.place, *self.parts, self.id)))


def read_folder(
    source: Path,
    *,
    frames: str | None = None,
    label: int | None = None,
    pairs: str | None = None,
    left_out: LeftOut | None = None,
) -> list[Pair]:
    """Find pairs by their file names, in a folder and its subfolders.

    `ID_moving.*` and `ID_fixed.*` (or `ID_ED.*` and `ID_ES.*`), with `_labels`, `_gt` or `_seg` before the ending
    for label maps; case does not matter. Label maps may also have the names of their images in a folder of their
    own, such as `labels` beside the images or `labelsTr` beside `imagesTr`, where images may end in `_0000`.
    Without an ID in the name, the folder's name is the ID. A folder named train, val or test (training, …)
    determines the split. A file with 4 axes and another name is a series in time, as in `read_dicom`: with label
    maps beside it, or given frames or pairs, it makes pairs too. The patient is guessed from ID and folders, see
    `patients.stem`.

    Args:
        source: The folder.
        frames: The ED and ES frames of series, as in `read_dicom`, likewise the two below.
        label: The label whose size decides.
        pairs: `ed-es` or `first-each`; files with 3 axes are then series of 2D images.
        left_out: Notes images that are not used.

    Raises:
        UserError: No file matches, an image lacks its partner or a label map its image, two files are the same
            image of a pair, or images have several channels.
    """
    source = Path(source).absolute()
    if not source.is_dir():
        raise UserError(f"{source}: no such folder; name the folder with the images")
    check_pairing(pairs, frames)
    left_out = LeftOut() if left_out is None else left_out
    for path in _of_other_formats(source):
        left_out.add(f"files of other formats than {', '.join(IMAGE_ENDINGS)}", path)
    others: list[Path] = []
    groups = list(_groups(source, others).values())
    cines = list(_cines(source, others, left_out, given=not (pairs is None and frames is None)))
    require_unique(cines)
    table = ChosenFrames.read(frames)
    of_cines = [pair for cine in cines for pair in pairs_of(source, cine, table, label, pairs)]
    if not groups and not of_cines:
        raise UserError(f"{source}: contains no pairs; looked for {LOOKED_FOR}")
    names = [group.name or source.name for group in groups]
    ids = [
        group.whole_name if names.count(name) > 1 and group.whole_name else name
        for group, name in zip(groups, names, strict=True)
    ]
    patients = guess_patients([_naming(group, name) for group, name in zip(groups, ids, strict=True)])
    several_parts = len({group.parts for group in groups}) > 1
    of_groups = [
        _pair(name, patient, group, _split(group, several_parts))
        for name, patient, group in zip(ids, patients, groups, strict=True)
    ]
    return of_groups + of_cines


def _cines(source: Path, files: Sequence[Path], left_out: LeftOut, *, given: bool) -> Iterator[Cine]:
    """Return the series in time among files that are not named as one image of a pair."""
    labels = {labels_beside(path) for path in files}
    for path in files:
        if path in labels:
            continue
        try:
            shape = () if path.suffix.lower() == ".png" else shape_of(path)
        except UserError:
            left_out.add("files that cannot be read", path)
            continue
        if (len(shape) == 4 or (len(shape) == 3 and given)) and shape[-1] > 1:
            if given or labels_beside(path) is not None:
                yield Cine("_".join([*folders_of(source, path), series_stem(path)]), path, shape[-1])
            else:
                left_out.add("series in time without label maps, which `frames` or `pairs` make pairs of", path)
        else:
            left_out.add("names that do not end in _moving, _fixed, _ED or _ES", path)


def _of_other_formats(source: Path) -> Iterator[Path]:
    """Yield the files that may be images, but of a format that is not looked for."""
    for path in sorted(source.rglob("*")):
        if stem_of(path) is None and not path.name.startswith(".") and path.is_file():
            ending = path.suffix.lower()
            if ending not in NO_IMAGES and (ending or is_dicom(path)):
                yield path


def _groups(source: Path, others: list[Path]) -> Mapping[object, _Group]:
    groups: dict[object, _Group] = {}
    for path, match in _images(source, others):
        place, parts, labelled = _place(path.parent.relative_to(source))
        role = ROLES[match["role"].lower()] + ("_labels" if match["labels"] or labelled else "")
        group = groups.setdefault((place, parts, match["id"] or ""), _Group(place, match["id"] or "", parts))
        if role in group.files and match["channel"]:
            raise UserError(
                f"{path}: is another channel of {group.files[role].name}; keep one channel of each image there"
            )
        if role in group.files:
            raise UserError(f"{path}: is the same image of a pair as {group.files[role].name}; remove one of them")
        group.files[role] = path
    return groups


def _images(source: Path, others: list[Path]) -> Iterator[tuple[Path, re.Match[str]]]:
    for path in sorted(source.rglob("*")):
        name = stem_of(path)
        if name is None or not path.is_file() or path.name.startswith("."):
            continue
        match = ROLE_NAME.fullmatch(name)
        if match is None:
            others.append(path)
        else:
            yield path, match


def _place(folder: Path) -> tuple[tuple[str, ...], tuple[str, ...], bool]:
    """Return the folders that name a pair, the parts of the data set, and True if they hold label maps."""
    place, parts, labelled = [], [], False
    for name in folder.parts:
        kind = LABELS_FOLDER.fullmatch(name) or IMAGES_FOLDER.fullmatch(name)
        if kind is None:
            place.append(name)
        else:
            labelled |= kind.re is LABELS_FOLDER
            parts += [kind["part"].lower()] if kind["part"] else []
    return tuple(place), tuple(parts), labelled


def _naming(group: _Group, name: str) -> str:
    """Return the name that the patient is guessed from: folders too, unless the ID has a number of its own."""
    if any(character.isdigit() for character in group.id):
        return name
    folders = [part for part in group.place if part.lower() not in SPLIT_OF_FOLDER]
    numbered = any(character.isdigit() for part in folders for character in part)
    return "_".join([*folders, group.id]).strip("_") if numbered or not group.id else name


def _split(group: _Group, several_parts: bool) -> str | None:
    """Return the split that the folders name; imagesTr alone, without imagesTs, is the whole data set."""
    parts = [SPLIT_OF_PART[part] for part in group.parts if several_parts or part in SPLIT_OF_FOLDER]
    return part_of(Path(*group.place)) or next(iter(parts), None)


def _pair(name: str, patient: str, group: _Group, split: str | None) -> Pair:
    files = group.files
    for role, other in (("moving", "fixed"), ("fixed", "moving")):
        if role not in files:
            there = next(iter(files.values()))
            partner = "ED" if role == "moving" else "ES"
            if f"{role}_labels" in files and other not in files:
                there = files[f"{role}_labels"]
                raise UserError(
                    f"{there.parent}: holds label maps without their images, such as {there.name}; name the images "
                    f"alike and put them beside it, in a folder such as {_images_folder(there.parent)}"
                )
            raise UserError(
                f"{there}: has no {role} image beside it ({name}_{role} or {name}_{partner}); add it"
                f"{'' if other in files else f', and the {other} one'}"
            )
    return Pair(
        id=name,
        patient=patient,
        moving=files["moving"],
        fixed=files["fixed"],
        moving_labels=files.get("moving_labels"),
        fixed_labels=files.get("fixed_labels"),
        split=split,
    )


def _images_folder(labels: Path) -> str:
    match = LABELS_FOLDER.fullmatch(labels.name)
    return f"images{match['part'] or ''}" if match else "images"
