"""Registration of every pair of a cohort, each into a folder of its own."""

from __future__ import annotations

import gc
import json
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pandas as pd

from heteroreg.data.cohort import Cohort, Pair, as_cohort
from heteroreg.data.image import read_image, read_labels
from heteroreg.data.label_names import label_names_of
from heteroreg.data.samples.fingerprint import Fingerprints
from heteroreg.data.samples.preparation import check_labels
from heteroreg.registration.alignment import Initial, aligned
from heteroreg.registration.base import BaseRegistrar
from heteroreg.registration.cohort_table import columns_of, row_of
from heteroreg.registration.likeness import less_similar, summed_up
from heteroreg.registration.load import Loadable, as_registrar
from heteroreg.registration.result import Registrar
from heteroreg.spatial.regularity import folding_percent
from heteroreg.system.errors import UserError
from heteroreg.system.files import write_text
from heteroreg.system.memory import OutOfMemoryError, memory_errors
from heteroreg.system.names import folder_names
from heteroreg.system.outputs import MARKER_FILE, growing_folder, recover, require_output
from heteroreg.system.progress import progress
from heteroreg.system.text import csv_text
from heteroreg.system.warn import warn_user

TABLE, SUMMARY = "registrations.csv", "summary.json"
DOUBT = "less_similar"


@dataclass(frozen=True)
class Outcome:
    """The outcome of one pair.

    Attributes:
        figures: Values by column, see `row_of`; empty where the pair failed.
        error: Why it failed, in one line; empty where it did not.
        doubt: Why it should not be relied on, see `less_similar`; empty where nothing is known against it.
    """

    figures: Mapping[str, float]
    error: str = ""
    doubt: str = ""


def register_cohort(
    registrar: Registrar | Loadable,
    cohort: Cohort | str | Path,
    out: str | Path,
    *,
    initial: Initial | None = None,
    label_names: Mapping[str, str] | None = None,
    show: bool = False,
) -> pd.DataFrame:
    """Register every pair of a cohort into `out/<id>/`, and write `out/registrations.csv`.

    Label maps of the moving images are warped with them. A pair whose folder is complete is left as it is, so the
    same call continues after an interruption; delete its folder to register it anew. A pair that cannot be
    registered does not stop the others. A warning names pairs that are less similar after registration than before.

    Args:
        registrar: The registrar, or anything that `load` takes.
        cohort: The cohort, or its path.
        out: The folder to write.
        initial: The alignment to begin with, as in `register`, for pairs without a file in the column `initial`.
        label_names: Names of labels by number, such as `{"1": "LV"}`, for the columns of the table; by default
            those in `labels.json` beside the cohort's table.
        show: Show the progress on stderr.

    Returns:
        The table that was written, in the order of the cohort: `id`, `folder` (within `out`; an id that cannot name
        a folder is altered), the columns of `row_of` (displacement, folding, time, noise, error, sizes of the
        labels with their intervals, ejection fraction), and `error`, empty for pairs without one.

    Raises:
        UserError: `out` holds something else, or registrations by another registrar or of other images; a file
            could not be written.

    Examples:
        >>> import heteroreg as hr
        >>> cohort = hr.phantom("hearts", pairs=2, size=32)
        >>> table = hr.register_cohort("undeformed", "hearts", "registered")
        >>> table["mean_displacement_mm"].tolist()
        [0.0, 0.0]
    """
    cohort, out = as_cohort(cohort), Path(out)
    registrar = as_registrar(registrar, cohort)
    if not len(cohort):
        raise UserError(f"{cohort.name}: holds no pairs to register")
    label_names = label_names_of(cohort, label_names)
    with growing_folder(out, "registrations", [cohort.name], _is_former):
        ids = [pair.id for pair in cohort]
        folders = dict(zip(ids, folder_names(ids, taken=[TABLE, MARKER_FILE]), strict=True))
        identity = _identity(registrar, initial)
        outcomes = _known(identity, out, folders, cohort, label_names)
        _write(out, folders, outcomes)  # marks the folder as ours, before anything else is in it
        left = [pair for pair in cohort if pair.id not in outcomes]
        with progress(f"register with {registrar.name}", len(cohort), start=len(outcomes), show=show) as report:
            for pair in left:
                outcomes[pair.id] = _register(
                    registrar, pair, out / folders[pair.id], identity, initial, label_names
                )
                report(len(outcomes))
        table = _write(out, folders, outcomes)
        table.attrs["kept"] = len(cohort) - len(left)
        if text := summed_up({pair: one.doubt for pair, one in outcomes.items()}, len(cohort)):
            warn_user(f"{out}: {text}")
        return table


def _is_former(out: Path) -> bool:
    """True for a folder that version 0.1.0 wrote."""
    table = out / TABLE
    return table.is_file() and table.read_text(encoding="utf-8", errors="replace").startswith("id,folder,")


def _register(
    registrar: Registrar,
    pair: Pair,
    folder: Path,
    identity: str,
    initial: Initial | None,
    label_names: Mapping[str, str] | None,
) -> Outcome:
    try:
        with memory_errors("reading its images"):
            inputs = _contents(pair, Fingerprints())
            moving, fixed = read_image(pair.moving), read_image(pair.fixed)
            labels = None
            if pair.moving_labels is not None:
                labels = check_labels(read_labels(pair.moving_labels), moving)
            began = time.perf_counter()
            registration = aligned(registrar, pair.initial or initial).register(moving, fixed, labels)
            seconds = round(time.perf_counter() - began, 4)
    except (UserError, OSError) as error:
        return Outcome({}, str(UserError(f"pair {pair.id}: {error}")))
    try:
        with memory_errors("its registration"):
            folding = folding_percent(registration.displacement)
            extra = {"id": pair.id, "registrar": identity, "inputs": inputs}
            figures = {"folding_percent": folding, "seconds": seconds}
            doubt = less_similar(registration)
            extra |= {DOUBT: doubt} if doubt else {}
            registration = replace(registration, info={**registration.info, **extra, **figures})
            registration.save(folder)
            return Outcome(row_of(registration.summary(), label_names), doubt=doubt)
    except OutOfMemoryError as error:
        reason = str(UserError(f"pair {pair.id}: {error}"))
    gc.collect()  # what the pair held is in circles of frames and errors; the next pair needs it
    return Outcome({}, reason)


def _contents(pair: Pair, prints: Fingerprints) -> dict[str, str | None]:
    """Return a fingerprint of the content of each file that the registration of a pair depends on."""
    named = {"moving": pair.moving, "fixed": pair.fixed, "labels": pair.moving_labels, "initial": pair.initial}
    return {role: prints.of(path) for role, path in named.items() if path is not None}


def _require_same_inputs(
    path: Path, summary: Mapping[str, Any], pair: Pair, prints: Fingerprints, again: str
) -> None:
    """Check that a registration is of the images that the cohort names now.

    Raises:
        UserError: It is of others, or of these before they changed.
    """
    former, now = summary.get("inputs"), None
    if former is not None:
        with suppress(UserError):  # an image that was moved away since
            now = _contents(pair, prints)
    if former is None or now is None:  # or written by an earlier version: the names have to do
        former = {role: Path(str(summary.get(role))).name for role in ("moving", "fixed")}
        now = {"moving": pair.moving.name, "fixed": pair.fixed.name}
    odd = [role for role in {**former, **now} if former.get(role) != now.get(role)]
    if odd:
        raise UserError(
            f"{path}: is a registration of {summary.get('moving')} onto {summary.get('fixed')}, and the cohort "
            f"names other files for the pair {pair.id}, or they have changed ({', '.join(odd)}); {again}"
        )


def _identity(registrar: Registrar, initial: Initial | None) -> str:
    """Return a text that tells registrars apart: runs in different folders may have the same name."""
    name = registrar.identity if isinstance(registrar, BaseRegistrar) else registrar.name
    return name if initial is None else f"{name}, initial {initial}"


def _known(
    identity: str,
    out: Path,
    folders: Mapping[str, str],
    cohort: Cohort,
    label_names: Mapping[str, str] | None,
) -> dict[str, Outcome]:
    """Read the outcomes of the pairs whose folders are complete.

    Raises:
        UserError: A folder was not written by this function, or was written for another registrar or other images.
    """
    known, prints = {}, Fingerprints()
    pairs = {pair.id: pair for pair in cohort}
    for pair, name in folders.items():
        path = out / name / SUMMARY
        recover(path.parent)
        if not path.is_file():
            require_output(path.parent, "registration")
            continue
        again = f"choose another folder, or delete {path.parent} to register the pair anew"
        try:
            summary = json.loads(path.read_text(encoding="utf-8"))
            figures, by = row_of(summary, label_names), (summary["id"], summary["registrar"])
        except (ValueError, KeyError, TypeError) as error:
            raise UserError(f"{path}: does not belong to a registered cohort ({error!r}); {again}") from error
        if by != (pair, identity):
            raise UserError(f"{path}: belongs to the pair {by[0]}, registered by {by[1]}; {again}")
        _require_same_inputs(path, summary, pairs[pair], prints, again)
        known[pair] = Outcome(figures, doubt=str(summary.get(DOUBT, "")))
    return known


def _write(out: Path, folders: Mapping[str, str], outcomes: Mapping[str, Outcome]) -> pd.DataFrame:
    """Write the table of the pairs that are done."""
    rows = [
        {"id": pair, "folder": folder, **outcomes[pair].figures, "error": outcomes[pair].error}
        for pair, folder in folders.items()
        if pair in outcomes
    ]
    table = pd.DataFrame(
        rows, columns=["id", "folder", *columns_of(one.figures for one in outcomes.values()), "error"]
    )
    write_text(out / TABLE, csv_text(table))
    return table
