"""Files that a reader of a data set leaves out, and why."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from heteroreg.data.io.frames import split_frame
from heteroreg.data.readers._files import stem_of


@dataclass
class LeftOut:
    """Files and folders that are not used, by reason."""

    by_reason: dict[str, list[Path]] = field(default_factory=dict)

    def add(self, reason: str, path: Path) -> None:
        """Note a file or folder.

        Args:
            reason: A noun phrase, such as `still images`.
            path: The file or folder.
        """
        self.by_reason.setdefault(reason, []).append(path)

    def add_unused(
        self, source: Path, used: Iterable[Path], otherwise: str, reasons: Mapping[str, str] | None = None
    ) -> None:
        """Note the image files below a folder that are not used.

        Args:
            source: The folder.
            used: The files that are.
            otherwise: The reason for a file without one of its own.
            reasons: Reasons by a regular expression for the name without its ending.
        """
        taken = {split_frame(path)[0].resolve() for path in used}
        for path in sorted(source.rglob("*")):
            name = stem_of(path)
            if name is None or path.name.startswith(".") or not path.is_file() or path.resolve() in taken:
                continue
            matching = (reason for pattern, reason in (reasons or {}).items() if re.fullmatch(pattern, name))
            self.add(next(matching, otherwise), path)

    def lines(self) -> list[str]:
        """Return a line for each reason: how many, why, and the first of them."""
        return [f"left out {len(paths)}: {reason}, such as {paths[0]}" for reason, paths in self.by_reason.items()]
