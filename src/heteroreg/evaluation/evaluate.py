"""Registering a cohort and scoring the outcome."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

from heteroreg.data.cohort import Cohort, Pair, as_cohort
from heteroreg.data.label_names import label_names_of
from heteroreg.data.samples.dataset import ImageCache
from heteroreg.evaluation import learn2reg
from heteroreg.evaluation.gallery import Case, spread_evenly
from heteroreg.evaluation.inputs import Inputs, maps_of
from heteroreg.evaluation.metrics import is_metric
from heteroreg.evaluation.row import RowScores, score
from heteroreg.evaluation.scores import Scores
from heteroreg.evaluation.scoring import ScoringMode
from heteroreg.evaluation.sizes import SizeSlices, size_summary, size_table, sizes_of, whole_dice
from heteroreg.evaluation.stack import MOST_STACKS, STACK_VOXELS, Stack
from heteroreg.evaluation.summary import Rows, evaluation_summary, mean_curves, mean_dice, score_table
from heteroreg.registration.alignment import Initial, aligned
from heteroreg.registration.classical import Undeformed
from heteroreg.registration.load import Loadable, as_registrar
from heteroreg.registration.maps import Maps
from heteroreg.registration.result import Registrar
from heteroreg.system.errors import UserError
from heteroreg.system.outputs import require_output
from heteroreg.system.progress import progress, reported
from heteroreg.system.warn import warn_user


def evaluate(
    registrar: Registrar | Loadable,
    cohort: Cohort | str | Path,
    *,
    metrics: ScoringMode = "standard",
    labels: Sequence[int] | None = None,
    out: str | Path | None = None,
    gallery: int = 6,
    stacks: int = MOST_STACKS,
    slicewise: bool | None = None,
    initial: Initial | None = None,
    sizes: SizeSlices = "whole",
    label_names: Mapping[str, str] | None = None,
    show: bool = False,
) -> Scores:
    """Register every pair of a cohort and score the outcome.

    The scores have one row for each pair, or for each slice along the last axis if the registrar registers slices
    on their own. Means are over patients; a patient's value is the mean of its rows.

    Args:
        registrar: A registrar, or anything that `heteroreg.load` takes: a run's folder, `"phantom"`, `"elastix"`,
            `"undeformed"`.
        cohort: The pairs, for example `cohort.split("test")`, or the path of a cohort.
        metrics: `standard` compares warped label maps, with distances in mm and Dice 0 for a lost label.
            `reference` scores as the paper did, `learn2reg` as those challenges do. See `row.score`.
        labels: The labels to score; None takes all but 0.
        out: Folder to save to.
        gallery: Number of registrations to keep one slice of, spread evenly over the cohort.
        stacks: Number of registrations to keep with all their slices, for the viewer of the page. Together they
            have at most 2²² voxels. Larger images are cropped to their labels, then neighbouring voxels are
            averaged.
        slicewise: True scores slices, False whole images; None does as the registrar does. To compare a 3D model
            with a 2D one, score both by slices or both whole.
        initial: The alignment to begin with, as in `register`, for pairs without a file in the column `initial`.
        sizes: Slices that the sizes of labels count: `whole`, all of them, or `both`, those that have the label in
            the moving and in the fixed image. A registration slice by slice cannot make a label vanish.
        label_names: Names of labels by number, such as `{"1": "LV"}`; by default those in `labels.json` beside the
            cohort's table.
        show: Show the progress on stderr.

    Returns:
        The scores.

    Raises:
        UserError: A file of the cohort is missing, damaged or does not fit its neighbours; a label occurs
            nowhere; `out` exists and holds something else.

    Examples:
        >>> import tempfile
        >>> import heteroreg as hr
        >>> cohort = hr.phantom(tempfile.mkdtemp(), pairs=3, size=32)
        >>> scores = hr.evaluate("undeformed", cohort.split("test"))
        >>> len(scores.table), "dice_2" in scores.table
        (1, True)
    """
    cohort = as_cohort(cohort)
    registrar = as_registrar(registrar, cohort)
    _check(cohort, metrics, labels)
    if sizes not in get_args(SizeSlices):
        raise UserError(f"sizes: '{sizes}' is unknown; choose whole or both", argument="sizes")
    names = label_names_of(cohort, label_names)
    if out is not None:
        require_output(out, "evaluation", [cohort.name])  # before the work, not after it
    plan = _Plan(registrar, metrics, labels, slicewise, initial, sizes)
    in_gallery, in_viewer = (spread_evenly(count, len(cohort)) for count in (gallery, stacks))
    cache = ImageCache()
    rows: Rows = []
    cases: list[Case] = []
    kept: list[Stack] = []
    of_labels: list[dict[str, Any]] = []
    with progress(f"evaluate {registrar.name}", len(cohort), show=show) as report:
        for index, pair in enumerate(reported(cohort, report)):
            scored = plan.score(pair, cache)
            rows += scored.rows
            of_labels += scored.sizes
            if index in in_gallery:
                cases.append(Case.of(pair.id, scored.maps))
            if index in in_viewer:
                kept.append(Stack.of(pair.id, scored.maps, max(STACK_VOXELS // len(in_viewer), 1)))
    _check_found(labels, cohort, [row for _, row in rows])
    table = score_table(rows)
    summary = evaluation_summary(cohort, rows, table, registrar=registrar.name, mode=metrics, info=scored.info)
    by_label = size_table(of_labels)
    if by_label is not None:
        summary |= {"sizes": size_summary(by_label), "size_slices": sizes}
    if names:
        summary["label_names"] = names
    if scored.maps.error_scales is not None:
        summary["error_widths"] = scored.maps.error_widths
    _warn_if_useless(summary)
    scores = Scores(table, summary, mean_curves(rows), tuple(cases), tuple(kept), by_label)
    if out is not None:
        scores.save(out)
    return scores


@dataclass(frozen=True)
class _ScoredPair:
    """The scores of one pair, and the maps that they were computed from."""

    rows: Rows
    maps: Maps
    info: Mapping[str, Any]
    sizes: list[dict[str, Any]]


@dataclass(frozen=True)
class _Plan:
    """The settings that are the same for all pairs."""

    registrar: Registrar
    mode: ScoringMode
    labels: Sequence[int] | None
    slicewise: bool | None
    initial: Initial | None = None
    sizes: SizeSlices = "whole"

    def score(self, pair: Pair, cache: ImageCache) -> _ScoredPair:
        inputs = Inputs.read(pair, cache)
        began = time.perf_counter()
        registrar = aligned(self.registrar, pair.initial or self.initial)
        registration = registrar.register(inputs.moving, inputs.fixed, inputs.moving_labels)
        seconds = time.perf_counter() - began
        maps = maps_of(registration, inputs)
        by_slice = registration.slicewise if self.slicewise is None else self.slicewise
        if self.mode == "learn2reg":  # its evaluation knows no slices
            _require_volume(pair, maps)
            by_slice = False
        by_slice = by_slice and len(maps.shape) == 3
        parts = [(k, maps.at(k)) for k in range(maps.shape[-1])] if by_slice else [(None, maps)]
        intensity_range = float(maps.fixed.max()) - float(maps.fixed.min())
        background = float(maps.moved.min()), float(maps.fixed.min())
        rows = []
        for index, part in parts:
            row = score(part, self.labels, self.mode, intensity_range, background)
            row.values["seconds"] = seconds
            if registration.error is not None:
                row.values["unusual"] = float(registration.error.unusual)
            rows.append((_cells(pair, index), row))
        sizes = sizes_of(pair, inputs, registration, self.sizes)
        if by_slice:
            whole = whole_dice(inputs, registration, self.labels)
            for _, row in rows:
                row.values.update(whole)
        return _ScoredPair(rows, maps, registration.info, sizes)


def _cells(pair: Pair, index: int | None) -> dict[str, Any]:
    known = {"id": pair.id, "patient": pair.patient, "slice": index}
    return known | ({} if pair.split is None else {"split": pair.split}) | dict(pair.extra)


def _check(cohort: Cohort, mode: str, labels: Sequence[int] | None) -> None:
    if mode not in get_args(ScoringMode):
        known = " or ".join(get_args(ScoringMode))
        raise UserError(f"metrics: '{mode}' is unknown; choose {known}", argument="metrics")
    if mode == "learn2reg":
        learn2reg.require_surface_distance()
    if not len(cohort):
        raise UserError(f"{cohort.name}: holds no pairs to evaluate")
    if labels is not None and min(labels, default=0) < 1:
        raise UserError(
            "labels: must be whole numbers above 0, and at least one; 0 is the background", argument="labels"
        )
    clashes = [column for column in cohort[0].extra if is_metric(column) or column == "slice"]
    if clashes:
        raise UserError(f"{cohort.name}: the column '{clashes[0]}' has the name of a score; rename it")


def _require_volume(pair: Pair, maps: Maps) -> None:
    if len(maps.shape) != 3 or min(maps.shape) <= 2 * learn2reg.JACOBIAN_MARGIN:
        shape = " x ".join(map(str, maps.shape))
        raise UserError(
            f"metrics: those of Learn2Reg need volumes of 5 or more voxels along each axis, and pair {pair.id} has "
            f"{shape}; choose standard",
            argument="metrics",
        )


def _warn_if_useless(summary: Mapping[str, Any]) -> None:
    """Warn of a registrar that is no better than no registration."""
    reached, before = (mean_dice(summary[name]) for name in ("metrics", "undeformed"))
    if summary["registrar"] != Undeformed.name and reached is not None and before is not None and reached <= before:
        warn_user(
            f"{summary['registrar']} does not beat no registration: mean Dice {reached:.3f}, undeformed "
            f"{before:.3f}. Train on images like these, with more `steps`, a lower `smoothness` or another "
            "`learning_rate`; where the pairs start far apart, begin with an `initial` alignment"
        )


def _check_found(labels: Sequence[int] | None, cohort: Cohort, rows: list[RowScores]) -> None:
    found = {label for row in rows for label in row.present | row.one_sided}
    absent = sorted(set(labels or ()) - found)
    if absent:
        names = ", ".join(map(str, absent))
        raise UserError(f"labels: {names} occurs in no label map of {cohort.name}", argument="labels")
