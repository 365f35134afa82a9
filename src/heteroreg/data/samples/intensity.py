"""Names of the ways to prepare images, readable without image libraries."""

from __future__ import annotations

from typing import Literal, TypeAlias, get_args

Intensity = Literal["minmax", "percentile"]
Alignment = Literal["grid", "centre", "mass", "rigid", "affine"]
WorkingSpacing: TypeAlias = tuple[float, ...] | Literal["image"] | None
ALIGNMENTS: tuple[str, ...] = get_args(Alignment)
