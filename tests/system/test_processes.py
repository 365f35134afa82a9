"""Several processes: the same global batch gives the same losses as one, and the work is shared out."""

from __future__ import annotations

import csv
import json
import os
import shutil
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch

from heteroreg.cli.app import main
from heteroreg.data.cohort import Cohort
from heteroreg.evaluation import evaluate
from heteroreg.registration.cohort import register_cohort
from heteroreg.registration.load import load
from heteroreg.system import processes
from heteroreg.system.errors import StoppedError, UserError
from heteroreg.system.processes import start
from heteroreg.training import Run, checkpoint, train
from heteroreg.training.loop import State

FLOAT = {"precision": "32-true", "log_every": 1}
SETTINGS = {**FLOAT, "method": "hetero", "steps": 4, "batch_size": 4}
SHORT = {**FLOAT, "steps": 4, "batch_size": 4, "validate_every": 4}
# Long enough that the published warm start and the phase of the variance alone have a step each.
PAPER = {**FLOAT, "method": "hetero-paper", "steps": 15, "validate_every": 15}
# What two processes train, and what one process has to train for the same. The published weighting looks at the
# part of the batch that is computed together, so that there one process has to take as many parts.
TRAININGS = {
    "mse": ({**SHORT, "method": "mse"}, {}),
    "nll": ({**SHORT, "method": "nll"}, {}),
    "hetero-in-parts": ({**SHORT, "method": "hetero", "accumulate": 2}, {"accumulate": 1}),
    # Each part of a batch has noise of its own, whichever process computes it.
    "sampled": ({**SHORT, "method": "sigma-z", "learning_rate": 1e-2}, {"accumulate": 2}),
    "paper": ({**PAPER, "batch_size": 4}, {"accumulate": 2}),
    "paper-in-parts": ({**PAPER, "batch_size": 8, "accumulate": 2}, {"accumulate": 4}),
}
SCRIPT = """
import json, sys
import heteroreg as hr

cohort, out, trainings = hr.Cohort.read(sys.argv[1]), sys.argv[2], json.loads(sys.argv[3])
for name, settings in trainings.items():
    hr.train(cohort, f"{out}/{name}", config=settings, devices=2)
hr.train(cohort, f"{out}/resumed", resume=True, devices=2)
registrar = hr.load(f"{out}/hetero-in-parts")
scores = hr.evaluate(registrar, cohort, out=f"{out}/scores", devices=2)
table = hr.register_cohort(registrar, cohort, f"{out}/registered", devices=2)
assert len(scores.table) == len(table) == len(cohort)  # in either process
"""


def environment(**more: str) -> dict[str, str]:
    return {**os.environ, "OMP_NUM_THREADS": "1", **more}


@contextmanager
def one_thread() -> Iterator[None]:
    """As each of several processes has it: the last digit of a convolution depends on the number of threads."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def without_seconds(table: Path) -> list[list[str]]:
    with table.open(newline="") as handle:
        rows = list(csv.reader(handle))
    timed = rows[0].index("seconds")
    return [row[:timed] + row[timed + 1 :] for row in rows]


def half_way(cohort: Cohort, out: Path) -> None:
    """A run of one process that was asked to stop after its second checkpoint."""
    save, saved = State.save, []

    def save_and_stop(self: State, run: Run) -> None:
        save(self, run)
        saved.append(self.step)
        if len(saved) == 2:
            raise StoppedError("stop", 15)

    with pytest.MonkeyPatch.context() as patch, one_thread():
        patch.setattr(State, "save", save_and_stop)
        with pytest.raises(StoppedError):
            train(cohort, out, config={**SHORT, "checkpoint_every": 1})
    assert saved == [1, 2]


@pytest.fixture(scope="module")
def of_two(cohort_2d: Cohort, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What two processes that torchrun started have trained, evaluated and registered."""
    out = tmp_path_factory.mktemp("two")
    half_way(cohort_2d, out / "resumed")
    (out / "script.py").write_text(SCRIPT)
    trainings = json.dumps({name: settings for name, (settings, _) in TRAININGS.items()})
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    command = [*torchrun, str(out / "script.py"), cohort_2d.name, str(out), trainings]
    done = subprocess.run(command, timeout=300, env=environment(), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    return out


@pytest.mark.slow
@pytest.mark.parametrize("name", TRAININGS)
def test_two_processes_learn_what_one_learns(name: str, of_two: Path, cohort_2d: Cohort, tmp_path: Path) -> None:
    settings, alone = TRAININGS[name]
    with one_thread():
        one = train(cohort_2d, tmp_path / "one", config={**settings, **alone})
    two = Run.read(of_two / name)
    columns = ["step", "loss", "data", "smoothness", "variance", "val_loss"]
    assert len(one.metrics) == settings["steps"]
    np.testing.assert_allclose(one.metrics[columns], two.metrics[columns], rtol=2e-4, atol=1e-8)
    first, second = (checkpoint.load(run.checkpoint("last"))[0] for run in (one, two))
    assert first.keys() == second.keys()
    for tensor in first:
        if tensor.startswith(("network.", "objective.")):
            assert float((first[tensor] - second[tensor]).abs().mean()) < 2e-5, tensor


@pytest.mark.slow
def test_two_processes_go_on_where_one_stopped(of_two: Path, cohort_2d: Cohort, tmp_path: Path) -> None:
    with one_thread():
        whole = train(cohort_2d, tmp_path / "whole", config=SHORT)
    resumed = Run.read(of_two / "resumed")
    assert resumed.metrics["step"].tolist() == [1, 2, 3, 4]
    columns = ["loss", "data", "smoothness", "variance", "val_loss"]
    np.testing.assert_allclose(whole.metrics[columns], resumed.metrics[columns], rtol=2e-4, atol=1e-8)


@pytest.mark.slow
def test_two_processes_score_what_one_scores(of_two: Path, cohort_2d: Cohort, tmp_path: Path) -> None:
    with one_thread():
        evaluate(load(of_two / "hetero-in-parts"), cohort_2d, out=tmp_path / "scores")
    one, two = tmp_path / "scores", of_two / "scores"
    assert without_seconds(one / "scores.csv") == without_seconds(two / "scores.csv")
    assert (one / "sparsification.csv").read_bytes() == (two / "sparsification.csv").read_bytes()
    summaries = [json.loads((folder / "summary.json").read_text()) for folder in (one, two)]
    for summary in summaries:
        del summary["metrics"]["seconds"]
    assert summaries[0] == summaries[1]
    assert sorted(p.name for p in (one / "gallery").iterdir()) == sorted(
        p.name for p in (two / "gallery").iterdir()
    )


@pytest.mark.slow
def test_two_processes_register_what_one_registers(of_two: Path, cohort_2d: Cohort, tmp_path: Path) -> None:
    with one_thread():
        register_cohort(load(of_two / "hetero-in-parts"), cohort_2d, tmp_path)
    assert without_seconds(tmp_path / "registrations.csv") == without_seconds(
        of_two / "registered" / "registrations.csv"
    )
    for pair in cohort_2d:
        one, two = tmp_path / pair.id, of_two / "registered" / pair.id
        names = sorted(path.name for path in one.iterdir())
        assert names == sorted(path.name for path in two.iterdir())
        for name in names:
            assert name == "summary.json" or (one / name).read_bytes() == (two / name).read_bytes(), name


@pytest.mark.slow
def test_the_first_process_starts_the_others(cohort_2d: Cohort, tmp_path: Path) -> None:
    with one_thread():
        one = train(cohort_2d, tmp_path / "one", config=SETTINGS)
    options = [f"--set={name}={value}" for name, value in SETTINGS.items()]
    command = [sys.executable, "-m", "heteroreg", "train", cohort_2d.name, "--out", str(tmp_path / "two")]
    done = subprocess.run(
        [*command, *options, "--devices", "2"],
        check=True,
        timeout=240,
        env=environment(),
        capture_output=True,
        text=True,
    )
    assert done.stdout.splitlines() == [f"trained; the run is in {tmp_path / 'two'}"]  # one of both says it
    assert all(line.startswith("training hetero: ") for line in done.stderr.splitlines())
    two = Run.read(tmp_path / "two")
    columns = ["step", "loss", "data", "smoothness", "variance", "val_loss"]
    np.testing.assert_allclose(one.metrics[columns], two.metrics[columns], rtol=2e-4, atol=1e-8)


@pytest.fixture
def spoilt(cohort_2d: Cohort, tmp_path: Path) -> Cohort:
    """A copy of the cohort with one file cut short: of the second pair, which the second process takes."""
    shutil.copytree(Path(cohort_2d.name).parent, tmp_path / "spoilt")
    cohort = Cohort.read(tmp_path / "spoilt")
    path = cohort[1].moving
    path.write_bytes(path.read_bytes()[:-200])
    return cohort


@pytest.mark.slow
def test_an_error_in_one_process_ends_all_with_one_line(spoilt: Cohort, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "heteroreg", "evaluate", spoilt.name, "--model", "undeformed"]
    done = subprocess.run(
        [*command, "--split", "all", "--out", str(tmp_path / "scores"), "--devices", "2", "--quiet"],
        timeout=240,
        env=environment(),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert line.startswith(f"heteroreg: {spoilt[1].moving}: ")
    assert done.stdout == ""
    assert not (tmp_path / "scores").exists()


def slurm(processes: int, rank: int, **more: str) -> dict[str, str]:
    """What SLURM tells each of the processes that `srun` starts, one on each machine."""
    return {
        "SLURM_JOB_ID": "4242",
        "SLURM_JOB_NAME": "hearts",
        "SLURM_STEP_ID": "0",
        "SLURM_NTASKS": str(processes),
        "SLURM_NTASKS_PER_NODE": "1",
        "SLURM_NNODES": str(processes),
        "SLURM_PROCID": str(rank),
        "SLURM_NODEID": str(rank),
        "SLURM_LOCALID": "0",
        **more,
    }


@pytest.mark.slow
def test_under_slurm_each_process_takes_its_place(cohort_2d: Cohort, tmp_path: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    command = [sys.executable, "-m", "heteroreg", "evaluate", cohort_2d.name, "--model", "undeformed"]
    processes = [
        subprocess.Popen(
            [*command, "--split", "all", "--out", str(tmp_path / "two"), "--nodes", "2"],
            env=environment(**slurm(2, rank), MASTER_ADDR="127.0.0.1", MASTER_PORT=port),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(2)
    ]
    outputs = [process.communicate(timeout=240) for process in processes]
    assert [process.returncode for process in processes] == [0, 0], outputs
    (said, progress), (silent, nothing) = outputs
    assert said.startswith(f"wrote {tmp_path / 'two'}: dice_1 ")
    # Nothing is shown of what is over in two seconds.
    assert not progress or f"evaluate undeformed: {len(cohort_2d)}/{len(cohort_2d)}" in progress
    assert silent + nothing == ""
    table = pd.read_csv(tmp_path / "two" / "scores.csv")
    assert table["id"].tolist() == [pair.id for pair in cohort_2d]


def one_line(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *arguments: str | Path) -> str:
    """What a command that fails prints."""
    monkeypatch.setattr("sys.argv", ["heteroreg", *map(str, arguments)])
    with pytest.raises(SystemExit) as stop:
        main()
    assert stop.value.code == 2
    (line,) = capsys.readouterr().err.splitlines()
    return line


@pytest.mark.parametrize("command", ["train", "evaluate", "register"])
@pytest.mark.parametrize(
    ("variables", "options", "says"),
    [
        (slurm(2, 0), (), "makes 1 processes but SLURM started 2"),
        (slurm(2, 0, SLURM_NNODES="1"), ("--devices", 3), "makes 3 processes but SLURM started 2"),
        (slurm(2, 0, SLURM_NNODES="1", SLURM_NTASKS_PER_NODE="2"), ("--nodes", 2), "--ntasks-per-node=2"),
        ({**slurm(2, 0), "SLURM_STEP_ID": ""}, ("--nodes", 2), "srun"),
        ({"TORCHELASTIC_RUN_ID": "1", "WORLD_SIZE": "4"}, ("--devices", 2), "but torchrun started 4"),
    ],
    ids=["no options", "too many", "other machines", "no srun", "torchrun"],
)
def test_options_that_do_not_fit_what_the_scheduler_started(
    command: str,
    variables: dict[str, str],
    options: tuple[str | int, ...],
    says: str,
    run_2d: Run,
    cohort_2d: Cohort,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value) if value else monkeypatch.delenv(name, raising=False)
    model = () if command == "train" else ("--model", str(run_2d.folder))
    line = one_line(
        monkeypatch, capsys, command, cohort_2d.name, *model, "--out", tmp_path / "out", *map(str, options)
    )
    assert says in line
    assert line.startswith("heteroreg: --devices ")
    assert not (tmp_path / "out").exists()


def test_one_process_in_the_batch_script_itself_is_fine(
    cohort_2d: Cohort, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in slurm(4, 0).items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("SLURM_STEP_ID")
    train(cohort_2d, tmp_path / "run", method="mse", steps=1, batch_size=1)


@pytest.mark.parametrize("strategy", ["fsdp", "ddp_spawn", "teleport"])
def test_a_strategy_that_is_not_supported(strategy: str) -> None:
    with pytest.raises(UserError, match=f"--strategy {strategy}: is not supported; use auto or ddp"):
        start(strategy=strategy)


def test_a_batch_that_cannot_be_cut(cohort_2d: Cohort, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="batch_size"):
        train(cohort_2d, tmp_path / "run", config={**SETTINGS, "accumulate": 3})


def test_a_process_ends_when_the_one_that_started_it_is_gone(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    codes: list[int] = []
    over = threading.Event()

    def leave(code: int) -> None:
        codes.append(code)
        over.set()  # the real one does not come back

    monkeypatch.setattr(processes, "LOOK", 0.01)
    monkeypatch.setattr(os, "_exit", leave)
    monkeypatch.setenv("LOCAL_RANK", "1")
    monkeypatch.setenv(processes.FIRST, str(os.getppid()))
    fabric = SimpleNamespace(world_size=2)
    with processes.lost_process(Path("run"), fabric):  # type: ignore[arg-type]
        assert not over.wait(0.1)  # it is there
        monkeypatch.setattr(os, "getppid", lambda: 1)
        assert over.wait(10)
    assert codes[0] == 2
    line = capsys.readouterr().err.splitlines()[0]
    assert line.startswith("heteroreg: run: another process of this work ended")
    assert line.endswith("what was saved is kept, go on with --resume")


@pytest.mark.parametrize(
    ("message", "world_size", "expected"),
    [
        ("[gloo/transport/tcp/pair.cc:537] Connection reset by peer", 2, UserError),
        ("[gloo/transport/tcp/pair.cc:537] Connection reset by peer", 1, RuntimeError),
        ("The size of tensor a must match the size of tensor b", 2, RuntimeError),
    ],
)
def test_a_lost_process_is_told_from_a_fault(message: str, world_size: int, expected: type[Exception]) -> None:
    fabric = SimpleNamespace(world_size=world_size)
    with pytest.raises(expected), processes.lost_process(Path("run"), fabric):  # type: ignore[arg-type]
        raise RuntimeError(message)


def test_what_is_meant_for_the_second_process_is_not_left_to_others(
    cohort_2d: Cohort, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(processes.FIRST, raising=False)
    train(cohort_2d, tmp_path / "run", steps=1, batch_size=2)
    assert processes.FIRST not in os.environ
