"""Compare maps that may foretell the error of a displacement, each calibrated on the same patients.

    python -m benchmarks.error_bars ../shared/data/mnms results/error-bars --model runs/seed0 runs/seed1 runs/seed2

Every map is scaled on the splits `train` and `val` and scored on `test`: by the distance of the warped contours to
the true ones. Raw is the map as it is, taken as the SD of a Gaussian; only maps in mm have that. The registrations
are kept in the folder, so that the command goes on where it stopped. With several models, such as the seeds of a
method, the figures are means over them, and the spread of their displacements is a map too. Bootstrap intervals are
over patients.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.stats import norm, spearmanr

from heteroreg.data.cohort import Cohort
from heteroreg.data.image import read_image
from heteroreg.data.samples.preparation import resample
from heteroreg.evaluation.error import gain
from heteroreg.registration.alignment import aligned
from heteroreg.registration.base import BaseRegistrar
from heteroreg.registration.calibrated import working_grid
from heteroreg.registration.calibration_work import BATCH, Work
from heteroreg.registration.features import displacements
from heteroreg.registration.load import load
from heteroreg.registration.scaling import Registered, ScoredPoints, points_of_contours
from heteroreg.system.arrays import Doubles, Floats
from heteroreg.system.files import write_text
from heteroreg.system.progress import progress
from heteroreg.uncertainty.calibration import LEARNED, Combination, cross_fitted, scales_of
from heteroreg.uncertainty.conformal import patient_weights
from heteroreg.uncertainty.error import error_sd, learn
from heteroreg.uncertainty.features import LENGTH

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
        order: Rank correlation with the error; NaN for a constant.
        gain: AURG / (AURG + AUSE); NaN for a constant.
    """

    inside: Mapping[int, Doubles]
    patients: NDArray[np.generic]
    raw: Doubles | None
    width: float
    order: float
    gain: float


def main() -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("cohort", type=Path)
    parser.add_argument("out", type=Path, help="folder for the registrations and table.md")
    parser.add_argument("--model", required=True, nargs="+", help="runs of one method, phantom or elastix")
    parser.add_argument("--steps", type=int, help="updates of the error estimator")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    table = compare_maps(options.cohort, options.model, options.out, options.steps, options.seed)
    write_text(options.out / "table.csv", table.to_csv(index=False))
    text = in_markdown(table)
    write_text(options.out / "table.md", text)
    print(text)


def compare_maps(
    cohort: Path, models: Sequence[str], out: Path, steps: int | None = None, seed: int = 0
) -> pd.DataFrame:
    """Return a row for each map and label: means over the models."""
    pairs = Cohort.read(cohort)
    registrars = [load(model, calibration=False) for model in models]
    found: dict[tuple[int, str], list[Judged]] = {}
    for number, registrar in enumerate(registrars):
        others = [other for other in registrars if other is not registrar]
        for key, judged in _judged(registrar, others, pairs, out / str(number), steps, seed).items():
            found.setdefault(key, []).append(judged)
    rows = []
    for (label, name), parts in found.items():
        row: dict[str, object] = {"label": label, "map": name}
        patients = np.concatenate([part.patients for part in parts])
        for level in LEVELS:
            mean, low, high = bootstrap(np.concatenate([part.inside[level] for part in parts]), patients, seed)
            row |= {f"coverage_{level}": mean, f"low_{level}": low, f"high_{level}": high}
        raw = [part.raw for part in parts if part.raw is not None]
        row["raw_95"] = bootstrap(np.concatenate(raw), patients, seed)[0] if raw else np.nan
        row |= {key: np.mean([getattr(part, key) for part in parts]) for key in ("width", "order", "gain")}
        rows.append(row)
    return pd.DataFrame(rows)


def _judged(
    registrar: BaseRegistrar,
    others: Sequence[BaseRegistrar],
    pairs: Cohort,
    out: Path,
    steps: int | None,
    seed: int,
) -> dict[tuple[int, str], Judged]:
    """Return the score of each map of one model, by label and map."""
    works = {
        "known": Work.plan(registrar, pairs, [p for p in pairs if p.split != "test"], out / "known", seed, steps),
        "test": Work.plan(registrar, pairs, [p for p in pairs if p.split == "test"], out / "test", seed, steps),
    }
    for work in works.values():
        with progress("registering the pairs", len(work.pairs)) as report:
            for number, pair in enumerate(work.pairs):
                work.register(number, pair)
                report(number + 1)
    work = works["known"]
    warps = work.known
    with progress("registering known warps", len(warps)) as report:
        for done, (number, draw) in enumerate(warps, start=1):
            work.warp(number, draw)
            report(done)
    with progress("learning the error", work.steps) as report:
        estimator = learn(work.known_errors(), work.steps, batch_size=BATCH[work.dims], seed=seed, report=report)
    names = (LEARNED, *work.registered()[0].maps)

    def points(work: Work) -> ScoredPoints:
        registered = work.registered()
        learned = [error_sd(estimator, pair.arrays["channels"]) for pair in registered]
        if others:
            registered = list(_with_ensemble(work, registered, [registrar, *others]))
        return points_of_contours(registered, learned, (*names, ENSEMBLE) if others else names)

    return _scored(points(works["known"]), points(works["test"]), names, ensemble=bool(others))


def _with_ensemble(
    work: Work, registered: Sequence[Registered], registrars: Sequence[BaseRegistrar]
) -> Iterator[Registered]:
    """Yield the registered pairs with the SD of the displacements of several models."""
    with progress("registering with all models", len(registered)) as report:
        for done, (pair, one) in enumerate(zip(work.pairs, registered, strict=True), start=1):
            moving, fixed = read_image(pair.moving), read_image(pair.fixed)
            whole = working_grid(fixed.grid, work.dims, work.spacing)
            images = resample(moving, whole), resample(fixed, whole)
            found = [
                displacements(aligned(model, pair.initial).register(*images).displacement, work.dims)
                for model in registrars
            ]
            step = np.asarray(whole.spacing[: work.dims]).reshape(-1, *[1] * work.dims)
            sd = np.sqrt(((np.std(found, axis=0) * step) ** 2).sum(axis=1))
            yield InEnsemble(one.patient, one.arrays, np.log(sd + LENGTH).astype(np.float32))
            report(done)


def _scored(
    known: ScoredPoints, test: ScoredPoints, names: Sequence[str], *, ensemble: bool
) -> dict[tuple[int, str], Judged]:
    own = slice(len(names))  # the combination is that of `calibrate`, which has no ensemble
    combination = Combination.fit(known.maps[:, own], known.error, known.patient)
    maps: dict[str, tuple[Doubles, Doubles]] = {"a constant": (np.ones(len(known.error)), np.ones(len(test.error)))}
    for column, name in enumerate((*names, ENSEMBLE) if ensemble else names):
        maps[name] = (np.exp(known.maps[:, column]), np.exp(test.maps[:, column]))
    crossed = cross_fitted(known.maps[:, own], known.error, known.patient)
    maps["all combined"] = (crossed, np.asarray(combination(test.maps[:, own]), dtype=np.float64))
    found = {}
    for label in np.unique(test.label):
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
                gain=np.nan if constant else gain(error, new),
            )
    return found


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
        "| map | raw 95 % holds (%) | 68 % holds (%) | 95 % holds (%) | half-width (mm) | Spearman | gain (%) |",
        "|---|---|---|---|---|---|---|",
    ]
    percent = table.copy()
    scaled = [name for name in table.columns if name.startswith(("coverage", "low", "high", "raw", "gain"))]
    percent[scaled] *= 100
    for name, part in percent.groupby("map", sort=False):
        raw = cell(part, "{raw_95:.0f}") if "raw_95" in part and part["raw_95"].notna().all() else ""
        order = cell(part, "{order:.2f}") if part["order"].notna().all() else ""
        won = cell(part, "{gain:.0f}") if part["gain"].notna().all() else ""
        held = cell(part, "{coverage_95:.0f} ({low_95:.0f}–{high_95:.0f})")
        cells = (name, raw, cell(part, "{coverage_68:.0f}"), held, cell(part, "{width:.1f}"), order, won)
        lines.append(f"| {' | '.join(map(str, cells))} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
