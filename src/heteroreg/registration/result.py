"""What a registration is, and what can make one."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch

from heteroreg.data.grid import Grid
from heteroreg.data.image import Image, write_image
from heteroreg.data.io.displacement import to_millimetres, write_displacement
from heteroreg.methods import METHODS
from heteroreg.system.arrays import Floats
from heteroreg.system.errors import UserError
from heteroreg.system.files import atomic_folder, write_text
from heteroreg.system.progress import progress, reported
from heteroreg.uncertainty.label_sizes import MEASURES, LabelSamples, labels_of, size
from heteroreg.uncertainty.posterior import Posterior, standard_deviation


@dataclass(frozen=True)
class Registration:
    """A moving image registered to a fixed one.

    Attributes:
        fixed: The fixed image.
        moving: The moving image, on its own grid.
        moved: The moving image on the fixed grid: moved(x) = moving(x + u(x)), 0 outside the moving image.
        displacement: u (d, *shape) in voxels of the fixed grid, channel i along array axis i.
        inverse_displacement: Its inverse on the same grid: x + u(x) + u⁻¹(x + u(x)) = x.
        noise_sd: σ̂_I, the predicted standard deviation of the noise, in the fixed image's intensity units;
            None where the model has none.
        weight: The weight of each voxel in the method's data term; None where the method weighs all alike.
        moved_labels: The moving label map on the fixed grid, where one was given.
        moving_labels: The same on its own grid, as it was given.
        posterior: What to draw displacements from; None where the model has no displacement uncertainty.
        samples: How many samples `displacement_sd` and the figures of the labels are made of.
        slicewise: Whether each slice along the last axis was registered on its own, in its plane.
        info: What made it: model, method, seconds, …
    """

    fixed: Image
    moving: Image
    moved: Image
    displacement: Floats
    inverse_displacement: Floats
    noise_sd: Image | None = None
    weight: Image | None = None
    moved_labels: Image | None = None
    moving_labels: Image | None = None
    posterior: Posterior | None = None
    samples: int = 0
    slicewise: bool = False
    info: Mapping[str, Any] = field(default_factory=dict)

    @property
    def grid(self) -> Grid:
        """The fixed image's grid, which every result lies on."""
        return self.fixed.grid

    @property
    def displacement_mm(self) -> Floats:
        """The displacement (d, *shape) in mm along the axes of space (LPS)."""
        return to_millimetres(self.displacement, self.grid)

    def sample(self, n: int, seed: int = 0) -> Iterator[Floats]:
        """Draws displacements from the distribution that the model predicts, one at a time.

        `displacement_sd`, and the figures of the labels, are made of `sample(samples)`.

        Args:
            n: How many, at least 1.
            seed: The same seed gives the same displacements.

        Yields:
            Displacements (d, *shape), as `displacement`.

        Raises:
            UserError: The model has no displacement uncertainty, or n is too small.
        """
        if self.posterior is None:
            raise no_uncertainty(f"registration of {self.moving.name}: {self.info.get('method', 'its registrar')}")
        if n < 1:
            raise UserError(f"{n} samples: draw at least 1")
        return self.posterior.sample(n, seed)

    @cached_property
    def displacement_sd(self) -> Image | None:
        """σ̂_z in mm: the RMS length of the deviation of `sample(samples)` from their mean; None without one.

        Computed when it is asked for first: it takes an integration for each sample.
        """
        if self.posterior is None:
            return None
        with progress("sampling the displacement", self.samples) as report:
            drawn = reported(self.sample(self.samples), report)
            return self.fixed.with_array(standard_deviation(drawn, self.displacement, self.grid))

    @cached_property
    def label_samples(self) -> LabelSamples | None:
        """What `sample(samples)` makes of the labels; None without labels or displacement uncertainty.

        Computed when it is asked for first: it takes a warp of the labels for each sample.
        """
        if self.moving_labels is None or self.posterior is None:
            return None
        with progress("sampling the labels", self.samples) as report:
            return LabelSamples.of(self.moving_labels, reported(self.sample(self.samples), report), self.grid)

    def save(self, folder: str | Path) -> None:
        """Writes the registration as a folder, whole or not at all.

        `moved`, `displacement`, `inverse_displacement` and, where there are any, `noise_sd`, `weight`,
        `displacement_sd`, `moved_labels` and `label_probability_<label>`, each as `.nii.gz`, and `summary.json`.

        Raises:
            UserError: The folder exists and holds something else.
        """
        images = {
            "moved": self.moved,
            "noise_sd": self.noise_sd,
            "weight": self.weight,
            "displacement_sd": self.displacement_sd,
            "moved_labels": self.moved_labels,
        }
        with atomic_folder(Path(folder), marker="summary.json") as temporary, progress("writing", None):
            for name, image in images.items():
                if image is not None:
                    write_image(image, temporary / f"{name}.nii.gz")
            for label, share in (self.label_samples.probability if self.label_samples else {}).items():
                image = self.fixed.with_array(share)
                write_image(image, temporary / f"label_probability_{label}.nii.gz")
            write_displacement(self.displacement, self.grid, temporary / "displacement.nii.gz")
            write_displacement(self.inverse_displacement, self.grid, temporary / "inverse_displacement.nii.gz")
            write_text(temporary / "summary.json", json.dumps(self.summary(), indent=2) + "\n")

    def summary(self) -> dict[str, Any]:
        """The figures of the registration: what was registered by what, how far voxels move."""
        length = np.linalg.norm(self.displacement_mm, axis=0)
        extra: dict[str, Any] = {}
        if self.displacement_sd is not None:
            sd = self.displacement_sd.array
            extra["displacement_sd_mm"] = {"mean": float(sd.mean()), "max": float(sd.max())}
            extra["samples"] = self.samples
        if self.moved_labels is not None:
            extra["labels"] = self._label_sizes(self.moved_labels)
        return {
            "kind": "registration",
            "moving": self.moving.name,
            "fixed": self.fixed.name,
            "shape": list(self.grid.shape),
            "spacing_mm": list(self.grid.spacing),
            "displacement_mm": {"mean": float(length.mean()), "max": float(length.max())},
            **extra,
            **self.info,
        }

    def _label_sizes(self, moved_labels: Image) -> dict[str, dict[str, Any]]:
        """For each label its area or volume on the fixed grid, and where 95 % of the samples have it."""
        labels, samples = labels_of(self.moving_labels or moved_labels), self.label_samples
        key = MEASURES[self.grid.dims].key
        sizes: dict[str, dict[str, Any]] = {}
        for label in labels:
            sizes[str(label)] = {key: size(moved_labels.array == label, self.grid)}
            if samples is not None:
                sizes[str(label)]["interval_95"] = list(samples.interval(label))
        return sizes


def no_uncertainty(what: str) -> UserError:
    """What to say where samples are asked of a model that has none."""
    able = sorted(name for name, method in METHODS.items() if method.uncertain)
    return UserError(f"{what} says nothing of the displacement's uncertainty; train with {' or '.join(able)}")


class Registrar(Protocol):
    """Anything that turns a moving and a fixed image into a registration."""

    @property
    def name(self) -> str:
        """What to call it in tables."""
        ...

    def register(self, moving: Image, fixed: Image, moving_labels: Image | None = None) -> Registration:
        """Registers one pair; carries the moving labels along where they are given."""
        ...


@runtime_checkable
class Movable(Protocol):
    """A registrar that computes on a device, which can be another one."""

    def to(self, device: torch.device) -> None:
        """Computes on that device from now on."""
        ...
