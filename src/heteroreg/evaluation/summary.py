"""The table, the mean curves and the summary of an evaluation, from its rows."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pandas as pd

from heteroreg.data.cohort import Cohort
from heteroreg.evaluation.metrics import ALWAYS_SCORED, is_metric, ordered
from heteroreg.evaluation.orders import orders_of
from heteroreg.evaluation.row import RowScores
from heteroreg.evaluation.scores import CURVE_NAMES, over_patients
from heteroreg.evaluation.scoring import ScoringMode
from heteroreg.uncertainty.sparsification import FRACTIONS

# For each row the cells that identify it, and its scores.
Rows = list[tuple[dict[str, Any], RowScores]]


def score_table(rows: Rows) -> pd.DataFrame:
    """Return the rows as a table: the cells that identify them, then the metrics in order."""
    # A label that is scored nowhere still gets its column, to show that it was there.
    seen = {label for _, row in rows for label in row.present | row.one_sided}
    names = {f"dice_{label}" for label in seen}.union(ALWAYS_SCORED, *(row.values for _, row in rows))
    cells = pd.DataFrame([cells for cells, _ in rows])
    cells["slice"] = cells["slice"].astype("Int64")
    values = pd.DataFrame([row.values for _, row in rows], columns=ordered(names), dtype=float)
    return pd.concat([cells, values], axis=1)


def mean_curves(rows: Rows) -> pd.DataFrame | None:
    """Return the mean sparsification curves: over the rows of a patient, then over patients; None without noise."""
    parts = []
    for suffix in ("", "_foreground"):
        curves = [
            pd.DataFrame({"patient": cells["patient"], "fraction": FRACTIONS}).assign(
                **{f"{name}{suffix}": getattr(curve, name) for name in CURVE_NAMES}
            )
            for cells, row in rows
            if (curve := getattr(row, f"curve{suffix}")) is not None
        ]
        if curves:
            patients = pd.concat(curves).groupby(["patient", "fraction"]).mean()
            parts.append(patients.groupby("fraction").mean())
    return pd.concat(parts, axis=1).reset_index() if parts else None


def evaluation_summary(
    cohort: Cohort,
    rows: Rows,
    table: pd.DataFrame,
    *,
    registrar: str,
    mode: ScoringMode,
    info: Mapping[str, Any],
) -> dict[str, Any]:
    """Return the summary of an evaluation: what was evaluated, and means over patients.

    Args:
        cohort: The pairs.
        rows: The rows of all pairs.
        table: `score_table` of the rows.
        registrar: Name of the registrar.
        mode: How label maps were compared.
        info: `Registration.info` of one of the pairs.
    """
    splits = cohort.splits
    labels = sorted({label for _, row in rows for label in row.present | row.one_sided})
    return {
        "kind": "evaluation",
        "registrar": registrar,
        "method": info.get("method"),
        "info": {key: value for key, value in info.items() if key != "seconds"},
        "cohort": cohort.name,
        "split": splits[0] if len(splits) == 1 else "all",
        "mode": mode,
        "slicewise": bool(table["slice"].notna().any()),
        "counts": {
            "pairs": len(cohort),
            "labelled_pairs": sum(pair.labelled for pair in cohort),
            "patients": int(table["patient"].nunique()),
            "rows": len(rows),
        },
        "labels": {str(label): _label_counts(label, rows) for label in labels},
        "metrics": over_patients(table, [str(column) for column in table if is_metric(str(column))]),
        "undeformed": over_patients(*_undeformed(rows)),
        "orders": orders_of(table),
    }


def _undeformed(rows: Rows) -> tuple[pd.DataFrame, list[str]]:
    """Return the Dice of every row without a registration as a table, and the columns that are scores."""
    values = [{f"dice_{label}": value for label, value in row.undeformed.items()} for _, row in rows]
    table = pd.DataFrame([{"patient": cells["patient"]} for cells, _ in rows]).join(pd.DataFrame(values))
    return table, ordered({name for one in values for name in one})


def mean_dice(metrics: Mapping[str, Any]) -> float | None:
    """Return the mean over labels of Dice, from `metrics` or `undeformed` of a summary; None without labels."""
    found = [entry["mean"] for name, entry in metrics.items() if name.startswith("dice_")]
    known = [value for value in found if value is not None]
    return sum(known) / len(known) if known else None


def _label_counts(label: int, rows: Rows) -> dict[str, int]:
    return {
        "rows": sum(label in row.present for _, row in rows),
        "missed": sum(label in row.missed for _, row in rows),
        "one_sided": sum(label in row.one_sided for _, row in rows),
    }
