"""Cohorts: tables of image pairs."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd

from heteroreg.data.confine import TRANSFORMS, require_inside
from heteroreg.data.io.points import POINT_ENDINGS
from heteroreg.system.errors import UserError
from heteroreg.system.files import write_text
from heteroreg.system.text import csv_text, has_controls, read_table

REQUIRED_COLUMNS = ("id", "moving", "fixed")
LABEL_COLUMNS = ("moving_labels", "fixed_labels")
TRUTH_COLUMNS = ("true_displacement", "moving_noise_sd", "fixed_noise_sd")
POINT_COLUMNS = ("moving_points", "fixed_points")
INITIAL_COLUMN = "initial"
FILE_COLUMNS = ("moving", "fixed", *LABEL_COLUMNS, *POINT_COLUMNS, INITIAL_COLUMN, *TRUTH_COLUMNS)
NAME_COLUMNS = ("id", "split", "patient")
SPLITS = ("train", "val", "test")
# Endings of the files that are no images and that a confined cohort may name, by column.
ENDINGS = {INITIAL_COLUMN: TRANSFORMS, **dict.fromkeys(POINT_COLUMNS, POINT_ENDINGS)}


@dataclass(frozen=True, repr=False)
class Pair:
    """The files of a moving and a fixed image.

    Attributes:
        id: Name of the pair, unique in the cohort.
        moving: The image to warp.
        fixed: The image that `moving` is warped onto.
        moving_labels: Label map of the moving image.
        fixed_labels: Label map of the fixed image.
        split: `train`, `val` or `test`.
        patient: Name of the patient; by default the id.
        truth: Files of the ground truth, by column (`true_displacement`, `moving_noise_sd`, …).
        extra: Values of the cohort's further columns.
        initial: An affine alignment to begin with, the file of an ITK transform from points of fixed to moving.
        moving_points: Landmarks in the moving image.
        fixed_points: The same landmarks in the fixed image.

    Examples:
        >>> pair = Pair("p1", Path("p1_ED.nii.gz"), Path("p1_ES.nii.gz"), split="train")
        >>> pair.patient, pair.labelled
        ('p1', False)
    """

    id: str
    moving: Path
    fixed: Path
    moving_labels: Path | None = None
    fixed_labels: Path | None = None
    split: str | None = None
    patient: str = ""
    truth: Mapping[str, Path] = field(default_factory=dict)
    extra: Mapping[str, str] = field(default_factory=dict)
    initial: Path | None = None
    moving_points: Path | None = None
    fixed_points: Path | None = None

    def __post_init__(self) -> None:
        if not self.patient:
            object.__setattr__(self, "patient", self.id)

    def __repr__(self) -> str:
        labels = "with labels" if self.labelled else "without labels"
        return f"Pair({self.id!r}, {self.moving.name!r} to {self.fixed.name!r}, {labels})"

    @property
    def labelled(self) -> bool:
        """True if both images have label maps."""
        return self.moving_labels is not None and self.fixed_labels is not None

    @property
    def files(self) -> tuple[Path, ...]:
        """The images and the label maps that there are."""
        paths = (self.moving, self.fixed, self.moving_labels, self.fixed_labels)
        return tuple(path for path in paths if path is not None)


@dataclass(frozen=True, repr=False)
class Cohort:
    """A table of pairs.

    Attributes:
        pairs: The pairs, in the order of the table.
        name: The file of the table, for messages.

    Examples:
        >>> import tempfile
        >>> table = Path(tempfile.mkdtemp()) / "pairs.csv"
        >>> pairs = (
        ...     Pair("p1", table.with_name("a.nii.gz"), table.with_name("b.nii.gz"), split="train"),
        ...     Pair("p2", table.with_name("c.nii.gz"), table.with_name("d.nii.gz"), split="test"),
        ... )
        >>> Cohort(pairs).write(table)
        >>> cohort = Cohort.read(table)
        >>> len(cohort), cohort.splits, cohort.split("test")[0].id
        (2, ('train', 'test'), 'p2')
    """

    pairs: tuple[Pair, ...]
    name: str = "cohort"

    def __repr__(self) -> str:
        counts = ", ".join(f"{sum(pair.split == split for pair in self)} {split}" for split in self.splits)
        return f"Cohort({self.name!r}, {len(self)} pairs{f': {counts}' if counts else ''})"

    def __len__(self) -> int:
        return len(self.pairs)

    def __iter__(self) -> Iterator[Pair]:
        return iter(self.pairs)

    def __getitem__(self, index: int) -> Pair:
        return self.pairs[index]

    @property
    def splits(self) -> tuple[str, ...]:
        """Names of the splits with pairs, in the order train, val, test."""
        present = {pair.split for pair in self.pairs}
        return tuple(split for split in SPLITS if split in present)

    def split(self, name: str) -> Cohort:
        """Return the pairs of one split; `all` is every pair.

        Raises:
            UserError: The split has no pairs.
        """
        if name == "all":
            return self
        pairs = tuple(pair for pair in self.pairs if pair.split == name)
        if not pairs:
            has = ", ".join(self.splits) or "no split column"
            raise UserError(
                f"{self.name}: the split '{name}' is empty (available: {has}); choose another or use 'all'"
            )
        return Cohort(pairs, self.name)

    @classmethod
    def read(cls, path: str | Path, *, confine: bool = False) -> Cohort:
        """Read a cohort from its CSV file. Paths in it are relative to the file.

        Args:
            path: The file, or a folder with a `pairs.csv`.
            confine: Do not trust the cohort: every file that it names, and the data files that their headers name,
                must be inside its folder after resolving links and `..`.

        Raises:
            UserError: The file is missing or not a table, a column is missing, a required cell is empty, an id
                occurs twice or has control characters, a split has an unknown name, or a confined cohort names a
                file outside its folder. The images are not read.
        """
        path = Path(path)
        path = path / "pairs.csv" if path.is_dir() else path
        if not path.is_file():
            raise UserError(f"{path}: no such file; name a cohort (pairs.csv) or its folder")
        _, rows = read_table(path, REQUIRED_COLUMNS)
        if not rows:
            raise UserError(f"{path}: holds no pairs; add a row for each")
        _check_rows(path, rows)
        if confine:
            for number, row in rows:
                for column in FILE_COLUMNS:
                    if row.get(column):
                        where = f"{path}: line {number}, {column}"
                        kinds = {"endings": ENDINGS[column]} if column in ENDINGS else {}
                        require_inside(path.parent, row[column], where, **kinds)
        return cls(tuple(_pair(path, row) for _, row in rows), str(path))

    def write(self, path: str | Path, *, home: str | Path | None = None) -> None:
        """Write the cohort as a CSV file. Columns that no pair fills are left out.

        Args:
            path: The file.
            home: The folder that paths to files outside the CSV file's folder are relative to; that folder by
                default.
        """
        path = Path(path)
        rows = [
            _row(pair, path.parent, path.parent if home is None else Path(home).resolve()) for pair in self.pairs
        ]
        table = pd.DataFrame(rows).fillna("")
        filled = [column for column in table.columns if column in REQUIRED_COLUMNS or (table[column] != "").any()]
        write_text(path, csv_text(table[filled]))


def as_cohort(cohort: Cohort | str | Path) -> Cohort:
    """Return a cohort as it is; read anything else as its path."""
    return cohort if isinstance(cohort, Cohort) else Cohort.read(cohort)


def _check_rows(path: Path, rows: Sequence[tuple[int, Mapping[str, str]]]) -> None:
    seen: set[str] = set()
    for number, row in rows:
        for column in (*NAME_COLUMNS, *FILE_COLUMNS):
            if has_controls(row.get(column, "")):
                raise UserError(
                    f"{path}: line {number} has a line break or another control character in the column '{column}'"
                )
        empty = [column for column in REQUIRED_COLUMNS if not row[column]]
        if empty:
            raise UserError(f"{path}: line {number} has an empty cell in the column '{empty[0]}'; fill it")
        if row["id"] in seen:
            raise UserError(f"{path}: line {number} repeats the id '{row['id']}'; ids must be unique")
        seen.add(row["id"])
        if row.get("split", "") not in ("", *SPLITS):
            raise UserError(f"{path}: line {number} has the split '{row['split']}'; use {', '.join(SPLITS)}")


def _pair(path: Path, row: Mapping[str, str]) -> Pair:
    files = {column: path.parent / row[column] for column in FILE_COLUMNS if row.get(column)}
    return Pair(
        id=row["id"],
        moving=files["moving"],
        fixed=files["fixed"],
        moving_labels=files.get("moving_labels"),
        fixed_labels=files.get("fixed_labels"),
        initial=files.get(INITIAL_COLUMN),
        moving_points=files.get("moving_points"),
        fixed_points=files.get("fixed_points"),
        split=row.get("split") or None,
        patient=row.get("patient", ""),
        truth={column: files[column] for column in TRUTH_COLUMNS if column in files},
        extra={column: value for column, value in row.items() if column not in (*NAME_COLUMNS, *FILE_COLUMNS)},
    )


def _row(pair: Pair, folder: Path, home: Path) -> dict[str, str]:
    def relative(path: Path | None) -> str:
        if path is None:
            return ""
        beside = path.is_relative_to(folder)
        return Path(os.path.relpath(path, folder if beside else home)).as_posix()

    return {
        "id": pair.id,
        "patient": pair.patient,
        "split": pair.split or "",
        "moving": relative(pair.moving),
        "fixed": relative(pair.fixed),
        "moving_labels": relative(pair.moving_labels),
        "fixed_labels": relative(pair.fixed_labels),
        **{name: relative(getattr(pair, name)) for name in POINT_COLUMNS},
        INITIAL_COLUMN: relative(pair.initial),
        **{column: relative(pair.truth.get(column)) for column in TRUTH_COLUMNS},
        **pair.extra,
    }
