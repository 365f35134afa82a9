"""The outcome of an evaluation: a table, what it comes to, curves, and a few cases to look at."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from heteroreg.errors import UserError
from heteroreg.evaluation.gallery import Case, read_gallery, save_gallery
from heteroreg.evaluation.metrics import metric
from heteroreg.files import atomic_folder, write_text

MARKER = "scores.csv"


@dataclass(frozen=True)
class Scores:
    """The scores of one registrar on one cohort.

    Attributes:
        table: One row for each pair, or for each slice where slices were registered on their own: `id`,
            `patient`, `slice` (missing for a pair), the cohort's further columns, the metrics (NaN where not
            defined).
        summary: What was evaluated, and for each metric mean and sd over patients.
        sparsification: The mean curves, where a noise was predicted: `fraction`, `mse`, `oracle`, `random`,
            and the three with `_foreground`.
        cases: A few registrations, spread over the cohort.
    """

    table: pd.DataFrame
    summary: dict[str, Any]
    sparsification: pd.DataFrame | None = None
    cases: tuple[Case, ...] = ()

    @property
    def metrics(self) -> list[str]:
        """The columns of the table that hold metrics."""
        return [str(column) for column in self.table.columns if metric(str(column))]

    @property
    def slicewise(self) -> bool:
        """Whether rows are slices."""
        return bool(self.table["slice"].notna().any())

    def per_patient(self) -> pd.DataFrame:
        """For each patient (index) the mean of each metric over the rows that have it."""
        return self.table.groupby("patient")[self.metrics].mean()

    def save(self, folder: str | Path) -> None:
        """Writes `scores.csv`, `summary.json`, `sparsification.csv` and `gallery/`, whole or not at all.

        Raises:
            UserError: The folder exists and holds something else.
        """
        with atomic_folder(Path(folder), marker=MARKER) as temporary:
            write_text(temporary / MARKER, self.table.to_csv(index=False, lineterminator="\n"))
            write_text(temporary / "summary.json", json.dumps(self.summary, indent=2, allow_nan=False) + "\n")
            if self.sparsification is not None:
                text = self.sparsification.to_csv(index=False, lineterminator="\n")
                write_text(temporary / "sparsification.csv", text)
            save_gallery(self.cases, temporary)

    @classmethod
    def read(cls, folder: str | Path) -> Scores:
        """Reads a folder that `save` wrote.

        Raises:
            UserError: It is missing, damaged, or no evaluation.
        """
        folder = Path(folder)
        for name in (MARKER, "summary.json"):
            if not (folder / name).is_file():
                raise UserError(f"{folder}: no evaluation (no {name}); name a folder that 'evaluate' wrote")
        try:
            table = pd.read_csv(folder / MARKER, dtype=str, keep_default_na=False)
            summary = json.loads((folder / "summary.json").read_text(encoding="utf-8"))
            for column in table.columns:
                if metric(column):
                    table[column] = pd.to_numeric(table[column])
            table["slice"] = pd.to_numeric(table["slice"]).astype("Int64")
            kind = summary["kind"]
            curve = folder / "sparsification.csv"
            sparsification = pd.read_csv(curve) if curve.is_file() else None
        except (ValueError, KeyError, TypeError) as error:
            raise UserError(f"{folder}: not a readable evaluation ({error}); evaluate again") from error
        if kind != "evaluation" or not {"id", "patient"} <= set(table.columns):
            raise UserError(f"{folder}: no evaluation; name a folder that 'evaluate' wrote")
        return cls(table, summary, sparsification, read_gallery(folder))


def over_patients(table: pd.DataFrame, metrics: list[str]) -> dict[str, dict[str, float | int | None]]:
    """For each metric the mean and the sample sd over patients, each patient being the mean of its rows.

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
