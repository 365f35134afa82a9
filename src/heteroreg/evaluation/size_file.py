"""The table of label sizes of an evaluation: its name and its columns."""

from __future__ import annotations

SIZES_FILE = "sizes.csv"
SIZE_COLUMNS = (
    "id", "patient", "label", "unit", "moving", "warped", "true", "whole_dice", "calibrated", "low",
    "high", "level", "inside", "ejection_fraction", "calibrated_ejection_fraction", "true_ejection_fraction",
)  # fmt: skip
