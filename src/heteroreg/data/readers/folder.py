"""Plain folders, where the names of the files make the pairs."""

from __future__ import annotations

import re
from pathlib import Path

from heteroreg.data.cohort import Pair
from heteroreg.data.readers._files import IMAGE_ENDINGS, stem_of
from heteroreg.data.splits import part_of
from heteroreg.system.errors import UserError

ROLE_NAME = re.compile(
    r"(?:(?P<id>.+)[_-])?(?P<role>moving|fixed|ED|ES)(?P<labels>[_-](?:labels?|gt|seg|segmentation|mask))?",
    re.IGNORECASE,
)
ROLES = {"moving": "moving", "ed": "moving", "fixed": "fixed", "es": "fixed"}
LOOKED_FOR = (
    "ID_moving and ID_fixed, or ID_ED and ID_ES, with _labels, _gt or _seg for label maps, "
    f"ending in {', '.join(IMAGE_ENDINGS)}"
)


def read_folder(source: Path) -> list[Pair]:
    """Find pairs by their file names, in a folder and its subfolders.

    `ID_moving.*` and `ID_fixed.*` (or `ID_ED.*` and `ID_ES.*`), with `_labels`, `_gt` or `_seg` before the ending
    for label maps; case does not matter. Without an ID in the name, the folder's name is the ID. A folder named
    train, val or test (training, …) determines the split.

    Args:
        source: The folder.

    Raises:
        UserError: No file matches, an image lacks its partner, or two files are the same image of a pair.
    """
    source = Path(source).absolute()
    if not source.is_dir():
        raise UserError(f"{source}: no such folder; name the folder with the images")
    groups: dict[tuple[Path, str], dict[str, Path]] = {}
    for path in sorted(source.rglob("*")):
        match = ROLE_NAME.fullmatch(stem_of(path) or "") if path.is_file() else None
        if match is None or path.name.startswith("."):
            continue
        role = ROLES[match["role"].lower()] + ("_labels" if match["labels"] else "")
        group = groups.setdefault((path.parent, match["id"] or ""), {})
        if role in group:
            raise UserError(f"{path}: is the same image of a pair as {group[role].name}; remove one of them")
        group[role] = path
    if not groups:
        raise UserError(f"{source}: contains no pairs; looked for {LOOKED_FOR}")
    names = [_name(source, parent, name) for parent, name in groups]
    repeated = {name for name in names if names.count(name) > 1}
    pairs = []
    for (parent, _), name, files in zip(groups, names, groups.values(), strict=True):
        place = "_".join(parent.relative_to(source).parts)
        pairs.append(
            _pair(
                f"{place}_{name}" if name in repeated and place else name,
                files,
                part_of(parent.relative_to(source)),
            )
        )
    return pairs


def _name(source: Path, parent: Path, name: str) -> str:
    return name or "_".join(parent.relative_to(source).parts) or source.name


def _pair(name: str, files: dict[str, Path], split: str | None) -> Pair:
    for role, other in (("moving", "fixed"), ("fixed", "moving")):
        if role not in files:
            there = next(iter(files.values()))
            partner = "ED" if role == "moving" else "ES"
            raise UserError(
                f"{there}: has no {role} image beside it ({name}_{role} or {name}_{partner}); add it"
                f"{'' if other in files else f', and the {other} one'}"
            )
    return Pair(
        id=name,
        patient=name,
        moving=files["moving"],
        fixed=files["fixed"],
        moving_labels=files.get("moving_labels"),
        fixed_labels=files.get("fixed_labels"),
        split=split,
    )
