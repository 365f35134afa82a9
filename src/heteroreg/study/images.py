"""Fingerprints of the images that a study is scored on, so that its cohort is recognised wherever it lies."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from heteroreg.data.cohort import Cohort
from heteroreg.data.samples.dataset import files_read
from heteroreg.data.samples.fingerprint import Fingerprints
from heteroreg.training.cohort_record import read_record, write_record


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
        return read_record(
            folder, lambda entries: cls({str(pair): dict(prints) for pair, prints in entries["score"].items()})
        )

    def write(self, folder: Path) -> None:
        """Write the file atomically."""
        write_record(folder, {"score": self.pairs})

    @property
    def complete(self) -> bool:
        """True if every file has a fingerprint."""
        return all(value is not None for prints in self.pairs.values() for value in prints.values())

    def difference(self, other: ScoredImages) -> str:
        """Return the first pair of both whose files differ, such as `p3: fixed`, or an empty text."""
        for pair, own in self.pairs.items():
            theirs = other.pairs.get(pair, own)
            odd = [column for column in {**own, **theirs} if own.get(column) != theirs.get(column)]
            if odd:
                return f"{pair}: {', '.join(odd)}"
        return ""
