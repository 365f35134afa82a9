"""The run that a training works on: a new one, or the one to go on with."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from heteroreg.data.cohort import Cohort
from heteroreg.methods import find_method, find_network, from_outside
from heteroreg.system.errors import UserError
from heteroreg.system.files import write_text
from heteroreg.system.locks import require_no_writer
from heteroreg.system.outputs import require_growing
from heteroreg.system.run_files import CONFIG
from heteroreg.training.begin import initial_run, require_alike
from heteroreg.training.cohort_record import CohortRecord
from heteroreg.training.config import Config
from heteroreg.training.parts import MethodLike, NetworkLike, Parts
from heteroreg.training.resolve import place_of, resolve
from heteroreg.training.run import Run, is_former_run


@dataclass(frozen=True)
class OpenedRun:
    """A run to be trained.

    Attributes:
        run: The run.
        parts: Its method and network.
        new: True if its folder does not hold its configuration yet.
    """

    run: Run
    parts: Parts
    new: bool

    def with_parts(self, parts: Parts) -> OpenedRun:
        """Return the run with other parts and their configuration."""
        return replace(self, run=replace(self.run, config=parts.config), parts=parts)


def open_run(
    folder: Path,
    learn: Cohort,
    resume: bool,
    config: Mapping[str, Any] | Config | None,
    settings: Mapping[str, Any],
    *,
    method: MethodLike,
    network: NetworkLike,
) -> OpenedRun:
    """Open the run to go on with, or configure a new one.

    Args:
        folder: Folder of the run.
        learn: Pairs to learn from.
        resume: Go on with the run in the folder, if there is one.
        config: Settings.
        settings: Settings over those.
        method: See `train`.
        network: See `train`.

    Raises:
        UserError: The folder holds something else, or another cohort's run; a setting is unfit.
    """
    if not (resume and (folder / CONFIG).is_file()):
        return _new(folder, learn, config, settings, method, network)
    run = Run.read(folder)
    if _has_moved(run, learn):
        record = CohortRecord.read(folder)
        if record is None or not record.complete:
            raise UserError(
                f"{folder}: was trained on {run.config.cohort}, not on {learn.name}; name that cohort to resume, "
                f"or if it has moved, write its new path behind `cohort:` in {folder / CONFIG}"
            )
        # Its images are compared once the folder is held.
        run = replace(run, config=run.config.model_copy(update={"cohort": place_of(learn)}))
    # The configuration of the run holds, so that for a row of the tables nothing is asked of what is given.
    own = method if from_outside(run.config.method) else None
    net = network if from_outside(run.config.network) else None
    return OpenedRun(run, run.parts(method=own, network=net), new=False)


def _has_moved(run: Run, learn: Cohort) -> bool:
    return Path(run.config.cohort or "").resolve() != Path(learn.name).resolve()


def require_same_images(run: Run, learn: Cohort, record: CohortRecord) -> None:
    """Check that a run that goes on was trained on the images of a cohort.

    Where the cohort has moved, `config.yaml` gets its new place.

    Args:
        run: The run as `open_run` gave it; its folder is held.
        learn: Pairs to learn from.
        record: The images as they are now.

    Raises:
        UserError: The run was trained on other images.
    """
    former = CohortRecord.read(run.folder)
    if former is None:  # written by an earlier version: its place has to do
        return
    began = Run.read(run.folder)
    moved = _has_moved(began, learn)
    if odd := former.difference(record):
        other, changed = f"was trained on {began.config.cohort}, not on", "began with another content of"
        raise UserError(
            f"{run.folder}: {other if moved else changed} {learn.name} (first difference: {odd}); resume with the "
            "same images, or begin another run with this one as `init`"
        )
    if moved:
        write_text(run.folder / CONFIG, run.config.yaml())


def _new(
    folder: Path,
    learn: Cohort,
    config: Mapping[str, Any] | Config | None,
    settings: Mapping[str, Any],
    method: MethodLike,
    network: NetworkLike,
) -> OpenedRun:
    require_growing(folder, "run", [learn.name], is_former_run)
    if (folder / CONFIG).is_file():
        require_no_writer(folder.resolve())
        raise UserError(f"resume: {folder} holds a run; resume it, or choose another folder", argument="resume")
    layer = config.model_dump(exclude_unset=True) if isinstance(config, Config) else config or {}
    if not isinstance(layer, Mapping):
        raise UserError(
            f"config: {type(config).__name__} holds no settings; give a mapping or a Config", argument="config"
        )
    given: dict[str, Any] = {}
    own = None if method is None else find_method(method)
    if own is not None:
        given["method"] = own.name
    net = None if network is None else find_network(network)
    if net is not None:
        given["network"] = net.name
    init = {**layer, **settings}.get("init")
    if init is not None and network is None and "network" not in {**layer, **settings}:
        given["network"] = initial_run(str(init)).config.network
    found = resolve(Config.build(layer, settings, given, method=own), learn, net)
    require_alike(found)
    parts = Parts.of(found, "the configuration", method=method, network=network)
    return OpenedRun(Run(folder, found), parts, new=True)
