"""The whole training, from top to bottom."""

from __future__ import annotations

import math
import time
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import torch
from lightning_fabric import Fabric
from torch import Tensor

from heteroreg.data.cohort import Cohort
from heteroreg.data.samples.cache import SampleCache
from heteroreg.data.samples.dataset import load_samples
from heteroreg.data.samples.fingerprint import Fingerprints
from heteroreg.data.samples.samples import Samples
from heteroreg.system.errors import StoppedError, UserError
from heteroreg.system.files import remove_leftovers, write_text
from heteroreg.system.lost_process import lost_process
from heteroreg.system.memory import memory_errors
from heteroreg.system.outputs import growing_folder
from heteroreg.system.processes import require_places, start, together
from heteroreg.system.progress import progress
from heteroreg.system.run_files import CONFIG, has_last_checkpoint
from heteroreg.training import checkpoint
from heteroreg.training.alpha import with_alpha
from heteroreg.training.begin import begin
from heteroreg.training.cohort_record import CohortRecord
from heteroreg.training.config import Config
from heteroreg.training.finite import FiniteCheck
from heteroreg.training.logs import Log
from heteroreg.training.open_run import open_run, require_same_images
from heteroreg.training.parts import MethodLike, NetworkLike
from heteroreg.training.process_state import restored_process_state
from heteroreg.training.run import Run, is_former_run
from heteroreg.training.schedule import batch_indices, phase
from heteroreg.training.state import State, set_up
from heteroreg.training.stop import stop_request
from heteroreg.training.update import update
from heteroreg.training.validation import Validation, validate

# A mean displacement below this, in voxels, after so many steps: nothing is being learned.
NO_MOTION, NO_MOTION_AFTER = 0.02, 200
# Steps after which a model should beat no registration; the schedule of fewer is a trial.
NO_GAIN_AFTER = 100
SMALLER_BATCH = "choose a smaller one, or a larger `accumulate`, the number of parts that a batch is split into"


def train(
    cohort: Cohort | str | Path,
    out: str | Path,
    *,
    method: MethodLike = None,
    network: NetworkLike = None,
    config: Mapping[str, Any] | Config | None = None,
    resume: bool = False,
    devices: int = 1,
    nodes: int = 1,
    strategy: str = "auto",
    show: bool = False,
    **settings: Any,
) -> Run:
    """Train a displacement estimator, and with it the variance estimator of its method.

    Args:
        cohort: The pairs. Those of the split `train` are learned from, those of `val` choose the best checkpoint.
            Without a split column all pairs are learned from.
        out: Folder of the run.
        method: What to minimise: a name, an import path `package.module:name`, a `Method`, an objective (a module
            that maps (moved, fixed) to a scalar or `Losses`), or what makes one.
        network: The displacement estimator: a name, an import path, a `Network`, a module that maps (moving, fixed)
            to a `Displacement`, a backbone that maps (N, 2, *shape) to features, or what makes one. A module is
            copied, and its parameters are what the training begins with.
        config: Settings, as in a configuration file.
        resume: Go on from the last checkpoint of `out`, whose configuration holds. A run that was killed and
            resumed ends bit for bit as one that was not, except for the `seconds` of its figures.
        devices: Processes on each machine.
        nodes: Machines.
        strategy: How processes work together: `ddp`, or `auto`, which is DDP if there are several.
        show: Show progress.
        **settings: Further settings, over those of `config`; see `Config`.

    Returns:
        The run.

    Raises:
        UserError: A setting, the cohort or an image is unfit, `out` holds something else, a loss is not finite,
            or another process of the training ended.
        StoppedError: SIGTERM or Ctrl-C asked for it; the run is saved and can be resumed.

    Examples:
        >>> import tempfile
        >>> from heteroreg.data.phantom import write_phantom
        >>> folder = Path(tempfile.mkdtemp())
        >>> _ = write_phantom(folder / "hearts", pairs=3, size=32)
        >>> run = train(folder / "hearts", folder / "run", method="ncc", steps=1, method_options={"window": 5})
        >>> run.config.method, run.config.method_options
        ('ncc', {'window': 5})
    """
    require_places(devices, nodes)
    cohort = cohort if isinstance(cohort, Cohort) else Cohort.read(cohort)
    learn = cohort.split("train") if cohort.splits else cohort
    check = cohort.split("val") if "val" in cohort.splits else None
    cache = SampleCache.of_environment()
    opened = open_run(Path(out), learn, resume, config, settings, method=method, network=network)
    with restored_process_state(), ExitStack() as held:
        fabric = start(opened.run.config.precision, devices, nodes, strategy)
        torch.backends.cudnn.benchmark = True  # samples are all of one size
        torch.manual_seed(opened.run.config.seed)
        with together(fabric):
            prints = Fingerprints()
            if fabric.is_global_zero:
                held.enter_context(growing_folder(out, "run", [learn.name], is_former_run))
                label = opened.run.config.centre_label
                record = CohortRecord.of(learn, check, centre_label=label, prints=prints, show=show)
                if not opened.new:
                    require_same_images(opened.run, learn, record)
            samples, held_out = _prepare(fabric, opened.run.config, learn, check, cache, show, prints)
            opened = opened.with_parts(with_alpha(opened.parts, samples))
            if fabric.is_global_zero:
                _tidy(opened.run, record, new=opened.new)
        with lost_process(opened.run.folder, fabric):
            state = set_up(fabric, opened.parts)
        if resume:
            state.restore(opened.run)
        if state.step == 0:
            begin(state, opened.run.config)
        with _log(fabric, opened.run, held_out, state) as log:
            Loop(fabric, opened.run, samples, held_out, state, log).run_to_the_end(show)
    return opened.run


def _prepare(
    fabric: Fabric,
    config: Config,
    learn: Cohort,
    check: Cohort | None,
    cache: SampleCache,
    show: bool,
    prints: Fingerprints,
) -> tuple[Samples, Samples | None]:
    """Return the samples to learn from, and those to validate on; each process prepares its share."""
    assert config.batch_size is not None
    if config.batch_size % (config.accumulate * fabric.world_size):
        raise UserError(
            f"batch_size: {config.batch_size} cannot be cut into {config.accumulate} parts for each of "
            f"{fabric.world_size} processes; choose a multiple of {config.accumulate * fabric.world_size}",
            argument="batch_size",
        )
    assert config.size is not None
    load = partial(
        load_samples,
        preparation=config.preparation,
        size=config.size,
        cache=cache,
        part=(fabric.global_rank, fabric.world_size),
        show=show and fabric.is_global_zero,
        centre_label=config.centre_label,
        prints=prints,
    )
    return load(learn), load(check, labels=True) if check else None


def _tidy(run: Run, record: CohortRecord, *, new: bool) -> None:
    """Remove what a kill has left in the run's folder, and write the configuration of a new run."""
    remove_leftovers(run.folder)
    for name in ("last", "best"):
        checkpoint.tidy(run.checkpoint(name))
    if new and (run.folder / CONFIG).is_file():
        raise UserError(f"{run.folder}: another training has begun there; choose another folder")
    if new:
        record.write(run.folder)  # first: a run with a configuration also has this
        write_text(run.folder / CONFIG, run.config.yaml())


@contextmanager
def _log(fabric: Fabric, run: Run, held_out: Samples | None, state: State) -> Iterator[Log | None]:
    """Open the log of the run in the first process; the others have none."""
    if not fabric.is_global_zero:
        yield None
        return
    uncertain = ["uncertainty", "velocity_sd"] if state.total.uncertainty is not None else []
    columns = ["loss", "data", "smoothness", *uncertain, "variance", "learning_rate", "seconds"]
    if held_out is not None:
        labels = held_out.shared_labels
        dice = ["val_dice", *(f"val_dice_{label}" for label in labels), "val_dice_undeformed"] if labels else []
        columns += ["val_loss", *dice, "val_folding_percent", "val_displacement_voxels"]
    with Log.open(run.folder, columns, state.step) as log:
        yield log


@dataclass(frozen=True)
class Due:
    """The work that is due after a step.

    Attributes:
        log: Log the figures.
        validate: Score the validation pairs.
        checkpoint: Save.
    """

    log: bool
    validate: bool
    checkpoint: bool

    @classmethod
    def after(cls, step: int, config: Config, *, validated: bool) -> Due:
        """Return what is due after that many updates; all of it after the last."""

        def at(interval: int | None) -> bool:
            return step == config.steps or step % (interval or config.steps) == 0

        return cls(at(config.log_every), validated and at(config.validate_every), at(config.checkpoint_every))


@dataclass
class Loop:
    """Loop over the steps.

    Attributes:
        fabric: The processes.
        run: The run.
        samples: Samples to learn from.
        held_out: Samples to validate on, if there are any.
        state: What learns.
        log: The log; None in all processes but the first.
        finite: Has seen every loss and gradient.
        note: What the progress shows beside the step.
    """

    fabric: Fabric
    run: Run
    samples: Samples
    held_out: Samples | None
    state: State
    log: Log | None
    finite: FiniteCheck = field(init=False)
    note: str = ""

    def __post_init__(self) -> None:
        self.finite = FiniteCheck(self.fabric.device)
        self._began = time.monotonic() - (self.log.seconds if self.log else 0.0)

    def run_to_the_end(self, show: bool) -> None:
        """Update until the last step, or until a signal asks to stop."""
        config, state = self.run.config, self.state
        with (
            lost_process(self.run.folder, self.fabric),
            stop_request() as stop,
            progress(
                f"training {config.method}", config.steps, start=state.step, show=show and self.log is not None
            ) as report,
        ):
            while state.step < config.steps:
                with memory_errors(f"batch_size {config.batch_size}", SMALLER_BATCH):
                    now = phase(config, state.step)
                    figures = update(self.fabric, state, self.samples, config, now, self.finite)
                state.step += 1
                due = Due.after(state.step, config, validated=self.held_out is not None)
                stopping = stop.agreed(self.fabric, meeting=due.log)
                self._look_after(due, figures, stopping, report)
                report(state.step, self.note)
                if stopping:
                    self.fabric.barrier()  # the end of one process ends the others; the first may still be saving
                    raise self._stopped(stopping)
            self.fabric.barrier()

    def _look_after(
        self, due: Due, figures: Mapping[str, Tensor], stopping: int, report: Callable[..., None]
    ) -> None:
        """Check, log, validate and save after a step, as far as it is due."""
        saving = due.checkpoint or due.validate or bool(stopping)
        if due.log or saving:
            self._require_finite(with_state=saving)
        if due.log or due.validate:
            row = {name: self._mean(value) for name, value in figures.items()}
            row["seconds"] = time.monotonic() - self._began
            self.note = f"loss {row['loss']:.4f}"
            if due.validate and self.held_out is not None:
                report(self.state.step - 1, f"{self.note}, validating")
                row |= self._validate(self.held_out)
            if self.log is not None:
                self.log.write(self.state.step, row)
        if (due.checkpoint or stopping) and self.log is not None:
            self.log.flush()
            self.state.save(self.run)

    def _mean(self, figure: Tensor) -> float:
        """Return the mean of a figure over the processes."""
        return float(torch.as_tensor(self.fabric.all_reduce(figure)))

    def _validate(self, held_out: Samples) -> dict[str, float]:
        """Score the validation pairs, save the best checkpoint, and return the figures."""
        state = self.state
        scores = validate(state.network, state.objective, held_out, state.total, self.fabric.device)
        if not (math.isfinite(scores.loss) and math.isfinite(scores.score)):  # no later one would be better
            raise UserError(
                f"{self.run.folder}: the validation loss is not finite after step {state.step}; {self._kept()}. "
                "Try a lower learning_rate, and `heteroreg check` on the cohort"
            )
        self.note += f", validation {'Dice' if scores.dice else 'loss'} {abs(scores.score):.3f}"
        if scores.undeformed is not None:
            self.note += f" (undeformed {scores.undeformed:.3f})"
        _warn_if_still(scores, state.step)
        if state.best is None or scores.score > state.best:
            state.best = scores.score
            if self.log is not None:
                meta = {"step": state.step, "score": scores.score}
                checkpoint.save(self.run.checkpoint("best"), state.models(), meta)
        if state.step == self.run.config.steps >= NO_GAIN_AFTER:
            _warn_if_useless(state.best, scores.undeformed, self.run.config)
        return scores.figures()

    def _require_finite(self, *, with_state: bool) -> None:
        """Stop a training whose loss, gradient or state is not finite, before it reaches a checkpoint."""
        step, what = self.finite.first_bad_step(self.fabric), "the loss or its gradient"
        if step is None and with_state:
            if all(bool(tensor.isfinite().all()) for tensor in self.state.learned().values()):
                return
            step, what = self.state.step, "a parameter or its optimiser"
        if step is None:
            return
        config, samples = self.run.config, self.samples
        assert config.batch_size is not None
        indices = batch_indices(config.seed, step - 1, config.batch_size, len(samples))
        pairs = sorted({samples.ids[int(samples.pair[index])] for index in indices})
        raise UserError(
            f"{self.run.folder}: {what} is not finite at step {step}, with the pairs {', '.join(pairs)}; "
            f"{self._kept()}. Try a lower learning_rate, and `heteroreg check` on the cohort",
            elsewhere=not self.fabric.is_global_zero,
        )

    def _kept(self) -> str:
        """Return what is left of a training that fails, in words."""
        kept = has_last_checkpoint(self.run.folder)
        return "the last checkpoint is kept" if kept else "there is no checkpoint yet"

    def _stopped(self, signal: int) -> StoppedError:
        return StoppedError(
            f"{self.run.folder}: stopped and saved after step {self.state.step} of {self.run.config.steps}; "
            "go on with `resume=True`",
            signal,
            elsewhere=not self.fabric.is_global_zero,
        )


def _warn_if_still(scores: Validation, step: int) -> None:
    if step >= NO_MOTION_AFTER and scores.displacement < NO_MOTION:
        warnings.warn(
            f"the displacement is about zero ({scores.displacement:.3f} voxels on average) after {step} steps: "
            "lower `smoothness`, raise `learning_rate`, or run `heteroreg check` on the cohort",
            stacklevel=3,
        )


def _warn_if_useless(best: float, undeformed: float | None, config: Config) -> None:
    if undeformed is not None and best <= undeformed:
        warnings.warn(
            f"the model does not beat no registration: validation Dice {best:.3f} at best, undeformed "
            f"{undeformed:.3f}. Try a lower `learning_rate` than {config.learning_rate:g}, more `steps`, a lower "
            "`smoothness`, or `heteroreg check` on the cohort",
            stacklevel=3,
        )
