"""Names of the registrars that need no run. Importing this loads neither PyTorch nor a model."""

from __future__ import annotations

REGISTRARS = {
    "elastix": "B-spline registration by elastix, optimised for each pair",
    "phantom": "the bundled model: 2D, trained on phantoms alone",
    "undeformed": "the identity: the images as they lie in space",
}
