"""Every pair of a cohort registered, each into a folder of its own."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pandas as pd

from heteroreg.data.cohort import Cohort, Pair
from heteroreg.data.image import read_image, read_labels
from heteroreg.registration.model import ModelRegistrar
from heteroreg.registration.result import Movable, Registrar
from heteroreg.spatial.regularity import determinant, folding_percent
from heteroreg.system.errors import UserError
from heteroreg.system.files import require_free, write_text
from heteroreg.system.names import folder_names
from heteroreg.system.processes import lost_process, shared, start, together
from heteroreg.system.progress import progress

TABLE, SUMMARY = "registrations.csv", "summary.json"
FIGURES = ("mean_displacement_mm", "max_displacement_mm", "folding_percent", "seconds")


@dataclass(frozen=True)
class Outcome:
    """What came of one pair.

    Attributes:
        figures: By the names of `FIGURES`; empty where the pair failed.
        error: Why it failed, in one line; empty where it did not.
    """

    figures: Mapping[str, float]
    error: str = ""


def register_cohort(
    registrar: Registrar,
    cohort: Cohort,
    out: str | Path,
    *,
    devices: int = 1,
    nodes: int = 1,
    strategy: str = "auto",
    show: bool = False,
) -> pd.DataFrame:
    """Registers every pair of a cohort into `out/<id>/`, and writes `out/registrations.csv`.

    Label maps of the moving images are carried along. A pair whose folder is complete is left as it is, so that
    the same call goes on after a kill; delete its folder to register it anew. A pair that cannot be registered
    does not keep the others from it. Several processes take every n-th of the pairs that are left.

    Args:
        registrar: What registers.
        cohort: The pairs.
        out: The folder to write to.
        devices: Processes on each machine.
        nodes: Machines.
        strategy: How processes are started, as in `train`.
        show: Shows the progress on stderr.

    Returns:
        The table that was written, in the order of the cohort: `id`, `folder` (within `out`; where an id cannot
        name a folder it is altered), `mean_displacement_mm`, `max_displacement_mm`, `folding_percent`, `seconds`,
        and `error`, empty where all is well.

    Raises:
        UserError: `out` holds something else, or registrations by another registrar; a file could not be written;
            another process ended.
    """
    out = Path(out)
    if not len(cohort):
        raise UserError(f"{cohort.name}: holds no pairs to register")
    require_free(out, TABLE)
    fabric = start(devices=devices, nodes=nodes, strategy=strategy)
    if fabric.world_size > 1 and isinstance(registrar, Movable):
        registrar.to(fabric.device)
    ids = [pair.id for pair in cohort]
    folders = dict(zip(ids, folder_names(ids, taken=[TABLE]), strict=True))
    known: dict[str, Outcome] = {}
    with lost_process(out, fabric, then="give the same command again"):
        with together(fabric):
            if fabric.is_global_zero:
                known = _known(registrar, out, folders)
                _write(out, folders, known)  # what marks the folder as ours, before anything else is in it
        known = fabric.broadcast(known)
        left = [pair for pair in cohort if pair.id not in known]

        def one(pair: Pair) -> Outcome:
            return _register(registrar, pair, out / folders[pair.id])

        title = f"register with {registrar.name}"
        with progress(title, len(cohort), start=len(known), show=show and fabric.is_global_zero) as report:
            done = shared(one, left, fabric, lambda count: report(len(known) + count))
        known |= {pair.id: outcome for pair, outcome in zip(left, done, strict=True)}
        with together(fabric):
            return _write(out if fabric.is_global_zero else None, folders, known)


def _register(registrar: Registrar, pair: Pair, folder: Path) -> Outcome:
    try:
        moving, fixed = read_image(pair.moving), read_image(pair.fixed)
        labels = None if pair.moving_labels is None else read_labels(pair.moving_labels)
        began = time.perf_counter()
        registration = registrar.register(moving, fixed, labels)
    except (UserError, OSError) as error:
        return Outcome({}, str(UserError(f"pair {pair.id}: {error}")))
    seconds = round(time.perf_counter() - began, 4)
    folding = folding_percent(determinant(registration.displacement))
    extra = {"id": pair.id, "registrar": _identity(registrar), "folding_percent": folding, "seconds": seconds}
    registration = replace(registration, info={**registration.info, **extra})
    registration.save(folder)
    return Outcome(_figures(registration.summary()))


def _identity(registrar: Registrar) -> str:
    """What tells one registrar from another: runs in different folders may have one name."""
    if isinstance(registrar, ModelRegistrar):
        folder = str(registrar.run.folder.resolve())
        return f"{folder}, refined by {registrar.refine}" if registrar.refine else folder
    return registrar.name


def _figures(summary: Mapping[str, Any]) -> dict[str, float]:
    moved = summary["displacement_mm"]
    values = (moved["mean"], moved["max"], summary["folding_percent"], summary["seconds"])
    return dict(zip(FIGURES, map(float, values), strict=True))


def _known(registrar: Registrar, out: Path, folders: Mapping[str, str]) -> dict[str, Outcome]:
    """The pairs whose folders are complete.

    Raises:
        UserError: A folder is somebody else's, or another registrar made it.
    """
    known = {}
    for pair, name in folders.items():
        path = out / name / SUMMARY
        require_free(path.parent, SUMMARY)
        if not path.is_file():
            continue
        again = f"choose another folder, or delete {path.parent} to have the pair registered anew"
        try:
            summary = json.loads(path.read_text(encoding="utf-8"))
            figures, by = _figures(summary), (summary["id"], summary["registrar"])
        except (ValueError, KeyError, TypeError) as error:
            raise UserError(f"{path}: is not of a registered cohort ({error!r}); {again}") from error
        if by != (pair, _identity(registrar)):
            raise UserError(f"{path}: is of the pair {by[0]}, registered by {by[1]}; {again}")
        known[pair] = Outcome(figures)
    return known


def _write(out: Path | None, folders: Mapping[str, str], outcomes: Mapping[str, Outcome]) -> pd.DataFrame:
    """The table of the pairs that are done, written where there is a folder."""
    rows = [
        {"id": pair, "folder": folder, **outcomes[pair].figures, "error": outcomes[pair].error}
        for pair, folder in folders.items()
        if pair in outcomes
    ]
    table = pd.DataFrame(rows, columns=["id", "folder", *FIGURES, "error"])
    if out is not None:
        write_text(out / TABLE, table.to_csv(index=False, lineterminator="\n"))
    return table
