"""Other registration programs as registrars. Their packages are imported when they are used."""

from __future__ import annotations

import io
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray

from heteroreg.registration.classical import Classical

Array = NDArray[np.float32]


@dataclass(frozen=True)
class Greedy(Classical):
    """greedy by Yushkevich et al., from the package picsl_greedy.

    Attributes:
        metric: `SSD`, or `WNCC 2x2` (2x2x2 in 3D): the metric and its window.
        smoothing: Smoothing of the gradient and of the warp, such as `1.7vox 0.7vox`.
        velocity: Optimise a stationary velocity in place of the warp (`-sv`).
    """

    metric: str = "SSD"
    smoothing: str = "1.7vox 0.7vox"
    velocity: bool = False
    name: str = "greedy"

    def _align(self, moving: Array, fixed: Array, spacing: Sequence[float]) -> NDArray[np.floating[Any]]:
        import picsl_greedy

        program = (picsl_greedy.Greedy2D if fixed.ndim == 2 else picsl_greedy.Greedy3D)()
        metric = self.metric + (" " + "x".join(["2"] * fixed.ndim) if self.metric == "WNCC" else "")
        command = f"-i fixed moving -m {metric} -n 100x100x50 -s {self.smoothing} -threads 1 -V 0 -o warp"
        program.execute(
            command + (" -sv" if self.velocity else ""),
            out=io.StringIO(),
            err=io.StringIO(),
            fixed=_as_itk(fixed, spacing),
            moving=_as_itk(moving, spacing),
            warp=None,
        )
        found = sitk.GetArrayFromImage(program["warp"]).T  # (d, *shape) in mm
        return np.asarray(found / np.reshape(spacing, (-1, *[1] * fixed.ndim)))


@dataclass(frozen=True)
class Ants(Classical):
    """SyN of ANTs, from the package antspyx.

    Attributes:
        metric: `meansquares` or `CC`.
        flow: Smoothing of the update, as `flow_sigma` of `ants.registration`.
        total: Smoothing of the displacement, as `total_sigma`.
    """

    metric: str = "meansquares"
    flow: float = 3
    total: float = 0
    name: str = "ants"

    def _align(self, moving: Array, fixed: Array, spacing: Sequence[float]) -> NDArray[np.floating[Any]]:
        import ants

        with tempfile.TemporaryDirectory() as folder:
            found = ants.registration(
                *(
                    ants.from_numpy(np.ascontiguousarray(a), spacing=list(map(float, spacing)))
                    for a in (fixed, moving)
                ),
                type_of_transform="SyNOnly",
                initial_transform="Identity",
                syn_metric=self.metric,
                syn_sampling=2 if fixed.ndim == 3 else 4,
                reg_iterations=(100, 70, 50),
                flow_sigma=self.flow,
                total_sigma=self.total,
                outprefix=str(Path(folder) / "x"),
                random_seed=1,
            )
            (path,) = (name for name in found["fwdtransforms"] if name.endswith("Warp.nii.gz"))
            field = ants.image_read(path).numpy().reshape((*fixed.shape, fixed.ndim))
        return np.asarray(np.moveaxis(field, -1, 0) / np.reshape(spacing, (-1, *[1] * fixed.ndim)))


@dataclass(frozen=True)
class Dipy(Classical):
    """SyN of dipy.

    Attributes:
        metric: `SSD` or `CC`.
        smooth: Smoothing of the update: `smooth` of the SSD metric, `sigma_diff` of CC.
    """

    metric: str = "SSD"
    smooth: float = 4
    name: str = "dipy"

    def _align(self, moving: Array, fixed: Array, spacing: Sequence[float]) -> NDArray[np.floating[Any]]:
        from dipy.align.imwarp import SymmetricDiffeomorphicRegistration
        from dipy.align.metrics import CCMetric, SSDMetric

        del spacing  # it works in voxels
        dims = fixed.ndim
        metric = (
            SSDMetric(dims, smooth=self.smooth) if self.metric == "SSD" else CCMetric(dims, sigma_diff=self.smooth)
        )
        program = SymmetricDiffeomorphicRegistration(metric, level_iters=[100, 70, 50])
        program.verbosity = 0
        found = program.optimize(fixed.astype(np.float64), moving.astype(np.float64))
        return np.moveaxis(np.asarray(found.get_forward_field()), -1, 0)


@dataclass(frozen=True)
class ConvexAdam(Classical):
    """convexAdam (Siebert et al.), for volumes.

    Attributes:
        weight: `lambda_weight`, the weight of the smoothness.
    """

    weight: float = 1.25
    name: str = "convexadam"

    def _align(self, moving: Array, fixed: Array, spacing: Sequence[float]) -> NDArray[np.floating[Any]]:
        import torch
        from convexAdam.convex_adam_MIND import convex_adam_pt

        del spacing
        found = convex_adam_pt(
            fixed, moving, lambda_weight=self.weight, device=torch.device("cpu"), dtype=torch.float32
        )
        return np.moveaxis(np.asarray(found), -1, 0)


def _as_itk(array: Array, spacing: Sequence[float]) -> Any:
    image = sitk.GetImageFromArray(np.ascontiguousarray(array.T))
    image.SetSpacing([float(one) for one in spacing])
    return image
