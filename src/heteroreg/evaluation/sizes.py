"""Sizes of the labels of whole images: warped beside true, with the interval of a calibrated registrar."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
import pandas as pd

from heteroreg.data.cohort import Pair
from heteroreg.data.samples.preparation import resample
from heteroreg.evaluation.inputs import Inputs
from heteroreg.evaluation.overlap import dice
from heteroreg.evaluation.size_file import SIZE_COLUMNS
from heteroreg.registration.result import Registration
from heteroreg.uncertainty.displacement_error import ejection_fraction
from heteroreg.uncertainty.label_sizes import MEASURES, labels_of, size

SizeSlices = Literal["whole", "both"]


def sizes_of(
    pair: Pair, inputs: Inputs, registration: Registration, slices: SizeSlices = "whole"
) -> list[dict[str, Any]]:
    """Return a row for each label of a pair; empty without labels.

    `warped` and `true` are the sizes at the fixed image, `low` and `high` the interval of the true size at `level`
    percent.

    Args:
        pair: The pair.
        inputs: Its images and labels.
        registration: Its registration.
        slices: With `whole` a slice at the base in which only one frame has the label counts in full. With `both`
            only the slices count that have it in both; the calibrated size and its interval are of the whole stack,
            and left out.
    """
    if inputs.fixed_labels is None or inputs.moving_labels is None or registration.moved_labels is None:
        return []
    truth, moved = inputs.fixed_labels, registration.moved_labels
    intervals = registration.label_sizes if slices == "whole" else {}
    placed = inputs.moving_labels if slices == "whole" else resample(inputs.moving_labels, truth.grid, labels=True)
    rows = []
    for label in sorted({*labels_of(truth), *labels_of(inputs.moving_labels)}):
        masks = [image.array == label for image in (placed, moved, truth)]
        if slices == "both" and truth.grid.dims == 3:
            shared = masks[0].any(axis=(0, 1)) & masks[2].any(axis=(0, 1))
            masks = [mask & shared for mask in masks]
        grids = placed.grid, truth.grid, truth.grid
        moving, warped, true = (size(mask, grid) for mask, grid in zip(masks, grids, strict=True))
        row: dict[str, Any] = {
            "id": pair.id, "patient": pair.patient, "label": label, "unit": MEASURES[truth.grid.dims].unit,
            "moving": moving, "warped": warped, "true": true,
            "whole_dice": dice(moved.array == label, truth.array == label),
            "ejection_fraction": ejection_fraction(moving, warped),
            "true_ejection_fraction": ejection_fraction(moving, true),
        }  # fmt: skip
        found = intervals.get(label)
        if found is not None:
            low, high = found.interval
            row |= {
                "calibrated": found.calibrated, "low": low, "high": high, "level": found.level,
                "inside": float(low <= true <= high),
                "calibrated_ejection_fraction": ejection_fraction(moving, found.calibrated),
            }  # fmt: skip
        rows.append(row)
    return rows


def whole_dice(inputs: Inputs, registration: Registration, labels: Sequence[int] | None) -> dict[str, float]:
    """Return Dice over all slices of a stack, as `whole_dice_<label>`, where the warped or the true map has it."""
    truth, moved = inputs.fixed_labels, registration.moved_labels
    if truth is None or moved is None:
        return {}
    found = sorted({*labels_of(truth), *labels_of(moved)})
    wanted = [label for label in found if labels is None or label in labels]
    return {f"whole_dice_{label}": dice(moved.array, truth.array, label) for label in wanted}


def size_table(rows: list[dict[str, Any]]) -> pd.DataFrame | None:
    """Return the rows as a table; None without rows."""
    return pd.DataFrame(rows, columns=list(SIZE_COLUMNS)) if rows else None


def size_summary(table: pd.DataFrame) -> dict[str, dict[str, float | int | None]]:
    """Return for each label means over the pairs.

    Returns:
        Label → `whole_dice`; `ratio`, the median of warped/true; `error`, the mean absolute error in the unit of
        the size; `pairs`. With a calibration also `level`, `coverage`, the share of the true sizes inside the
        interval, `width`, its mean width as a share of the true size, and `calibrated_error`, the mean absolute
        error of the calibrated size.
    """
    return {str(label): _means(part) for label, part in table.groupby("label")}


def _means(part: pd.DataFrame) -> dict[str, float | int | None]:
    both = part[(part["true"] > 0) & (part["warped"] > 0)]
    found: dict[str, float | int | None] = {
        "pairs": len(part),
        "whole_dice": _finite(part["whole_dice"].mean()),
        "ratio": _finite((both["warped"] / both["true"]).median()),
        "error": _finite((part["warped"] - part["true"]).abs().mean()),
    }
    if part["level"].notna().any():
        width = (both["high"] - both["low"]) / both["true"]
        found |= {
            "level": int(part["level"].max()),
            "calibrated_error": _finite((part["calibrated"] - part["true"]).abs().mean()),
            "coverage": _finite(part["inside"].mean()),
            "width": _finite(width.mean()),
        }
    return found


def _finite(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None
