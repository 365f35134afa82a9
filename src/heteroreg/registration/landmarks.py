"""Error of a displacement at landmarks."""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from heteroreg.data.landmarks import Landmarks
from heteroreg.registration.maps import LandmarkErrors
from heteroreg.registration.result import Registration


def landmark_errors(registration: Registration, landmarks: Landmarks) -> LandmarkErrors:
    """Return û(p) - (q - p) at each landmark p of fixed, with q the same landmark of moving.

    Its length is the target registration error, |φ(p) - q| with φ(x) = x + u(x). The displacement is interpolated
    linearly.

    Args:
        registration: The registration.
        landmarks: The landmarks in mm.
    """
    grid = registration.grid
    place = grid.index(landmarks.fixed)
    spacing = np.asarray(grid.spacing)
    true = (grid.index(landmarks.moving) - place) * spacing
    found = np.stack(
        [ndimage.map_coordinates(one, place.T, order=1, mode="nearest") for one in registration.displacement],
        axis=1,
    )
    moving = 2 if registration.slicewise else grid.dims
    return LandmarkErrors(place, found * spacing - true, -true, moving)
