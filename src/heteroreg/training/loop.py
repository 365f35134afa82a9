"""The whole training, from top to bottom."""

from __future__ import annotations

import math
import time
import warnings
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from lightning_fabric import Fabric
from torch import Tensor, nn

from heteroreg.data.cohort import Cohort
from heteroreg.data.samples.cache import SampleCache
from heteroreg.data.samples.dataset import load_samples
from heteroreg.data.samples.samples import Samples
from heteroreg.methods import find_method
from heteroreg.spatial import warp
from heteroreg.system.errors import StoppedError, UserError
from heteroreg.system.files import remove_leftovers, require_free, write_text
from heteroreg.system.lost_process import lost_process
from heteroreg.system.processes import require_places, start, together
from heteroreg.system.progress import progress
from heteroreg.system.run_files import CONFIG
from heteroreg.training import checkpoint
from heteroreg.training.config import Config
from heteroreg.training.finite import FiniteCheck
from heteroreg.training.logs import Log
from heteroreg.training.occlusion import occlude
from heteroreg.training.resolve import resolve
from heteroreg.training.run import Run, build, total_loss
from heteroreg.training.schedule import Phase, augment, batch_indices, learning_rate, phase, seed_step
from heteroreg.training.stop import stop_request
from heteroreg.training.validation import Validation, validate

# A mean displacement below this, in voxels, after so many steps says that nothing is being learned.
NO_MOTION, NO_MOTION_AFTER = 0.02, 200


@dataclass
class State:
    """What changes in training and is kept in `checkpoints/last`.

    Attributes:
        network: The displacement estimator.
        objective: From (moved, fixed) to `Losses`; holds the variance estimator, if there is one.
        optimizers: Of the displacement and, if there is one, of the variance estimator.
        step: Updates done.
        best: The best score on the validation pairs so far.
    """

    network: nn.Module
    objective: nn.Module
    optimizers: dict[str, torch.optim.Optimizer]
    step: int = 0
    best: float | None = None

    def models(self) -> dict[str, Tensor]:
        """The parameters of both estimators by name."""
        parts = {"network": self.network, "objective": self.objective}
        return {
            f"{part}.{name}": tensor
            for part, module in parts.items()
            for name, tensor in module.state_dict().items()
        }

    def learned(self) -> dict[str, Tensor]:
        """The models and the state of their optimisers by name."""
        tensors = self.models()
        for name, optimizer in self.optimizers.items():
            tensors |= checkpoint.optimizer_tensors(optimizer, f"optimizer.{name}")
        return tensors

    def save(self, run: Run) -> None:
        """Writes `checkpoints/last`: everything that the rest of the training depends on."""
        tensors = self.learned() | {"random": torch.get_rng_state()}
        checkpoint.save(run.checkpoint("last"), tensors, {"step": self.step, "best": self.best})

    def restore(self, run: Run) -> None:
        """Goes back to `checkpoints/last`, if the run got so far."""
        folder = run.checkpoint("last")
        if not (folder / checkpoint.STATE).is_file():
            return
        tensors, meta = checkpoint.load(folder)
        checkpoint.restore_module(self.network, tensors, "network", folder)
        checkpoint.restore_module(self.objective, tensors, "objective", folder)
        for name, optimizer in self.optimizers.items():
            checkpoint.restore_optimizer(optimizer, tensors, f"optimizer.{name}", folder)
        try:
            torch.set_rng_state(tensors["random"])
        except (KeyError, RuntimeError, TypeError) as error:
            raise checkpoint.damaged(folder, f"no state of the random numbers: {error}") from error
        self.step, self.best = meta["step"], meta.get("best")


def train(
    cohort: Cohort | str | Path,
    out: str | Path,
    *,
    config: Mapping[str, Any] | None = None,
    resume: bool = False,
    devices: int = 1,
    nodes: int = 1,
    strategy: str = "auto",
    show: bool = False,
    **settings: Any,
) -> Run:
    """Trains a displacement estimator, and with it the variance estimator of its method.

    Args:
        cohort: The pairs; those of the split `train` are learned from, those of `val` choose the best
            checkpoint. Without a split column all pairs are learned from.
        out: The folder of the run.
        config: Settings, as in a configuration file.
        resume: Go on from the last checkpoint of `out`; its configuration holds. A run that was killed and
            resumed ends bit for bit as one that was not, the `seconds` of its figures aside.
        devices: Processes on each machine.
        nodes: Machines.
        strategy: How processes work together: `ddp`, or `auto`, which is DDP where there are several.
        show: Show progress.
        **settings: Further settings, over those of `config`; see `Config`.

    Returns:
        The run.

    Raises:
        UserError: A setting, the cohort or an image is unfit, `out` holds something else, a loss is no number,
            or another process of the training ended.
        StoppedError: SIGTERM or Ctrl-C asked for it; the run is saved and can be resumed.
    """
    require_places(devices, nodes)
    cohort = cohort if isinstance(cohort, Cohort) else Cohort.read(cohort)
    learn = cohort.split("train") if cohort.splits else cohort
    check = cohort.split("val") if "val" in cohort.splits else None
    cache = SampleCache.of_environment()
    run, known = _open(Path(out), learn, resume, {**(config or {}), **settings})
    config_ = run.config

    fabric = start(config_.precision, devices, nodes, strategy)
    torch.backends.cudnn.benchmark = True  # samples are all of one size
    torch.manual_seed(config_.seed)
    with together(fabric):
        _require_parts(config_, fabric.world_size)
        assert config_.size is not None
        load = partial(
            load_samples,
            preparation=config_.preparation,
            size=config_.size,
            cache=cache,
            part=(fabric.global_rank, fabric.world_size),
            show=show and fabric.is_global_zero,
        )
        samples = load(learn, centre_label=config_.centre_label)
        held_out = load(check, centre_label=config_.centre_label, labels=True) if check else None
        if fabric.is_global_zero:
            remove_leftovers(run.folder)
            for name in ("last", "best"):
                checkpoint.tidy(run.checkpoint(name))
        if fabric.is_global_zero and not known:
            write_text(run.folder / CONFIG, config_.yaml())

    with lost_process(run.folder, fabric):
        state = set_up(fabric, config_)
    if resume:
        state.restore(run)

    log = Log(run.folder, _columns(config_, held_out), state.step) if fabric.is_global_zero else None
    finite, note, began = FiniteCheck(fabric.device), "", time.monotonic() - (log.seconds if log else 0.0)
    title, show = f"training {config_.method}", show and log is not None
    with (
        lost_process(run.folder, fabric),
        stop_request() as stop,
        progress(title, config_.steps, start=state.step, show=show) as report,
    ):
        while state.step < config_.steps:
            figures = _update(fabric, state, samples, config_, phase(config_, state.step), finite)
            state.step += 1
            due = _due(config_, state.step, held_out is not None)
            stopping = stop.agreed(fabric, meeting=due["log"])
            if any(due.values()) or stopping:
                saving = due["checkpoint"] or due["validate"] or stopping
                _require_finite(fabric, finite, state if saving else None, run, samples)
            if due["log"] or due["validate"]:
                row = {name: float(torch.as_tensor(fabric.all_reduce(value))) for name, value in figures.items()}
                row["seconds"] = time.monotonic() - began
                note = f"loss {row['loss']:.4f}"
                if due["validate"] and held_out is not None:
                    report(state.step - 1, f"{note}, validating")
                    scores = validate(state.network, state.objective, held_out, total_loss(config_), fabric.device)
                    _require_finite_scores(scores, run, state.step)
                    row |= _validation_row(scores)
                    note += f", validation {'Dice' if scores.dice else 'loss'} {abs(scores.score):.3f}"
                    _warn_if_still(scores, state.step)
                    if state.best is None or scores.score > state.best:
                        state.best = scores.score
                        if log is not None:
                            meta = {"step": state.step, "score": scores.score}
                            checkpoint.save(run.checkpoint("best"), state.models(), meta)
                if log is not None:
                    log.write(state.step, row)
            if (due["checkpoint"] or stopping) and log is not None:
                log.flush()
                state.save(run)
            report(state.step, note)
            if stopping:
                fabric.barrier()  # the end of one process ends the others, and the first may still be saving
                raise StoppedError(
                    f"{run.folder}: stopped and saved after step {state.step} of {config_.steps}; "
                    "go on with --resume",
                    stopping,
                    elsewhere=not fabric.is_global_zero,
                )
        fabric.barrier()
    return run


def set_up(fabric: Fabric, config: Config) -> State:
    """The untrained estimators with their optimisers, on the device and in the precision of the processes."""
    network, objective = build(config)
    if config.compile:
        network.compile()
        objective.compile()
    optimizers: dict[str, torch.optim.Optimizer] = {}
    network, optimizers["displacement"] = fabric.setup(network, torch.optim.Adam(network.parameters()))
    if any(True for _ in objective.parameters()):
        objective, optimizers["variance"] = fabric.setup(objective, torch.optim.Adam(objective.parameters()))
    else:
        objective = objective.to(fabric.device)
    return State(network, objective, optimizers)


def _update(
    fabric: Fabric, state: State, samples: Samples, config: Config, stage: Phase, finite: FiniteCheck
) -> dict[str, Tensor]:
    """One update of the estimators that learn in this phase.

    The figures stay on the device: nothing in here waits for a GPU.
    """
    rate = learning_rate(config, state.step)
    own = config.batch_size // fabric.world_size  # every process takes its part of the same batch
    begin, share = fabric.global_rank * own, own // config.accumulate
    indices = batch_indices(config.seed, state.step, config.batch_size, len(samples))
    loss = total_loss(config)
    total: dict[str, Tensor] = {}
    for optimizer in state.optimizers.values():
        optimizer.zero_grad(set_to_none=True)
        for group in optimizer.param_groups:
            group["lr"] = rate
    for first in _parts(fabric, state, range(begin, begin + own, share), stage):
        chosen = indices[first : first + share]
        images = samples.images(chosen)
        if config.augment:
            images = augment(images, config.seed, state.step, first)
        images = images.pin_memory() if fabric.device.type == "cuda" else images
        images = images.to(fabric.device, non_blocking=True)
        seen = occlude(images, config.occlusions, config.seed, state.step, first) if config.occlusions else images
        moving, fixed = images.chunk(2, dim=1)

        seed_step(config.seed, state.step, first)
        with torch.set_grad_enabled(stage.displacement):
            displacement = state.network(*seen.chunk(2, dim=1))
            # Both directions in one batch: each counts half.
            moved = warp(torch.cat([moving, fixed]), torch.cat([displacement.forward, displacement.backward]))
        losses = state.objective(moved, torch.cat([fixed, moving]), weighted=stage.weighted)
        spread = displacement.velocity_log_variance
        figures = loss.terms(losses, displacement.velocity, spread)
        if loss.uncertainty is not None:
            figures["velocity_sd"] = (0.5 * spread.detach()).exp().mean()
        goal = figures["loss"] if stage.displacement else torch.zeros((), device=fabric.device)
        if losses.variance is not None:
            figures["variance"] = losses.variance
            goal = goal + losses.variance if stage.variance else goal
        if goal.requires_grad:  # a method whose variance has no loss of its own learns nothing in its phase
            fabric.backward(goal / config.accumulate)
        for name, value in figures.items():
            total[name] = total.get(name, torch.zeros_like(value)) + value.detach() / config.accumulate

    learning = {"displacement": stage.displacement, "variance": stage.variance}
    norms = []
    for name, module in (("displacement", state.network), ("variance", state.objective)):
        learned = any(parameter.grad is not None for parameter in module.parameters())
        if learning[name] and learned and name in state.optimizers:
            norm = fabric.clip_gradients(
                module, state.optimizers[name], max_norm=config.clip or math.inf, error_if_nonfinite=False
            )
            norms += [] if norm is None else [norm]
            state.optimizers[name].step()
    finite.note(state.step + 1, [*total.values(), *norms])
    return total | {"learning_rate": torch.tensor(rate)}


def _parts(fabric: Fabric, state: State, begins: range, stage: Phase) -> Iterator[int]:
    """Where each part of a batch begins.

    Processes add up the gradients of what learns in the last part alone. Distributed training wants to know
    before the forward pass.
    """
    learning = {"displacement": (state.network, stage.displacement), "variance": (state.objective, stage.variance)}
    for begin in begins:
        with ExitStack() as stack:
            for name, (module, learns) in learning.items():
                alone = begin != begins[-1] or not learns
                if fabric.world_size > 1 and name in state.optimizers and alone:
                    stack.enter_context(fabric.no_backward_sync(module))  # type: ignore[arg-type]
            yield begin


def _require_parts(config: Config, processes: int) -> None:
    if config.batch_size % (config.accumulate * processes):
        raise UserError(
            f"batch_size {config.batch_size}: cannot be cut into {config.accumulate} parts for each of "
            f"{processes} processes; choose a multiple of {config.accumulate * processes}"
        )


def _open(folder: Path, learn: Cohort, resume: bool, settings: Mapping[str, Any]) -> tuple[Run, bool]:
    """The run to work on, and whether its folder already holds its configuration."""
    if resume and (folder / CONFIG).is_file():
        run = Run.read(folder)
        if Path(run.config.cohort or "").resolve() != Path(learn.name).resolve():
            raise UserError(
                f"{folder}: was trained on {run.config.cohort}, not on {learn.name}; name that cohort to resume"
            )
        return run, True
    require_free(folder, CONFIG)
    if (folder / CONFIG).is_file():
        raise UserError(f"{folder}: holds a run; use --resume to go on with it, or choose another folder")
    return Run(folder, resolve(Config.build(settings), learn)), False


def _columns(config: Config, held_out: Samples | None) -> list[str]:
    uncertain = ["uncertainty", "velocity_sd"] if find_method(config.method).uncertain else []
    columns = ["loss", "data", "smoothness", *uncertain, "variance", "learning_rate", "seconds"]
    if held_out is None:
        return columns
    labels = held_out.shared_labels
    dice = ["val_dice", *(f"val_dice_{label}" for label in labels)] if labels else []
    return [*columns, "val_loss", *dice, "val_folding_percent", "val_displacement_voxels"]


def _validation_row(scores: Validation) -> dict[str, float]:
    row = {
        "val_loss": scores.loss,
        "val_folding_percent": scores.folding_percent,
        "val_displacement_voxels": scores.displacement,
    }
    if scores.mean_dice is not None:
        row |= {"val_dice": scores.mean_dice} | {f"val_dice_{label}": value for label, value in scores.dice.items()}
    return row


def _due(config: Config, step: int, validated: bool) -> dict[str, bool]:
    last = step == config.steps
    every = {"log": config.log_every, "validate": config.validate_every, "checkpoint": config.checkpoint_every}
    due = {name: last or step % (interval or config.steps) == 0 for name, interval in every.items()}
    return due | {"validate": due["validate"] and validated}


def _require_finite(fabric: Fabric, finite: FiniteCheck, state: State | None, run: Run, samples: Samples) -> None:
    """Stops a training whose loss, gradient or state is no number, before it reaches a checkpoint.

    Args:
        fabric: The processes.
        finite: Has seen every loss and gradient.
        state: What is to be saved, if it is.
        run: The run.
        samples: What is trained on.
    """
    step, what = finite.first_bad_step(fabric), "the loss or its gradient"
    if step is None and state is not None:
        if all(bool(tensor.isfinite().all()) for tensor in state.learned().values()):
            return
        step, what = state.step, "a parameter or its optimiser"
    if step is None:
        return
    indices = batch_indices(run.config.seed, step - 1, run.config.batch_size, len(samples))
    pairs = sorted({samples.ids[int(samples.pair[index])] for index in indices})
    raise UserError(
        f"{run.folder}: {what} is no number at step {step}, with the pairs {', '.join(pairs)}; "
        "the last checkpoint is kept. Try a lower learning_rate, and `heteroreg check` on the cohort",
        elsewhere=not fabric.is_global_zero,
    )


def _require_finite_scores(scores: Validation, run: Run, step: int) -> None:
    """Stops a training whose validation is no number: no later checkpoint would count as better than it."""
    if not (math.isfinite(scores.loss) and math.isfinite(scores.score)):
        raise UserError(
            f"{run.folder}: the validation loss is no number after step {step}; the last checkpoint is kept. "
            "Try a lower learning_rate, and `heteroreg check` on the cohort"
        )


def _warn_if_still(scores: Validation, step: int) -> None:
    if step >= NO_MOTION_AFTER and scores.displacement < NO_MOTION:
        warnings.warn(
            f"the displacement is about zero ({scores.displacement:.3f} voxels on average) after {step} steps: "
            "lower `smoothness`, raise `learning_rate`, or run `heteroreg check` on the cohort",
            stacklevel=3,
        )
