"""Compare maps that may foretell the error of a displacement, each calibrated on the same patients.

    python -m benchmarks.error_bars ../shared/data/mnms results/error-bars --model runs/seed0 runs/seed1 runs/seed2

Every map is scaled on the splits `train` and `val` and scored on `test`: by the distance of the warped contours to
the true ones. Raw is the map as it is, taken as the SD of a Gaussian; only maps in mm have that. The registrations
are kept in the folder, so that the command goes on where it stopped, and so is the calibration of each model, for
`heteroreg evaluate --calibration`. With several models, such as the seeds of a method, the figures are means over
them, and the spread of their displacements is a map too. Bootstrap intervals are over patients.

Shift: `--test OTHER` scores the test pairs of another cohort, all pairs if it has no splits, and `--calibrate-on
vendor=A --score-on vendor=B` takes the pairs with these values in a column of the cohort.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.stats import norm, spearmanr

from heteroreg.data.cohort import Cohort, Pair
from heteroreg.data.image import read_image
from heteroreg.data.samples.preparation import resample
from heteroreg.evaluation.error import gain
from heteroreg.registration.alignment import aligned
from heteroreg.registration.base import BaseRegistrar
from heteroreg.registration.calibrated import working_grid
from heteroreg.registration.calibration_work import BATCH, Work
from heteroreg.registration.features import displacements
from heteroreg.registration.load import load
from heteroreg.registration.scaling import Registered, ScoredPoints, points_of_contours, scaled
from heteroreg.system.arrays import Doubles, Floats
from heteroreg.system.errors import UserError
from heteroreg.system.files import write_text
from heteroreg.system.progress import progress
from heteroreg.uncertainty.calibration import LEARNED, Combination, cross_fitted, scales_of
from heteroreg.uncertainty.calibration_file import save_calibration
from heteroreg.uncertainty.conformal import patient_weights
from heteroreg.uncertainty.error import error_sd, learn
from heteroreg.uncertainty.features import LENGTH, NEARBY, combination_maps

LEVELS = (68, 95)
ENSEMBLE = "ensemble"
IN_MM = (LEARNED, "disagreement", "spread", "displacement_sd", ENSEMBLE)
BOOTSTRAP = 2000


@dataclass(frozen=True)
class InEnsemble(Registered):
    """A registered pair, with what other models make of it.

    Attributes:
        ensemble: Logarithm of the SD in mm of the displacements of all models (N, *shape).
    """

    ensemble: Floats

    def logs(self, learned: Floats) -> dict[str, Floats]:
        """Return the logarithms of the maps (N, *shape) by name."""
        return super().logs(learned) | {ENSEMBLE: self.ensemble}


@dataclass(frozen=True)
class Judged:
    """A map of one model at the points of one label, on the test pairs.

    Attributes:
        inside: For each level, whether each point lies within its interval.
        patients: The patient of each point.
        raw: Whether each lies within the 95 % interval of the map as it is; None if the map is not in mm.
        width: Mean half-width of the 95 % intervals in mm.
        order: Rank correlation with the error over points; NaN for a constant.
        order_slices: The same of the means over slices; NaN for volumes.
        gain: AURG / (AURG + AUSE); NaN for a constant.
    """

    inside: Mapping[int, Doubles]
    patients: NDArray[np.generic]
    raw: Doubles | None
    width: float
    order: float
    order_slices: float
    gain: float


def main() -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("cohort", type=Path)
    parser.add_argument("out", type=Path, help="folder for the registrations and table.md")
    parser.add_argument("--model", required=True, nargs="+", help="runs of one method, phantom or elastix")
    parser.add_argument("--test", type=Path, help="another cohort to score on")
    parser.add_argument("--calibrate-on", metavar="COLUMN=VALUE", help="pairs of the cohort to calibrate on")
    parser.add_argument("--score-on", metavar="COLUMN=VALUE", help="test pairs to score on")
    parser.add_argument("--steps", type=int, help="updates of the error estimator")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    cohorts = Cohort.read(options.cohort), Cohort.read(options.test or options.cohort)
    try:
        parts = parts_of(*cohorts, options.calibrate_on, options.score_on)
    except UserError as error:
        parser.error(str(error))
    table = compare_maps(cohorts, parts, options.model, options.out, options.steps, options.seed)
    write_text(options.out / "table.csv", table.to_csv(index=False))
    text = in_markdown(table)
    write_text(options.out / "table.md", text)
    print(text)


def parts_of(
    cohort: Cohort, test: Cohort, calibrate_on: str | None = None, score_on: str | None = None
) -> tuple[list[Pair], list[Pair]]:
    """Return the pairs to calibrate on and those to score on; no patient is in both.

    Raises:
        UserError: There are none of either.
    """
    known = [pair for pair in cohort if pair.split != "test" and _among(pair, calibrate_on)]
    seen = {pair.patient for pair in known}
    scored = [pair for pair in test if (pair.split == "test" or not test.splits) and _among(pair, score_on)]
    scored = [pair for pair in scored if pair.patient not in seen]
    if not known or not scored:
        raise UserError(f"{cohort.name}, {test.name}: no patients to {'score' if known else 'calibrate'} on")
    return known, scored


def _among(pair: Pair, chosen: str | None) -> bool:
    column, _, value = (chosen or "").partition("=")
    return not column or pair.extra.get(column) == value


def compare_maps(
    cohorts: tuple[Cohort, Cohort],
    parts: tuple[Sequence[Pair], Sequence[Pair]],
    models: Sequence[str],
    out: Path,
    steps: int | None = None,
    seed: int = 0,
) -> pd.DataFrame:
    """Return a row for each map and label: means over the models.

    Args:
        cohorts: The cohort to calibrate on, and the one to score on.
        parts: The pairs of each.
        models: Runs, or names of registrars.
        out: Folder for the registrations.
        steps: Updates of the error estimator.
        seed: Random seed.
    """
    registrars = [load(model, calibration=False) for model in models]
    plans = [
        [
            Work.plan(registrar, *part, out / str(number) / name, seed, steps)
            for name, part in zip(("known", "test"), zip(cohorts, parts, strict=True), strict=True)
        ]
        for number, registrar in enumerate(registrars)
    ]
    spreads = [_ensemble(work, registrars) for work in plans[0]] if len(registrars) > 1 else None
    found: dict[tuple[int, str], list[Judged]] = {}
    for number, (known, test) in enumerate(plans):
        for key, judged in _judged(
            known, test, spreads, out / str(number) / "calibration", cohorts[0].name
        ).items():
            found.setdefault(key, []).append(judged)
    rows = []
    for (label, name), judgements in found.items():
        row: dict[str, object] = {"label": label, "map": name}
        patients = np.concatenate([one.patients for one in judgements])
        for level in LEVELS:
            mean, low, high = bootstrap(np.concatenate([one.inside[level] for one in judgements]), patients, seed)
            row |= {f"coverage_{level}": mean, f"low_{level}": low, f"high_{level}": high}
        raw = [one.raw for one in judgements if one.raw is not None]
        row["raw_95"] = bootstrap(np.concatenate(raw), patients, seed)[0] if raw else np.nan
        row |= {
            key: np.mean([getattr(one, key) for one in judgements])
            for key in ("width", "order", "order_slices", "gain")
        }
        rows.append(row)
    return pd.DataFrame(rows)


def _judged(
    known: Work, test: Work, spreads: Sequence[Sequence[Floats]] | None, out: Path, cohort: str
) -> dict[tuple[int, str], Judged]:
    """Return the score of each map of one model, by label and map; its calibration goes to `out`."""
    for work in (known, test):
        with progress("registering the pairs", len(work.pairs)) as report:
            for number, pair in enumerate(work.pairs):
                work.register(number, pair)
                report(number + 1)
    warps = known.known
    with progress("registering known warps", len(warps)) as report:
        for done, (number, draw) in enumerate(warps, start=1):
            known.warp(number, draw)
            report(done)
    errors = known.known_errors()
    with progress("learning the error", known.steps) as report:
        estimator = learn(errors, known.steps, batch_size=BATCH[known.dims], seed=known.seed, report=report)
    calibration, _ = scaled(known.registered(), estimator, errors, known.facts(cohort, {}))
    save_calibration(out, calibration, estimator, None)
    names = combination_maps((LEARNED, *known.registered()[0].maps))

    def points(work: Work, ensemble: Sequence[Floats] | None) -> ScoredPoints:
        registered = work.registered()
        learned = [error_sd(estimator, pair.arrays["channels"]) for pair in registered]
        if ensemble is None:
            return points_of_contours(registered, learned, names)
        together = [
            InEnsemble(one.patient, one.arrays, spread) for one, spread in zip(registered, ensemble, strict=True)
        ]
        return points_of_contours(together, learned, (*names, ENSEMBLE))

    both = [points(work, None if spreads is None else spreads[k]) for k, work in enumerate((known, test))]
    return _scored(both[0], both[1], names, ensemble=spreads is not None)


def _ensemble(work: Work, registrars: Sequence[BaseRegistrar]) -> list[Floats]:
    """Return the logarithm of the SD in mm of the displacements of several models, for each pair."""
    found: list[Floats] = []
    with progress("registering with all models", len(work.pairs)) as report:
        for pair in work.pairs:
            moving, fixed = read_image(pair.moving), read_image(pair.fixed)
            whole = working_grid(fixed.grid, work.dims, work.spacing)
            images = resample(moving, whole), resample(fixed, whole)
            u = [
                displacements(aligned(model, pair.initial).register(*images).displacement, work.dims)
                for model in registrars
            ]
            step = np.asarray(whole.spacing[: work.dims]).reshape(-1, *[1] * work.dims)
            sd = np.sqrt(((np.std(u, axis=0) * step) ** 2).sum(axis=1))
            found.append(np.log(sd + LENGTH).astype(np.float32))
            report(len(found))
    return found


def _scored(
    known: ScoredPoints, test: ScoredPoints, names: Sequence[str], *, ensemble: bool
) -> dict[tuple[int, str], Judged]:
    slices = np.zeros(len(test.error), int) if test.slice is None else test.slice
    own = slice(len(names))  # the combination is that of `calibrate`, which has no ensemble
    combination = Combination.fit(known.maps[:, own], known.error, known.patient)
    maps: dict[str, tuple[Doubles, Doubles]] = {"a constant": (np.ones(len(known.error)), np.ones(len(test.error)))}
    for column, name in enumerate((*names, ENSEMBLE) if ensemble else names):
        if name.endswith(NEARBY):
            continue
        maps[name] = (np.exp(known.maps[:, column]), np.exp(test.maps[:, column]))
    crossed = cross_fitted(known.maps[:, own], known.error, known.patient)
    maps["all combined"] = (crossed, np.asarray(combination(test.maps[:, own]), dtype=np.float64))
    found = {}
    for label in np.intersect1d(known.label, test.label):
        there, judged = known.label == label, test.label == label
        error, patients = np.abs(test.error[judged]), test.patient[judged]
        for name, (sd, everywhere) in maps.items():
            scales = scales_of(np.abs(known.error[there]) / sd[there], known.patient[there])
            new = everywhere[judged]
            constant = np.ptp(new) == 0
            found[int(label), name] = Judged(
                inside={level: (error <= scales[level] * new).astype(float) for level in LEVELS},
                patients=patients,
                raw=(error <= norm.ppf(0.975) * new).astype(float) if name in IN_MM else None,
                width=float(np.average(scales[95] * new, weights=patient_weights(patients))),
                order=np.nan if constant else float(spearmanr(new, error)[0]),
                order_slices=np.nan if constant else _order_of_slices(new, error, slices[judged], patients),
                gain=np.nan if constant else gain(error, new),
            )
    return found


def _order_of_slices(
    sd: Doubles, error: Doubles, slices: NDArray[np.generic], patients: NDArray[np.generic]
) -> float:
    """Return the rank correlation of the means over slices; NaN if each patient has one slice only."""
    table = pd.DataFrame({"sd": sd, "error": error, "slice": slices, "patient": patients})
    means = table.groupby(["patient", "slice"])[["sd", "error"]].mean()
    if len(means) == len(np.unique(patients)):
        return np.nan
    return float(spearmanr(means["sd"], means["error"])[0])


def bootstrap(values: Doubles, patients: NDArray[np.generic], seed: int) -> tuple[float, float, float]:
    """Return the mean over patients of their means, and its 95 % bootstrap interval over patients."""
    means = pd.Series(values).groupby(np.asarray(patients)).mean().to_numpy()
    random = np.random.default_rng(seed)
    drawn = means[random.integers(len(means), size=(BOOTSTRAP, len(means)))].mean(axis=1)
    low, high = np.percentile(drawn, (2.5, 97.5))
    return float(means.mean()), float(low), float(high)


def in_markdown(table: pd.DataFrame) -> str:
    """Return the table as text: one row a map, the labels within a cell."""

    def cell(part: pd.DataFrame, text: str) -> str:
        return " / ".join(text.format_map(row) for row in part.to_dict("records"))

    lines = [
        "| map | raw 95 % holds (%) | 68 % holds (%) | 95 % holds (%) | half-width (mm) | Spearman | by slice "
        "| gain (%) |",
        "|---|---|---|---|---|---|---|---|",
    ]
    percent = table.copy()
    shares = [name for name in table.columns if name.startswith(("coverage", "low", "high", "raw", "gain"))]
    percent[shares] *= 100
    for name, part in percent.groupby("map", sort=False):
        raw = cell(part, "{raw_95:.0f}") if "raw_95" in part and part["raw_95"].notna().all() else ""
        order = cell(part, "{order:.2f}") if part["order"].notna().all() else ""
        slices = cell(part, "{order_slices:.2f}") if part["order_slices"].notna().all() else ""
        won = cell(part, "{gain:.0f}") if part["gain"].notna().all() else ""
        held = cell(part, "{coverage_95:.0f} ({low_95:.0f}–{high_95:.0f})")
        cells = (name, raw, cell(part, "{coverage_68:.0f}"), held, cell(part, "{width:.1f}"), order, slices, won)
        lines.append(f"| {' | '.join(map(str, cells))} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
