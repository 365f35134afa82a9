"""Evaluations of one cohort side by side: means over patients, intervals, paired tests."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from heteroreg.comparison.markdown import to_markdown
from heteroreg.errors import UserError
from heteroreg.evaluation.metrics import metric, ordered
from heteroreg.evaluation.scores import Scores
from heteroreg.files import atomic_folder, write_text
from heteroreg.statistics import bootstrap_interval, holm, paired_t_test, wilcoxon_test

MARKER = "table.csv"
SIGNIFICANT = 0.05
ROW = ["id", "slice"]


@dataclass(frozen=True)
class Comparison:
    """Evaluations of one cohort side by side.

    Attributes:
        table: One line for each evaluation and metric: `row` (the evaluation), `metric`, `n` (patients),
            `mean`, `sd` (sample sd over patients), `low`, `high` (95 % bootstrap interval of the mean); against
            the baseline `difference` (mean over patients of row - baseline), `difference_low`,
            `difference_high`, `p_t`, `p_wilcoxon`, `p_holm` (p_t corrected over the rows that were tested on
            this metric), `better` (True or False where p_holm < 0.05 and the metric has a good direction, else
            None). NaN where not defined.
        values: One line for each evaluation, metric and patient: `row`, `metric`, `patient`, `value`.
        scores: Name of the evaluation → its scores, in the order of the rows.
        baseline: The row that the others are tested against.
        left_out: Metric → rows (slices or pairs) that were left out because an evaluation lacks the metric
            there.
    """

    table: pd.DataFrame
    values: pd.DataFrame
    scores: Mapping[str, Scores]
    baseline: str
    left_out: Mapping[str, int]

    @property
    def rows(self) -> list[str]:
        """The names of the evaluations, in order."""
        return list(self.scores)

    @property
    def metrics(self) -> list[str]:
        """The metrics that any evaluation has, in order."""
        return list(self.table["metric"].unique())

    @property
    def mode(self) -> str:
        """`standard` or `reference`."""
        return str(next(iter(self.scores.values())).summary["mode"])

    def to_markdown(self) -> str:
        """The tables as people read them."""
        return to_markdown(self)

    def write(self, folder: Path) -> None:
        """Writes `table.csv` and `table.md` into a folder that exists."""
        write_text(folder / MARKER, self.table.to_csv(index=False, lineterminator="\n"))
        write_text(folder / "table.md", self.to_markdown())

    def save(self, out: str | Path) -> None:
        """Writes a folder with `table.csv` and `table.md`, whole or not at all.

        Raises:
            UserError: The folder exists and holds something else.
        """
        with atomic_folder(Path(out), marker=MARKER) as temporary:
            self.write(temporary)


def compare(
    folders: Sequence[str | Path], *, baseline: str | Path | None = None, out: str | Path | None = None
) -> Comparison:
    """Compares evaluations of the same cohort.

    The unit is the patient: scores are averaged within a patient, then tested in pairs over patients. A metric
    is compared on the rows (slices or pairs) where every evaluation that has the metric at all defines it, so
    that a method gains nothing by losing a label where it is hard; how many rows that leaves out is reported.
    Dice needs none of it: a lost label counts 0 there.

    Args:
        folders: Folders that `evaluate` wrote.
        baseline: The one to test the others against; the first where none is named. It may be one of the
            folders or a further one, which then becomes the first row.
        out: Folder for the tables.

    Raises:
        UserError: A folder is no evaluation, or the evaluations are not of the same pairs, mode and kind of
            rows.
    """
    paths = [Path(folder) for folder in folders]
    if baseline is not None and Path(baseline).resolve() not in [path.resolve() for path in paths]:
        paths.insert(0, Path(baseline))
    if not paths:
        raise UserError("compare: name at least one folder that 'evaluate' wrote")
    names = row_names(paths)
    scores = {name: Scores.read(path) for name, path in zip(names, paths, strict=True)}
    _check_same(dict(zip(names, paths, strict=True)), scores)
    chosen = Path(baseline).resolve() if baseline is not None else paths[0].resolve()
    reference = names[[path.resolve() for path in paths].index(chosen)]

    values, lines, left_out = [], [], {}
    for name in ordered({name for one in scores.values() for name in one.metrics}):
        patients, left_out[name] = _per_patient(scores, name)
        lines += _lines(name, patients, reference)
        values += [
            {"row": row, "metric": name, "patient": patient, "value": value}
            for row, series in patients.items()
            for patient, value in series.items()
        ]
    comparison = Comparison(pd.DataFrame(lines), pd.DataFrame(values), scores, reference, left_out)
    if out is not None:
        comparison.save(out)
    return comparison


def row_names(paths: Sequence[Path]) -> list[str]:
    """The names of folders, with as many of their parents as make them unique.

    Raises:
        UserError: A folder is named twice.
    """
    parts = [path.resolve().parts for path in paths]
    if len(set(parts)) < len(parts):
        twice = next(path for path, own in zip(paths, parts, strict=True) if parts.count(own) > 1)
        raise UserError(f"{twice}: is named twice; name each evaluation once")
    names = []
    for own in parts:
        depth = 1
        while sum(other[-depth:] == own[-depth:] for other in parts) > 1:
            depth += 1
        names.append("/".join(own[-depth:]))
    return names


def _check_same(paths: Mapping[str, Path], scores: Mapping[str, Scores]) -> None:
    first, *others = scores
    base = scores[first]
    for name in others:
        one, where = scores[name], f"{paths[name]}: and {paths[first]}"
        if set(one.table["id"]) != set(base.table["id"]):
            odd = sorted(set(one.table["id"]) ^ set(base.table["id"]))
            raise UserError(
                f"{where} are not of the same pairs ({len(odd)} differ, first '{odd[0]}'); "
                "evaluate both on the same cohort and split"
            )
        if one.summary["mode"] != base.summary["mode"]:
            raise UserError(f"{where} differ in --metrics; evaluate both with the same")
        if one.slicewise != base.slicewise or len(one.table) != len(base.table):
            raise UserError(
                f"{where} have other rows (one by slices, one by whole images); "
                "evaluate both the same way (slicewise=True or False)"
            )


def _per_patient(scores: Mapping[str, Scores], name: str) -> tuple[dict[str, pd.Series[float]], int]:
    """The patients' means of a metric for each evaluation that has it, on their common rows."""
    has = {row: one.table for row, one in scores.items() if name in one.table and one.table[name].notna().any()}
    if not has:
        return {}, 0
    # A whole image has no slice, and a missing value is no key to match by.
    wide = pd.DataFrame(
        {row: table.assign(slice=table["slice"].fillna(-1)).set_index(ROW)[name] for row, table in has.items()}
    )
    common = wide.dropna()
    patient = {pair: who for table in has.values() for pair, who in zip(table["id"], table["patient"], strict=True)}
    owners = common.index.get_level_values("id").map(patient)
    means = common.groupby(np.asarray(owners)).mean()
    dropped = int(wide.notna().any(axis=1).sum()) - len(common)
    return {row: means[row] for row in has if len(means)}, dropped


def _lines(name: str, patients: Mapping[str, pd.Series[float]], baseline: str) -> list[dict[str, Any]]:
    lines = [
        {"row": row, "metric": name, **_alone(series.to_numpy()), **_against(series, row, patients, baseline)}
        for row, series in patients.items()
    ]
    described = metric(name)
    up = None if described is None else described.higher_is_better
    for line, p in zip(lines, holm([line["p_t"] for line in lines]), strict=True):
        significant = p < SIGNIFICANT and up is not None
        line |= {"p_holm": p, "better": (line["difference"] > 0) == up if significant else None}
    return lines


def _alone(values: Any) -> dict[str, Any]:
    low, high = bootstrap_interval(values)
    sd = float(np.std(values, ddof=1)) if len(values) > 1 else math.nan
    return {"n": len(values), "mean": float(np.mean(values)), "sd": sd, "low": low, "high": high}


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
