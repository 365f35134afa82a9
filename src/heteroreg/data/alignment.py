"""Initial alignment of two images by a map that is found from the images themselves."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import SimpleITK as sitk

from heteroreg.data.image import Image
from heteroreg.data.io.affine import SMALLEST_DETERMINANT, Affine
from heteroreg.data.samples.intensity import ALIGNMENTS
from heteroreg.data.samples.preparation import scale_of

# Levels: voxels of about so many times the fixed image's finest spacing.
SHRINKING = (4, 2, 1)
# An axis is not shrunk below so many voxels: stacks have few slices.
FEWEST_VOXELS = 12
# Larger images are shrunk further.
MOST_VOXELS = 2**19
HISTOGRAM_BINS = 32
ITERATIONS = 200


def initial_affine(moving: Image, fixed: Image, how: str) -> Affine | None:
    """Return the map T(x) = A·x + b from points of fixed to points of moving, in mm.

    `grid` trusts the world coordinates of the headers. `centre` brings the centres of the fields of view together,
    `mass` the centres of mass of the intensities. `rigid` and `affine` begin with whichever of these three has the
    highest mutual information, and maximise it (Mattes et al., IEEE TMI 2003, by SimpleITK). They are found from
    all voxels, not a random part, so that the same pair gives the same map but for rounding.

    Args:
        moving: The moving image.
        fixed: The fixed image, of the same dimension.
        how: One of `ALIGNMENTS`.

    Returns:
        The map; None for `grid`, where there is nothing to do.

    Raises:
        ValueError: There is no such alignment.

    Warns:
        UserWarning: `rigid` or `affine` failed or made nothing better; the map is then the one it began with.
    """
    if how == "grid":
        return None
    if how == "centre":
        return _shift(_centre(fixed), _centre(moving))
    if how == "mass":
        return _shift(_mass(fixed), _mass(moving))
    if how not in ALIGNMENTS:
        raise ValueError(f"no alignment is called '{how}'; choose one of {', '.join(ALIGNMENTS)}")
    return _optimised(moving, fixed, how)


def _shift(start: np.ndarray[Any, Any], end: np.ndarray[Any, Any]) -> Affine:
    return Affine(tuple(np.eye(len(start)).ravel().tolist()), tuple((end - start).tolist()))


def _centre(image: Image) -> np.ndarray[Any, Any]:
    """Return the centre of the field of view in mm."""
    return np.asarray(image.grid.physical((np.asarray(image.grid.shape) - 1) / 2))


def _mass(image: Image) -> np.ndarray[Any, Any]:
    """Return the centre of mass in mm, of intensities in [0, 1]."""
    values = scale_of(image, "percentile")(image.array).astype(np.float64)
    total = values.sum()
    if not total:
        return _centre(image)
    index = [float((values * places).sum()) / total for places in np.ix_(*map(np.arange, values.shape))]
    return np.asarray(image.grid.physical(np.asarray(index)))


def _optimised(moving: Image, fixed: Image, how: str) -> Affine:
    """Return the rigid or affine map of the highest mutual information."""
    name = f"{moving.name} onto {fixed.name}: the {how} alignment"
    images = [_for_itk(image) for image in (fixed, moving)]
    finest = [_shrunk(image, SHRINKING[-1] * min(images[0].GetSpacing())) for image in images]
    centre = _centre(fixed)
    starts = [_shift(centre, centre), _shift(centre, _centre(moving)), _shift(_mass(fixed), _mass(moving))]
    similarities = [_similarity(finest, start) for start in starts]
    begin = starts[int(np.argmax(similarities))]
    try:
        found = _climb(images, begin, centre, how)
        better = _similarity(finest, found) > max(similarities)
    except RuntimeError as error:
        reason = str(error).strip().splitlines()[-1]
        warnings.warn(f"{name} failed ({reason}); the images are aligned by a shift alone", stacklevel=4)
        return begin
    if not better or np.linalg.det(found.linear) < SMALLEST_DETERMINANT:
        warnings.warn(f"{name} made nothing better; the images are aligned by a shift alone", stacklevel=4)
        return begin
    return found


def _climb(images: list[Any], begin: Affine, centre: np.ndarray[Any, Any], how: str) -> Affine:
    """Maximise the mutual information, from coarse to fine."""
    dims = begin.dims
    kinds = {2: sitk.Euler2DTransform, 3: sitk.Euler3DTransform}
    transform = kinds[dims]() if how == "rigid" else sitk.AffineTransform(dims)
    transform.SetCenter(centre.tolist())
    transform.SetTranslation(list(begin.offset))
    if how == "affine":  # the rigid map first: an affine one may shrink where it should turn
        rigid = _climb(images, begin, centre, "rigid")
        transform.SetMatrix(list(rigid.matrix))
        transform.SetTranslation((rigid.linear @ centre + rigid.offset - centre).tolist())
    finest = min(images[0].GetSpacing())
    for level in SHRINKING:
        fixed, moving = (_shrunk(image, level * finest) for image in images)
        method = _method()
        method.SetOptimizerAsRegularStepGradientDescent(level * finest / 2, finest / 100, ITERATIONS, 0.7, 1e-9)
        method.SetOptimizerScalesFromPhysicalShift()
        method.SetInitialTransform(transform, inPlace=True)
        method.Execute(fixed, moving)
    # ITK's sums over threads differ in the last digits, which the climb enlarges: keep those that are alike.
    matrix = np.asarray(transform.GetMatrix()).reshape(dims, dims).round(5)
    offset = centre + np.asarray(transform.GetTranslation()) - matrix @ centre
    return Affine(tuple(matrix.ravel().tolist()), tuple(offset.round(3).tolist()))


def _method() -> Any:
    method = sitk.ImageRegistrationMethod()
    method.SetMetricAsMattesMutualInformation(HISTOGRAM_BINS)
    method.SetMetricSamplingStrategy(method.NONE)
    method.SetInterpolator(sitk.sitkLinear)
    method.SetNumberOfThreads(1)
    return method


def _similarity(images: list[Any], affine: Affine) -> float:
    """Return the mutual information of fixed and moving; minus infinity where the images hardly overlap."""
    method = _method()
    method.SetInitialTransform(_as_itk(affine))
    try:
        return -float(method.MetricEvaluate(*images))
    except RuntimeError:
        return -np.inf


def _for_itk(image: Image) -> Any:
    scaled = scale_of(image, "percentile")(image.array)
    return image.with_array(np.ascontiguousarray(scaled, dtype=np.float32)).to_sitk()


def _as_itk(affine: Affine) -> Any:
    transform = sitk.AffineTransform(affine.dims)
    transform.SetMatrix(list(affine.matrix))
    transform.SetTranslation(list(affine.offset))
    return transform


def _shrunk(image: Any, spacing: float) -> Any:
    """Return an image smoothed and shrunk to voxels of about `spacing` mm, as far as it has enough of them."""
    own, size = np.asarray(image.GetSpacing()), np.asarray(image.GetSize())
    factors = np.clip(np.round(spacing / own), 1, np.maximum(size // FEWEST_VOXELS, 1))
    while np.prod(size / factors) > MOST_VOXELS:
        factors = factors * 2
    variance = np.where(factors > 1, (factors * own / 2) ** 2, 0)
    return sitk.Shrink(sitk.DiscreteGaussian(image, variance.tolist()), factors.astype(int).tolist())
