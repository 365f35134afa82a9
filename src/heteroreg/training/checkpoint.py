"""Checkpoints that are whole or not there: tensors in safetensors, the rest in JSON."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from safetensors.torch import save as serialise
from torch import Tensor, nn

from heteroreg.errors import UserError
from heteroreg.files import atomic_file, write_text
from heteroreg.training.config import SCHEMA_VERSION, newer

STATE = "state.json"


def save(folder: Path, tensors: Mapping[str, Tensor], meta: Mapping[str, Any]) -> None:
    """Writes a checkpoint over an earlier one, so that at every moment one of both can be read.

    The tensors go to a new file first. Replacing `state.json`, which names that file, makes the checkpoint
    current; then the older tensors are removed.

    Args:
        folder: `checkpoints/last` or `checkpoints/best`.
        tensors: By name.
        meta: What else there is to know; its `step` names the file.

    Raises:
        OSError: It could not be written. The earlier checkpoint is whole.
    """
    folder.mkdir(parents=True, exist_ok=True)
    file = f"tensors-{meta['step']:07d}.safetensors"
    # Not `save_file`: it goes through a file of its own, which a kill leaves and which only its owner can read.
    content = serialise({name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()})
    with atomic_file(folder / file) as temporary:
        temporary.write_bytes(content)
    state = {"schema_version": SCHEMA_VERSION, "tensors": file, **meta}
    write_text(folder / STATE, json.dumps(state, indent=2) + "\n")
    for old in folder.iterdir():
        if old.name not in (file, STATE):
            old.unlink()


def tidy(folder: Path) -> None:
    """Removes tensors that a kill or a full disk has left beside those of the current checkpoint."""
    path = folder / STATE
    try:
        current = json.loads(path.read_text(encoding="utf-8"))["tensors"] if path.is_file() else None
    except (ValueError, KeyError, TypeError):
        return  # damaged: nothing may go before someone has looked
    for file in folder.glob("tensors-*.safetensors"):
        if file.name != current:
            file.unlink()


def load(folder: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Reads a checkpoint.

    Returns:
        The tensors by name, and the rest.

    Raises:
        UserError: It is missing, damaged, or of a newer schema.
    """
    path = folder / STATE
    if not path.is_file():
        raise UserError(f"{folder}: holds no checkpoint; train first, or name another run")
    try:
        state = json.loads(path.read_text(encoding="utf-8"))
        version = int(state["schema_version"])
        if version > SCHEMA_VERSION:
            raise UserError(newer(path, version))
        # The name alone: a checkpoint cannot point out of its folder.
        return load_file(folder / Path(str(state["tensors"])).name), state
    except (ValueError, KeyError, TypeError, OSError, SafetensorError) as error:
        raise UserError(
            f"{folder}: the checkpoint is damaged ({error}); use the run's other checkpoint or train again"
        ) from error


def optimizer_tensors(optimizer: torch.optim.Optimizer, prefix: str) -> dict[str, Tensor]:
    """The state of an optimiser as tensors named `prefix.<parameter>.<entry>`."""
    state = optimizer.state_dict()["state"]
    return {f"{prefix}.{index}.{key}": value for index, entries in state.items() for key, value in entries.items()}


def restore_optimizer(optimizer: torch.optim.Optimizer, tensors: Mapping[str, Tensor], prefix: str) -> None:
    """Puts back what `optimizer_tensors` gave."""
    state: dict[int, dict[str, Tensor]] = {}
    for name, tensor in part(tensors, prefix).items():
        index, key = name.split(".", 1)
        state.setdefault(int(index), {})[key] = tensor
    optimizer.load_state_dict({**optimizer.state_dict(), "state": state})


def part(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """The tensors whose names begin with `prefix.`, without it."""
    return {
        name.removeprefix(f"{prefix}."): tensor for name, tensor in tensors.items() if name.startswith(f"{prefix}.")
    }


def restore_module(module: nn.Module, tensors: Mapping[str, Tensor], prefix: str, where: Path) -> None:
    """Loads the parameters of a module.

    Raises:
        UserError: They are not those of this module.
    """
    try:
        module.load_state_dict(part(tensors, prefix))
    except RuntimeError as error:
        raise UserError(
            f"{where}: the checkpoint does not fit its config.yaml ({' '.join(str(error).split())[:200]})"
        ) from error
