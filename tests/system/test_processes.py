"""Several processes: the same global batch gives the same losses as one."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from heteroreg.cli.app import main
from heteroreg.data.cohort import Cohort
from heteroreg.system import lost_process as lost
from heteroreg.system.errors import StoppedError, UserError
from heteroreg.system.processes import start
from heteroreg.training import Run, checkpoint, train
from heteroreg.training.state import State

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
    """Two processes that torchrun started have trained here."""
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
    first, second = (checkpoint.read(run.checkpoint("last"))[0] for run in (one, two))
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


@pytest.mark.long
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
    (said,) = done.stdout.splitlines()  # one of both says it
    assert said.startswith("trained, validation Dice ")
    assert said.endswith(f"; the run is in {tmp_path / 'two'}")
    assert all(line.startswith("training hetero: ") for line in done.stderr.splitlines())
    two = Run.read(tmp_path / "two")
    columns = ["step", "loss", "data", "smoothness", "variance", "val_loss"]
    np.testing.assert_allclose(one.metrics[columns], two.metrics[columns], rtol=2e-4, atol=1e-8)


def listening(program: str) -> set[str]:
    """Addresses, as the kernel writes them, on which processes with this word in their command wait for others."""
    sockets = {}
    for table in ("tcp", "tcp6"):
        for line in Path("/proc/net", table).read_text().splitlines()[1:]:
            fields = line.split()
            if fields[3] == "0A":  # listens
                sockets[f"socket:[{fields[9]}]"] = fields[1].split(":")[0]
    found = set()
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):  # it has ended
            if program.encode() in (folder / "cmdline").read_bytes():
                links = {str(link.readlink()) for link in (folder / "fd").iterdir()}
                found |= {address for name, address in sockets.items() if name in links}
    return found


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/net/tcp").is_file(), reason="needs /proc to see who listens")
def test_processes_of_one_machine_listen_on_loopback_alone(cohort_2d: Cohort, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "heteroreg", "train", cohort_2d.name, "--out", str(tmp_path / "listens")]
    options = ["--devices", "2", "--method", "mse", "--steps", "20", "--set", "batch_size=2", "--quiet"]
    seen = set()
    with subprocess.Popen([*command, *options], env=environment()) as process:
        while process.poll() is None:
            seen |= listening(str(tmp_path / "listens"))
            time.sleep(0.05)
    assert process.returncode == 0
    assert seen == {"0100007F"}  # 127.0.0.1


@pytest.fixture
def spoilt(cohort_2d: Cohort, tmp_path: Path) -> Cohort:
    """A copy of the cohort with one file cut short: of the second training pair, which the second process reads."""
    shutil.copytree(Path(cohort_2d.name).parent, tmp_path / "spoilt")
    cohort = Cohort.read(tmp_path / "spoilt")
    path = cohort.split("train")[1].moving
    path.write_bytes(path.read_bytes()[:-200])
    return cohort


@pytest.mark.slow
def test_an_error_in_one_process_ends_all_with_one_line(spoilt: Cohort, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "heteroreg", "train", spoilt.name, "--method", "mse", "--set", "batch_size=2"]
    done = subprocess.run(
        [*command, "--out", str(tmp_path / "run"), "--devices", "2", "--quiet"],
        timeout=240,
        env=environment(),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert line.startswith(f"heteroreg: {spoilt.split('train')[1].moving}: ")
    assert done.stdout == ""
    assert not (tmp_path / "run" / "checkpoints").exists()


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
    command = [sys.executable, "-m", "heteroreg", "train", cohort_2d.name, "--method", "mse", "--steps", "2"]
    processes = [
        subprocess.Popen(
            [*command, "--set", "batch_size=2", "--out", str(tmp_path / "two"), "--nodes", "2"],
            env=environment(**slurm(2, rank), MASTER_ADDR="127.0.0.1", MASTER_PORT=port),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(2)
    ]
    outputs = [process.communicate(timeout=240) for process in processes]
    assert [process.returncode for process in processes] == [0, 0], outputs
    (said, _), (silent, nothing) = outputs
    assert said.endswith(f"; the run is in {tmp_path / 'two'}\n")
    assert said.count("\n") == 1
    assert silent + nothing == ""
    assert len(Run.read(tmp_path / "two").metrics) > 0


def one_line(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *arguments: str | Path) -> str:
    """What a command that fails prints."""
    monkeypatch.setattr("sys.argv", ["heteroreg", *map(str, arguments)])
    with pytest.raises(SystemExit) as stop:
        main()
    assert stop.value.code == 2
    (line,) = capsys.readouterr().err.splitlines()
    return line


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
    variables: dict[str, str],
    options: tuple[str | int, ...],
    says: str,
    cohort_2d: Cohort,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value) if value else monkeypatch.delenv(name, raising=False)
    line = one_line(monkeypatch, capsys, "train", cohort_2d.name, "--out", tmp_path / "out", *map(str, options))
    assert says in line
    assert line.startswith("heteroreg: --devices ")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("command", ["evaluate", "register"])
@pytest.mark.parametrize(
    ("variables", "by"),
    [(slurm(2, 1), "SLURM"), ({"TORCHELASTIC_RUN_ID": "1", "WORLD_SIZE": "2"}, "torchrun")],
    ids=["SLURM", "torchrun"],
)
def test_what_needs_one_process_is_not_done_twice(
    command: str,
    variables: dict[str, str],
    by: str,
    cohort_2d: Cohort,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    line = one_line(
        monkeypatch, capsys, command, cohort_2d.name, "--model", "undeformed", "--out", tmp_path / "out"
    )
    assert line == f"heteroreg: {command}: needs one process but {by} started 2; start one"
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
    with pytest.raises(UserError, match=f"strategy {strategy}: is not supported; use auto or ddp"):
        start(strategy=strategy)


def test_a_batch_that_cannot_be_cut(cohort_2d: Cohort, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="batch_size"):
        train(cohort_2d, tmp_path / "run", config={**SETTINGS, "accumulate": 3})


def test_a_process_ends_when_the_one_that_started_it_is_gone(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    codes: list[int] = []
    over = threading.Event()

    def leave(code: int) -> None:
        codes.append(code)
        over.set()  # the real one does not come back

    monkeypatch.setattr(lost, "LOOK_SECONDS", 0.01)
    monkeypatch.setattr(os, "_exit", leave)
    monkeypatch.setenv("LOCAL_RANK", "1")
    monkeypatch.setenv(lost.FIRST_PROCESS, str(os.getppid()))
    fabric = SimpleNamespace(world_size=2)
    monkeypatch.chdir(tmp_path)
    Path("run/checkpoints/last").mkdir(parents=True)
    Path("run/checkpoints/last/state.json").touch()
    with lost.lost_process(Path("run"), fabric):  # type: ignore[arg-type]
        assert not over.wait(0.1)  # it is there
        monkeypatch.setattr(os, "getppid", lambda: 1)
        assert over.wait(10)
    assert codes[0] == 2
    line = capsys.readouterr().err.splitlines()[0]
    assert line.startswith("heteroreg: run: another process of this work ended")
    assert line.endswith("the last checkpoint is kept, resume the training")


@pytest.mark.parametrize(
    ("error", "world_size", "expected"),
    [
        (RuntimeError("[gloo/transport/tcp/pair.cc:537] Connection reset by peer"), 2, UserError),
        (RuntimeError("[/build/third_party/gloo/gloo/transport/tcp/pair.cc:537] Read timeout"), 2, UserError),
        (torch.distributed.DistNetworkError("recvValue failed"), 2, UserError),
        (torch.distributed.DistBackendError("NCCL communicator was aborted"), 2, UserError),
        (torch.distributed.DistStoreError("wait timeout"), 2, UserError),
        (RuntimeError("[gloo/transport/tcp/pair.cc:537] Connection reset by peer"), 1, RuntimeError),
        (torch.distributed.DistNetworkError("recvValue failed"), 1, RuntimeError),
        (RuntimeError("The size of tensor a must match the size of tensor b"), 2, RuntimeError),
        (RuntimeError("cannot restore the optimiser from a peer of another socket"), 2, RuntimeError),
        (torch.OutOfMemoryError("CUDA out of memory"), 2, RuntimeError),
    ],
)
def test_a_lost_process_is_told_from_a_fault(
    error: RuntimeError, world_size: int, expected: type[Exception]
) -> None:
    fabric = SimpleNamespace(world_size=world_size)
    with pytest.raises(expected) as raised, lost.lost_process(Path("run"), fabric):  # type: ignore[arg-type]
        raise error
    assert type(raised.value) is (UserError if expected is UserError else type(error))


@pytest.mark.parametrize(
    ("module", "is_lost"), [("torch.distributed.distributed_c10d", True), ("torch.nn.functional", False)]
)
def test_an_error_in_a_call_between_processes_means_that_one_is_lost(module: str, is_lost: bool) -> None:
    names: dict[str, Any] = {"__name__": module}
    exec("def fail():\n    raise RuntimeError('unhandled')", names)
    with pytest.raises(RuntimeError) as raised:
        names["fail"]()
    assert lost.is_lost_process(raised.value) is is_lost


def test_what_is_meant_for_the_second_process_is_not_left_to_others(
    cohort_2d: Cohort, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(lost.FIRST_PROCESS, raising=False)
    train(cohort_2d, tmp_path / "run", steps=1, batch_size=2)
    assert lost.FIRST_PROCESS not in os.environ
