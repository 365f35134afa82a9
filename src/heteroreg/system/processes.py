"""Devices, precision and several processes, all through Lightning Fabric."""

from __future__ import annotations

import atexit
import logging
import os
import sys
import threading
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, TypeVar

import torch
from lightning_fabric import Fabric
from lightning_fabric.plugins.environments.lightning import LightningEnvironment
from lightning_fabric.utilities.exceptions import MisconfigurationException
from torch import distributed

from heteroreg.system.errors import UserError

# The process that starts the others leaves its number here for them.
FIRST = "HETEROREG_FIRST_PROCESS"
LOOK = 0.5  # seconds between two looks at it

Item = TypeVar("Item")
Result = TypeVar("Result")

# Sharding a network of a few hundred thousand parameters gains nothing, and checkpoints would come out in parts.
STRATEGIES = ("auto", "ddp")
WAIT = 0.1  # seconds between two looks at how far the others are

# How many processes there are is not news: the user has just said so.
for _name in ("lightning_fabric.utilities.rank_zero", "lightning_fabric.utilities.distributed"):
    logging.getLogger(_name).setLevel(logging.WARNING)


def start(precision: str = "32-true", devices: int = 1, nodes: int = 1, strategy: str = "auto") -> Fabric:
    """Starts the processes of a piece of work.

    On one machine the first process starts the others, with the same command. Under SLURM, torchrun and the
    like the scheduler has started them all, and Fabric finds its place among them.

    Args:
        precision: `32-true`, `bf16-mixed`, or `auto`.
        devices: Processes on each machine.
        nodes: Machines.
        strategy: `ddp`, or `auto`, which is DDP where there are several processes.

    Raises:
        UserError: This machine does not offer what is asked for, or the scheduler started another number of
            processes.
    """
    asked = f"--devices {devices} --nodes {nodes} --strategy {strategy}"
    if strategy not in STRATEGIES:
        raise UserError(f"--strategy {strategy}: is not supported; use {' or '.join(STRATEGIES)}")
    if devices * nodes > 1:
        require_places(devices, nodes)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "The `srun` command is available")  # we look for that ourselves
            fabric = Fabric(
                accelerator="auto",
                devices=devices,
                num_nodes=nodes,
                strategy=strategy,
                precision=precision_of(precision, "cuda" if torch.cuda.is_available() else "cpu"),
                # A single process needs no place among others.
                plugins=[LightningEnvironment()] if devices * nodes == 1 else None,
            )
        _launch(fabric)
        atexit.register(_leave)
    except (ValueError, RuntimeError, TypeError, MisconfigurationException) as error:
        raise UserError(f"{asked}: not possible here ({error})") from error
    return fabric


def _leave() -> None:
    """Ends the talk between processes. Left to the end of the interpreter, its threads now and then abort it."""
    if distributed.is_available() and distributed.is_initialized():
        distributed.destroy_process_group()


def require_places(devices: int, nodes: int) -> None:
    """Checks that the processes that SLURM or torchrun started are as many as asked for.

    Otherwise several would each do all the work and write the same files, or wait for others that never come.

    Raises:
        UserError: They are not.
    """
    asked, has = devices * nodes, os.environ.get
    if distributed.is_available() and distributed.is_torchelastic_launched():
        started, by = int(has("WORLD_SIZE", "1")), "torchrun"
    elif has("SLURM_NTASKS", "").isdecimal() and has("SLURM_JOB_NAME") not in ("bash", "interactive"):
        started, by = int(has("SLURM_NTASKS", "1")), "SLURM"
        if "SLURM_STEP_ID" not in os.environ:  # in the batch script itself, which is one process
            if asked > 1:
                raise UserError(
                    f"--devices {devices} --nodes {nodes}: under SLURM begin the command with `srun`, which starts "
                    "the processes"
                )
            return
    else:
        return
    if started != asked:
        raise UserError(
            f"--devices {devices} --nodes {nodes}: makes {asked} processes but {by} started {started}; give the "
            "processes on each machine and the machines as you asked for them there"
        )


def is_first() -> bool:
    """Whether this process is the one that speaks to the user; so is one that works alone."""
    return not (distributed.is_available() and distributed.is_initialized()) or distributed.get_rank() == 0


def precision_of(name: str, device: str) -> Any:
    """The precision that is meant: `auto` is bf16-mixed where the device is faster with it than in float32."""
    if name != "auto":
        return name
    if device == "cuda":
        fast = torch.cuda.is_bf16_supported()
    else:
        # PyTorch tells what a CPU can do in its newer versions only.
        capabilities: dict[str, Any] = getattr(torch.cpu, "get_capabilities", dict)()
        fast = device == "cpu" and any(capabilities.get(name) for name in ("avx512_bf16", "amx_bf16"))
    return "bf16-mixed" if fast else "32-true"


def autocast(precision: str, device: torch.device) -> torch.autocast:
    """Runs networks in the precision, outside of Fabric."""
    enabled = precision_of(precision, device.type) == "bf16-mixed"
    return torch.autocast(device.type, torch.bfloat16, enabled=enabled)


@contextmanager
def lost_process(what: Path | str, fabric: Fabric, then: str = "go on with --resume") -> Iterator[None]:
    """Tells the loss of another process from a fault of this one's.

    Where the process that started this one ends and this one waits for it, nothing may ever wake it up; then
    the line is printed and the process ended from here.

    Args:
        what: What is being made.
        fabric: The processes.
        then: What to do next.

    Raises:
        UserError: Talking to the other processes failed.
    """
    done = threading.Event()
    if int(os.environ.get("LOCAL_RANK", "0")) > 0 and FIRST in os.environ:
        threading.Thread(target=_end_with_the_first, args=(what, then, done), daemon=True).start()
    try:
        yield
    except RuntimeError as error:
        told = ("gloo", "nccl", "connection", "socket", "peer", "store")
        if fabric.world_size == 1 or not any(word in str(error).lower() for word in told):
            raise
        raise UserError(_lost(what, " ".join(str(error).split())[:120], then)) from error
    finally:
        done.set()


def _launch(fabric: Fabric) -> None:
    """Starts the other processes, which then know the one that started them."""
    starts_others = "LOCAL_RANK" not in os.environ
    if starts_others:
        os.environ[FIRST] = str(os.getpid())
    try:
        with lost_process("the start", fabric):
            fabric.launch()
    finally:
        if starts_others:  # those that it started have it; others must not take it for theirs
            del os.environ[FIRST]


def _end_with_the_first(what: Path | str, then: str, done: threading.Event) -> None:
    """Ends this process once the one that started it is gone."""
    first = int(os.environ[FIRST])
    while not done.wait(LOOK):
        if os.getppid() != first:
            with suppress(OSError, ValueError):  # nobody may be left to read it
                print(f"heteroreg: {_lost(what, 'the first is gone', then)}", file=sys.stderr, flush=True)
            os._exit(2)


def _lost(what: Path | str, why: str, then: str) -> str:
    return (
        f"{what}: another process of this work ended or could not be reached ({why}); "
        f"what was saved is kept, {then}"
    )


@contextmanager
def together(fabric: Fabric) -> Iterator[None]:
    """What fails in one process fails in all, with the same error; only the first process speaks of it.

    All processes leave the block together. A lost one is noticed by whoever waits for it.

    Args:
        fabric: The processes.

    Raises:
        UserError: One of another process.
        OSError: Likewise.
    """
    mine: Exception | None = None
    try:
        yield
    except Exception as error:
        mine = error
    if fabric.world_size == 1:
        if mine is not None:
            raise mine
        return
    ours = isinstance(mine, UserError | OSError)
    said = mine if ours or mine is None else UserError(f"another process failed ({type(mine).__name__}: {mine})")
    first = next((error for error in _all(fabric, said) if error is not None), None)
    if mine is not None and not ours:
        raise mine  # a bug of ours: the process that met it shows where
    if first is not None:
        first.elsewhere = not fabric.is_global_zero  # type: ignore[attr-defined]
        raise first


def shared(
    work: Callable[[Item], Result],
    items: Sequence[Item],
    fabric: Fabric,
    report: Callable[[int], None] = lambda _: None,
) -> list[Result]:
    """Does a piece of work for each item, each process for its share.

    Process r of n takes the items r, r + n, r + 2n, …. An error in one stops all, each after the item that it
    is at.

    Args:
        work: From an item to its result. Results travel between the processes: data, no open files.
        items: The same in all processes.
        fabric: The processes.
        report: Is called with the number of items done, by all processes together.

    Returns:
        The results in the order of the items, in every process.

    Raises:
        UserError: What `work` raised, in any process.
        OSError: Likewise.
    """
    rank, world = fabric.global_rank, fabric.world_size
    mine: list[Result] = []
    if world == 1:
        for item in items:
            mine.append(work(item))
            report(len(mine))
        return mine
    board = _board(fabric)
    with together(fabric):
        try:
            for item in items[rank::world]:
                if board.add("failed", 0):
                    break
                mine.append(work(item))
                report(board.add("done", 1))
        except BaseException:
            board.add("failed", 1)
            raise
        # Waiting here and not in the exchange that follows, which has a limit of time.
        while (done := board.add("done", 0)) < len(items) and not board.add("failed", 0):
            report(done)
            time.sleep(WAIT)
        report(done)
    parts = _all(fabric, mine)
    return [parts[index % world][index // world] for index in range(len(items))]


def _all(fabric: Fabric, own: Result) -> list[Result]:
    """What each process has, in every process."""
    result: list[Any] = [None] * fabric.world_size
    distributed.all_gather_object(result, own)
    return result


def _board(fabric: Fabric) -> Any:
    """Where processes count what is done, without waiting for one another."""
    from torch.distributed import TCPStore  # type: ignore[attr-defined]

    host = os.environ["MASTER_ADDR"]
    own = TCPStore(host, 0, is_master=True, wait_for_workers=False) if fabric.is_global_zero else None
    port = fabric.broadcast(own.port if own else 0)
    return own or TCPStore(host, port, is_master=False)
