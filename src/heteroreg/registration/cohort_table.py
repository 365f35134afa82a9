"""The row of a registered pair in the table of its cohort."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from heteroreg.uncertainty.label_sizes import MEASURES

FIRST_COLUMNS = ("mean_displacement_mm", "max_displacement_mm", "folding_percent", "seconds")
ERROR_MAP = re.compile(r"error_(\d+)_mm")
INTERVAL_KEY = re.compile(r"(ejection_fraction_)?interval_(\d+)")


def row_of(summary: Mapping[str, Any], names: Mapping[str, str] | None = None) -> dict[str, float]:
    """Return the figures of a registration by column, from its `summary.json`.

    Besides `FIRST_COLUMNS` these are, where the registration has them, `mean_noise_sd`, `mean_error_<level>_mm`,
    `unusual` (1 or 0), and for each label NAME `volume_ml_NAME` (or `area_mm2_NAME`) at the fixed image, that
    with `_calibrated`, `_moving`, `_low_<level>` and `_high_<level>`, and `ejection_fraction_NAME` in % with its
    interval.

    Args:
        summary: The summary.
        names: Names of labels; a label without one is called by its number.
    """
    moved = summary["displacement_mm"]
    values = (moved["mean"], moved["max"], summary["folding_percent"], summary["seconds"])
    found = dict(zip(FIRST_COLUMNS, map(float, values), strict=True))
    if "noise_sd" in summary:
        found["mean_noise_sd"] = float(summary["noise_sd"]["mean"])
    for key, entry in summary.items():
        if ERROR_MAP.fullmatch(key):
            found[f"mean_{key}"] = float(entry["mean"])
    if "calibration" in summary:
        found["unusual"] = float(summary["calibration"]["unusual"])
    for label, entry in summary.get("labels", {}).items():
        found |= _of_label((names or {}).get(label, label), entry)
    return found


def _of_label(name: str, entry: Mapping[str, Any]) -> dict[str, float]:
    key = next(measure.key for measure in MEASURES.values() if measure.key in entry)
    found = {f"{key}_{name}": float(entry[key])}
    if f"{key}_calibrated" in entry:
        found[f"{key}_{name}_calibrated"] = float(entry[f"{key}_calibrated"])
    if f"moving_{key}" in entry:
        found[f"{key}_{name}_moving"] = float(entry[f"moving_{key}"])
    if "ejection_fraction" in entry:
        found[f"ejection_fraction_{name}"] = float(entry["ejection_fraction"])
    for key_, bounds in entry.items():
        match = INTERVAL_KEY.fullmatch(key_)
        if match:
            what = f"ejection_fraction_{name}" if match[1] else f"{key}_{name}"
            found |= {f"{what}_low_{match[2]}": float(bounds[0]), f"{what}_high_{match[2]}": float(bounds[1])}
    return found


def columns_of(rows: Iterable[Mapping[str, float]]) -> list[str]:
    """Return the columns of several rows: `FIRST_COLUMNS`, then the others as they first occur."""
    found = dict.fromkeys(FIRST_COLUMNS)
    for row in rows:
        found |= dict.fromkeys(row)
    return list(found)
