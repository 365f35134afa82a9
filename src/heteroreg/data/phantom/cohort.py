"""Phantom cohorts on disk."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from heteroreg.data.cohort import Cohort, Pair
from heteroreg.data.image import Image, write_image
from heteroreg.data.io.displacement import write_displacement
from heteroreg.data.phantom.layouts import LAYOUTS
from heteroreg.data.phantom.noise import NOISE_KINDS, require_strength
from heteroreg.data.phantom.pair import SMALLEST_PHANTOM, PhantomPair, make_pair
from heteroreg.data.phantom.shapes import make_shapes
from heteroreg.system.errors import UserError
from heteroreg.system.files import write_text
from heteroreg.system.outputs import output_folder
from heteroreg.system.progress import Report, progress

PHANTOM_MARKER = "phantom.json"
SPACING_MM = {2: (1.5, 1.5), 3: (1.5, 1.5, 3.0)}


def write_phantom(
    out: str | Path,
    *,
    pairs: int = 24,
    dims: int = 2,
    size: int = 96,
    noise: str = "gaussian",
    artefacts: bool = False,
    strength: float = 1.0,
    noise_strength: float | None = None,
    seed: int = 0,
    layout: str = "pairs",
    varied: bool = False,
    shapes: bool = False,
) -> Cohort | None:
    """Write a phantom cohort as a folder, completely or not at all, with a `phantom.json` that records how.

    Pair i depends on the seed and on i, not on the number of pairs; only its split does. About 70 % are for
    training, 10 % for validation and 20 % for testing, with at least one each if there are three or more.

    Args:
        out: The folder to write.
        pairs: Number of pairs; in the layout of a public data set, number of patients.
        dims: 2 or 3. The public layouts have their own: stacks in `acdc` and `mnms`, 2D images in `camus`.
        size: Voxels along x and y. A volume has a third as many slices, twice as thick.
        noise: `gaussian`, `rician` or `speckle`.
        artefacts: Add artefacts, independently in each image.
        strength: Factor on noise and artefacts.
        noise_strength: Factor on the noise alone; `strength` by default.
        seed: Seed of the random numbers; another seed gives other hearts.
        layout: `pairs` is a cohort with its ground truth; `acdc`, `camus` and `mnms` are those data sets as they
            are downloaded, without ground truth.
        varied: Draw shape, contrast, view, motion and noise from far wider ranges than those of hearts, to train
            a model for unseen kinds of images.
        shapes: Draw random shapes in place of hearts, to train a model for any organ. A volume has as many slices
            as pixels along x, and its voxels are cubes of 1 mm; each pair draws its kind of noise.

    Returns:
        The cohort; None in a public layout, which has to be imported.

    Raises:
        UserError: A value is not allowed, or `out` exists and holds something else.

    Examples:
        >>> import tempfile
        >>> cohort = write_phantom(tempfile.mkdtemp(), pairs=3, size=32)
        >>> cohort.splits, cohort[0].moving.name
        (('train', 'val', 'test'), 'phantom001_moving.nii.gz')
    """
    _check(pairs, dims, size, noise, (strength, noise_strength), layout)
    if shapes and (layout != "pairs" or varied):
        other = "varied" if varied else "layout"
        raise UserError(f"{other}: is for hearts, not for shapes; leave one of them out", argument=other)
    out = Path(out)
    look: dict[str, Any] = {"size": size, "artefacts": artefacts, "strength": strength}
    look |= {"shapes": True} if shapes else {"noise": noise}
    look |= {} if noise_strength is None else {"noise_strength": noise_strength}
    look |= {"varied": True} if varied else {}
    with output_folder(out, "cohort") as folder, progress("making hearts", pairs) as report:
        if layout == "pairs":
            _write_pairs(folder, pairs, dims, seed, look, report)
        else:
            for index in range(pairs):
                LAYOUTS[layout](folder, index, pairs, seed, look)
                report(index + 1)
        about = {"kind": "phantom", "layout": layout, "pairs": pairs, "dims": dims, "seed": seed, **look}
        write_text(folder / PHANTOM_MARKER, json.dumps(about, indent=2) + "\n")
    return Cohort.read(out) if layout == "pairs" else None


def _check(
    pairs: int, dims: int, size: int, noise: str, strengths: tuple[float | None, float | None], layout: str
) -> None:
    if pairs < 1:
        raise UserError(f"pairs: {pairs} is too few; use 1 or more", argument="pairs")
    if dims not in SPACING_MM:
        raise UserError(f"dims: {dims} is not possible; use 2 or 3", argument="dims")
    if size < SMALLEST_PHANTOM:
        raise UserError(f"size: {size} is too small for a heart; use {SMALLEST_PHANTOM} or more", argument="size")
    if noise not in NOISE_KINDS:
        raise UserError(f"noise: '{noise}' is unknown; use {', '.join(NOISE_KINDS)}", argument="noise")
    for argument, value in zip(("strength", "noise_strength"), strengths, strict=True):
        if value is not None:
            require_strength(value, argument)
    if layout not in ("pairs", *LAYOUTS):
        raise UserError(f"layout: '{layout}' is unknown; use pairs, {', '.join(LAYOUTS)}", argument="layout")


def _write_pairs(folder: Path, pairs: int, dims: int, seed: int, look: dict[str, Any], report: Report) -> None:
    size, shapes = look["size"], "shapes" in look
    shape, spacing = (size, size, max(12, size // 3))[:dims], SPACING_MM[dims]
    if shapes:
        shape, spacing = (size,) * dims, (1.0,) * dims
    options = {key: value for key, value in look.items() if key not in ("size", "shapes")}
    rows = []
    for index in range(pairs):
        pair = (make_shapes if shapes else make_pair)((seed, index), shape=shape, spacing=spacing, **options)
        rows.append(_write_pair(pair, f"phantom{index + 1:03d}", _split(index, pairs), folder))
        report(index + 1)
    Cohort(tuple(rows)).write(folder / "pairs.csv")


def _split(index: int, pairs: int) -> str:
    """Return the split of a pair: train, then validation, then test, in the order of the pairs."""
    if pairs < 3:
        return ("train", "test")[index]
    test, val = max(1, round(0.2 * pairs)), max(1, round(0.1 * pairs))
    return "train" if index < pairs - val - test else "val" if index < pairs - test else "test"


def _write_pair(pair: PhantomPair, name: str, split: str, folder: Path) -> Pair:
    """Write the files of a pair; return its row of the table."""

    def save(image: Image, kind: str) -> Path:
        path = folder / f"{name}_{kind}.nii.gz"
        write_image(image, path)
        return path

    displacement = folder / f"{name}_true_displacement.nii.gz"
    write_displacement(pair.true_displacement, pair.fixed.grid, displacement)
    extra = {"noise": pair.noise}
    if pair.moving_artefact is not None and pair.fixed_artefact is not None:
        extra["moving_artefact"] = save(pair.moving_artefact, "moving_artefact").name
        extra["fixed_artefact"] = save(pair.fixed_artefact, "fixed_artefact").name
    return Pair(
        id=name,
        patient=name,
        moving=save(pair.moving, "moving"),
        fixed=save(pair.fixed, "fixed"),
        moving_labels=save(pair.moving_labels, "moving_labels"),
        fixed_labels=save(pair.fixed_labels, "fixed_labels"),
        split=split,
        truth={
            "true_displacement": displacement,
            "moving_noise_sd": save(pair.moving_noise_sd, "moving_noise_sd"),
            "fixed_noise_sd": save(pair.fixed_noise_sd, "fixed_noise_sd"),
        },
        extra=extra,
    )
