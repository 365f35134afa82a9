"""Order of the error bars over points, slices and patients."""

from __future__ import annotations

import re
from collections.abc import Mapping

import numpy as np
import pandas as pd
from scipy import stats

# Columns of the mean error, with the ending that those of a label have.
_ERROR = re.compile(r"(contour|error|landmark)_mean(_\d+)?")


def orders_of(table: pd.DataFrame) -> dict[str, Mapping[str, float | None]]:
    """Return Spearman's correlation of the error bars and the error: over points, over slices, over patients.

    Args:
        table: The scores of an evaluation.

    Returns:
        `contour_<label>`, `error` or `landmark` → `points`, the mean over patients of the correlation within a row;
        `slices`, the correlation of mean half-width and mean error over the rows, if rows are slices; `patients`,
        the same for the means of patients. None where not defined.
    """
    found: dict[str, Mapping[str, float | None]] = {}
    by_slice = bool(table["slice"].notna().any())
    for column in map(str, table.columns):
        match = _ERROR.fullmatch(column)
        if match:
            stem, label = match[1], match[2] or ""
            both = table[["patient", column, f"{stem}_width{label}", f"{stem}_order{label}"]].copy()
            both.columns = pd.Index(["patient", "error", "width", "order"])
            known = both.dropna(subset=["error", "width"])
            means = known.groupby("patient")[["error", "width", "order"]].mean()
            found[f"{stem}{label}"] = {
                "points": _finite(means["order"].mean()),
                "slices": _order(known) if by_slice else None,
                "patients": _order(means),
            }
    return found


def _order(both: pd.DataFrame) -> float | None:
    error, width = both["error"].to_numpy(), both["width"].to_numpy()
    if len(both) < 3 or min(np.ptp(error), np.ptp(width)) == 0:
        return None
    return _finite(stats.spearmanr(width, error)[0])


def _finite(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None
