"""elastix, driven through ITKElastix: arrays in, a displacement in voxels out."""

from heteroreg.elastix.engine import BSPLINE, align, require_installed

__all__ = ["BSPLINE", "align", "require_installed"]
