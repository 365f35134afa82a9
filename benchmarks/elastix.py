"""How elastix is set: candidate settings on the validation pairs of a cohort, each with its Dice, folding and time.

    python -m benchmarks.elastix ../shared/data/mnms results/elastix

The test pairs are not touched. What is there already is not done again.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path

import pandas as pd

from heteroreg import Cohort, Scores, evaluate
from heteroreg.classical import Elastix

Settings = Mapping[str, str | Sequence[str]]

CHANGES: dict[str, Settings] = {
    "as it is set": {},
    "spacing 6": {"FinalGridSpacingInVoxels": "6"},
    "spacing 10": {"FinalGridSpacingInVoxels": "10"},
    "spacing 12": {"FinalGridSpacingInVoxels": "12"},
}


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("cohort", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--only", nargs="+", choices=list(CHANGES), default=list(CHANGES))
    parser.add_argument("--threads", type=int, default=1)
    return parser.parse_args()


def row(name: str, scores: Scores) -> dict[str, object]:
    """Means over patients, in %, and the seconds that a pair (of stacks) takes."""
    patients = scores.per_patient()
    dice = [column for column in patients.columns if column.startswith("dice_")]
    return {
        "settings": name,
        **{column: 100 * patients[column].mean() for column in dice},
        "mean": 100 * patients[dice].mean().mean(),
        "folding_percent": patients["folding_percent"].mean(),
        "seconds": scores.table.drop_duplicates("id")["seconds"].mean(),
    }


def main() -> None:
    """Evaluates each candidate, prints the table."""
    options = arguments()
    cohort = Cohort.read(options.cohort).split("val")
    rows = []
    for name in options.only:
        folder = options.out / name.replace(" ", "-")
        if not (folder / "scores.csv").is_file():
            registrar = Elastix(threads=options.threads, settings=CHANGES[name])
            evaluate(registrar, cohort, out=folder, show=True)
        rows.append(row(name, Scores.read(folder)))
    table = pd.DataFrame(rows)
    table.to_csv(options.out / "validation.csv", index=False)
    print(table.round(3).to_string(index=False))


if __name__ == "__main__":
    main()
