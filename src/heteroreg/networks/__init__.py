"""Networks: from (moving, fixed) to a displacement, from (moved, fixed) to a log-variance or a score."""

from heteroreg.networks.base import DisplacementNetwork
from heteroreg.networks.displacement import Displacement, displacement_of
from heteroreg.networks.pyramid import Pyramid, SymmetricPyramid
from heteroreg.networks.score import UNetScore
from heteroreg.networks.transmorph import SmallTransMorph, TransMorph
from heteroreg.networks.unet import UNet
from heteroreg.networks.variance import CoarseVariance, UNetVariance
from heteroreg.networks.voxelmorph import HalfVoxelMorph, VoxelMorph

__all__ = [
    "CoarseVariance",
    "Displacement",
    "DisplacementNetwork",
    "HalfVoxelMorph",
    "Pyramid",
    "SmallTransMorph",
    "SymmetricPyramid",
    "TransMorph",
    "UNet",
    "UNetScore",
    "UNetVariance",
    "VoxelMorph",
    "displacement_of",
]
