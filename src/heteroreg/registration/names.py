"""Names of the registrars that need no run. Importing this loads neither PyTorch nor a model."""

from __future__ import annotations

REGISTRARS = {
    "elastix": "B-spline registration by elastix, optimised for each pair",
    "phantom": "the bundled model, trained on phantoms alone: 2D for images and stacks, 3D for volumes",
    "phantom-3d": "the bundled model for volumes, trained on random shapes alone",
    "undeformed": "the identity: the images as they lie in space",
}
