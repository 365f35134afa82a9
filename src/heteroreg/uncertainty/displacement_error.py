"""The calibrated error of one displacement."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from statistics import NormalDist
from typing import Any

import numpy as np
import torch

from heteroreg.data.grid import Grid
from heteroreg.data.samples.preparation import slices_of
from heteroreg.networks.displacement import correlated
from heteroreg.system.arrays import Array, Floats
from heteroreg.uncertainty.calibration import UNUSUAL, Calibration
from heteroreg.uncertainty.contours import contour_of
from heteroreg.uncertainty.label_sizes import MEASURES, size
from heteroreg.uncertainty.slices import SliceTable


@dataclass(frozen=True)
class SizeInterval:
    """The size of a warped label with the interval of the true size.

    Attributes:
        value: Area in mm² or volume in ml of the warped label.
        interval: Bounds of the interval of the true size at `level`, in the same unit.
        level: Level in percent.
        calibrated: Median of the true size: the warped one without slices that the label leaves, and without bias.
        leaves: Slices whose warped label is likely not there in the fixed image.
    """

    value: float
    interval: tuple[float, float]
    level: int
    calibrated: float
    leaves: tuple[int, ...] = ()


@dataclass(frozen=True, repr=False)
class DisplacementError:
    """Intervals of the error of one displacement.

    Attributes:
        sd: σ (*shape) in mm on the fixed grid, along any one direction; the calibration scales it to intervals.
        displacement: û (d, *shape) in voxels.
        grid: The fixed grid.
        calibration: The calibration.
        p_value: Conformal p-value of the pair among those of the calibration.
        unlike: The statistic in which the pair differs most from them.
    """

    sd: Floats
    displacement: Floats
    grid: Grid
    calibration: Calibration
    p_value: float
    unlike: str

    @property
    def unusual(self) -> bool:
        """True if the pair is unlike the pairs of the calibration: its intervals may not hold."""
        return self.p_value <= UNUSUAL

    def half_width(self, level: int, label: int | None = None) -> Floats:
        """Return the half-width (*shape) in mm of the interval of the error along any one direction.

        Args:
            level: A level that the calibration can give, in percent.
            label: For the contour of this label; None for any place.
        """
        return np.asarray(self.sd * np.float32(self.calibration.scale(level, label)), dtype=np.float32)

    def sample(self, n: int, seed: int) -> Iterator[Floats]:
        """Draw n displacements û + e (d, *shape) in voxels, e Gaussian with the calibrated SD.

        The errors of two places are correlated over the length that the calibration found; along the slices of a
        2D registration nothing moves.
        """
        dims, shape = self.calibration.dims, self.grid.shape
        spacing = self.grid.spacing
        along, across = self.calibration.lengths
        lengths = [(along if axis < dims else across) / step for axis, step in enumerate(spacing)]
        sd = torch.from_numpy(self.sd * np.float32(self.calibration.sd_scale))
        generator = torch.Generator().manual_seed(seed)
        for _ in range(n):
            noise = correlated(torch.randn((1, dims, *shape), generator=generator), lengths)[0]
            sampled = np.array(self.displacement, dtype=np.float32)
            for axis in range(dims):
                sampled[axis] += (noise[axis] * sd / spacing[axis]).numpy()
            yield sampled

    def size(self, moved_labels: Array, moving_labels: Array | None, label: int) -> SizeInterval:
        """Return the size of a warped label and the interval of the true size, at the largest level.

        Args:
            moved_labels: The warped label map (*shape).
            moving_labels: The moving label map on the fixed grid (*shape), if it is known.
            label: The label.
        """
        calibration, level, dims = self.calibration, self.calibration.level, self.calibration.dims
        value = size(moved_labels == label, self.grid)
        mask = slices_of(moved_labels == label, dims)
        if not mask.any():
            return SizeInterval(value, (value, value), level, value)
        contour = contour_of(mask, None, self.grid.spacing[:dims])
        sd = contour.mean(slices_of(self.sd, dims))
        spacing = self.grid.spacing
        found = calibration.size_sd(contour, sd, mask.shape, spacing)
        spread = float(found / (np.count_nonzero(mask) * np.prod(spacing)))
        sizes = calibration.sizes.get(str(label))
        if sizes is None or level not in sizes.scales:
            half = float(NormalDist().inv_cdf(0.5 + level / 200)) * spread
            return SizeInterval(value, (value * np.exp(-half), value * np.exp(half)), level, value)
        expected, leaves = value, ()
        if sizes.presence is not None and moving_labels is not None and len(mask) > 1:
            voxels = [slices_of(labels == label, dims).sum(axis=(1, 2)) for labels in (moved_labels, moving_labels)]
            table = SliceTable.of(contour.inside // mask[0].size, sd, *voxels)
            expected = value * sizes.presence.share_left(table)
            leaves = tuple(table.index[sizes.presence(table.features) < 0.5].tolist())
        return SizeInterval(value, sizes.interval(expected, spread, level), level, sizes.middle(expected), leaves)

    def summary(self) -> dict[str, Any]:
        """Return the entries of `summary.json` on the error and the calibration."""
        found = self.calibration
        half = self.half_width(found.level)
        return {
            f"error_{found.level}_mm": {"mean": float(half.mean()), "max": float(half.max())},
            "calibration": {
                "patients": found.patients,
                "labelled_patients": found.labelled,
                "level": found.level,
                "p_value": round(self.p_value, 4),
                "unusual": self.unusual,
                **({"unlike": self.unlike} if self.unusual else {}),
            },
        }

    def remarks(self) -> list[str]:
        """Return what the user should know about the intervals, one line each."""
        if not self.unusual:
            return []
        return [
            f"unusual: this pair is unlike those of the calibration (mainly in {self.unlike}); its intervals may "
            "not hold; calibrate on images like it"
        ]


def ejection_fraction(moving: float, fixed: float) -> float | None:
    """Return the ejection fraction in %, 100·(1 - ES/ED); None if the label is empty in both frames.

    The larger of both sizes is that of end-diastole.

    Args:
        moving: Size of the label in the moving image.
        fixed: Its size in the fixed image.
    """
    larger = max(moving, fixed)
    return 100 * (1 - min(moving, fixed) / larger) if larger > 0 else None


def ejection_fraction_interval(moving: float, fixed: SizeInterval) -> tuple[float, float]:
    """Return the interval of the ejection fraction in % that follows from that of the size at the fixed image.

    Negative where the interval reaches beyond the size of the moving image.

    Args:
        moving: Size of the label in the moving image.
        fixed: Its size in the fixed image.
    """
    low, high = fixed.interval
    if moving >= fixed.calibrated or low <= 0:
        return 100 * (1 - high / moving), 100 * (1 - low / moving)
    return 100 * (1 - moving / low), 100 * (1 - moving / high)


def sizes_in_words(sizes: Mapping[str, Mapping[str, Any]], dims: int, calibration: Mapping[str, Any]) -> list[str]:
    """Return a line for each label, from `Registration.summary()`.

    For example `volume of label 1 at the fixed image: 54 ml, 95 % interval 47 to 60.1, ejection fraction 61 %
    (57 to 66), calibrated on 60 patients`.
    """
    measure, level = MEASURES[dims], calibration["level"]
    lines = []
    for label, entry in sizes.items():
        low, high = entry[f"interval_{level}"]
        middle = entry[f"{measure.key}_calibrated"]
        text = f"{measure.name} of label {label} at the fixed image: {middle:.3g} {measure.unit}, "
        text += f"{level} % interval {low:.3g} to {high:.3g}"
        if "ejection_fraction" in entry:
            least, most = entry[f"ejection_fraction_interval_{level}"]
            text += f", ejection fraction {entry['ejection_fraction']:.0f} % ({least:.0f} to {most:.0f})"
        lines.append(
            f"{text}, calibrated on {calibration['labelled_patients'] or calibration['patients']} patients"
        )
    return lines
