"""The registrations that a calibration is computed from: the pairs, and known warps of their images."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from heteroreg.data.cohort import Cohort, Pair
from heteroreg.data.grid import Grid
from heteroreg.data.image import Image, read_grid, read_image, read_labels
from heteroreg.data.landmarks import Landmarks, read_landmarks
from heteroreg.data.samples.intensity import Intensity, WorkingSpacing
from heteroreg.data.samples.preparation import (
    centre_crop,
    check_labels,
    check_pair,
    cut,
    joined_slices,
    resample,
    scale_of,
    slices_of,
)
from heteroreg.registration.alignment import aligned, initially_placed
from heteroreg.registration.base import BaseRegistrar
from heteroreg.registration.calibrated import working_grid
from heteroreg.registration.features import features_of
from heteroreg.registration.intensities import residual_images
from heteroreg.registration.landmarks import landmark_errors
from heteroreg.registration.model import ModelRegistrar
from heteroreg.registration.result import Registration
from heteroreg.registration.scaling import Registered
from heteroreg.system.arrays import Array, Doubles, Floats
from heteroreg.system.errors import UserError
from heteroreg.training.config import Config
from heteroreg.training.resolve import resolve
from heteroreg.uncertainty.bank import Bank
from heteroreg.uncertainty.contours import Contour, contour_of
from heteroreg.uncertainty.error import KnownErrors
from heteroreg.uncertainty.features import Features
from heteroreg.uncertainty.known_warps import known_pair
from heteroreg.uncertainty.label_sizes import labels_of
from heteroreg.uncertainty.noise import MOST_RESIDUALS, Residuals, sampled

PAIRS = "pairs"  # the folder of the registrations within the calibration's, until it is complete
# Slices or volumes with a known warp, and their values at most: 16-bit numbers that are held in memory.
KNOWN = {2: 2000, 3: 250}
KNOWN_VALUES = 4e8
MOST_DRAWS = 6
NO_DIFFERENCE = 1e-3  # mean |fixed - moved| of images in [0, 1] that are equal but for rounding
STEPS, BATCH = {2: 800, 3: 500}, {2: 8, 3: 2}


@dataclass(frozen=True)
class Work:
    """The work of one calibration.

    Attributes:
        registrar: The registrar.
        pairs: The pairs.
        bank: The registrations that are done.
        dims: 2 for slices, 3 for volumes.
        spacing: Working spacing in mm.
        size: Voxels of a block with a known warp.
        intensity: How intensities are scaled.
        again: The features take registrations in the other order and under flips.
        steps: Updates of the error estimator.
        seed: Random seed.
        noise: Keep residuals for a noise map too.
    """

    registrar: BaseRegistrar
    pairs: Sequence[Pair]
    bank: Bank
    dims: int
    spacing: WorkingSpacing
    size: tuple[int, ...]
    intensity: Intensity
    again: bool
    steps: int
    seed: int
    noise: bool = False

    @classmethod
    def plan(
        cls,
        registrar: BaseRegistrar,
        cohort: Cohort,
        pairs: Sequence[Pair],
        out: Path,
        seed: int,
        steps: int | None,
        noise: bool = False,
    ) -> Work:
        """Return the work, with what an earlier call has done of it."""
        inner = registrar.registrar if hasattr(registrar, "registrar") else registrar
        if isinstance(inner, ModelRegistrar):
            config = inner.run.config
        else:
            config = resolve(Config.build({}), Cohort(tuple(pairs), cohort.name))
        dims, size = config.preparation.dims, config.size
        assert size is not None
        again = isinstance(inner, ModelRegistrar)
        preparation = config.preparation
        plan: dict[str, Any] = {
            "registrar": registrar.fingerprint(), "seed": seed, "again": again, "dims": dims, "size": size,
            "spacing": preparation.spacing,
            "pairs": [[str(path) for path in (pair.moving, pair.fixed, pair.fixed_labels)] for pair in pairs],
        }  # fmt: skip
        points = [[str(path) for path in (pair.moving_points, pair.fixed_points)] for pair in pairs]
        if any(pair.moving_points for pair in pairs):
            plan["points"] = points
        if noise:
            plan["noise"] = True
        steps = STEPS[dims] if steps is None else steps
        bank = Bank(out / PAIRS, plan)
        return cls(
            registrar,
            pairs,
            bank,
            dims,
            preparation.spacing,
            size,
            preparation.intensity,
            again,
            steps,
            seed,
            noise,
        )

    @property
    def known(self) -> list[tuple[int, int]]:
        """The known warps: index of the pair, and number of the warp."""
        slices = [len(self._real(number)["channels"]) for number in range(len(self.pairs))]
        values = self._real(0)["channels"].shape[1] * int(np.prod(self.size))
        goal = min(KNOWN[self.dims], max(int(KNOWN_VALUES / values), 1))
        order = np.random.default_rng(self.seed).permutation(len(self.pairs)).tolist()
        chosen: list[tuple[int, int]] = []
        total = 0
        for draw in range(MOST_DRAWS):
            for number in order:
                if total >= goal:
                    return chosen
                chosen.append((number, draw))
                total += slices[number]
        return chosen

    def register(self, number: int, pair: Pair) -> None:
        """Register a pair, and keep its features, its contours and what known warps are made of."""
        if self.bank.get(f"real-{number}") is not None:
            return
        moving, fixed = read_image(pair.moving), read_image(pair.fixed)
        check_pair(moving, fixed, self.dims)
        labels = None if pair.moving_labels is None else read_labels(pair.moving_labels)
        truth = None if pair.fixed_labels is None or labels is None else read_labels(pair.fixed_labels)
        if truth is not None and labels is not None:
            check_labels(truth, fixed)
            check_labels(labels, moving)
        registration = aligned(self.registrar, pair.initial).register(moving, fixed, labels)
        self._require_dims(registration, pair)
        placed = initially_placed(moving, registration)
        features, u = self._features(placed, fixed, registration)
        whole = working_grid(fixed.grid, self.dims, self.spacing)
        block = centre_crop(whole, self.size)

        def crop(array: Floats) -> NDArray[np.float16]:
            image = joined_slices(array, self.dims, whole.dims)
            return slices_of(cut(image, whole, block), self.dims).astype(np.float16)

        in_unit = scale_of(moving, self.intensity)(resample(placed, whole).array)
        arrays: dict[str, Array] = {
            "channels": features.channels().astype(np.float16),
            "maps": np.frombuffer(json.dumps(list(features.scalars())).encode(), dtype=np.uint8),
            "foreground": features.foreground.astype(np.uint8),
            "step": np.array(whole.spacing),
            "digest": _digest(moving, fixed),
            "moving": crop(slices_of(in_unit, self.dims)),
            "residual": crop(features.fixed - features.moved),
            "u": np.stack([crop(u[:, axis]) for axis in range(self.dims)], axis=1),
        }
        if self.noise:
            moved, onto, _ = residual_images(registration, moving, fixed, self.dims, self.intensity)
            found = sampled(moved, onto, MOST_RESIDUALS // len(self.pairs), [self.seed, number])
            arrays |= dict(zip(("noise.features", "noise.residual"), found, strict=True))
        landmarks = read_landmarks(pair, moving.grid, fixed.grid)
        if landmarks is not None:
            arrays |= self._landmarks(registration, landmarks)
        if truth is not None and registration.moved_labels is not None:
            arrays |= self._contours(registration.moved_labels, truth, moving_labels=labels)
        self.bank.put(f"real-{number}", arrays)

    def doubts(self) -> Iterator[str]:
        """Return what makes the calibration doubtful, one line each."""
        first: dict[bytes, Pair] = {}
        found = self.registered()
        for pair, registered in zip(self.pairs, found, strict=True):
            digest = registered.arrays.get("digest")
            if digest is None:  # registered by an earlier version
                continue
            other = first.setdefault(digest.tobytes(), pair)
            if other.patient != pair.patient:
                yield (
                    f"pair {pair.id}: has the same images as {other.id}, of another patient; give both one "
                    "`patient` or remove one: the levels count patients"
                )
        differences = [float(np.abs(pair.arrays["residual"].astype(np.float32)).mean()) for pair in found]
        if not any(pair.labelled or pair.marked for pair in found) and np.median(differences) < NO_DIFFERENCE:
            yield (
                "moving and fixed hardly differ, and there are no labels or landmarks: the error bars describe "
                "made-up motion alone; calibrate on pairs that move"
            )

    def _require_dims(self, registration: Registration, pair: Pair) -> None:
        dims = 2 if registration.slicewise else registration.grid.dims
        if dims != self.dims:
            raise UserError(
                f"pair {pair.id}: is registered in {dims}D, and the calibration is in {self.dims}D; calibrate on a "
                "cohort of one kind"
            )

    def _features(self, placed: Image, fixed: Image, registration: Registration) -> tuple[Features, Floats]:
        whole = working_grid(fixed.grid, self.dims, self.spacing)
        own = whole.same_as(fixed.grid) and "initial" not in registration.info
        return features_of(
            self.registrar.by_grid(), resample(placed, whole), fixed if own else resample(fixed, whole), self.dims,
            self.intensity, again=self.again, registration=registration if own else None,
        )  # fmt: skip

    def _contours(self, moved: Image, truth: Image, moving_labels: Image | None) -> dict[str, Array]:
        """Return contours on the fixed grid; `place` is the voxel of the working grid that is nearest to a face."""
        grid = moved.grid
        spacing = grid.spacing[: self.dims]
        moved_slices, true_slices = slices_of(moved.array, self.dims), slices_of(truth.array, self.dims)
        labels = sorted(set(labels_of(truth)) | (set() if moving_labels is None else set(labels_of(moving_labels))))
        whole = working_grid(grid, self.dims, self.spacing)
        shape = slices_of(np.empty(whole.shape, np.uint8), self.dims).shape
        columns: dict[str, list[Array]] = {}
        for label in labels:
            mask = moved_slices == label
            contour = contour_of(mask, true_slices == label, spacing)
            middle = _middle(contour, mask.shape)
            place = _on_working(middle, grid, whole, self.dims, shape)
            found = {
                "label": np.full(len(contour), label), "place": place, "inside": contour.inside,
                "outside": contour.outside, "axis": contour.axis, "sign": contour.sign, "error": contour.error,
            }  # fmt: skip
            for name, values in found.items():
                columns.setdefault(name, []).append(values)
        arrays: dict[str, Array] = {f"contour.{name}": np.concatenate(parts) for name, parts in columns.items()}
        voxel = float(np.prod(grid.spacing))
        arrays["sizes"] = np.array(
            [
                [label, voxel * (moved.array == label).sum(), voxel * (truth.array == label).sum()]
                for label in labels
            ],
            dtype=np.float64,
        ).reshape(-1, 3)
        if moving_labels is not None:
            moving_slices = slices_of(resample(moving_labels, grid, labels=True).array, self.dims)
            # Voxels of each label and slice: (labels, 3, N), warped, true and in the moving image.
            parts, within = (moved_slices, true_slices, moving_slices), tuple(range(1, moving_slices.ndim))
            areas = [[(part == label).sum(axis=within) for part in parts] for label in labels]
            arrays["areas"] = np.array(areas, dtype=np.int64).reshape(len(labels), len(parts), -1)
        arrays["shape"] = np.array(moved_slices.shape)
        arrays["spacing"] = np.array(grid.spacing)
        return arrays

    def _landmarks(self, registration: Registration, landmarks: Landmarks) -> dict[str, Array]:
        """Return the error at each landmark, and the voxel of the working grid that is nearest to it."""
        grid = registration.grid
        whole = working_grid(grid, self.dims, self.spacing)
        shape = slices_of(np.empty(whole.shape, np.uint8), self.dims).shape
        found = landmark_errors(registration, landmarks)
        slices = found.places[:, -1:] if grid.dims > self.dims else np.zeros((len(found.places), 1))
        middle = np.concatenate([slices, found.places[:, : self.dims]], axis=1)
        return {
            "landmark.place": _on_working(middle, grid, whole, self.dims, shape),
            "landmark.error": found.errors[:, : self.dims].astype(np.float32),
        }

    def warp(self, index: int, draw: int) -> None:
        """Register a known warp of a pair, and keep its features and its error."""
        name = f"known-{index}-{draw}"
        if self.bank.get(name) is not None:
            return
        random = np.random.default_rng([self.seed, index, draw])
        real = self._real(index)
        other = (index + 1 + int(random.integers(max(len(self.pairs) - 1, 1)))) % len(self.pairs)
        moving, u = real["moving"].astype(np.float32), real["u"].astype(np.float32)
        made = known_pair(moving, u, self._real(other)["residual"].astype(np.float32), random)
        grid = self._block(index)
        images = [
            Image(np.ascontiguousarray(joined_slices(values, self.dims, grid.dims)), grid, name)
            for values in (moving, made.fixed)
        ]
        if any(np.ptp(image.array) == 0 for image in images):
            return  # a patch covers all of it: there is nothing to register
        features, found = features_of(
            self.registrar.by_grid(), images[0], images[1], self.dims, self.intensity, again=self.again
        )
        step = np.asarray(grid.spacing[: self.dims], dtype=np.float32).reshape(-1, *[1] * self.dims)
        arrays: dict[str, Array] = {
            "channels": features.channels().astype(np.float16),
            "error": ((found - made.displacement) * step).astype(np.float16),
            "weight": features.foreground.astype(np.uint8),
        }
        self.bank.put(name, arrays)

    def _block(self, index: int) -> Grid:
        """Return the grid of the block that a known warp of a pair is made of."""
        return centre_crop(working_grid(read_grid(self.pairs[index].fixed), self.dims, self.spacing), self.size)

    def known_errors(self) -> KnownErrors:
        """Return the known errors of all pairs."""
        names = sorted(path.stem for path in self.bank.folder.glob("known-*"))
        parts = [found for name in names if (found := self.bank.get(name)) is not None]
        if not parts:
            raise UserError("no pair shows anything that can be warped; calibrate on images with structure")
        return KnownErrors(
            np.concatenate([part["channels"] for part in parts]),
            np.concatenate([part["error"] for part in parts]),
            np.concatenate([part["weight"].astype(bool) for part in parts]),
            np.concatenate(
                [[int(name.split("-")[1])] * len(p["error"]) for name, p in zip(names, parts, strict=True)]
            ),
        )

    def registered(self) -> list[Registered]:
        """Return the registrations of all pairs."""
        return [Registered(pair.patient, self._real(number)) for number, pair in enumerate(self.pairs)]

    def residuals(self) -> Residuals:
        """Return residuals of all pairs, for the noise map."""
        found = [self._real(number) for number in range(len(self.pairs))]
        residuals = [one["noise.residual"] for one in found]
        patients = [np.full(len(values), pair.patient) for pair, values in zip(self.pairs, residuals, strict=True)]
        features = np.concatenate([one["noise.features"] for one in found])
        return Residuals(features, np.concatenate(residuals), np.concatenate(patients))

    def facts(self, cohort: str, label_names: Mapping[str, str]) -> dict[str, Any]:
        """Return the entries of the calibration that are known before it is computed."""
        return {
            "registrar": self.registrar.name, "fingerprint": self.registrar.fingerprint(), "cohort": cohort,
            "dims": self.dims, "spacing": self.spacing, "intensity": self.intensity, "again": self.again,
            "label_names": label_names,
        }  # fmt: skip

    def _real(self, number: int) -> dict[str, Array]:
        found = self.bank.get(f"real-{number}")
        assert found is not None
        return found


def _digest(moving: Image, fixed: Image) -> NDArray[np.uint8]:
    """Return a digest of the voxels of both images."""
    content = b"".join(np.ascontiguousarray(image.array).tobytes() for image in (moving, fixed))
    return np.frombuffer(hashlib.sha256(content).digest(), dtype=np.uint8)


def _middle(contour: Contour, shape: Sequence[int]) -> Doubles:
    """Return the middle of each face as indices (M, 1 + d): the slice, then the place in it."""
    both = [np.stack(np.unravel_index(side, tuple(shape)), axis=1) for side in (contour.inside, contour.outside)]
    return np.asarray((both[0] + both[1]) / 2, dtype=np.float64)


def _on_working(middle: Doubles, grid: Grid, working: Grid, dims: int, shape: Sequence[int]) -> NDArray[np.int64]:
    """Return the flat index of the working voxel nearest to each place, in an array (N, *shape)."""
    slices = grid.dims > dims
    index = np.concatenate([middle[:, 1:], middle[:, :1]], axis=1) if slices else middle[:, 1:]
    there = working.index(grid.physical(index)) if len(index) else index
    there = np.concatenate([there[:, dims:] if slices else np.zeros((len(there), 1)), there[:, :dims]], axis=1)
    limits = np.array(shape) - 1
    nearest = np.clip(np.rint(there), 0, limits).astype(np.int64)
    return np.asarray(np.ravel_multi_index(tuple(nearest.T), tuple(shape)), dtype=np.int64)
