"""Fingerprints of the images that a run is trained on, so that its cohort is recognised wherever it lies."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from heteroreg.data.cohort import Cohort
from heteroreg.data.samples.dataset import all_labelled, files_read
from heteroreg.data.samples.fingerprint import Fingerprints
from heteroreg.system.errors import UserError
from heteroreg.system.files import write_text
from heteroreg.system.progress import progress
from heteroreg.system.run_files import COHORT_RECORD
from heteroreg.system.text import read_json

RECORD_VERSION = 1

T = TypeVar("T")

# Fingerprint of each file that is read, by column of the cohort; None where a file has none.
Prints = Mapping[str, str | None]


@dataclass(frozen=True)
class CohortRecord:
    """The images of a training, by their content.

    Attributes:
        train: Id and fingerprints of each pair to learn from, in their order.
        val: Likewise of the pairs to validate on.
    """

    train: tuple[tuple[str, Prints], ...]
    val: tuple[tuple[str, Prints], ...]

    @classmethod
    def of(
        cls,
        learn: Cohort,
        check: Cohort | None,
        *,
        centre_label: int | None,
        prints: Fingerprints | None = None,
        show: bool = False,
    ) -> CohortRecord:
        """Take the fingerprints of the files that a training reads.

        Args:
            learn: Pairs to learn from.
            check: Pairs to validate on.
            centre_label: The setting: with it the label maps of all pairs are read.
            prints: Holds the fingerprints that are taken.
            show: Show the progress on stderr if it takes longer than two seconds.

        Raises:
            UserError: A file is missing or cannot be read.
        """
        prints = prints or Fingerprints()
        validate = check or ()
        labels = {False: centre_label is not None, True: centre_label is not None or all_labelled(validate)}
        found: dict[bool, list[tuple[str, Prints]]] = {False: [], True: []}
        pairs = [(False, pair) for pair in learn] + [(True, pair) for pair in validate]
        with progress("taking fingerprints of the images", len(pairs), show=show) as report:
            for done, (held_out, pair) in enumerate(pairs, start=1):
                files = files_read(pair, labels=labels[held_out])
                found[held_out].append((pair.id, {column: prints.of(path) for column, path in files.items()}))
                report(done)
        return cls(tuple(found[False]), tuple(found[True]))

    @classmethod
    def read(cls, folder: Path) -> CohortRecord | None:
        """Read what a run was trained on; None for a run of an earlier version.

        Raises:
            UserError: The file is damaged or of a newer version.
        """
        return read_record(folder, lambda entries: cls(_pairs(entries["train"]), _pairs(entries["val"])))

    def write(self, folder: Path) -> None:
        """Write the file atomically."""
        parts = {"train": self.train, "val": self.val}
        write_record(
            folder, {name: [{"id": pair, **prints} for pair, prints in part] for name, part in parts.items()}
        )

    @property
    def complete(self) -> bool:
        """True if every file has a fingerprint."""
        return all(value is not None for _, prints in (*self.train, *self.val) for value in prints.values())

    def difference(self, other: CohortRecord) -> str:
        """Return where other images first differ from these, such as `p3: fixed`; empty if they are the same.

        The names of files and the ids of pairs do not count.
        """
        for split, ours, theirs in (("train", self.train, other.train), ("val", self.val, other.val)):
            if len(ours) != len(theirs):
                return f"{len(theirs)} pairs of {split} in place of {len(ours)}"
            for (_, own), (pair, prints) in zip(ours, theirs, strict=True):
                odd = [column for column in {**own, **prints} if own.get(column) != prints.get(column)]
                if odd:
                    return f"{pair}: {', '.join(odd)}"
        return ""


def read_record(folder: Path, parse: Callable[[Any], T]) -> T | None:
    """Read the record of a folder; None if it has none.

    Args:
        folder: Folder of a run or a study.
        parse: Makes the result of the entries of the file.

    Raises:
        UserError: The file is damaged or of a newer version.
    """
    path = folder / COHORT_RECORD
    if not path.is_file():
        return None
    try:
        entries = read_json(path)
        if int(entries["schema_version"]) <= RECORD_VERSION:
            return parse(entries)
    except (UserError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise UserError(
            f"{path}: is damaged ({error}); delete it to resume with the cohort in its place"
        ) from error
    raise UserError(f"{path}: was written by a newer heteroreg; update heteroreg")


def write_record(folder: Path, entries: Mapping[str, Any]) -> None:
    """Write the record of a folder atomically."""
    write_text(folder / COHORT_RECORD, json.dumps({"schema_version": RECORD_VERSION, **entries}, indent=1) + "\n")


def _pairs(entries: Any) -> tuple[tuple[str, Prints], ...]:
    return tuple(
        (str(entry["id"]), {column: value for column, value in entry.items() if column != "id"})
        for entry in entries
    )
