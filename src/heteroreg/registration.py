"""What a registration is, and what can make one."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch
from numpy.typing import NDArray

from heteroreg.data.field import to_millimetres, write_displacement
from heteroreg.data.grid import Grid
from heteroreg.data.image import Image, write_image
from heteroreg.files import atomic_folder, write_text

Floats = NDArray[np.floating[Any]]


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
        displacement_sd: σ̂_z, standard deviation of the displacement in mm; None where the model has none.
        moved_labels: The moving label map on the fixed grid, where one was given.
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
    displacement_sd: Image | None = None
    moved_labels: Image | None = None
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

    def save(self, folder: str | Path) -> None:
        """Writes the registration as a folder, whole or not at all.

        `moved`, `displacement`, `inverse_displacement` and, where there are any, `noise_sd`, `weight`,
        `displacement_sd` and `moved_labels`, each as `.nii.gz`, and `summary.json`.

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
        with atomic_folder(Path(folder), marker="summary.json") as temporary:
            for name, image in images.items():
                if image is not None:
                    write_image(image, temporary / f"{name}.nii.gz")
            write_displacement(self.displacement, self.grid, temporary / "displacement.nii.gz")
            write_displacement(self.inverse_displacement, self.grid, temporary / "inverse_displacement.nii.gz")
            write_text(temporary / "summary.json", json.dumps(self.summary(), indent=2) + "\n")

    def summary(self) -> dict[str, Any]:
        """The figures of the registration: what was registered by what, how far voxels move."""
        length = np.linalg.norm(self.displacement_mm, axis=0)
        return {
            "kind": "registration",
            "moving": self.moving.name,
            "fixed": self.fixed.name,
            "shape": list(self.grid.shape),
            "spacing_mm": list(self.grid.spacing),
            "displacement_mm": {"mean": float(length.mean()), "max": float(length.max())},
            **self.info,
        }


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
