"""Runners: processes of this machine, and a queue."""

from __future__ import annotations

import importlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from heteroreg.data.cohort import Cohort
from heteroreg.study import jobs
from heteroreg.study.jobs import Command, Ended, Job, Local, Slurm, cores, slurm
from heteroreg.system.errors import UserError

BAD = Job("bad", "evaluate", {"model": "undeformed", "parts": {}, "cohort": "none", "split": "test", "out": "o"})


@pytest.fixture
def good(cohort_2d: Cohort, tmp_path: Path) -> Job:
    which = {"model": "undeformed", "parts": {}, "cohort": cohort_2d.name, "split": "val"}
    return Job("good", "evaluate", {**which, "out": str(tmp_path / "scores")})


def told(ended: list[Ended]) -> dict[str, str]:
    """Each job that ended, and why it failed."""
    return {one.job.name: one.error for one in ended}


def test_processes_and_what_they_say(good: Job, tmp_path: Path) -> None:
    ended: list[Ended] = []
    Local(2, tmp_path / "logs").run([BAD, good], ended.append)
    assert told(ended) == {"bad": "none: no such file; name a cohort (pairs.csv) or its folder", "good": ""}
    assert ended[-1].running == 0
    assert all(one.seconds > 0 for one in ended)
    assert (tmp_path / "scores" / "scores.csv").is_file()
    assert "Traceback" not in (tmp_path / "logs" / "bad.txt").read_text()


def test_a_job_imports_nothing_from_the_current_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "random.py").write_text("open('executed', 'w')\n")
    ended: list[Ended] = []
    Local(1, tmp_path / "logs").run([BAD], ended.append)
    assert told(ended) == {"bad": "none: no such file; name a cohort (pairs.csv) or its folder"}
    assert not (tmp_path / "executed").exists()


@pytest.mark.parametrize(("given", "expected"), [(None, max(1, cores() // 2)), ("7", 7)])
def test_processes_share_the_cores(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, given: str | None, expected: int
) -> None:
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    if given is not None:
        monkeypatch.setenv("OMP_NUM_THREADS", given)
    assert Local(2, tmp_path)._environment["OMP_NUM_THREADS"] == str(expected)
    assert Local(10**6, tmp_path)._environment["OMP_NUM_THREADS"] == (given or "1")


@pytest.mark.slow
def test_processes_end_when_the_study_does(cohort_2d: Cohort, tmp_path: Path) -> None:
    """The second job is interrupted; its process is gone when `run` has ended."""
    seen: list[int] = []

    class Watched(Local):
        def _start(self, job: Job) -> Any:
            process = super()._start(job)
            seen.append(process.pid)
            return process

    def stop(_ended: Ended) -> None:
        raise KeyboardInterrupt

    config = {"steps": 1_000_000, "batch_size": 2}
    slow = Job(
        "slow", "train", {"cohort": cohort_2d.name, "out": str(tmp_path / "run"), "config": config, "parts": {}}
    )
    with pytest.raises(KeyboardInterrupt):
        Watched(2, tmp_path / "logs").run([slow, BAD], stop)
    assert len(seen) == 2
    for number in seen:
        with pytest.raises(ProcessLookupError):
            os.kill(number, 0)


class Submitted:
    """A job of a queue that is looked at twice before it ends."""

    def __init__(self, call: Callable[[], Any]) -> None:
        self.call, self.looks, self.cancelled = call, 0, False
        self.error: BaseException | None = None

    def done(self) -> bool:
        self.looks += 1
        if self.looks == 2:
            try:
                self.call()
            except RuntimeError as error:
                self.error = error
        return self.looks >= 2

    def exception(self) -> BaseException | None:
        return self.error

    def cancel(self) -> None:
        self.cancelled = True


class Queue:
    def __init__(self) -> None:
        self.jobs: list[Submitted] = []

    def submit(self, fn: Callable[[], Any]) -> Submitted:
        self.jobs.append(Submitted(fn))
        return self.jobs[-1]


@pytest.mark.slow
def test_a_queue_gets_all_jobs_of_a_stage_at_once(good: Job) -> None:
    queue, ended = Queue(), list[Ended]()
    Slurm(queue, poll=0.01).run([good, BAD], ended.append)
    assert [job.call for job in queue.jobs] == [Command(good), Command(BAD)]
    assert told(ended) == {
        "good": "",
        "bad": "none: no such file; name a cohort (pairs.csv) or its folder",
    }
    assert [one.running for one in ended] == [1, 0]
    assert not any(job.cancelled for job in queue.jobs)


@pytest.mark.slow
def test_what_is_still_in_the_queue_is_taken_out_when_the_study_ends() -> None:
    queue = Queue()

    def stop(_ended: Ended) -> None:
        raise KeyboardInterrupt

    later = Job("later", "train", {})
    with pytest.raises(KeyboardInterrupt):
        Slurm(queue, poll=0.01).run([BAD, later], stop)
    assert [job.cancelled for job in queue.jobs] == [False, True]


def test_without_submitit_the_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def absent(name: str) -> Any:
        raise ModuleNotFoundError(name)

    monkeypatch.setattr(jobs, "import_module", absent)
    with pytest.raises(UserError, match=r"pip install 'heteroreg\[slurm\]'"):
        slurm({}, tmp_path)


class TestSubmitit:
    """With submitit itself, on this machine."""

    @pytest.fixture
    def submitit(self) -> Any:
        return pytest.importorskip("submitit")

    @pytest.mark.slow
    @pytest.mark.long
    def test_jobs_of_this_machine(self, submitit: Any, good: Job, tmp_path: Path) -> None:
        executor = submitit.LocalExecutor(folder=tmp_path)
        executor.update_parameters(timeout_min=5)
        ended: list[Ended] = []
        Slurm(executor, poll=0.2).run([good, BAD], ended.append)
        assert told(ended)["good"] == ""
        assert told(ended)["bad"].startswith("none: no such file")

    def test_a_preempted_job_is_submitted_again(self, submitit: Any) -> None:
        again = Command(BAD).checkpoint()
        assert isinstance(again, importlib.import_module("submitit.helpers").DelayedSubmission)
        assert again.function == Command(BAD)

    def test_where_there_is_no_slurm(self, submitit: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("PATH", str(tmp_path))
        with pytest.raises(UserError, match="slurm: "):
            slurm({"partition": "gpu"}, tmp_path)

    @pytest.mark.parametrize("parameters", [{}, {"setup": ["module load cuda"]}], ids=str)
    def test_submitit_imports_nothing_from_the_current_folder(
        self, submitit: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, parameters: dict[str, Any]
    ) -> None:
        for name in ("srun", "sbatch"):
            (tmp_path / name).write_text("#!/bin/sh\necho Submitted batch job 1\n")
            (tmp_path / name).chmod(0o755)
        monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
        slurm({"time": 5, **parameters}, tmp_path / "jobs")._executor.submit(Command(BAD))
        script = next((tmp_path / "jobs").glob("*.sh"))
        lines = script.read_text().splitlines()
        begins = next(number for number, line in enumerate(lines) if line.startswith("srun "))
        for line in ("export PYTHONSAFEPATH=1", *parameters.get("setup", [])):
            assert lines.index(line) < begins
