"""Colours, which no method here knows what to do with."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

# Of red, green and blue: ITU-R BT.601, as in JPEG and PNG viewers.
WEIGHTS = (0.299, 0.587, 0.114)


def luminance(array: NDArray[Any]) -> NDArray[np.float32]:
    """The brightness of colours: 0.299 R + 0.587 G + 0.114 B.

    Args:
        array: Colours (…, 3), or (…, 4) with an opacity, which is left out.
    """
    red, green, blue = (array[..., k].astype(np.float32) for k in range(3))
    return np.asarray(WEIGHTS[0] * red + WEIGHTS[1] * green + WEIGHTS[2] * blue, dtype=np.float32)
