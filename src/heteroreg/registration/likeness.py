"""Recognise a registration that has made the images less similar."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
import torch

from heteroreg.data.samples.preparation import Scale, resample, scale_of
from heteroreg.losses.information import mutual_information
from heteroreg.registration.result import Registration
from heteroreg.system.arrays import Array, Floats
from heteroreg.system.errors import UserError

VOXELS = 2**18  # compared at most, to bound memory
# Falls of the correlation up to this one do not count: interpolation alone lowers that of images nearly the same.
TOLERATED = 0.01


def less_similar(registration: Registration) -> str:
    """Describe that moved is less similar to fixed than moving was; empty if it is not.

    Two measures must agree, as neither suits every kind of image: the correlation of the intensities falls by more
    than 0.01, and their mutual information falls too. Both are taken on the fixed grid, moving where it lies in
    space. Images that do not overlap before are not compared.
    """
    fixed, moving = registration.fixed, registration.moving
    before = resample(moving, fixed.grid)
    moved = registration.field.warp(moving, outside="minimum")
    try:
        scales = scale_of(moving, "percentile"), scale_of(fixed, "percentile")
    except UserError:  # without contrast
        return ""
    onto = _sampled(fixed.array, scales[1])
    pair = [_sampled(image.array, scales[0]) for image in (before, moved)]
    if not np.ptp(onto) or not np.ptp(pair[0]):
        return ""
    was, now = (_correlation(one, onto) for one in pair)
    if not was - now > TOLERATED or not _information(pair[1], onto) < _information(pair[0], onto):
        return ""
    return (
        f"{moving.name} is less similar to {fixed.name} after registration than before (correlation {now:.3f}, was "
        f"{was:.3f}): do not rely on it; look at the images, or try another model or --initial"
    )


def _sampled(array: Array, scale: Scale) -> Floats:
    """Return evenly spread voxels in [0, 1], of every slice."""
    flat = array.ravel()
    step = -(-flat.size // VOXELS)
    while math.gcd(step, flat.size) > 1 < step:  # else it could meet one slice again and again
        step += 1
    return scale(flat[::step]).astype(np.float64)


def _correlation(first: Floats, second: Floats) -> float:
    if not np.ptp(first):
        return 0.0
    # Not `np.corrcoef`: its OpenBLAS threads never return where a fork left them too little memory.
    one, two = first - first.mean(), second - second.mean()
    return float((one * two).sum() / np.sqrt((one * one).sum() * (two * two).sum()))


def _information(first: Floats, second: Floats) -> float:
    one, two = (torch.from_numpy(values)[None, None] for values in (first, second))
    return float(mutual_information(one, two))


def summed_up(doubts: Mapping[str, str], of: int) -> str:
    """Return one line about the pairs of a cohort that became less similar.

    Args:
        doubts: What `less_similar` gave, by the id of the pair; empty texts do not count.
        of: Number of pairs in all.
    """
    odd = [pair for pair, text in doubts.items() if text]
    if not odd:
        return ""
    more = ", …" if len(odd) > 3 else ""
    return (
        f"{len(odd)} of {of} pairs are less similar after registration than before ({', '.join(odd[:3])}{more}): "
        "do not rely on them; look at their images, or try another model or --initial"
    )
