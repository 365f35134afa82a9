"""Types of NumPy arrays, named once."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
Floats = NDArray[np.floating[Any]]
Doubles = NDArray[np.float64]
Labels = NDArray[np.integer[Any]]
Mask = NDArray[Any]  # anything that counts as true or false per voxel
