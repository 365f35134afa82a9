"""Runners of a study's jobs: processes of this machine, or jobs of SLURM."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import Any, Protocol

from heteroreg.system.errors import UserError
from heteroreg.system.exits import PROGRAM

POLL = 0.2  # seconds between looks at what runs
GRACE = 120  # seconds that a training gets to finish its step and save
LOG_END = 64 * 1024  # bytes read from the end of a log to find its last line


@dataclass(frozen=True)
class Job:
    """A training or an evaluation.

    Attributes:
        name: Name for people, and of its log.
        kind: `train` or `evaluate`; jobs of a kind take about the same time.
        arguments: Plain data, see `heteroreg.study.child.run_job`.
    """

    name: str
    kind: str
    arguments: Mapping[str, Any] = field(hash=False)

    def command(self) -> list[str]:
        """Return the command of a process for the job, which imports nothing from the current folder."""
        job = json.dumps({"kind": self.kind, "arguments": dict(self.arguments)})
        return [sys.executable, "-P", "-m", "heteroreg.study.child", job]


@dataclass(frozen=True)
class Ended:
    """A job that has ended.

    Attributes:
        job: The job.
        seconds: Time that it took.
        running: Number of jobs that still run.
        error: Reason of its failure; empty if it did not fail.
    """

    job: Job
    seconds: float
    running: int
    error: str = ""


class Runner(Protocol):
    """Run jobs.

    Attributes:
        width: Number of jobs that run at once, for the estimate of the time left.
    """

    width: int

    def run(self, jobs: Sequence[Job], report: Callable[[Ended], None]) -> None:
        """Run all jobs; one that fails does not stop the others.

        Args:
            jobs: In the order in which to begin them.
            report: Called with each that has ended.
        """
        ...


class Local:
    """Runner of processes on this machine. They end when the study does, and trainings save themselves before.

    Args:
        width: Number of processes at once.
        logs: Folder for their output.
    """

    def __init__(self, width: int, logs: Path) -> None:
        self.width = width
        self._logs = logs
        self._environment = {"OMP_NUM_THREADS": str(max(1, cores() // width)), **os.environ}

    def run(self, jobs: Sequence[Job], report: Callable[[Ended], None]) -> None:
        """See `Runner`."""
        waiting = list(jobs)
        running: dict[Job, tuple[subprocess.Popen[bytes], float]] = {}
        try:
            while waiting or running:
                while waiting and len(running) < self.width:
                    job = waiting.pop(0)
                    running[job] = self._start(job), time.monotonic()
                time.sleep(POLL)
                for job, (process, began) in list(running.items()):
                    if process.poll() is None:
                        continue
                    del running[job]
                    _close(process)
                    error = ""
                    if process.returncode:
                        error = _last_line(self._log(job)) or f"exit code {process.returncode}"
                    report(Ended(job, time.monotonic() - began, len(running), error))
        finally:
            _end([process for process, _ in running.values()])

    def _log(self, job: Job) -> Path:
        return self._logs / f"{job.name}.txt"

    def _start(self, job: Job) -> subprocess.Popen[bytes]:
        self._logs.mkdir(parents=True, exist_ok=True)
        with self._log(job).open("wb") as log:
            return subprocess.Popen(  # noqa: S603 - our own command
                [*job.command(), "--held"],
                stdin=subprocess.PIPE,  # see heteroreg.study.child
                stdout=log,
                stderr=log,
                env=self._environment,
                start_new_session=True,  # Ctrl-C comes to the study alone, which tells its children
            )


class SlurmJob(Protocol):
    """Job of submitit, as far as it is used here."""

    def done(self) -> bool:
        """Return True once it has ended."""
        ...

    def exception(self) -> BaseException | None:
        """Return the reason of its failure, if it failed."""
        ...

    def cancel(self) -> None:
        """Take it out of the queue, or end it."""
        ...


class Executor(Protocol):
    """Executor of submitit, as far as it is used here."""

    def submit(self, fn: Callable[[], Any]) -> SlurmJob:
        """Put a call into the queue."""
        ...


class Slurm:
    """Runner of SLURM jobs: all of a stage are submitted at once, and the study waits for them.

    Args:
        executor: Executor of submitit, or anything with its methods.
        poll: Seconds between looks at the queue.
        width: Number of jobs thought to run at once, for the estimate of the time left.
    """

    def __init__(self, executor: Executor, poll: float = 10.0, width: int = 1) -> None:
        self.width = width
        self._executor = executor
        self._poll = poll

    def run(self, jobs: Sequence[Job], report: Callable[[Ended], None]) -> None:
        """See `Runner`."""
        running: dict[Job, SlurmJob] = {}
        began = time.monotonic()
        try:
            for job in jobs:
                running[job] = self._executor.submit(Command(job))
            while running:
                for job, submitted in list(running.items()):
                    if not submitted.done():
                        continue
                    del running[job]
                    error = submitted.exception()
                    reason = "" if error is None else _reason(error)
                    report(Ended(job, time.monotonic() - began, len(running), reason))
                if running:
                    time.sleep(self._poll)
        finally:
            for submitted in running.values():
                submitted.cancel()


@dataclass(frozen=True)
class Command:
    """A job as a call that submitit can carry to another machine.

    Attributes:
        job: The job.
    """

    job: Job

    def __call__(self) -> None:
        """Run it.

        Raises:
            RuntimeError: It failed; the message is its last line.
        """
        process = subprocess.run(  # noqa: S603 - our own command
            self.job.command(), stdin=subprocess.DEVNULL, capture_output=True, check=False
        )
        if process.returncode:
            said = process.stderr.decode(errors="replace").strip().splitlines()
            raise RuntimeError(said[-1] if said else f"exit code {process.returncode}")

    def checkpoint(self) -> Any:
        """Let submitit submit the same again after a preemption or at the end of the time: trainings resume."""
        return import_module("submitit.helpers").DelayedSubmission(self)


def slurm(parameters: Mapping[str, Any], folder: Path) -> Slurm:
    """Return a runner of SLURM jobs, through submitit.

    Args:
        parameters: Arguments of `submitit.SlurmExecutor.update_parameters`: `partition`, `time` (minutes), …
        folder: Folder for the output of the jobs.

    Raises:
        UserError: submitit is not installed, does not know a parameter, or there is no SLURM.
    """
    try:
        submitit = import_module("submitit")
    except ModuleNotFoundError:
        raise UserError(
            "slurm: needs submitit; install it with pip install 'heteroreg[slurm]'", argument="slurm"
        ) from None
    try:
        executor = submitit.SlurmExecutor(folder=folder)
        # submitit starts its own program with `python -m`, which would import from where the study began.
        setup = ["export PYTHONSAFEPATH=1", *(parameters.get("setup") or [])]
        executor.update_parameters(**{**parameters, "setup": setup})
    except (RuntimeError, ValueError, TypeError) as error:
        raise UserError(f"slurm: {error}", argument="slurm") from error
    return Slurm(executor)


def cores() -> int:
    """Return the number of cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _end(processes: Sequence[subprocess.Popen[bytes]]) -> None:
    """Ask processes to end, wait while they save, and kill what is left."""
    for process in processes:
        process.terminate()
    limit = time.monotonic() + GRACE
    try:
        with suppress(subprocess.TimeoutExpired):
            for process in processes:
                process.wait(max(0.0, limit - time.monotonic()))
    finally:  # also when a second Ctrl-C comes
        for process in processes:
            process.kill()
            process.wait()
            _close(process)


def _close(process: subprocess.Popen[bytes]) -> None:
    if process.stdin is not None:
        process.stdin.close()


def _reason(error: BaseException) -> str:
    """Return the line of the job from the traceback that submitit gives; without one, the first line."""
    lines = str(error).strip().splitlines() or [type(error).__name__]
    said = [line.partition(PROGRAM)[2] for line in lines if PROGRAM in line]
    return said[-1] if said else lines[0]


def _last_line(log: Path) -> str:
    with log.open("rb") as handle:
        handle.seek(max(0, log.stat().st_size - LOG_END))
        lines = handle.read().decode(errors="replace").strip().splitlines()
    return lines[-1].removeprefix(PROGRAM) if lines else ""
