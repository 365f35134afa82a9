"""Fingerprints of the images that a study is scored on, so that its cohort is recognised wherever it lies."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from heteroreg.data.cohort import Cohort
from heteroreg.data.samples.dataset import files_read
from heteroreg.data.samples.fingerprint import Fingerprints
from heteroreg.system.errors import UserError
from heteroreg.system.files import write_text
from heteroreg.system.run_files import COHORT_RECORD
from heteroreg.system.text import read_json

SCORED_VERSION = 1


@dataclass(frozen=True)
class ScoredImages:
    """The images of the pairs that are scored, by their content.

    Those to learn from and to choose by are in the record of each run.

    Attributes:
        pairs: Fingerprints by column of the cohort, by the id of the pair; None where a file has none.
    """

    pairs: Mapping[str, Mapping[str, str | None]]

    @classmethod
    def of(cls, cohort: Cohort, prints: Fingerprints) -> ScoredImages:
        """Take the fingerprints of all images and label maps.

        Raises:
            UserError: A file is missing or cannot be read.
        """
        files = {pair.id: files_read(pair, labels=True) for pair in cohort}
        return cls({pair: {column: prints.of(path) for column, path in of.items()} for pair, of in files.items()})

    @classmethod
    def read(cls, folder: Path) -> ScoredImages | None:
        """Read what a study is scored on; None for one that has not begun, or was begun by an earlier version.

        Raises:
            UserError: The file is damaged or of a newer version.
        """
        path = folder / COHORT_RECORD
        if not path.is_file():
            return None
        try:
            entries = read_json(path)
            version = int(entries["schema_version"])
            if version <= SCORED_VERSION:
                return cls({str(pair): dict(prints) for pair, prints in entries["score"].items()})
        except (UserError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise UserError(
                f"{path}: is damaged ({error}); delete it to go on with the cohort in its place"
            ) from error
        raise UserError(f"{path}: was written by a newer heteroreg; update heteroreg")

    def write(self, folder: Path) -> None:
        """Write the file atomically."""
        entries = {"schema_version": SCORED_VERSION, "score": self.pairs}
        write_text(folder / COHORT_RECORD, json.dumps(entries, indent=1) + "\n")

    @property
    def complete(self) -> bool:
        """True if every file has a fingerprint."""
        return all(value is not None for prints in self.pairs.values() for value in prints.values())

    def difference(self, other: ScoredImages) -> str:
        """Return the first pair of both whose files differ, such as `p3: fixed`, or an empty text."""
        for pair in self.pairs.keys() & other.pairs.keys():
            own, theirs = self.pairs[pair], other.pairs[pair]
            odd = [column for column in {**own, **theirs} if own.get(column) != theirs.get(column)]
            if odd:
                return f"{pair}: {', '.join(odd)}"
        return ""
