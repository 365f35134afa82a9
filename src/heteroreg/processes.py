"""Devices, precision and several processes, all through Lightning Fabric."""

from __future__ import annotations

import logging
import os
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from lightning_fabric import Fabric

from heteroreg.errors import UserError

# The process that starts the others leaves its number here for them.
FIRST = "HETEROREG_FIRST_PROCESS"
LOOK = 0.5  # seconds between two looks at it


def start(precision: str = "32-true", devices: int = 1, nodes: int = 1, strategy: str = "auto") -> Fabric:
    """Starts the processes of a piece of work.

    On one machine the first process starts the others, with the same command. Under SLURM, torchrun and the
    like the scheduler has started them all, and Fabric finds its place among them.

    Args:
        precision: `32-true`, `bf16-mixed`, or `auto`.
        devices: Processes on each machine.
        nodes: Machines.
        strategy: By the names of Fabric; `auto` is DDP where there are several processes.

    Raises:
        UserError: This machine does not offer what is asked for, or another process ended at the start.
    """
    for talker in ("distributed", "rank_zero"):  # a banner for each start
        logging.getLogger(f"lightning_fabric.utilities.{talker}").setLevel(logging.WARNING)
    try:
        fabric = Fabric(
            accelerator="auto",
            devices=devices,
            num_nodes=nodes,
            strategy=strategy,
            precision=precision_of(precision, "cuda" if torch.cuda.is_available() else "cpu"),
        )
    except (ValueError, RuntimeError) as error:
        raise UserError(
            f"--devices {devices} --nodes {nodes} --strategy {strategy}: not possible here ({error})"
        ) from error
    if fabric.device.type == "cuda":
        torch.backends.cudnn.benchmark = True  # samples are all of one size
    starts_others = "LOCAL_RANK" not in os.environ
    if starts_others:
        os.environ[FIRST] = str(os.getpid())
    try:
        with lost_process("the start", fabric):
            fabric.launch()
    finally:
        if starts_others:  # those that it started have it; others must not take it for theirs
            del os.environ[FIRST]
    return fabric


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
def lost_process(what: Path | str, fabric: Fabric) -> Iterator[None]:
    """Tells the loss of another process from a fault of this one's.

    Where the process that started this one ends and this one waits for it, nothing may ever wake it up; then
    the line is printed and the process ended from here.

    Args:
        what: What the processes work on.
        fabric: The processes.

    Raises:
        UserError: Talking to the other processes failed.
    """
    done = threading.Event()
    if int(os.environ.get("LOCAL_RANK", "0")) > 0 and FIRST in os.environ:
        threading.Thread(target=_end_with_the_first, args=(what, done), daemon=True).start()
    try:
        yield
    except RuntimeError as error:
        told = ("gloo", "nccl", "connection", "socket", "peer")
        if fabric.world_size == 1 or not any(word in str(error).lower() for word in told):
            raise
        raise UserError(_lost(what, " ".join(str(error).split())[:120])) from error
    finally:
        done.set()


def _end_with_the_first(what: Path | str, done: threading.Event) -> None:
    """Ends this process once the one that started it is gone."""
    first = int(os.environ[FIRST])
    while not done.wait(LOOK):
        if os.getppid() != first:
            print(f"heteroreg: {_lost(what, 'the first is gone')}", file=sys.stderr, flush=True)
            os._exit(2)


def _lost(what: Path | str, why: str) -> str:
    return (
        f"{what}: another process of this work ended or could not be reached ({why}); "
        "what was saved is kept, go on with --resume"
    )
