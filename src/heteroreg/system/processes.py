"""Several processes for one training, through Lightning Fabric."""

from __future__ import annotations

import atexit
import logging
import os
import socket
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, cast

import torch
from lightning_fabric import Fabric
from lightning_fabric.plugins.environments.lightning import LightningEnvironment
from lightning_fabric.strategies.ddp import DDPStrategy
from lightning_fabric.utilities.exceptions import MisconfigurationException
from torch import distributed

from heteroreg.system.errors import UserError
from heteroreg.system.lost_process import FIRST_PROCESS, lost_process
from heteroreg.system.precision import precision_of

if TYPE_CHECKING:
    from lightning_fabric.plugins.environments.cluster_environment import ClusterEnvironment

# Sharding a network of a few hundred thousand parameters gains nothing, and checkpoints would come out in parts.
STRATEGIES = ("auto", "ddp")
LOOPBACK = "127.0.0.1"
_TALKATIVE = ("lightning_fabric.utilities.rank_zero", "lightning_fabric.utilities.distributed")


def start(precision: str = "32-true", devices: int = 1, nodes: int = 1, strategy: str = "auto") -> Fabric:
    """Start the processes that share a piece of work.

    On one machine the first process starts the others, with the same command. Under SLURM or torchrun the
    scheduler has started them all, and Fabric finds its place among them.

    Args:
        precision: `32-true`, `bf16-mixed`, or `auto`.
        devices: Processes on each machine.
        nodes: Machines.
        strategy: `ddp`, or `auto`, which is DDP with several processes.

    Raises:
        UserError: This machine does not offer what is asked for, or the scheduler started another number of
            processes.
    """
    several = devices * nodes > 1
    if strategy not in STRATEGIES:
        raise UserError(
            f"strategy {strategy}: is not supported; use {' or '.join(STRATEGIES)}", argument="strategy"
        )
    if several:
        require_places(devices, nodes)
    try:
        with _quiet():
            fabric = Fabric(
                accelerator="auto",
                devices=devices,
                num_nodes=nodes,
                strategy=OneMachine() if several and nodes == 1 and not _started()[1] else strategy,
                precision=precision_of(precision, "cuda" if torch.cuda.is_available() else "cpu"),
                # A single process needs no place among others.
                plugins=None if several else [LightningEnvironment()],
            )
            _launch(fabric)
    except (ValueError, RuntimeError, TypeError, MisconfigurationException) as error:
        asked = f"devices {devices}, `nodes` {nodes}, `strategy` {strategy}"
        raise UserError(f"{asked}: not possible here ({error})", argument="devices") from error
    if several:
        atexit.register(_leave)
    return fabric


class OneMachine(DDPStrategy):
    """DDP between processes of one machine, which listen on its loopback interface alone.

    PyTorch's own way listens on all interfaces, and takes whoever comes for one of the processes.
    """

    def setup_environment(self) -> None:
        """Connect the processes; Fabric takes the connection that is there."""
        environment = cast("ClusterEnvironment", self.cluster_environment)
        rank, port = environment.local_rank(), environment.main_port
        loopback = next((name for _, name in socket.if_nameindex() if name.startswith("lo")), "")
        for library in ("GLOO", "NCCL") if loopback else ():
            os.environ.setdefault(f"{library}_SOCKET_IFNAME", loopback)
        distributed.init_process_group(
            "nccl" if self.root_device.type == "cuda" else "gloo",
            store=_store(port, self.num_processes, first=rank == 0),
            rank=rank,
            world_size=self.num_processes,
            device_id=self.root_device if self.root_device.type == "cuda" else None,
        )
        super().setup_environment()


def _store(port: int, processes: int, *, first: bool) -> Any:
    """Return the store by which processes find each other; the first one serves it, on loopback."""
    store = cast("Any", distributed).TCPStore
    if not first:
        return store(LOOPBACK, port, processes, is_master=False)
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind((LOOPBACK, port))
    listener.listen()
    return store(
        LOOPBACK, port, processes, is_master=True, wait_for_workers=False, master_listen_fd=listener.detach()
    )


@contextmanager
def _quiet() -> Iterator[None]:
    """Silence Fabric's reports on the number of processes, which the user has just chosen."""
    loggers = [logging.getLogger(name) for name in _TALKATIVE]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "The `srun` command is available")  # `require_places` checks it
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


def _launch(fabric: Fabric) -> None:
    """Start the other processes; they learn which one started them."""
    starts_others = fabric.world_size > 1 and "LOCAL_RANK" not in os.environ
    if starts_others:
        os.environ[FIRST_PROCESS] = str(os.getpid())
    try:
        with lost_process("the start", fabric):
            fabric.launch()
    finally:
        if starts_others:  # the children have a copy; others must not take it for theirs
            del os.environ[FIRST_PROCESS]


def _leave() -> None:
    """End the talk between processes: its threads may abort the interpreter if they end with it."""
    if distributed.is_available() and distributed.is_initialized():
        distributed.destroy_process_group()


def require_places(devices: int, nodes: int) -> None:
    """Check that SLURM or torchrun started as many processes as asked for.

    Otherwise several would each do all the work and write the same files, or wait for others that never come.

    Raises:
        UserError: It did not.
    """
    asked = devices * nodes
    where = f"devices {devices}, `nodes` {nodes}"
    started, by = _started()
    if by == "SLURM" and "SLURM_STEP_ID" not in os.environ:  # in the batch script itself, which is one process
        if asked > 1:
            raise UserError(
                f"{where}: under SLURM begin the command with `srun`, which starts the processes",
                argument="devices",
            )
        return
    if by and started != asked:
        raise UserError(
            f"{where}: makes {asked} processes but {by} started {started}; give the processes on each machine and "
            "the machines as you asked for them there",
            argument="devices",
        )


def require_one_process(work: str) -> None:
    """Check that SLURM or torchrun did not start work several times that is for one process.

    Args:
        work: What it is, as the subject of the message.

    Raises:
        UserError: It did.
    """
    started, by = _started()
    if started > 1 and not (by == "SLURM" and "SLURM_STEP_ID" not in os.environ):
        raise UserError(f"{work}: needs one process but {by} started {started}; start one")


def _started() -> tuple[int, str]:
    """Return how many processes a scheduler started, and which; 1 and "" without a scheduler."""
    has = os.environ.get
    if distributed.is_available() and distributed.is_torchelastic_launched():
        return int(has("WORLD_SIZE", "1")), "torchrun"
    if has("SLURM_NTASKS", "").isdecimal() and has("SLURM_JOB_NAME") not in ("bash", "interactive"):
        return int(has("SLURM_NTASKS", "1")), "SLURM"
    return 1, ""


def is_first() -> bool:
    """Return True for the process that speaks to the user, or that works alone."""
    return not (distributed.is_available() and distributed.is_initialized()) or distributed.get_rank() == 0


@contextmanager
def together(fabric: Fabric) -> Iterator[None]:
    """Raise an error of one process in all of them; only the first process reports it.

    All processes leave the block together. A process that waits for a lost one notices it, see `lost_process`.

    Args:
        fabric: The processes.

    Raises:
        UserError: The error of this or another process.
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
    expected = isinstance(mine, UserError | OSError)
    said = (
        mine if expected or mine is None else UserError(f"another process failed ({type(mine).__name__}: {mine})")
    )
    first = next((error for error in _all(fabric, said) if error is not None), None)
    if mine is not None and not expected:
        raise mine  # a bug: the process that met it shows the traceback
    if first is not None:
        first.elsewhere = not fabric.is_global_zero
        raise first


def _all(fabric: Fabric, own: Any) -> list[Any]:
    """Return the values of all processes, in every process."""
    result: list[Any] = [None] * fabric.world_size
    distributed.all_gather_object(result, own)
    return result
