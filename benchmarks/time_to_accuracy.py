"""Measure the training time until the test Dice of the converged published recipe is reached.

    python -m benchmarks.time_to_accuracy ../shared/data/mnms results/time --benchmark bench.json

1. Trains the published recipe to its end: MSE, constant rate 1e-4, field that starts at 1e-5, no augmentation, no
   clipping. It has converged at the first step whose validation Dice (mean of the labels) is within 0.2 points of
   its best.
2. Trains `mse` and `hetero` with the usual settings for several budgets.
3. Scores the best checkpoint of each on the test pairs. The smallest budget that reaches the published
   test Dice of the myocardium is set against the time in which the published recipe converged: in the seconds of
   that same run, and in the time of a published step (from `python -m benchmarks`) times the steps.

What is there already is not done again, so that it goes on where it was stopped. Seconds are those that training
counted, with its validations; they are comparable only if every run had the machine to itself.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from benchmarks.case import Plan
from benchmarks.options import add_common, begin, finish
from benchmarks.step import PUBLISHED, PUBLISHED_MSE
from heteroreg import Cohort, Scores, evaluate, load, train
from heteroreg.training import Run

METRIC = "dice_2"  # myocardium
NEAR = 0.002  # of the best validation Dice
RECIPE: dict[str, Any] = {
    "method": "mse",
    "steps": 15000,
    "batch_size": 8,
    "learning_rate": 1e-4,
    "schedule": "constant",
    "head_sd": 1e-5,
    "augment": False,
    "clip": None,
    "intensity": "minmax",
    "precision": "32-true",
    "validate_every": 250,
    "checkpoint_every": 250,
}


def arguments() -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("cohort", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--methods", nargs="+", default=["mse", "hetero"])
    parser.add_argument("--budgets", nargs="+", type=int, default=[150, 300, 600, 1000, 1500], help="in steps")
    parser.add_argument("--seeds", nargs="+", type=int, default=[0], help="a budget counts by the mean over them")
    parser.add_argument("--published-steps", type=int, default=RECIPE["steps"], help="of the published recipe")
    parser.add_argument("--benchmark", type=Path, help="JSON of `python -m benchmarks`: time of a published step")
    add_common(parser)
    return parser.parse_args()


def trained(cohort: Path, folder: Path, settings: Mapping[str, Any]) -> Run:
    """Return the finished run in a folder; train it if need be."""
    if (folder / "metrics.csv").is_file():
        run = Run.read(folder)
        if len(run.metrics) and run.metrics["step"].iloc[-1] == run.config.steps:
            return run
    return train(cohort, folder, resume=True, show=True, config=settings)


def test_dice(cohort: Path, folder: Path, run: Run) -> float:
    """Dice on the test pairs, mean over patients, of the checkpoint that was best on the validation pairs."""
    if not (folder / "scores.csv").is_file():
        evaluate(load(run.folder), Cohort.read(cohort).split("test"), out=folder, show=True)
    return float(Scores.read(folder).per_patient()[METRIC].mean())


def elapsed(metrics: pd.DataFrame) -> pd.Series[float]:
    """Return the seconds of training up to each row, added up over the parts of a resumed run."""
    seconds = metrics["seconds"]
    before = seconds.shift(fill_value=0.0)
    resumed = seconds < before
    return seconds + before.where(resumed, 0.0).cumsum()


def convergence(metrics: pd.DataFrame) -> tuple[int, float]:
    """Return the step, and its seconds, at which the validation Dice first came near its best."""
    validated = metrics.assign(seconds=elapsed(metrics)).dropna(subset=["val_dice"])
    first = validated[validated["val_dice"] >= validated["val_dice"].max() - NEAR].iloc[0]
    return int(first["step"]), float(first["seconds"])


def published_seconds(benchmark: Path | None) -> dict[str, float]:
    """Return the seconds of a published step by variant; empty without a benchmark.

    Raises:
        SystemExit: The benchmark has no such step.
    """
    if benchmark is None:
        return {}
    results = json.loads(benchmark.read_text(encoding="utf-8"))
    case = Plan(threads=1).cases[0].name
    found = {row["variant"]: row["ms"] / 1000 for row in results.get("step", []) if row["case"] == case}
    if results["quick"] or PUBLISHED not in found:
        raise SystemExit(f"{benchmark}: has no step of {case}; run `python -m benchmarks --only step`")
    return {name: found[name] for name in (PUBLISHED, PUBLISHED_MSE)}


def compared(rows: Sequence[dict[str, Any]], published: Mapping[str, Any], step: Mapping[str, float]) -> None:
    """Adds to each row whether it reaches the published Dice, and how many times longer that took."""
    keys = {"over_published": PUBLISHED, "over_published_mse": PUBLISHED_MSE}
    for row in rows:
        row["reaches"] = row["test"] >= published["test"]
        row["over_same"] = published["converged_seconds"] / row["seconds"]
        for key, name in keys.items():
            if name in step:
                row[key] = published["converged_step"] * step[name] / row["seconds"]


def smallest(rows: Sequence[Mapping[str, Any]], method: str) -> dict[str, Any] | None:
    """Return the smallest budget that reaches the published Dice, and True if all larger ones do too."""
    own = sorted((row for row in rows if row["method"] == method), key=lambda row: int(row["steps"]))
    for index, row in enumerate(own):
        if row["reaches"]:
            return {**row, "larger_too": all(other["reaches"] for other in own[index:])}
    return None


def main() -> None:
    """Trains, scores, compares, prints, writes `time.json`."""
    options = arguments()
    results = begin(options)
    step = published_seconds(options.benchmark)
    recipe = RECIPE | {"steps": options.published_steps}
    run = trained(options.cohort, options.out / "runs" / "published", recipe)
    converged_step, converged_seconds = convergence(run.metrics)
    published: dict[str, Any] = {
        "steps": run.config.steps,
        "test": test_dice(options.cohort, options.out / "scores" / "published", run),
        "seconds": float(elapsed(run.metrics).iloc[-1]),
        "converged_step": converged_step,
        "converged_seconds": converged_seconds,
    }
    changed = "".join(f"-{key}={value}" for key, value in results["settings"].items())
    rows: list[dict[str, Any]] = []
    for method in options.methods:
        for budget in options.budgets:
            dice, seconds = [], []
            for seed in options.seeds:
                name = f"{method}-{budget}-seed{seed}{changed}"
                settings = results["settings"] | {"method": method, "steps": budget, "seed": seed}
                run = trained(options.cohort, options.out / "runs" / name, settings)
                dice.append(test_dice(options.cohort, options.out / "scores" / name, run))
                seconds.append(float(elapsed(run.metrics).iloc[-1]))
            means = {"test": sum(dice) / len(dice), "seconds": sum(seconds) / len(seconds)}
            rows.append({"method": method, "steps": budget, "tests": dice, **means})
    compared(rows, published, step)
    results["published_step_seconds"] = step
    results["accuracy"] = {
        "published": published,
        "rows": rows,
        "smallest": {method: smallest(rows, method) for method in options.methods},
    }
    finish(results, options.out / "time.json", options.into)


if __name__ == "__main__":
    main()
