"""Comparison of evaluations of one cohort: means over patients, intervals, paired tests."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from heteroreg.comparison.groups import Groups, check_fit, gather
from heteroreg.comparison.markdown import to_markdown
from heteroreg.comparison.result import SIGNIFICANCE_LEVEL
from heteroreg.comparison.statistics import bootstrap_interval, holm, paired_t_test, sample_sd, wilcoxon_test
from heteroreg.comparison.table import ComparisonTable
from heteroreg.evaluation.metrics import metric, ordered
from heteroreg.evaluation.scores import Scores
from heteroreg.system.files import write_text
from heteroreg.system.outputs import output_folder
from heteroreg.system.progress import progress, reported
from heteroreg.system.text import csv_text

TABLE_FILE = "table.csv"


class Comparison(ComparisonTable):
    """Evaluations of one cohort side by side, as tables that can be written."""

    def to_markdown(self) -> str:
        """Return the tables as Markdown."""
        return to_markdown(self)

    def write(self, folder: Path) -> None:
        """Write `table.csv` and `table.md` into a folder that exists."""
        write_text(folder / TABLE_FILE, csv_text(self.table))
        write_text(folder / "table.md", self.to_markdown())

    def save(self, out: str | Path) -> None:
        """Write a folder with `table.csv` and `table.md`, whole or not at all.

        Raises:
            UserError: The folder exists and holds something else.
        """
        with output_folder(out, "comparison") as temporary:
            self.write(temporary)


def compare(
    folders: Groups,
    *,
    baseline: str | Path | None = None,
    out: str | Path | None = None,
    label_names: Mapping[str, str] | None = None,
) -> Comparison:
    """Compare evaluations of the same cohort.

    The unit is the patient: scores are averaged within a patient and over the seeds of a row, then tested in pairs
    over patients. The tests tell whether a difference would hold for other patients. `sd_seeds` tells how much it
    varies with the seed of the training.

    A metric is compared on the slices or pairs where every evaluation that has the metric defines it, so that a
    method gains nothing by losing a label where it is hard. Dice is always defined: a lost label counts 0.

    Args:
        folders: Folders that `evaluate` wrote; those whose names differ only in their ending `-seed<n>` are the
            seeds of one row. Or a mapping from the name of each row to its folder, or to the folders of its seeds.
        baseline: The row that the others are tested against, by its name or one of its folders; the first row if
            None. A folder that is not among the others becomes the first row.
        out: Folder for the tables.
        label_names: Names of labels by number; by default those of the evaluations.

    Returns:
        The comparison.

    Raises:
        UserError: A folder is no evaluation, or the evaluations are not of the same pairs, mode and kind of
            rows; the evaluations of a row are of different methods or of the same seed.

    Examples:
        >>> import tempfile
        >>> from pathlib import Path
        >>> import heteroreg as hr
        >>> folder = Path(tempfile.mkdtemp())
        >>> cohort = hr.phantom(folder / "hearts", pairs=3, size=32)
        >>> for name in ("undeformed", "phantom"):
        ...     scores = hr.evaluate(name, cohort, out=folder / name)
        >>> comparison = hr.compare([folder / "undeformed", folder / "phantom"])
        >>> list(comparison.scores)
        ['undeformed', 'phantom']
    """
    groups, reference = gather(folders, baseline)
    with progress("reading the scores", len(groups)) as report:
        rows = reported(groups.items(), report)
        repeats = {row: [Scores.read(path) for path in paths] for row, paths in rows}
    check_fit(groups, repeats)

    values, lines, left_out = [], [], {}
    names = ordered({name for scores in repeats.values() for one in scores for name in one.metrics})
    with progress("comparing metric by metric", len(names)) as report:
        for name in reported(names, report):
            patients, left_out[name] = _per_patient(repeats, name)
            lines += _lines(name, patients, reference)
            values += [
                {"row": row, "metric": name, "patient": patient, "value": value}
                for row, seeds in patients.items()
                for patient, value in seeds.mean(axis=1).items()
            ]
    comparison = Comparison(
        pd.DataFrame(lines), pd.DataFrame(values), repeats, reference, left_out, label_names or {}
    )
    if out is not None:
        comparison.save(out)
    return comparison


def _per_patient(repeats: Mapping[str, Sequence[Scores]], name: str) -> tuple[dict[str, pd.DataFrame], int]:
    """Return for each row the patients' means of a metric, a column for each seed, where all have it."""
    has = {
        (row, seed): one.table
        for row, scores in repeats.items()
        for seed, one in enumerate(scores)
        if name in one.table and one.table[name].notna().any()
    }
    if not has:
        return {}, 0
    # A whole image has no slice, and a missing value is no key to match by.
    keys = ["id", "slice"]
    wide = pd.DataFrame(
        {key: table.assign(slice=table["slice"].fillna(-1)).set_index(keys)[name] for key, table in has.items()}
    )
    common = wide.dropna()
    patient = {pair: who for table in has.values() for pair, who in zip(table["id"], table["patient"], strict=True)}
    owners = common.index.get_level_values("id").map(patient)
    means = common.groupby(np.asarray(owners)).mean()
    dropped = int(wide.notna().any(axis=1).sum()) - len(common)
    rows = dict.fromkeys(row for row, _ in has) if len(means) else {}
    return {row: means[[key for key in has if key[0] == row]] for row in rows}, dropped


def _lines(name: str, patients: Mapping[str, pd.DataFrame], baseline: str) -> list[dict[str, Any]]:
    means = {row: seeds.mean(axis=1) for row, seeds in patients.items()}
    lines = [
        {"row": row, "metric": name, **_alone(seeds), **_against(means[row], row, means, baseline)}
        for row, seeds in patients.items()
    ]
    up = metric(name).higher_is_better
    for line, p in zip(lines, holm([line["p_t"] for line in lines]), strict=True):
        significant = p < SIGNIFICANCE_LEVEL and up is not None
        line |= {"p_holm": p, "better": (line["difference"] > 0) == up if significant else None}
    return lines


def _alone(seeds: pd.DataFrame) -> dict[str, Any]:
    """Return the figures of a row by itself, from its patients (rows) and seeds (columns)."""
    values = seeds.mean(axis=1).to_numpy()
    low, high = bootstrap_interval(values)
    return {
        "n": len(values),
        "seeds": seeds.shape[1],
        "mean": float(np.mean(values)),
        "sd": sample_sd(values),
        "sd_seeds": sample_sd(seeds.mean(axis=0).to_numpy()),
        "low": low,
        "high": high,
    }


def _against(
    series: pd.Series[float], row: str, patients: Mapping[str, pd.Series[float]], baseline: str
) -> dict[str, Any]:
    names = ("difference", "difference_low", "difference_high", "p_t", "p_wilcoxon")
    if row == baseline or baseline not in patients:
        return dict.fromkeys(names, math.nan)
    differences = (series - patients[baseline]).to_numpy()
    low, high = bootstrap_interval(differences)
    numbers = (float(differences.mean()), low, high, paired_t_test(differences), wilcoxon_test(differences))
    return dict(zip(names, numbers, strict=True))
