"""From a registrar and a cohort to scores."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

import pandas as pd

from heteroreg.data.cohort import Cohort, Pair, as_cohort
from heteroreg.data.samples.dataset import ImageCache
from heteroreg.evaluation import learn2reg
from heteroreg.evaluation.gallery import Case, spread_evenly
from heteroreg.evaluation.inputs import Inputs, maps_of
from heteroreg.evaluation.metrics import ALWAYS_SCORED, is_metric, ordered
from heteroreg.evaluation.row import Mode, Row, score
from heteroreg.evaluation.scores import MARKER, Scores, over_patients
from heteroreg.evaluation.stack import MOST_STACKS, STACK_VOXELS, Stack
from heteroreg.evaluation.uncertainty import FRACTIONS
from heteroreg.registration.load import Loadable, as_registrar
from heteroreg.registration.maps import Maps
from heteroreg.registration.result import Movable, Registrar
from heteroreg.system.errors import UserError
from heteroreg.system.files import require_free
from heteroreg.system.lost_process import lost_process
from heteroreg.system.processes import shared, start, together
from heteroreg.system.progress import progress

CURVES = ("mse", "oracle", "random")
Rows = list[tuple[dict[str, Any], Row]]


@dataclass(frozen=True)
class _Part:
    """What comes of one pair."""

    rows: Rows
    case: Case | None
    stack: Stack | None
    info: Mapping[str, Any]


def evaluate(
    registrar: Registrar | Loadable,
    cohort: Cohort | str | Path,
    *,
    metrics: Mode = "standard",
    labels: Sequence[int] | None = None,
    out: str | Path | None = None,
    gallery: int = 6,
    stacks: int = MOST_STACKS,
    slicewise: bool | None = None,
    devices: int = 1,
    nodes: int = 1,
    strategy: str = "auto",
    show: bool = False,
) -> Scores:
    """Registers every pair of a cohort and scores the outcome.

    One row for each pair; one for each slice along the last axis where the registration says that slices were
    registered on their own. Means are over patients, a patient being the mean of its rows.

    Several processes take every n-th pair each; every one of them gets the scores, the first writes them.

    Args:
        registrar: The registrar, or anything that `load` takes.
        cohort: The pairs, for example `cohort.split("test")`, or the path of a cohort.
        metrics: `standard`: warped label maps, distances in mm, misses counted as Dice 0. `reference`: as the
            paper's figures were made; `learn2reg`: as those challenges score volumes. See `row.score`.
        labels: The labels to score; None takes all but 0.
        out: Folder to save to.
        gallery: Keeps this many registrations for looking at, spread evenly over the cohort.
        stacks: Keeps this many whole, with all their slices, for the viewer of the page. Together they have at
            most 2²² voxels: where there would be more, what is far from the labels is left out, and neighbouring
            voxels are averaged.
        slicewise: Scores slices (True) or whole images (False) whatever the registration says. The way to
            compare a 3D model with a 2D one: both by slices, or both whole.
        devices: Processes on each machine.
        nodes: Machines.
        strategy: How processes are started, as in `train`.
        show: Shows the progress on stderr.

    Raises:
        UserError: A file of the cohort is missing, damaged or does not fit its neighbours; a label occurs
            nowhere; `out` exists and holds something else; another process ended.
    """
    registrar, cohort = as_registrar(registrar), as_cohort(cohort)
    _check(cohort, metrics, labels)
    if out is not None:
        require_free(Path(out), MARKER)  # before the work, not after it
    fabric = start(devices=devices, nodes=nodes, strategy=strategy)
    if fabric.world_size > 1 and isinstance(registrar, Movable):
        registrar.to(fabric.device)
    shown, kept = (set(spread_evenly(count, len(cohort))) for count in (gallery, stacks))
    cache = ImageCache()

    def one(index: int) -> _Part:
        pair = cohort[index]
        inputs = Inputs.read(pair, cache)
        began = time.perf_counter()
        registration = registrar.register(inputs.moving, inputs.fixed, inputs.moving_labels)
        seconds = time.perf_counter() - began
        maps = maps_of(registration, inputs)
        by_slice = registration.slicewise if slicewise is None else slicewise
        if metrics == "learn2reg":  # its evaluation knows no slices
            _require_volume(pair, maps)
            by_slice = False
        by_slice = by_slice and len(maps.shape) == 3
        parts = [(k, maps.at(k)) for k in range(maps.shape[-1])] if by_slice else [(None, maps)]
        span = float(maps.fixed.max()) - float(maps.fixed.min())
        rows = [(_cells(pair, k), score(part, labels, metrics, span)) for k, part in parts]
        for _, row in rows:
            row.values["seconds"] = seconds
        case = Case.of(pair.id, maps) if index in shown else None
        stack = Stack.of(pair.id, maps, max(STACK_VOXELS // len(kept), 1)) if index in kept else None
        return _Part(rows, case, stack, registration.info)

    where = Path(cohort.name if out is None else out)
    title, show = f"evaluate {registrar.name}", show and fabric.is_global_zero
    with (
        lost_process(where, fabric, then="start again"),
        progress(title, len(cohort), show=show) as report,
    ):
        parts = shared(one, range(len(cohort)), fabric, report)
        rows = [row for part in parts for row in part.rows]
        with together(fabric):
            _check_found(labels, cohort, [row for _, row in rows])
            cases = tuple(part.case for part in parts if part.case is not None)
            whole = tuple(part.stack for part in parts if part.stack is not None)
            scores = Scores(_table(rows), {}, _sparsification(rows), cases, whole)
            scores.summary.update(_summary(registrar, cohort, metrics, parts[-1].info, scores, rows))
            if out is not None and fabric.is_global_zero:
                scores.save(out)
    return scores


def _require_volume(pair: Pair, maps: Maps) -> None:
    if maps.fixed.ndim != learn2reg.AXES or min(maps.fixed.shape) <= 2 * learn2reg.MARGIN:
        shape = " x ".join(map(str, maps.fixed.shape))
        raise UserError(
            f"pair {pair.id}: has {shape} voxels, and Learn2Reg's metrics need volumes of 5 or more along each "
            "axis; use --metrics standard"
        )


def _check(cohort: Cohort, mode: str, labels: Sequence[int] | None) -> None:
    if mode not in get_args(Mode):
        raise UserError(f"metrics: '{mode}' is unknown; use {' or '.join(get_args(Mode))}")
    if mode == "learn2reg":
        learn2reg.require_installed()
    if not len(cohort):
        raise UserError(f"{cohort.name}: holds no pairs to evaluate")
    if labels is not None and min(labels, default=0) < 1:
        raise UserError("labels: must be whole numbers above 0, and at least one; 0 is the background")
    clashes = [column for column in cohort[0].extra if is_metric(column) or column == "slice"]
    if clashes:
        raise UserError(f"{cohort.name}: the column '{clashes[0]}' has the name of a score; rename it")


def _check_found(labels: Sequence[int] | None, cohort: Cohort, rows: list[Row]) -> None:
    found = {label for row in rows for label in row.present | row.one_sided}
    absent = sorted(set(labels or ()) - found)
    if absent:
        raise UserError(f"labels: {', '.join(map(str, absent))} occurs in no label map of {cohort.name}")


def _cells(pair: Pair, index: int | None) -> dict[str, Any]:
    known = {"id": pair.id, "patient": pair.patient, "slice": index}
    return known | ({} if pair.split is None else {"split": pair.split}) | dict(pair.extra)


def _table(rows: Rows) -> pd.DataFrame:
    # A label that is scored nowhere still has its columns: empty says more than absent.
    seen = {label for _, row in rows for label in row.present | row.one_sided}
    names = {f"dice_{label}" for label in seen}.union(ALWAYS_SCORED, *(row.values for _, row in rows))
    cells = pd.DataFrame([cells for cells, _ in rows])
    cells["slice"] = cells["slice"].astype("Int64")
    values = pd.DataFrame([row.values for _, row in rows], columns=ordered(names), dtype=float)
    return pd.concat([cells, values], axis=1)


def _sparsification(rows: Rows) -> pd.DataFrame | None:
    """Mean curves: over the rows of a patient, then over patients, as every other mean."""
    parts = []
    for suffix in ("", "_foreground"):
        curves = [
            pd.DataFrame({"patient": cells["patient"], "fraction": FRACTIONS}).assign(
                **{f"{name}{suffix}": getattr(curve, name) for name in CURVES}
            )
            for cells, row in rows
            if (curve := getattr(row, f"curve{suffix}")) is not None
        ]
        if curves:
            patients = pd.concat(curves).groupby(["patient", "fraction"]).mean()
            parts.append(patients.groupby("fraction").mean())
    return pd.concat(parts, axis=1).reset_index() if parts else None


def _summary(
    registrar: Registrar,
    cohort: Cohort,
    mode: Mode,
    info: Mapping[str, Any],
    scores: Scores,
    rows: Rows,
) -> dict[str, Any]:
    splits = cohort.splits
    labels = sorted({label for _, row in rows for label in row.present | row.one_sided})
    return {
        "kind": "evaluation",
        "registrar": registrar.name,
        "method": info.get("method"),
        "info": {key: value for key, value in info.items() if key != "seconds"},
        "cohort": cohort.name,
        "split": splits[0] if len(splits) == 1 else "all",
        "mode": mode,
        "slicewise": scores.slicewise,
        "counts": {
            "pairs": len(cohort),
            "labelled_pairs": sum(pair.labelled for pair in cohort),
            "patients": int(scores.table["patient"].nunique()),
            "rows": len(rows),
        },
        "labels": {str(label): _label_counts(label, rows) for label in labels},
        "metrics": over_patients(scores.table, scores.metrics),
    }


def _label_counts(label: int, rows: Rows) -> dict[str, int]:
    return {
        "rows": sum(label in row.present for _, row in rows),
        "missed": sum(label in row.missed for _, row in rows),
        "one_sided": sum(label in row.one_sided for _, row in rows),
    }
