"""Names of the ways to scale intensities and to align images first, readable without image libraries."""

from __future__ import annotations

from typing import Literal, get_args

Intensity = Literal["minmax", "percentile"]
Alignment = Literal["grid", "centre", "mass", "rigid", "affine"]
ALIGNMENTS: tuple[str, ...] = get_args(Alignment)
