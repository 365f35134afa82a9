"""Names of the ways to scale intensities, readable without image libraries."""

from __future__ import annotations

from typing import Literal

Intensity = Literal["minmax", "percentile"]
