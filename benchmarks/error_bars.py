"""Compare maps that may foretell the error of a displacement, each calibrated on the same patients.

    python -m benchmarks.error_bars ../shared/data/mnms --model runs/hetero results/error-bars

Every map is scaled on the splits `train` and `val` and scored on `test`: by the distance of the warped contours to
the true ones. Raw is the map as it is, taken as the SD of a Gaussian; only maps in mm have that. The registrations
are kept in the folder, so that the command goes on where it stopped. Bootstrap intervals are over patients.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.stats import norm, spearmanr

from heteroreg.data.cohort import Cohort
from heteroreg.evaluation.error import gain
from heteroreg.registration.calibration_work import BATCH, Work
from heteroreg.registration.load import load
from heteroreg.registration.scaling import Registered, ScoredPoints, points_of_contours
from heteroreg.system.arrays import Doubles
from heteroreg.system.files import write_text
from heteroreg.system.progress import progress
from heteroreg.uncertainty.calibration import LEARNED, Combination, cross_fitted, scales_of
from heteroreg.uncertainty.conformal import patient_weights
from heteroreg.uncertainty.error import error_sd, learn

LEVELS = (68, 95)
IN_MM = (LEARNED, "disagreement", "spread", "displacement_sd")
BOOTSTRAP = 2000


def main() -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("cohort", type=Path)
    parser.add_argument("out", type=Path, help="folder for the registrations and table.md")
    parser.add_argument("--model", required=True, help="a run, phantom or elastix")
    parser.add_argument("--steps", type=int, help="updates of the error estimator")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    table = compare_maps(options.cohort, options.model, options.out, options.steps, options.seed)
    write_text(options.out / "table.csv", table.to_csv(index=False))
    text = in_markdown(table)
    write_text(options.out / "table.md", text)
    print(text)


def compare_maps(cohort: Path, model: str, out: Path, steps: int | None = None, seed: int = 0) -> pd.DataFrame:
    """Return a row for each map and label."""
    registrar = load(model, calibration=False)
    pairs = Cohort.read(cohort)
    known = [pair for pair in pairs if pair.split != "test"]
    test = [pair for pair in pairs if pair.split == "test"]
    work = Work.plan(registrar, pairs, known, out / "known", seed, steps)
    judged = Work.plan(registrar, pairs, test, out / "test", seed, steps)
    for one in (work, judged):
        with progress("registering the pairs", len(one.pairs)) as report:
            for number, pair in enumerate(one.pairs):
                one.register(number, pair)
                report(number + 1)
    warps = work.known
    with progress("registering known warps", len(warps)) as report:
        for done, (number, draw) in enumerate(warps, start=1):
            work.warp(number, draw)
            report(done)
    with progress("learning the error", work.steps) as report:
        errors = work.known_errors()
        estimator = learn(errors, work.steps, batch_size=BATCH[work.dims], seed=seed, report=report)

    def points(registered: Sequence[Registered]) -> ScoredPoints:
        learned = [error_sd(estimator, pair.arrays["channels"]) for pair in registered]
        return points_of_contours(registered, learned, names)

    names = (LEARNED, *work.registered()[0].maps)
    return _scored(points(work.registered()), points(judged.registered()), names, seed)


def _scored(known: ScoredPoints, test: ScoredPoints, names: Sequence[str], seed: int) -> pd.DataFrame:
    combination = Combination.fit(known.maps, known.error, known.patient)
    maps: dict[str, tuple[Doubles, Doubles]] = {"a constant": (np.ones(len(known.error)), np.ones(len(test.error)))}
    for column, name in enumerate(names):
        maps[name] = (np.exp(known.maps[:, column]), np.exp(test.maps[:, column]))
    crossed = cross_fitted(known.maps, known.error, known.patient)
    maps["all combined"] = (crossed, np.asarray(combination(test.maps), dtype=np.float64))
    rows = []
    for label in np.unique(test.label):
        there, judged = known.label == label, test.label == label
        for name, (sd, new) in maps.items():
            scales = scales_of(np.abs(known.error[there]) / sd[there], known.patient[there])
            row = {"label": int(label), "map": name}
            error, patients = np.abs(test.error[judged]), test.patient[judged]
            for level in LEVELS:
                inside = (error <= scales[level] * new[judged]).astype(float)
                mean, low, high = bootstrap(inside, patients, seed)
                row |= {f"coverage_{level}": mean, f"low_{level}": low, f"high_{level}": high}
            if name in IN_MM:
                raw = (error <= norm.ppf(0.975) * new[judged]).astype(float)
                row["raw_95"] = bootstrap(raw, patients, seed)[0]
            row["width"] = float(np.average(scales[95] * new[judged], weights=patient_weights(patients)))
            constant = np.ptp(new[judged]) == 0
            row["order"] = np.nan if constant else float(spearmanr(new[judged], error)[0])
            row["gain"] = np.nan if constant else gain(error, new[judged])
            rows.append(row)
    return pd.DataFrame(rows)


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
