"""Files that a reader of a data set leaves out, and why."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path


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

    def lines(self) -> list[str]:
        """Return a line for each reason: how many, why, and the first of them."""
        return [f"left out {len(paths)}: {reason}, such as {paths[0]}" for reason, paths in self.by_reason.items()]
