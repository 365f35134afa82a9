"""Colours, converted to brightness."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

# Weights of red, green and blue: ITU-R BT.601, as in JPEG.
WEIGHTS = (0.299, 0.587, 0.114)


def has_palette(path: Path) -> bool:
    """Return True for a PNG file whose pixels are indices into a palette."""
    with path.open("rb") as handle:
        start = handle.read(26)
    return start[12:16] == b"IHDR" and start[25:26] == b"\x03"


def luminance(array: NDArray[Any]) -> NDArray[np.float32]:
    """Return the brightness of colours: 0.299 R + 0.587 G + 0.114 B.

    Args:
        array: Colours (…, 3), or (…, 4) with an opacity, which is ignored.
    """
    red, green, blue = (array[..., k].astype(np.float32) for k in range(3))
    return np.asarray(WEIGHTS[0] * red + WEIGHTS[1] * green + WEIGHTS[2] * blue, dtype=np.float32)
