"""Devices, precision and several processes, all through Lightning Fabric."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from lightning_fabric import Fabric

from heteroreg.errors import UserError


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
        UserError: This machine does not offer what is asked for.
    """
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
    fabric.launch()
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
def lost_process(what: Path, fabric: Fabric) -> Iterator[None]:
    """Tells the loss of another process from a fault of this one's.

    Raises:
        UserError: Talking to the other processes failed.
    """
    try:
        yield
    except RuntimeError as error:
        told = ("gloo", "nccl", "connection", "socket", "peer")
        if fabric.world_size == 1 or not any(word in str(error).lower() for word in told):
            raise
        raise UserError(
            f"{what}: another process of this work ended or could not be reached "
            f"({' '.join(str(error).split())[:120]}); what was saved is kept, go on with --resume"
        ) from error
