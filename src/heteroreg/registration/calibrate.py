"""Calibration of a registrar on a cohort, from top to bottom."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from heteroreg.data.cohort import Cohort, Pair, as_cohort
from heteroreg.data.label_names import label_names_of
from heteroreg.registration.alignment import Aligned
from heteroreg.registration.base import BaseRegistrar
from heteroreg.registration.calibrated import Calibrated, with_calibration
from heteroreg.registration.calibration_work import BATCH, Work
from heteroreg.registration.load import Loadable, bundled_for, load
from heteroreg.registration.model import ModelRegistrar
from heteroreg.registration.scaling import Evidence, scaled
from heteroreg.system.errors import UserError
from heteroreg.system.files import atomic_file
from heteroreg.system.outputs import growing_folder
from heteroreg.system.progress import progress
from heteroreg.system.run_files import BUNDLED
from heteroreg.system.warn import warn_user
from heteroreg.uncertainty.calibration import Calibration, scales_of
from heteroreg.uncertainty.calibration_file import FOLDER, save_calibration
from heteroreg.uncertainty.error import learn
from heteroreg.uncertainty.noise import STEPS, NoiseEstimator, learn_noise

FIGURE = "calibration.png"
MOST_PAIRS = 400
NOISE_LEVEL = 68  # that the noise map is scaled at: its SD is then what a reader takes it for


def calibrate(
    registrar: BaseRegistrar | Loadable,
    cohort: Cohort | str | Path,
    *,
    out: str | Path | None = None,
    split: Sequence[str] = ("train", "val"),
    steps: int | None = None,
    seed: int = 0,
    label_names: Mapping[str, str] | None = None,
    any_label: bool = False,
    noise: bool = False,
    show: bool = False,
) -> Calibration:
    """Learn how wrong the displacement of a registrar may be.

    The registrar stays as it is. First an error estimator learns from known warps of the cohort's own images,
    without labels. Then, if there are label maps, the distances of the warped contours to the true ones give a
    combination of its map with other maps and the width of the intervals, by conformal prediction over patients.
    Without labels the width comes from the known warps. See `docs/uncertainty.md`.

    A calibration that was stopped goes on where it was, with the same call.

    Args:
        registrar: A registrar, or what `load` takes: a run, `phantom`, `elastix`, ….
        cohort: The pairs.
        out: Folder of the calibration; by default `calibration` in the folder of the run.
        split: Splits of the cohort to calibrate on. Never calibrate on pairs that the intervals are judged by.
        steps: Updates of the error estimator; by default 800 in 2D and 500 in 3D.
        seed: Random seed.
        label_names: Names of labels by number, such as `{"1": "LV"}`; by default those in `labels.json` beside the
            cohort's table.
        any_label: Keep one width for all labels, and no sizes: for use on images whose labels mean other things.
        noise: Also learn a noise map at full resolution from the residuals, and scale it so that its 68 % intervals
            hold. It replaces the registrar's; one without a noise map gets one.
        show: Show progress.

    Returns:
        The calibration. A registrar that is given as an object uses it from now on; otherwise `load` of the run, or
        `load(…, calibration=out)`, does.

    Raises:
        UserError: `out` is missing for a registrar that is no run, or holds something else; the cohort has no pairs
            or too few patients; a file cannot be used.

    Examples:
        >>> import tempfile
        >>> import heteroreg as hr
        >>> folder = tempfile.mkdtemp()
        >>> cohort = hr.phantom(f"{folder}/hearts", pairs=4, size=32)
        >>> hr.calibrate("undeformed", cohort, out=f"{folder}/calibration", split=("all",), steps=2).levels
        (50, 68)
    """
    cohort = as_cohort(cohort)
    given, registrar = registrar, _bare(registrar, cohort)
    place = _place(registrar, out)
    pairs = _pairs(cohort, split)
    names = label_names_of(cohort, label_names)
    with growing_folder(place, "calibration", [cohort.name]):
        work = Work.plan(registrar, cohort, pairs, place, seed, steps, noise)
        with progress("registering the pairs", len(pairs), show=show) as report:
            for number, pair in enumerate(pairs):
                work.register(number, pair)
                report(number + 1)
        for doubt in work.doubts():
            warn_user(f"{cohort.name}: {doubt}")
        warps = work.known
        with progress("registering known warps", len(warps), show=show) as report:
            for done, (number, draw) in enumerate(warps, start=1):
                work.warp(number, draw)
                report(done)
        known = work.known_errors()
        with progress("learning the error", work.steps, show=show) as report:
            estimator = learn(known, work.steps, batch_size=BATCH[work.dims], seed=seed, report=report)
        with progress("calibrating", None, show=show):
            calibration, evidence = scaled(work.registered(), estimator, known, work.facts(cohort.name, names))
            calibration = calibration.of_any_label() if any_label else calibration
            _draw(calibration, evidence, place / FIGURE)
        noise_estimator = _noise(work, seed, show) if noise else None
        save_calibration(place, calibration, estimator, noise_estimator)
        work.bank.remove()
    if isinstance(given, BaseRegistrar):
        given.use_calibration(with_calibration(registrar, place))
    return calibration


def _noise(work: Work, seed: int, show: bool) -> NoiseEstimator:
    with progress("learning the noise", STEPS, show=show) as report:
        return learn_noise(work.residuals(), _noise_scale, seed=seed, report=report)


def _noise_scale(ratio: NDArray[np.float64], patients: NDArray[np.str_]) -> float:
    """Return the factor of σ with which the interval of 68 %, or of 50 % for fewer than 3 patients, holds."""
    bounds = scales_of(ratio, patients)
    level = max(level for level in bounds if level <= NOISE_LEVEL)
    return bounds[level] / NormalDist().inv_cdf(0.5 + level / 200)


def _draw(calibration: Calibration, evidence: Evidence, path: Path) -> None:
    from heteroreg.registration.plot.calibration import plot_calibration  # Matplotlib is slow to import

    with atomic_file(path) as temporary:
        plot_calibration(calibration, evidence, temporary)


def _bare(registrar: BaseRegistrar | Loadable, cohort: Cohort) -> BaseRegistrar:
    """Return the registrar without a calibration."""
    if isinstance(registrar, Aligned) and isinstance(registrar.registrar, Calibrated):
        return Aligned(registrar.registrar.registrar, registrar.initial)
    if isinstance(registrar, Calibrated):
        return registrar.registrar
    if isinstance(registrar, BaseRegistrar):
        return registrar.without_calibration()
    if not isinstance(registrar, str | Path) and not hasattr(registrar, "folder"):
        raise UserError(
            f"registrar: {type(registrar).__name__} cannot be calibrated; derive it from `hr.BaseRegistrar`",
            argument="registrar",
        )
    return load(bundled_for(registrar, cohort), calibration=False)


def _place(registrar: BaseRegistrar, out: str | Path | None) -> Path:
    if out is not None:
        return Path(out)
    if not isinstance(registrar, ModelRegistrar) or registrar.run.folder in BUNDLED.values():
        raise UserError(
            f"out: name a folder for the calibration of {registrar.name}, which has none", argument="out"
        )
    return registrar.run.folder / FOLDER


def _pairs(cohort: Cohort, split: Sequence[str]) -> list[Pair]:
    chosen = list(cohort)
    if cohort.splits and "all" not in split:
        chosen = [pair for pair in cohort if pair.split in split]
    if not chosen:
        raise UserError(
            f"split: {cohort.name} has no pairs in {' or '.join(split)}; it has {', '.join(cohort.splits)}",
            argument="split",
        )
    if len(chosen) > MOST_PAIRS:
        places = np.linspace(0, len(chosen) - 1, MOST_PAIRS).round().astype(int)
        chosen = [chosen[place] for place in places]
    if len({pair.patient for pair in chosen}) < 2:
        raise UserError(f"{cohort.name}: has one patient to calibrate on; 19 are needed for intervals of 95 %")
    return chosen
