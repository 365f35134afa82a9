"""Find files of data sets, and read the small text files beside them."""

from __future__ import annotations

import re
from pathlib import Path

from heteroreg.system.errors import UserError
from heteroreg.system.limits import TEXT_BYTES, require_small

IMAGE_ENDINGS = (".nii.gz", ".nii", ".mha", ".mhd", ".nrrd", ".png")


def folders_named(source: Path, pattern: str, depth: int = 3) -> list[Path]:
    """Return the folders whose name matches a regular expression, from `source` itself down to `depth` levels.

    Args:
        source: The folder to search.
        pattern: Regular expression for the whole name; case does not matter.
        depth: Levels below `source`.

    Raises:
        UserError: `source` is not a folder.
    """
    if not source.is_dir():
        raise UserError(f"{source}: no such folder; name the folder of the data set as it was downloaded")
    level, found = [source], []
    for _ in range(depth + 1):
        found += [folder for folder in level if re.fullmatch(pattern, folder.name, re.IGNORECASE)]
        level = [
            child for folder in level if folder not in found for child in sorted(folder.iterdir()) if child.is_dir()
        ]
    return sorted(found)


def image_file(folder: Path, stem: str, endings: tuple[str, ...] = IMAGE_ENDINGS) -> Path | None:
    """Return the image `stem` in a folder, with the first ending that exists, or None."""
    return next((path for ending in endings if (path := folder / f"{stem}{ending}").is_file()), None)


def read_info(path: Path) -> dict[str, str]:
    """Read `key: value` lines, as in ACDC's and CAMUS's `Info.cfg`; keys in lower case."""
    require_small(path, TEXT_BYTES)
    lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    fields = (line.split(":", 1) for line in lines if ":" in line)
    return {key.strip().lower(): value.strip() for key, value in fields}


def stem_of(path: Path) -> str | None:
    """Return the name of an image file without its ending; None for any other file."""
    name = path.name
    return next((name[: -len(e)] for e in IMAGE_ENDINGS if name.lower().endswith(e)), None)
