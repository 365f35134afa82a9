"""Sizes of the warped labels, and their uncertainty."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from heteroreg.data.grid import Grid
from heteroreg.data.image import Image
from heteroreg.spatial.field import Field
from heteroreg.system.arrays import Floats

INTERVAL = (2.5, 97.5)  # percentiles: 95 % lie between


@dataclass(frozen=True)
class Measure:
    """The measure of a label's size in 2D or 3D.

    Attributes:
        name: `area` or `volume`.
        unit: Unit in text.
        key: Key in `summary.json`.
        per_mm: Units in one mm² or mm³.
    """

    name: str
    unit: str
    key: str
    per_mm: float


MEASURES = {2: Measure("area", "mm²", "area_mm2", 1.0), 3: Measure("volume", "ml", "volume_ml", 1e-3)}


@dataclass(frozen=True)
class LabelSamples:
    """Labels warped by samples of a displacement.

    Attributes:
        probability: For each label the share of the samples (*shape) in which a voxel has it. The shares of all
            labels and the background sum to 1.
        sizes: For each label its area in mm² or volume in ml in each sample.
    """

    probability: Mapping[int, NDArray[np.float32]]
    sizes: Mapping[int, NDArray[np.float64]]

    @classmethod
    def of(cls, moving_labels: Image, samples: Iterable[Floats], grid: Grid) -> LabelSamples:
        """Warp a label map by each sample, as `moved_labels` by the displacement.

        Args:
            moving_labels: The label map of the moving image, on its own grid.
            samples: One or more displacements (d, *shape) in voxels of the grid.
            grid: The fixed image's grid.
        """
        labels = labels_of(moving_labels)
        counts = {label: np.zeros(grid.shape, dtype=np.uint32) for label in labels}
        sizes: dict[int, list[float]] = {label: [] for label in labels}
        n = 0
        for sample in samples:
            moved = Field(sample, grid).warp(moving_labels, labels=True).array
            n += 1
            for label in labels:
                mask = moved == label
                counts[label] += mask
                sizes[label].append(size(mask, grid))
        return cls(
            {label: (count / max(n, 1)).astype(np.float32) for label, count in counts.items()},
            {label: np.asarray(values) for label, values in sizes.items()},
        )

    def interval(self, label: int) -> tuple[float, float]:
        """Return the interval that holds a label's size in 95 % of the samples: percentiles 2.5 and 97.5."""
        low, high = np.percentile(self.sizes[label], INTERVAL)
        return float(low), float(high)


def labels_of(image: Image) -> list[int]:
    """Return the labels of a map in order, without the background 0."""
    return [int(label) for label in np.unique(image.array) if label != 0]


def size(mask: NDArray[np.bool_], grid: Grid) -> float:
    """Return the area of a mask in mm², or its volume in ml."""
    return float(np.count_nonzero(mask) * np.prod(grid.spacing) * MEASURES[grid.dims].per_mm)


def in_words(sizes: Mapping[str, Mapping[str, Any]], dims: int) -> list[str]:
    """Return a line for each label, from `Registration.summary()["labels"]`.

    For example `volume of label 3: 54.0 ml, in 95 % of the samples 51.2-58.1`. It is no confidence interval of the
    volume: the samples vary the displacement alone.
    """
    measure = MEASURES[dims]
    lines = []
    for label, entry in sizes.items():
        line = f"{measure.name} of label {label}: {_number(entry[measure.key])} {measure.unit}"
        if "interval_95" in entry:
            line += ", in 95 % of the samples {}-{}".format(*map(_number, entry["interval_95"]))
        lines.append(line)
    return lines


def _number(value: float) -> str:
    return f"{value:.1f}" if value >= 10 else f"{value:.3g}"
