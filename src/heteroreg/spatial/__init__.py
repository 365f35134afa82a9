"""Functions of tensors in space, 2D and 3D by shape alone.

Images are (N, C, *shape), displacements (N, d, *shape) in voxels with channel i along array axis i.
"""

from heteroreg.spatial.fields import compose, invert, resize_displacement
from heteroreg.spatial.integrate import integrate, logarithm
from heteroreg.spatial.jacobian import jacobian_determinant
from heteroreg.spatial.smooth import smooth
from heteroreg.spatial.warp import identity, sample, warp, warp_labels

__all__ = [
    "compose",
    "identity",
    "integrate",
    "invert",
    "jacobian_determinant",
    "logarithm",
    "resize_displacement",
    "sample",
    "smooth",
    "warp",
    "warp_labels",
]
