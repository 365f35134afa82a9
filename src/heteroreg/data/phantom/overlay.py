"""The phantom's noise and artefacts laid over the images of a real cohort: real anatomy and motion, known noise."""

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
from heteroreg.system.files import atomic_folder, write_text
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
    """Writes a cohort whose images are those of another one with noise and artefacts of known truth laid over.

    What is laid over an image depends on the seed, on the pair's id and on whether it is moving or fixed, and on
    nothing else. The slices of a stack of thick slices are acquired one by one, so each gets its own. Label
    maps, splits and further columns are those of the cohort; label maps are referred to, not copied.

    The truth that is written is of what was laid over. The noise that the images had before is not known.

    Args:
        out: The folder to write: whole or not at all.
        on: The cohort.
        noise: `gaussian`, `rician` or `speckle`; the latter two need images without negative values.
        artefacts: Whether to add artefacts, in each image on its own.
        strength: A factor on noise and artefacts.
        noise_strength: A factor on the noise alone, where it is to differ; 0 leaves only the artefacts.
        seed: Another seed gives other noise and artefacts.
        show: Show progress.

    Returns:
        The cohort. Beside the images it has `moving_noise_sd` and `fixed_noise_sd`, and with artefacts the
        columns `moving_artefact` and `fixed_artefact` with masks of where they are.

    Raises:
        UserError: A value that is not allowed, an image is unfit, or `out` exists and holds something else.
    """
    cohort = on if isinstance(on, Cohort) else Cohort.read(on)
    out = Path(out)

    def look(image: NDArray[Any], rng: np.random.Generator) -> Observed:
        return observe(
            image, rng, noise=noise, artefacts=artefacts, strength=strength, noise_strength=noise_strength
        )

    look(np.zeros((2, 2)), np.random.default_rng(0))  # whether the settings are allowed, before any file is read
    with (
        atomic_folder(out, marker=PHANTOM_MARKER) as folder,
        progress("laying noise over", len(cohort), show=show) as report,
    ):
        pairs = []
        for number, pair in enumerate(cohort):
            name = f"{number + 1:0{len(str(len(cohort)))}d}"  # an id may hold what a file's name may not
            pairs.append(_write_pair(pair, name, noise, seed, look, folder))
            report(number + 1)
        # Paths are written relative to where the folder will be, which is beside where it is now.
        Cohort(tuple(pairs)).write(folder / "pairs.csv")
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
            raise UserError(f"{source}: has negative values, which {noise} noise cannot have; use --noise gaussian")
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
    """What is measured, the sd of its noise and where artefacts are, by the end of the files' names."""
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
