"""Ablation of `hetero`: one part is exchanged at a time, all else being equal.

    python -m benchmarks.parts ../shared/data/mnms results/parts
    python -m benchmarks.parts cohorts/artefacts results/parts-artefacts --smoothness 0.02 0.05 --gamma 0.5

λ is chosen for each on the validation pairs with the first seed; the test pairs are scored once, at the end. What
is there already is not done again. `--only` trains some of them, so that several of these commands can share the
work; without it the table is made.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.mnms import scored
from heteroreg import train
from heteroreg.losses import CollaborativeLoss
from heteroreg.methods import METHODS, Method
from heteroreg.networks import CoarseVariance, UNetVariance
from heteroreg.report import write_report
from heteroreg.training import Run


@dataclass(frozen=True)
class Part:
    """`hetero` with one part exchanged.

    Attributes:
        summary: The exchanged part.
        estimator: Makes the variance estimator from the number of dimensions.
        choices: Arguments of `CollaborativeLoss`: how weights are scaled, and the signal's power P.
    """

    summary: str
    estimator: Callable[[int], Any] = CoarseVariance
    choices: Mapping[str, Any] | None = None

    def objective(self, dims: int, gamma: float, beta: float) -> CollaborativeLoss:
        """Return the objective, as `Method` expects it."""
        choices = {"normalisation": "balanced", "signal": "none", **(self.choices or {})}
        return CollaborativeLoss(self.estimator(dims), gamma, beta, **choices)


PARTS = {
    "hetero": Part("nothing"),
    "hetero fine": Part("the map at full resolution, by a U-Net", UNetVariance),
    "hetero mean": Part("weights of mean 1", choices={"normalisation": "relative"}),
    "hetero published": Part("weights as published", choices={"normalisation": "reference", "signal": "fixed"}),
    "hetero signal": Part("P = I_f²", choices={"signal": "fixed"}),
    "hetero local": Part("P = the mean of I_f² over 9 voxels an axis", choices={"signal": "local"}),
}


def arguments() -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("cohort", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--smoothness", nargs="+", type=float, default=[0.005, 0.01], help="λ to choose from")
    parser.add_argument("--gamma", type=float, default=0.25)
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2], help="the first one chooses λ")
    parser.add_argument("--steps", type=int, default=1000)
    parser.add_argument("--size", type=int, default=96, help="pixels along each axis")
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=list(PARTS), help="rows of the table")
    parser.add_argument("--only", nargs="+", choices=PARTS, help="train these, and make no table")
    return parser.parse_args()


def trained(options: argparse.Namespace, part: str, smoothness: float, seed: int) -> Run:
    """Return the finished run of these settings; train it if need be."""
    folder = options.out / "runs" / f"{part.replace(' ', '-')}-{smoothness:g}-{options.gamma:g}-seed{seed}"
    settings = {"method": part, "smoothness": smoothness, "gamma": options.gamma, "seed": seed}
    settings |= {"steps": options.steps, "size": (options.size, options.size)}
    return train(options.cohort, folder, resume=True, show=True, config=settings)


def runs(options: argparse.Namespace, part: str) -> list[Run]:
    """Return the run of each seed at the λ with the best validation Dice of the first seed."""
    tried = {one: trained(options, part, one, options.seeds[0]) for one in options.smoothness}
    dice = {one: float(run.metrics["val_dice"].max()) for one, run in tried.items()}
    best = max(dice, key=dice.__getitem__)
    print(f"{part}: λ = {best:g} of " + ", ".join(f"{one:g} ({100 * value:.2f})" for one, value in dice.items()))
    return [trained(options, part, best, seed) for seed in options.seeds]


def main() -> None:
    """Trains, scores, compares, prints the table."""
    options = arguments()
    METHODS.update({name: Method(name, part.summary, part.objective) for name, part in PARTS.items()})
    found = {part: runs(options, part) for part in options.only or options.parts}
    if options.only:
        return
    groups = {part: [scored(options, run.folder.name, run) for run in each] for part, each in found.items()}
    page = write_report(groups, options.out / "report", baseline=options.parts[0], title="Parts of hetero")
    print(page.with_name("table.md").read_text(encoding="utf-8"))


if __name__ == "__main__":
    main()
