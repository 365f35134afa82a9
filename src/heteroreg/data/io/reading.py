"""Choices for files that say two things, or nothing, about the place of their voxels."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, replace

from heteroreg.system.errors import UserError

NIFTI_FRAMES = ("qform", "sform")


@dataclass(frozen=True)
class Reading:
    """The choices.

    Attributes:
        nifti_frame: The one of a NIfTI file's two positions to use, where it has both: `qform` or `sform`; None for
            the choice of ITK, which is the qform unless the sform alone, or a scanner, gives the position.
        labels_like_image: A label map with as many voxels as its image gets the image's place in space.
        spacing: Size of the voxels in mm of files that do not declare one, for each axis or for all.
    """

    nifti_frame: str | None = None
    labels_like_image: bool = False
    spacing: tuple[float, ...] | None = None

    @property
    def usual(self) -> bool:
        """True if nothing is chosen."""
        return self == Reading()


_chosen: ContextVar[Reading | None] = ContextVar("reading", default=None)


def current() -> Reading:
    """Return the choices of `reading`, or else those of the environment variables.

    HETEROREG_NIFTI_FRAME, HETEROREG_LABELS_LIKE_IMAGE=1 and HETEROREG_SPACING=1.5,1.5,8 hold for a study and its
    trainings too.
    """
    return _chosen.get() or _of_environment()


@contextmanager
def reading(
    *,
    nifti_frame: str | None = None,
    labels_like_image: bool | None = None,
    spacing: tuple[float, ...] | None = None,
) -> Iterator[None]:
    """Read files differently in a block; what is None stays as it is. See `Reading`.

    Raises:
        UserError: There is no such frame, or the spacing is not a positive number for each axis.

    Examples:
        >>> import heteroreg as hr
        >>> with hr.reading(nifti_frame="sform"):
        ...     pass
    """
    found = current()
    if nifti_frame is not None:
        if nifti_frame not in NIFTI_FRAMES:
            raise UserError(
                f"nifti_frame: '{nifti_frame}' is unknown; choose {' or '.join(NIFTI_FRAMES)}",
                argument="nifti_frame",
            )
        found = replace(found, nifti_frame=nifti_frame)
    if labels_like_image is not None:
        found = replace(found, labels_like_image=labels_like_image)
    if spacing is not None:
        if len(spacing) not in (1, 2, 3) or not all(0 < step < float("inf") for step in spacing):
            raise UserError(
                f"spacing: {','.join(map(str, spacing))} is not a positive number of mm, or one for each axis",
                argument="spacing",
            )
        found = replace(found, spacing=tuple(spacing))
    token = _chosen.set(found)
    try:
        yield
    finally:
        _chosen.reset(token)


def parse_spacing(text: str) -> tuple[float, ...]:
    """Return the numbers of a text such as `1.5` or `1.5,1.5,8`.

    Raises:
        UserError: It holds anything else.
    """
    try:
        return tuple(float(part) for part in text.split(","))
    except ValueError:
        raise UserError(
            f"spacing: {text} is not a number of mm, or one for each axis such as 1.5,1.5,8", argument="spacing"
        ) from None


def _of_environment() -> Reading:
    frame = os.environ.get("HETEROREG_NIFTI_FRAME") or None
    if frame not in (None, *NIFTI_FRAMES):
        raise UserError(f"HETEROREG_NIFTI_FRAME: '{frame}' is unknown; choose {' or '.join(NIFTI_FRAMES)}")
    spacing = os.environ.get("HETEROREG_SPACING")
    like = os.environ.get("HETEROREG_LABELS_LIKE_IMAGE", "") not in ("", "0")
    return Reading(frame, like, parse_spacing(spacing) if spacing else None)
