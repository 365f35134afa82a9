"""Dice on real hearts: λ (and γ of `hetero`) chosen on the validation pairs, several seeds, the test pairs once.

    python -m benchmarks.mnms ../shared/data/mnms results/mnms

Every step is one that the commands do too: train, evaluate, compare. What is there already is not done again,
so that a study that was stopped goes on where it was.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path

import pandas as pd

from heteroreg import Cohort, Scores, evaluate, load, train
from heteroreg.comparison.statistics import paired_t_test, wilcoxon_test
from heteroreg.registration.classical import Undeformed
from heteroreg.report import write_report
from heteroreg.training import Run

METRIC = "dice_2"  # myocardium


def arguments() -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("cohort", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--methods", nargs="+", default=["mse", "hetero", "hetero-paper"])
    parser.add_argument("--smoothness", nargs="+", type=float, default=[0.01, 0.02, 0.04], help="λ to choose from")
    parser.add_argument("--gamma", nargs="+", type=float, default=[0.25, 0.5], help="γ to choose from, for hetero")
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2], help="the first one chooses λ")
    parser.add_argument("--steps", type=int, default=1500)
    parser.add_argument("--network", default="voxelmorph")
    parser.add_argument("--precision", default="auto", help="of training: auto, 32-true or bf16-mixed")
    return parser.parse_args()


def trained(options: argparse.Namespace, method: str, smoothness: float, gamma: float, seed: int) -> Run:
    """Return the finished run of these settings; train it if need be."""
    folder = options.out / "runs" / f"{method}-{smoothness:g}-{gamma:g}-seed{seed}"
    settings = {"method": method, "smoothness": smoothness, "gamma": gamma, "seed": seed, "steps": options.steps}
    settings |= {"network": options.network, "precision": options.precision}
    return train(options.cohort, folder, resume=True, show=True, config=settings)


def validation(run: Run) -> Mapping[str, float]:
    """Scores of the best checkpoint on the validation pairs."""
    history = run.metrics.dropna(subset=["val_dice"])
    best = history.sort_values("val_dice").iloc[-1]
    return {
        "validation_dice": best["val_dice"],
        "validation_myocardium": best["val_dice_2"],
        "minutes": history["seconds"].iloc[-1] / 60,
    }


def choose(options: argparse.Namespace) -> tuple[dict[str, tuple[float, float]], pd.DataFrame]:
    """For each method the λ and γ with the best Dice (mean of the labels) on the validation pairs, and all."""
    rows = []
    for method in options.methods:
        # hetero-paper keeps the published γ; the other methods have none.
        for gamma in options.gamma if method == "hetero" else [0.5]:
            for smoothness in options.smoothness:
                run = trained(options, method, smoothness, gamma, options.seeds[0])
                rows.append({"method": method, "smoothness": smoothness, "gamma": gamma, **validation(run)})
    table = pd.DataFrame(rows)
    best = table.sort_values("validation_dice").groupby("method", sort=False).tail(1).set_index("method")
    return {method: (best["smoothness"][method], best["gamma"][method]) for method in options.methods}, table


def scored(options: argparse.Namespace, name: str, run: Run | None) -> Path:
    """Return the folder with the scores on the test pairs; `run=None` is undeformed."""
    folder: Path = options.out / "scores" / name
    if not (folder / "scores.csv").is_file():
        registrar = Undeformed() if run is None else load(run.folder)
        evaluate(registrar, Cohort.read(options.cohort).split("test"), out=folder, show=True)
    return folder


def patients(folders: Sequence[Path], metric: str) -> pd.DataFrame:
    """A metric by patient (rows) and seed (columns)."""
    tables = [Scores.read(folder).table for folder in folders]
    return pd.concat([table.groupby("patient")[metric].mean() for table in tables], axis=1)


def summary(folders: Mapping[str, Sequence[Path]], baseline: str) -> pd.DataFrame:
    """For each method the mean over patients and seeds, the spread over both, and paired tests on patients."""
    reference = patients(folders[baseline], METRIC).mean(axis=1)
    rows = []
    for method, scores in folders.items():
        table = patients(scores, METRIC)
        each = table.mean(axis=1)
        difference = (each - reference).to_numpy()
        same = method == baseline
        rows.append(
            {
                "method": method,
                "seeds": table.shape[1],
                "dice": 100 * each.mean(),
                "sd_patients": 100 * each.std(),
                "sd_seeds": 100 * table.mean().std(),
                "folding_percent": patients(scores, "folding_percent").mean(axis=None),
                "difference": 100 * difference.mean(),
                "p_t": float("nan") if same else paired_t_test(difference),
                "p_wilcoxon": float("nan") if same else wilcoxon_test(difference),
            }
        )
    return pd.DataFrame(rows)


def main() -> None:
    """Chooses, trains, scores, compares, prints."""
    options = arguments()
    chosen, table = choose(options)
    folders: dict[str, list[Path]] = {"undeformed": [scored(options, "undeformed", None)]}
    for method, (smoothness, gamma) in chosen.items():
        folders[method] = [
            scored(options, f"{method}-seed{seed}", trained(options, method, smoothness, gamma, seed))
            for seed in options.seeds
        ]
    result = summary(folders, options.methods[0])
    first = {method: scores[0] for method, scores in folders.items()}
    write_report(list(first.values()), options.out / "report", baseline=first[options.methods[0]])
    table.to_csv(options.out / "validation.csv", index=False)
    result.to_csv(options.out / "test.csv", index=False)
    print(table.round(4).to_string(index=False))
    print(result.round(3).to_string(index=False))


if __name__ == "__main__":
    main()
