"""Registrations that a calibration is computed from, kept on the disk so that a stopped one can go on."""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load_file, save

from heteroreg.system.arrays import Array
from heteroreg.system.files import atomic_file, is_leftover, write_text

PLAN, ENDING = "plan.json", ".safetensors"


class Bank:
    """Arrays by name, each entry a file, for one plan of work.

    Args:
        folder: Where the files are; entries of another plan are removed.
        plan: What the entries depend on.
    """

    def __init__(self, folder: Path, plan: Mapping[str, Any]) -> None:
        self.folder = folder
        text = json.dumps(plan, sort_keys=True, default=str)
        path = folder / PLAN
        if not path.is_file() or path.read_text(encoding="utf-8") != text:
            self.remove()
            folder.mkdir(parents=True, exist_ok=True)
            write_text(path, text)

    def get(self, name: str) -> dict[str, Array] | None:
        """Return the arrays of an entry; None if it is missing or damaged."""
        try:
            found: dict[str, Array] = load_file(self.folder / f"{name}{ENDING}")
        except (OSError, SafetensorError, ValueError):
            return None
        return found

    def put(self, name: str, arrays: Mapping[str, Array]) -> None:
        """Write an entry atomically."""
        content = save({key: np.ascontiguousarray(array) for key, array in arrays.items()})
        with atomic_file(self.folder / f"{name}{ENDING}") as temporary:
            temporary.write_bytes(content)

    def remove(self) -> None:
        """Remove all entries, and the folder unless it holds other files."""
        with suppress(OSError):
            for path in self.folder.iterdir():
                if path.name == PLAN or path.suffix == ENDING or is_leftover(path.name):
                    path.unlink(missing_ok=True)
            self.folder.rmdir()
