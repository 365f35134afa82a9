"""Where the commands of a study run: in processes of this machine, or as jobs of SLURM."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any, Protocol

from heteroreg.system.errors import UserError

POLL = 0.2  # seconds between looks at what runs
GRACE = 120  # seconds that a training gets to finish its step and save
SAYS = "heteroreg: "  # how an error of ours begins
LINES = 64 * 1024  # bytes at the end of a log that hold its last line


@dataclass(frozen=True)
class Job:
    """A command of heteroreg.

    Attributes:
        name: For people, and for its log.
        kind: `train` or `evaluate`: jobs of a kind take about the same time.
        arguments: Of `heteroreg`.
    """

    name: str
    kind: str
    arguments: tuple[str, ...]


Done = Callable[[Job, float], None]


class Runner(Protocol):
    """Runs jobs.

    Attributes:
        width: How many run at once, for the estimate of the time left.
    """

    width: int

    def run(self, jobs: Sequence[Job], done: Done) -> dict[str, str]:
        """Runs all jobs; one that fails does not stop the others.

        Args:
            jobs: In the order in which to begin them.
            done: Called with each that ended well, and its seconds.

        Returns:
            What failed: the job's name → the reason.
        """
        ...


class Local:
    """Processes on this machine. They end when the study does, and trainings save themselves before.

    Args:
        width: How many at once.
        logs: Folder for what they say.
    """

    def __init__(self, width: int, logs: Path) -> None:
        self.width = width
        self._logs = logs
        self._environment = {"OMP_NUM_THREADS": str(max(1, cores() // width)), **os.environ}

    def run(self, jobs: Sequence[Job], done: Done) -> dict[str, str]:
        """See `Runner`."""
        waiting, failed = list(jobs), dict[str, str]()
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
                    if process.returncode == 0:
                        done(job, time.monotonic() - began)
                    else:
                        failed[job.name] = _last_line(self._log(job)) or f"exit code {process.returncode}"
        finally:
            _end([process for process, _ in running.values()])
        return failed

    def _log(self, job: Job) -> Path:
        return self._logs / f"{job.name}.txt"

    def _start(self, job: Job) -> subprocess.Popen[bytes]:
        self._logs.mkdir(parents=True, exist_ok=True)
        with self._log(job).open("wb") as log:
            return subprocess.Popen(  # noqa: S603 - our own command
                [sys.executable, "-m", "heteroreg.study.child", *job.arguments],
                stdin=subprocess.PIPE,  # see heteroreg.study.child
                stdout=log,
                stderr=log,
                env=self._environment,
                start_new_session=True,  # Ctrl-C comes to the study alone, which tells its children
            )


class SlurmJob(Protocol):
    """What is asked of a job of submitit."""

    def done(self) -> bool:
        """Whether it has ended."""
        ...

    def exception(self) -> BaseException | None:
        """Why it failed, if it did."""
        ...

    def cancel(self) -> None:
        """Takes it out of the queue, or ends it."""
        ...


class Executor(Protocol):
    """What is asked of an executor of submitit."""

    def submit(self, fn: Callable[[], Any]) -> SlurmJob:
        """Puts a call into the queue."""
        ...


class Slurm:
    """Jobs of SLURM, all of a stage submitted at once; the study waits for them.

    Args:
        executor: Of submitit, or anything that does what one does.
        poll: Seconds between looks at the queue.
        width: How many are thought to run at once, for the estimate of the time left.
    """

    def __init__(self, executor: Executor, poll: float = 10.0, width: int = 1) -> None:
        self.width = width
        self._executor = executor
        self._poll = poll

    def run(self, jobs: Sequence[Job], done: Done) -> dict[str, str]:
        """See `Runner`."""
        failed: dict[str, str] = {}
        running: dict[Job, SlurmJob] = {}
        began = time.monotonic()
        try:
            for job in jobs:
                running[job] = self._executor.submit(Command(job.arguments))
            while running:
                for job, submitted in list(running.items()):
                    if not submitted.done():
                        continue
                    del running[job]
                    error = submitted.exception()
                    if error is None:
                        done(job, time.monotonic() - began)
                    else:
                        failed[job.name] = _reason(error)
                if running:
                    time.sleep(self._poll)
        finally:
            for submitted in running.values():
                submitted.cancel()
        return failed


@dataclass(frozen=True)
class Command:
    """A command of heteroreg as a call that submitit can carry to another machine.

    Attributes:
        arguments: Of `heteroreg`.
    """

    arguments: tuple[str, ...]

    def __call__(self) -> None:
        """Runs it.

        Raises:
            RuntimeError: It failed; the message is what it said last.
        """
        process = subprocess.run(  # noqa: S603 - our own command
            [sys.executable, "-m", "heteroreg", *self.arguments], capture_output=True, check=False
        )
        if process.returncode:
            said = process.stderr.decode(errors="replace").strip().splitlines()
            raise RuntimeError(said[-1] if said else f"exit code {process.returncode}")

    def checkpoint(self) -> Any:
        """Lets submitit submit the same again after a preemption or at the end of the time: trainings go on."""
        return import_module("submitit.helpers").DelayedSubmission(self)


def slurm(parameters: Mapping[str, Any], folder: Path) -> Slurm:
    """SLURM through submitit.

    Args:
        parameters: Of `submitit.SlurmExecutor.update_parameters`: `partition`, `time` (minutes), …
        folder: For what the jobs say.

    Raises:
        UserError: submitit is not installed, does not know a parameter, or there is no SLURM.
    """
    try:
        submitit = import_module("submitit")
    except ModuleNotFoundError:
        raise UserError("--slurm: needs submitit; install it with pip install 'heteroreg[slurm]'") from None
    try:
        executor = submitit.SlurmExecutor(folder=folder)
        executor.update_parameters(**parameters)
    except (RuntimeError, ValueError, TypeError) as error:
        raise UserError(f"--slurm: {error}") from error
    return Slurm(executor)


def cores() -> int:
    """The cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _end(processes: Sequence[subprocess.Popen[bytes]]) -> None:
    """Asks processes to end, waits while they save, and in the end insists."""
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
    """What the command said, out of a traceback that submitit has brought along; else how it begins."""
    lines = str(error).strip().splitlines() or [type(error).__name__]
    said = [line.partition(SAYS)[2] for line in lines if SAYS in line]
    return said[-1] if said else lines[0]


def _last_line(log: Path) -> str:
    with log.open("rb") as handle:
        handle.seek(max(0, log.stat().st_size - LINES))
        lines = handle.read().decode(errors="replace").strip().splitlines()
    return lines[-1].removeprefix(SAYS) if lines else ""
