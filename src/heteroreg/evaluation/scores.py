"""The outcome of an evaluation: a table, a summary, curves, and a few registrations to look at."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import pandas as pd
from pydantic import BaseModel, Field, ValidationError

from heteroreg.evaluation.gallery import Case, read_gallery, save_gallery
from heteroreg.evaluation.metrics import is_metric
from heteroreg.evaluation.scoring import ScoringMode
from heteroreg.evaluation.size_file import SIZE_COLUMNS, SIZES_FILE
from heteroreg.evaluation.stack import Stack, read_stacks, save_stacks
from heteroreg.system.errors import UserError
from heteroreg.system.files import write_text
from heteroreg.system.outputs import output_folder, recover
from heteroreg.system.text import csv_text, read_json, read_table

SCORES_FILE = "scores.csv"
CURVE_NAMES = ("mse", "oracle", "random")
# No score comes near, and the squares of larger numbers overflow.
LARGEST_SCORE = 1e100


class _Counts(BaseModel):
    """Numbers of what was evaluated, in a summary."""

    pairs: int = Field(ge=0)
    patients: int = Field(ge=0)
    rows: int = Field(ge=0)


class _LabelCounts(BaseModel):
    """Numbers of rows with a label, in a summary."""

    rows: int = Field(ge=0)
    missed: int = Field(ge=0)


class _Summary(BaseModel):
    """The entries of a summary that other modules rely on."""

    label_names: dict[int, str] = {}
    error_widths: dict[str, Annotated[float, Field(gt=0, le=LARGEST_SCORE)]] = {}

    kind: Literal["evaluation"]
    mode: ScoringMode
    counts: _Counts
    labels: dict[int, _LabelCounts]


@dataclass(frozen=True, repr=False)
class Scores:
    """The scores of one registrar on one cohort.

    Attributes:
        table: One row for each pair, or for each slice where slices were registered on their own: `id`,
            `patient`, `slice` (missing for a pair), the cohort's further columns, the metrics (NaN where not
            defined).
        summary: What was evaluated, and for each metric mean and sd over patients.
        sparsification: The mean curves, where a noise was predicted: `fraction`, `mse`, `oracle`, `random`,
            and the three with `_foreground`.
        cases: One slice each of a few registrations, spread over the cohort.
        stacks: Up to a hundred registrations with all their slices, for the viewer of the page.
        sizes: One row for each pair and label, over whole images: see `sizes.sizes_of`; None without labels.

    Examples:
        >>> import tempfile
        >>> import heteroreg as hr
        >>> cohort = hr.phantom(tempfile.mkdtemp(), pairs=3, size=32)
        >>> scores = hr.evaluate("undeformed", cohort)
        >>> len(scores.per_patient())
        3
    """

    table: pd.DataFrame
    summary: dict[str, Any]
    sparsification: pd.DataFrame | None = None
    cases: tuple[Case, ...] = ()
    stacks: Sequence[Stack] = ()
    sizes: pd.DataFrame | None = None

    def __repr__(self) -> str:
        name = self.summary.get("registrar", "unknown registrar")
        rows = f"{len(self.table)} {'slices' if self.slicewise else 'pairs'}"
        return (
            f"Scores({name!r}, {rows} of {self.table['patient'].nunique()} patients, {len(self.metrics)} metrics)"
        )

    @property
    def metrics(self) -> list[str]:
        """The metrics that the table has."""
        return [str(column) for column in self.table.columns if is_metric(str(column))]

    @property
    def slicewise(self) -> bool:
        """True if rows are slices."""
        return bool(self.table["slice"].notna().any())

    def per_patient(self) -> pd.DataFrame:
        """Return for each patient (index) the mean of each metric over the rows that have it."""
        return self.table.groupby("patient")[self.metrics].mean()

    @property
    def label_names(self) -> dict[int, str]:
        """Names of labels by number."""
        return {int(label): str(name) for label, name in self.summary.get("label_names", {}).items()}

    @property
    def error_widths(self) -> dict[str, float]:
        """By label: half-width of the interval along its contour, in units of the map `error_95`."""
        return dict(self.summary.get("error_widths", {}))

    def dice_in_words(self) -> str:
        """Return the mean Dice of each label beside that of no registration; empty without labels.

        For example `dice_1 0.8644 (undeformed 0.5960), dice_2 0.8180 (undeformed 0.5213)`.
        """
        before, names = self.summary.get("undeformed", {}), self.label_names
        parts = []
        for name, entry in self.summary["metrics"].items():
            if name.startswith("dice_") and entry["mean"] is not None:
                still = before.get(name, {}).get("mean")
                beside = "" if still is None else f" (undeformed {still:.4f})"
                called = names.get(int(name.removeprefix("dice_")))
                parts.append(f"{'Dice of ' + called if called else name} {entry['mean']:.4f}{beside}")
        return ", ".join(parts)

    def save(self, folder: str | Path) -> None:
        """Write the evaluation as a folder, whole or not at all.

        It holds `scores.csv`, `summary.json`, `sparsification.csv`, `sizes.csv`, `gallery/` and `viewer/`.

        Raises:
            UserError: The folder exists and holds something else.
        """
        with output_folder(folder, "evaluation") as temporary:
            write_text(temporary / SCORES_FILE, csv_text(self.table))
            write_text(temporary / "summary.json", json.dumps(self.summary, indent=2, allow_nan=False) + "\n")
            if self.sparsification is not None:
                text = self.sparsification.to_csv(index=False, lineterminator="\n")
                write_text(temporary / "sparsification.csv", text)
            if self.sizes is not None:
                write_text(temporary / SIZES_FILE, csv_text(self.sizes))
            save_gallery(self.cases, temporary)
            save_stacks(self.stacks, temporary)

    @classmethod
    def read(cls, folder: str | Path) -> Scores:
        """Read a folder that `save` wrote.

        Raises:
            UserError: It is missing, damaged, or no evaluation.
        """
        folder = Path(folder)
        recover(folder)
        for name in (SCORES_FILE, "summary.json"):
            if not (folder / name).is_file():
                raise UserError(f"{folder}: no evaluation (no {name}); name a folder that 'evaluate' wrote")
        summary = read_json(folder / "summary.json")
        try:
            _Summary.model_validate(summary)
        except ValidationError as error:
            first = error.errors()[0]
            key = ".".join(map(str, first["loc"]))
            raise UserError(
                f"{folder / 'summary.json'}: not that of an evaluation ({key}: {first['msg']}); evaluate again"
            ) from error
        curve = folder / "sparsification.csv"
        sparsification = _read_curve(curve) if curve.is_file() else None
        sizes = _read_sizes(folder / SIZES_FILE) if (folder / SIZES_FILE).is_file() else None
        table = _read_scores(folder / SCORES_FILE)
        return cls(table, summary, sparsification, read_gallery(folder), read_stacks(folder), sizes)


def _read_scores(path: Path) -> pd.DataFrame:
    columns, rows = read_table(path, ("id", "patient", "slice"))
    table = pd.DataFrame([row for _, row in rows], columns=columns, dtype=str)
    for column in columns:
        if is_metric(column) or column == "slice":
            table[column] = _numbers(path, table[column])
    index = table["slice"]
    if not len(table) or (table[["id", "patient"]] == "").any(axis=None):
        raise UserError(f"{path}: holds no rows, or one without id or patient; evaluate again")
    if (index < 0).any() or (index > 2**31).any() or (index != index.round()).sum() > index.isna().sum():
        raise UserError(f"{path}: the column 'slice' must hold the numbers of slices; evaluate again")
    table["slice"] = index.astype("Int64")
    if table.duplicated(["id", "slice"]).any():
        raise UserError(f"{path}: has two rows for one pair or slice; evaluate again")
    return table


def _read_curve(path: Path) -> pd.DataFrame:
    columns, rows = read_table(path, ("fraction",))
    groups = [[f"{name}{suffix}" for name in CURVE_NAMES] for suffix in ("", "_foreground")]
    whole = [name for group in groups if group[0] in columns for name in group]
    if not rows or not set(whole) <= set(columns):
        raise UserError(f"{path}: no sparsification curves (fraction, {', '.join(CURVE_NAMES)}); evaluate again")
    table = pd.DataFrame([row for _, row in rows], columns=columns, dtype=str)
    table = table.apply(lambda column: _numbers(path, column))
    if table.isna().any(axis=None):
        raise UserError(f"{path}: a curve has a gap; evaluate again")
    return table


def _read_sizes(path: Path) -> pd.DataFrame:
    columns, rows = read_table(path, SIZE_COLUMNS)
    table = pd.DataFrame([row for _, row in rows], columns=columns, dtype=str)
    for column in SIZE_COLUMNS:
        if column not in ("id", "patient", "unit"):
            table[column] = _numbers(path, table[column])
    return table


def _numbers(path: Path, column: pd.Series[str]) -> pd.Series[float]:
    """Return a column as numbers, NaN where a cell is empty."""
    try:
        numbers = pd.to_numeric(column).astype(float)
    except (ValueError, TypeError, OverflowError) as error:
        raise UserError(f"{path}: the column '{column.name}' holds cells that are not numbers ({error})") from error
    if (np.abs(numbers) > LARGEST_SCORE).any():
        raise UserError(f"{path}: the column '{column.name}' holds {numbers.abs().max():g}, which is no score")
    return numbers


def over_patients(table: pd.DataFrame, metrics: list[str]) -> dict[str, dict[str, float | int | None]]:
    """Return for each metric the mean and the sample sd over patients, whose values are means over their rows.

    Returns:
        Metric → `mean`, `sd` (None for fewer than two patients), `patients` (those who have the metric).
    """
    patients = table.groupby("patient")[metrics].mean()
    result: dict[str, dict[str, float | int | None]] = {}
    for name in metrics:
        values = patients[name].dropna()
        result[name] = {
            "mean": _number(values.mean()),
            "sd": _number(values.std(ddof=1)),
            "patients": len(values),
        }
    return result


def _number(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None
