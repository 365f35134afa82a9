"""The result of registering two images, and the protocol of what makes one."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from heteroreg.data.grid import Grid
from heteroreg.data.image import Image, write_image
from heteroreg.data.io.displacement import write_displacement
from heteroreg.data.samples.preparation import resample
from heteroreg.methods import METHODS
from heteroreg.registration.maps import Maps
from heteroreg.spatial.field import Field
from heteroreg.system.arrays import Array, Floats
from heteroreg.system.errors import UserError
from heteroreg.system.files import write_text
from heteroreg.system.outputs import output_folder
from heteroreg.system.progress import progress, reported
from heteroreg.uncertainty.calibration import CALIBRATION_LEVELS
from heteroreg.uncertainty.displacement_error import (
    DisplacementError,
    SizeInterval,
    ejection_fraction,
    ejection_fraction_interval,
)
from heteroreg.uncertainty.label_sizes import MEASURES, LabelSamples, labels_of, size
from heteroreg.uncertainty.posterior import Posterior, standard_deviation

if TYPE_CHECKING:
    from matplotlib.figure import Figure

LARGEST_LEVEL = CALIBRATION_LEVELS[-1]
CALIBRATED_SAMPLES = 32  # of a calibrated registration


@dataclass(frozen=True, repr=False)
class Registration:
    """A moving image registered to a fixed one.

    All results lie on the grid of the fixed image.

    Attributes:
        fixed: The fixed image.
        moving: The moving image, on its own grid.
        moved: The moving image on the fixed grid: moved(x) = moving(x + u(x)), 0 outside the moving image.
        displacement: u (d, *shape) in voxels of the fixed grid, channel i along array axis i.
        inverse_displacement: Its inverse on the same grid: x + u(x) + u⁻¹(x + u(x)) = x.
        noise_sd: σ̂_I, the predicted standard deviation of the noise, in the fixed image's intensity units; None
            if the model does not estimate it.
        weight: Weight of each voxel in the method's data term; None if all weights are equal.
        moved_labels: The moving label map on the fixed grid, if one was given.
        moving_labels: The same on its own grid, as it was given.
        posterior: The distribution of displacements; None if the model has no displacement uncertainty.
        samples: Number of samples behind `displacement_sd` and the intervals of the label sizes.
        slicewise: True if each slice along the last axis was registered on its own, in its plane.
        info: The model, method, seconds, … of the registration.
        error: How wrong the displacement may be; None unless the registrar is calibrated.

    Examples:
        >>> import numpy as np
        >>> import heteroreg as hr
        >>> rng = np.random.default_rng(0)
        >>> moving, fixed = rng.random((2, 32, 32))
        >>> registration = hr.register(moving, fixed, spacing=1.5, device="cpu")
        >>> registration.displacement.shape
        (2, 32, 32)
        >>> registration.save("registered")
        >>> saved = hr.Field.read("registered/displacement.nii.gz")
        >>> np.allclose(saved.vectors, registration.displacement, atol=1e-5)
        True
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
    error: DisplacementError | None = None

    def __repr__(self) -> str:
        by = self.info.get("method", "unknown method")
        return f"Registration({self.moving.name!r} to {self.fixed.name!r}, {self.grid.summary}, by {by})"

    @property
    def grid(self) -> Grid:
        """The fixed image's grid, on which every result lies."""
        return self.fixed.grid

    @property
    def field(self) -> Field:
        """The displacement with its grid."""
        return Field(self.displacement, self.grid)

    @property
    def inverse_field(self) -> Field:
        """The inverse displacement with its grid."""
        return Field(self.inverse_displacement, self.grid)

    @property
    def transform(self) -> Any:
        """The displacement as a SimpleITK transform, from points of fixed to points of moving in mm (LPS)."""
        return self.field.to_itk()

    @property
    def displacement_mm(self) -> Floats:
        """The displacement (d, *shape) in mm along the axes of space (LPS)."""
        return self.field.mm

    def sample(self, n: int, seed: int = 0) -> Iterator[Floats]:
        """Draw displacements, one at a time: from the calibrated distribution, or else from that of the model.

        `label_probability` is computed from `sample(samples)`.

        Args:
            n: Number of samples, at least 1.
            seed: The same seed gives the same displacements.

        Yields:
            Displacements (d, *shape), as `displacement`.

        Raises:
            UserError: The registrar is not calibrated and has no displacement uncertainty, or `n` is too small.
        """
        if self._distribution is None:
            raise no_uncertainty(f"registration of {self.moving.name}: {self.info.get('method', 'its registrar')}")
        if n < 1:
            raise UserError(f"n: {n} is too few samples; draw at least 1", argument="n")
        return self._distribution.sample(n, seed)

    @property
    def _distribution(self) -> Posterior | None:
        return self.error or self.posterior

    @property
    def error_95(self) -> Image | None:
        """Half-width in mm of the 95 % interval of the displacement's error along any one direction.

        None unless the registrar is calibrated, on enough patients for 95 % (19).
        """
        if self.error is None or LARGEST_LEVEL not in self.error.calibration.levels:
            return None
        return self.fixed.with_array(self.error.half_width(LARGEST_LEVEL))

    @cached_property
    def label_sizes(self) -> dict[int, SizeInterval]:
        """Size of each warped label with the interval of the true size; empty unless calibrated and labelled."""
        if self.error is None or self.moved_labels is None or not self.error.calibration.gives_sizes:
            return {}
        labels = labels_of(self.moving_labels or self.moved_labels)
        moving = None if self.moving_labels is None else resample(self.moving_labels, self.grid, labels=True).array
        return {label: self.error.size(self.moved_labels.array, moving, label) for label in labels}

    @cached_property
    def displacement_sd(self) -> Image | None:
        """σ̂_z in mm: the RMS length of the deviation of `sample(samples)` from their mean; None without them.

        Computed on first use, with one integration for each sample.
        """
        if self.posterior is None:
            return None
        with progress("sampling the displacement", self.samples) as report:
            drawn = reported(self.posterior.sample(self.samples, 0), report)
            return self.fixed.with_array(standard_deviation(drawn, self.displacement, self.grid))

    @cached_property
    def label_samples(self) -> LabelSamples | None:
        """The moving labels warped by `sample(samples)`; None without labels or displacement uncertainty.

        Computed on first use, with one warp of the labels for each sample.
        """
        if self.moving_labels is None or self._distribution is None:
            return None
        samples = self.samples or CALIBRATED_SAMPLES
        with progress("sampling the labels", samples) as report:
            return LabelSamples.of(self.moving_labels, reported(self.sample(samples), report), self.grid)

    def plot(self, slice: int | None = None) -> Figure:  # noqa: A002 - the natural name
        """Return a Matplotlib figure: images, displacement as a grid, and maps; see `plot_registration`."""
        from heteroreg.registration.plot import plot_registration  # Matplotlib is slow to import

        names = {} if self.error is None else self.error.calibration.label_names
        return plot_registration(self.maps(), slice, {int(label): name for label, name in names.items()})

    def maps(self) -> Maps:
        """Return all arrays on the fixed grid.

        A registration does not know the fixed labels nor the true noise and error; add them with
        `dataclasses.replace`.
        """
        grid, labels = self.grid, self.moving_labels
        return Maps(
            spacing=grid.spacing,
            fixed=self.fixed.array,
            moving=resample(self.moving, grid).array,
            moved=self.moved.array,
            displacement=self.displacement,
            moving_labels=None if labels is None else resample(labels, grid, labels=True).array,
            moved_labels=_array(self.moved_labels),
            noise_sd=_array(self.noise_sd),
            weight=_array(self.weight),
            displacement_sd=_array(self.displacement_sd),
            error_95=None if self.error is None else self.error.half_width(self.error.calibration.level),
            error_scales=None if self.error is None else self.error.calibration.relative_scales,
        )

    def save(self, folder: str | Path) -> None:
        """Write the registration as a folder, atomically.

        It holds `moved`, `displacement`, `inverse_displacement` and, if there are any, `noise_sd`, `weight`,
        `displacement_sd`, `error_95`, `moved_labels` and `label_probability_<label>`, each as `.nii.gz`, and
        `summary.json`. A calibration on fewer than 19 patients gives `error_90`, or the largest level that it can.

        Raises:
            UserError: The folder exists and holds something else, or an image that was registered.
        """
        images = {
            "moved": self.moved,
            "noise_sd": self.noise_sd,
            "weight": self.weight,
            "displacement_sd": self.displacement_sd,
            "moved_labels": self.moved_labels,
        }
        if self.error is not None:
            level = self.error.calibration.level
            images[f"error_{level}"] = self.fixed.with_array(self.error.half_width(level))
        given = [image.name for image in (self.moving, self.fixed, self.moving_labels) if image is not None]
        files = [name for name in given if Path(name.partition("#")[0]).is_file()]  # an array has a name too
        with output_folder(folder, "registration", files) as temporary, progress("writing", None):
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
        """Return the content of `summary.json`: images and registrar, lengths of displacements, sizes of labels."""
        length = self.field.lengths_mm
        extra: dict[str, Any] = {}
        if self.displacement_sd is not None:
            sd = self.displacement_sd.array
            extra["displacement_sd_mm"] = {"mean": float(sd.mean()), "max": float(sd.max())}
            extra["samples"] = self.samples
        if self.noise_sd is not None:
            extra["noise_sd"] = {"mean": float(self.noise_sd.array.mean())}
        if self.error is not None:
            extra |= self.error.summary()
        if self.moved_labels is not None:
            extra["labels"] = self._label_sizes(self.moved_labels)
        return {
            "kind": "registration",
            "moving": self.moving.name,
            "fixed": self.fixed.name,
            "moving_grid": asdict(self.moving.grid),
            "shape": list(self.grid.shape),
            "spacing_mm": list(self.grid.spacing),
            "displacement_mm": {"mean": float(length.mean()), "max": float(length.max())},
            **extra,
            **self.info,
        }

    def _label_sizes(self, moved_labels: Image) -> dict[str, dict[str, Any]]:
        """Return the size of each label on the fixed grid, and its interval: calibrated, or of the samples."""
        labels = labels_of(self.moving_labels or moved_labels)
        key = MEASURES[self.grid.dims].key
        calibrated = self.label_sizes
        samples = None if self.error else self.label_samples
        sizes: dict[str, dict[str, Any]] = {}
        for label in labels:
            entry: dict[str, Any] = {key: size(moved_labels.array == label, self.grid)}
            found = calibrated.get(label)
            if found is not None:
                entry[f"{key}_calibrated"] = found.calibrated
                entry[f"interval_{found.level}"] = list(found.interval)
                if found.leaves:
                    entry["slices_it_leaves"] = list(found.leaves)
            elif samples is not None:
                entry["interval_95"] = list(samples.interval(label))
            if self.moving_labels is not None:
                moving = size(self.moving_labels.array == label, self.moving_labels.grid)
                entry[f"moving_{key}"] = moving
                if found is not None and moving > 0:
                    entry["ejection_fraction"] = ejection_fraction(moving, found.calibrated)
                    bounds = ejection_fraction_interval(moving, found)
                    entry[f"ejection_fraction_interval_{found.level}"] = list(bounds)
            sizes[str(label)] = entry
        return sizes


def _array(image: Image | None) -> Array | None:
    return None if image is None else image.array


def no_uncertainty(what: str, argument: str | None = None) -> UserError:
    """Return the error for samples of a model without displacement uncertainty."""
    able = sorted(name for name, one in METHODS.items() if one.uncertain)
    text = f"{what} has no displacement uncertainty; train with {' or '.join(able)}"
    return UserError(f"{argument}: {text}" if argument else text, argument=argument)


class Registrar(Protocol):
    """Anything that turns a moving and a fixed image into a registration; `BaseRegistrar` helps to write one.

    Examples:
        >>> import numpy as np
        >>> import heteroreg as hr
        >>> class Mine:
        ...     name = "mine"
        ...
        ...     def register(self, moving, fixed, moving_labels=None):
        ...         return hr.load("undeformed").register(moving, fixed, moving_labels)
        >>> image = hr.Image.from_array(np.eye(8), spacing=1.5)
        >>> Mine().register(image, image).displacement.shape
        (2, 8, 8)
    """

    @property
    def name(self) -> str:
        """Name in tables."""
        ...

    def register(self, moving: Image, fixed: Image, moving_labels: Image | None = None, /) -> Registration:
        """Register one pair, and warp the moving labels if they are given."""
        ...
