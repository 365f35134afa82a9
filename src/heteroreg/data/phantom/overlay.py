"""The phantom's noise and artefacts on the images of a real cohort: real anatomy and motion, known noise."""

from __future__ import annotations

import json
import zlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from heteroreg.data.cohort import Cohort, Pair
from heteroreg.data.image import Image, read_image, write_image
from heteroreg.data.phantom.cohort import PHANTOM_MARKER
from heteroreg.data.phantom.observe import Observed, observe
from heteroreg.system.errors import UserError
from heteroreg.system.files import write_text
from heteroreg.system.outputs import output_folder
from heteroreg.system.progress import progress


def write_overlay(
    out: Path,
    on: Cohort | str | Path,
    *,
    noise: str = "gaussian",
    artefacts: bool = False,
    strength: float = 1.0,
    noise_strength: float | None = None,
    seed: int = 0,
    show: bool = False,
) -> Cohort:
    """Write a copy of a cohort with known noise and artefacts added to its images.

    They depend only on the seed, the pair's id and the role of the image, moving or fixed. In a stack of thick
    slices, which are acquired one by one, each slice gets its own. Label maps, splits and further columns are those
    of the cohort; label maps are referred to, not copied.

    The written ground truth describes the added noise. The images' own noise remains unknown.

    Args:
        out: The folder to write, completely or not at all.
        on: The cohort.
        noise: `gaussian`, `rician` or `speckle`; the latter two need images without negative values.
        artefacts: Add artefacts, independently in each image.
        strength: Factor on noise and artefacts.
        noise_strength: Factor on the noise alone, `strength` by default; 0 leaves only the artefacts.
        seed: Seed of the random numbers; another seed gives other noise and artefacts.
        show: Show the progress.

    Returns:
        The cohort, with `moving_noise_sd` and `fixed_noise_sd`, and with artefacts the columns `moving_artefact`
        and `fixed_artefact`, which name their masks.

    Raises:
        UserError: A value is not allowed, an image is unsuitable, or `out` exists and holds something else.
    """
    cohort = on if isinstance(on, Cohort) else Cohort.read(on)
    out = Path(out)

    def look(image: NDArray[Any], rng: np.random.Generator) -> Observed:
        return observe(
            image, rng, noise=noise, artefacts=artefacts, strength=strength, noise_strength=noise_strength
        )

    look(np.zeros((2, 2)), np.random.default_rng(0))  # checks the settings before any file is read
    with (
        output_folder(out, "cohort", [cohort.name]) as folder,
        progress("adding noise", len(cohort), show=show) as report,
    ):
        pairs = []
        for number, pair in enumerate(cohort):
            # An id may contain characters that a file name may not.
            name = f"{number + 1:0{len(str(len(cohort)))}d}"
            pairs.append(_write_pair(pair, name, noise, seed, look, folder))
            report(number + 1)
        Cohort(tuple(pairs)).write(folder / "pairs.csv", home=out)
        about = {
            "kind": "overlay", "on": cohort.name, "seed": seed, "noise": noise, "artefacts": artefacts,
            "strength": strength, "noise_strength": noise_strength,
        }  # fmt: skip
        write_text(folder / PHANTOM_MARKER, json.dumps(about, indent=2) + "\n")
    return Cohort.read(out)


def _write_pair(
    pair: Pair, name: str, noise: str, seed: int, look: Callable[[NDArray[Any], np.random.Generator], Observed],
    folder: Path,
) -> Pair:  # fmt: skip
    files: dict[str, Path] = {}
    for role, source in (("moving", pair.moving), ("fixed", pair.fixed)):
        image = read_image(source)
        if noise != "gaussian" and image.array.min() < 0:
            raise UserError(
                f"{source}: has negative values, which {noise} noise does not allow; use `noise` gaussian"
            )
        entropy = (seed, zlib.crc32(pair.id.encode()), ("moving", "fixed").index(role))
        rng = np.random.default_rng(np.random.SeedSequence(entropy))
        for kind, array in _observed(image, rng, look).items():
            files[f"{role}{kind}"] = folder / f"{name}_{role}{kind}.nii.gz"
            write_image(image.with_array(array), files[f"{role}{kind}"])
    masks = {column: path.name for column, path in files.items() if column.endswith("_artefact")}
    return replace(
        pair,
        moving=files["moving"],
        fixed=files["fixed"],
        moving_labels=_absolute(pair.moving_labels),
        fixed_labels=_absolute(pair.fixed_labels),
        truth={name: path.resolve() for name, path in pair.truth.items()}
        | {name: path for name, path in files.items() if name.endswith("_noise_sd")},
        extra={**pair.extra, "noise": noise, **masks},
    )


def _observed(
    image: Image, rng: np.random.Generator, look: Callable[[NDArray[Any], np.random.Generator], Observed]
) -> dict[str, NDArray[Any]]:
    """Return the measured image, the sd of its noise and the mask of artefacts, by the suffix of their files."""
    clean = image.array.astype(np.float64)
    if image.grid.thick_slices:
        parts = [look(clean[..., k], own) for k, own in enumerate(rng.spawn(clean.shape[-1]))]
    else:
        parts = [look(clean, rng)]

    def joined(arrays: list[NDArray[Any]]) -> NDArray[Any]:
        return np.stack(arrays, axis=-1) if image.grid.thick_slices else arrays[0]

    result = {
        "": joined([part.image for part in parts]).astype(np.float32),
        "_noise_sd": joined([part.noise_sd for part in parts]).astype(np.float32),
    }
    masks = [part.artefact for part in parts if part.artefact is not None]
    if masks:
        result["_artefact"] = joined(masks).astype(np.uint8)
    return result


def _absolute(path: Path | None) -> Path | None:
    return None if path is None else path.resolve()
