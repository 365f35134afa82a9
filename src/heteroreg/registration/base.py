"""The base class of this package's registrars."""

from __future__ import annotations

from abc import ABC, abstractmethod
from copy import copy
from typing import ClassVar

from heteroreg.data.image import Image
from heteroreg.data.inputs import ImageLike, Spacing, as_pair
from heteroreg.data.samples.preparation import require_overlap
from heteroreg.registration.result import Registration
from heteroreg.system.memory import memory_errors


class BaseRegistrar(ABC):
    """A registrar that takes any kind of image.

    `register` converts and checks its inputs, and a subclass defines `_register` for a pair of images (`Image`).

    Examples:
        >>> import heteroreg as hr
        >>> class Identity(hr.BaseRegistrar):
        ...     name = "identity"
        ...
        ...     def _register(self, moving, fixed, moving_labels):
        ...         return hr.load("undeformed").register(moving, fixed, moving_labels)
        >>> import numpy as np
        >>> Identity().register(np.eye(8), np.eye(8), spacing=1.5).grid
        Grid(8×8 voxels, 1.5×1.5 mm)
    """

    # True for a registrar that brings the images together itself: they need not overlap before.
    aligns: ClassVar[bool] = False

    _calibrated: ClassVar[BaseRegistrar | None] = None  # set on an object by `use_calibration`

    @property
    @abstractmethod
    def name(self) -> str:
        """Name in tables."""

    @property
    def identity(self) -> str:
        """A text that tells registrars apart, also those with the same name."""
        return self.name

    def fingerprint(self) -> str:
        """Return what a calibration is bound to: it changes with everything that changes the displacement."""
        return self.identity

    @property
    def dims(self) -> int | None:
        """Number of axes that the images need at least; None if 2D and 3D images are both fine."""
        return None

    def register(
        self,
        moving: ImageLike,
        fixed: ImageLike,
        moving_labels: ImageLike | None = None,
        *,
        spacing: Spacing | None = None,
    ) -> Registration:
        """Register moving to fixed.

        Args:
            moving: A path (`PATH#N` is frame N of a series), an `Image`, an image of SimpleITK, ITK or nibabel,
                or an array or tensor [x, y(, z)].
            fixed: Likewise.
            moving_labels: Label map of the moving image, warped with it.
            spacing: Distance in mm between the voxels of arrays and tensors: a number, or one for each axis.

        Raises:
            UserError: An image cannot be used (unreadable, constant, non-finite, of the wrong dimension, …), the
                images do not overlap, or the registration fails or does not fit into memory.
        """
        if self._calibrated is not None:
            return self._calibrated.register(moving, fixed, moving_labels, spacing=spacing)
        pair = as_pair(moving, fixed, moving_labels, spacing, self.dims)
        if not self.aligns:
            require_overlap(*pair[:2])
        with memory_errors(f"registration of {pair[0].name} to {pair[1].name}"):
            return self._register(*pair)

    def by_grid(self) -> BaseRegistrar:
        """Return the registrar without an initial alignment of its own: it trusts the world coordinates."""
        return self

    def without_calibration(self) -> BaseRegistrar:
        """Return a copy that does not use a calibration."""
        found = copy(self)
        object.__setattr__(found, "_calibrated", None)
        return found

    def use_calibration(self, calibrated: BaseRegistrar) -> None:
        """Register by a calibrated copy of this registrar from now on."""
        object.__setattr__(self, "_calibrated", calibrated)  # dataclasses of registrars are frozen

    @abstractmethod
    def _register(self, moving: Image, fixed: Image, moving_labels: Image | None) -> Registration:
        """Register a pair that was converted and checked."""
