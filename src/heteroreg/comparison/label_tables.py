"""Tables of the error bars' order and of the label sizes, over a whole cohort and not over patients."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from heteroreg.comparison.table import ComparisonTable
from heteroreg.evaluation.metrics import MINUS, MISSING
from heteroreg.evaluation.orders import orders_of

ORDERS = {"points": "points", "slices": "slices", "patients": "patients"}
# Key, heading, factor and decimals of the columns of sizes.
SIZES = (
    ("whole_dice", "Dice of the whole (%)", 100, 2),
    ("ratio", "warped / true, median", 1, 2),
    ("error", "mean error", 1, 1),
    ("calibrated_error", "calibrated", 1, 1),
    ("coverage", "interval holds (%)", 100, 0),
    ("width", "its width (%)", 100, 0),
)


@dataclass(frozen=True)
class TextTable:
    """A table of texts.

    Attributes:
        title: The title.
        note: What it shows.
        head: Headings of the columns.
        rows: The cells; the first is the row's name.
    """

    title: str
    note: str
    head: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


def label_tables(comparison: ComparisonTable) -> list[TextTable]:
    """Return the tables of orders and of sizes, where the evaluations have them; means over the seeds of a row."""
    return [table for table in (_orders(comparison), _sizes(comparison)) if table is not None]


def _orders(comparison: ComparisonTable) -> TextTable | None:
    found = {row: [orders_of(one.table) for one in scores] for row, scores in comparison.repeats.items()}
    keys = dict.fromkeys(key for seeds in found.values() for one in seeds for key in one)
    if not keys:
        return None
    rows = [
        (row, _called(comparison, key), *(_mean(_values(seeds, key, name), 1, 2) for name in ORDERS))
        for key in keys
        for row, seeds in found.items()
        if any(key in one for one in seeds)
    ]
    note = (
        "Spearman's correlation of the half-width and the error: over the points of a slice or pair (mean over "
        "patients), over the means of slices, and over the means of patients."
    )
    return TextTable("Order of the error bars", note, ("", "error of", *ORDERS.values()), tuple(rows))


def _sizes(comparison: ComparisonTable) -> TextTable | None:
    found = {
        row: [one.summary["sizes"] for one in scores if "sizes" in one.summary]
        for row, scores in comparison.repeats.items()
    }
    labels = sorted({label for seeds in found.values() for one in seeds for label in one}, key=int)
    if not labels:
        return None
    have = {name for seeds in found.values() for one in seeds for entry in one.values() for name in entry}
    shown = [one for one in SIZES if one[0] in have]
    rows = [
        (
            row,
            comparison.label_called(int(label)),
            *(_mean(_values(seeds, label, key), factor, digits) for key, _, factor, digits in shown),
        )
        for label in labels
        for row, seeds in found.items()
        if any(label in one for one in seeds)
    ]
    tables = [scores[0].sizes for scores in comparison.repeats.values()]
    units = sorted({str(unit) for table in tables if table is not None for unit in table["unit"]})
    note = (
        "Warped labels over the whole image, beside the true ones; errors are mean absolute errors"
        f"{' in ' + units[0] if len(units) == 1 else ''}. The other Dice is over slices with the label in both."
    )
    return TextTable("Sizes of labels", note, ("", "label", *(title for _, title, _, _ in shown)), tuple(rows))


def _called(comparison: ComparisonTable, key: str) -> str:
    """Return `contour of label 2` for `contour_2`."""
    stem, _, label = key.partition("_")
    words = {"error": "displacement", "landmark": "landmarks"}.get(stem, stem)
    return f"{words} of {comparison.label_called(int(label))}" if label else words


def _values(seeds: Iterable[Mapping[str, Mapping[str, Any]]], key: str, name: str) -> list[float]:
    found = (one.get(key, {}).get(name) for one in seeds)
    return [float(value) for value in found if value is not None]


def _mean(values: list[float], factor: float, digits: int) -> str:
    return f"{factor * np.mean(values):.{digits}f}".replace("-", MINUS) if values else MISSING
