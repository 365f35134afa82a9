"""Checkpoints, written atomically: tensors in safetensors, the rest in JSON."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from safetensors.torch import save as serialise
from torch import Tensor, nn

from heteroreg.system.errors import UserError
from heteroreg.system.files import atomic_file, write_text
from heteroreg.system.run_files import STATE as STATE
from heteroreg.system.text import read_json
from heteroreg.training.config import SCHEMA_VERSION, newer

MOST_AXES = 64  # of a tensor that PyTorch can compute with


def save(folder: Path, tensors: Mapping[str, Tensor], meta: Mapping[str, Any]) -> None:
    """Write a checkpoint atomically: the old or the new one is always readable.

    The tensors go to a new file first. Replacing `state.json`, which names that file, makes the checkpoint
    current; then the older tensors are removed.

    Args:
        folder: `checkpoints/last` or `checkpoints/best`.
        tensors: By name.
        meta: Further entries; `step` names the file.

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
    tidy(folder)


def tidy(folder: Path) -> None:
    """Remove tensors that a kill or a full disk has left beside those of the current checkpoint."""
    path = folder / STATE
    try:
        current = json.loads(path.read_text(encoding="utf-8"))["tensors"] if path.is_file() else None
    except (ValueError, KeyError, TypeError):
        return  # damaged: nothing may go before someone has looked
    for file in folder.glob("tensors-*.safetensors"):
        if file.name != current and re.fullmatch(r"tensors-\d{7,}\.safetensors", file.name):
            file.unlink()


def read(folder: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Read a checkpoint, also while a training replaces it.

    Returns:
        The tensors by name, and the rest.

    Raises:
        UserError: It is missing, damaged, or of a newer schema.
    """
    while True:
        state = read_state(folder)
        # The name alone: a checkpoint cannot point out of its folder.
        try:
            tensors = load_file(folder / Path(state["tensors"]).name)
        except (ValueError, KeyError, TypeError, OSError, RuntimeError, SafetensorError) as error:
            if read_state(folder) != state:
                continue  # a training has made a newer checkpoint current in between
            raise damaged(folder, error) from error
        break
    for name, tensor in tensors.items():
        if tensor.dim() > MOST_AXES:
            raise damaged(folder, f"{name} has {tensor.dim()} axes")
        if tensor.is_floating_point() and not tensor.isfinite().all():
            raise damaged(folder, f"{name} holds NaN or infinite values")
    return tensors, state


def read_state(folder: Path) -> dict[str, Any]:
    """Read `state.json`, with the entries that the program relies on.

    Raises:
        UserError: It is missing, damaged, or of a newer schema.
    """
    path = folder / STATE
    if not path.is_file():
        raise UserError(f"{folder}: holds no checkpoint; train first, or name another run")
    try:
        state: dict[str, Any] = read_json(path)
    except UserError as error:
        raise damaged(folder, error) from error
    try:
        version = state["schema_version"]
        if isinstance(version, int) and version > SCHEMA_VERSION:
            raise UserError(newer(path, version))
        _check_state(state)
    except (ValueError, KeyError, TypeError) as error:
        raise damaged(folder, error) from error
    return state


def damaged(folder: Path, reason: object) -> UserError:
    """Return the error for a checkpoint that cannot be used."""
    return UserError(
        f"{folder}: the checkpoint is damaged ({reason}); use the run's other checkpoint or train again"
    )


def _check_state(state: dict[str, Any]) -> None:
    """Raise ValueError or KeyError unless the entries that the program relies on are sound."""
    for name in ("schema_version", "step"):
        if type(state[name]) is not int or not 0 <= state[name] < 2**53:
            raise ValueError(f"{name} is {state[name]!r}")
    if not isinstance(state["tensors"], str):
        raise ValueError(f"tensors is {state['tensors']!r}")
    for name in ("best", "score"):
        value = state.get(name)
        if value is not None and (type(value) not in (int, float) or not math.isfinite(value)):
            raise ValueError(f"{name} is {value!r}")


def optimizer_tensors(optimizer: torch.optim.Optimizer, prefix: str) -> dict[str, Tensor]:
    """Return the state of an optimiser as tensors named `prefix.<parameter>.<entry>`."""
    state = optimizer.state_dict()["state"]
    return {f"{prefix}.{index}.{key}": value for index, entries in state.items() for key, value in entries.items()}


def restore_optimizer(
    optimizer: torch.optim.Optimizer, tensors: Mapping[str, Tensor], prefix: str, where: Path
) -> None:
    """Restore what `optimizer_tensors` gave.

    Raises:
        UserError: It is not the state of this optimiser.
    """
    shapes = [tuple(parameter.shape) for group in optimizer.param_groups for parameter in group["params"]]
    state: dict[int, dict[str, Tensor]] = {}
    try:
        for name, tensor in part(tensors, prefix).items():
            index, key = name.split(".", 1)
            if tensor.ndim and tuple(tensor.shape) != shapes[int(index)]:
                raise ValueError(f"{prefix}.{name} has the shape {tuple(tensor.shape)}")
            state.setdefault(int(index), {})[key] = tensor
        if len({frozenset(entries) for entries in state.values()}) > 1:
            raise ValueError(f"{prefix} lacks an entry")
        optimizer.load_state_dict({**optimizer.state_dict(), "state": state})
    except (ValueError, LookupError, RuntimeError) as error:
        raise damaged(where, error) from error


def part(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """Return the tensors whose names begin with `prefix.`, without it."""
    return {
        name.removeprefix(f"{prefix}."): tensor for name, tensor in tensors.items() if name.startswith(f"{prefix}.")
    }


def restore_module(module: nn.Module, tensors: Mapping[str, Tensor], prefix: str, where: Path) -> None:
    """Load the parameters of a module.

    Raises:
        UserError: They are not those of this module.
    """
    try:
        module.load_state_dict(part(tensors, prefix))
    except RuntimeError as error:
        raise UserError(
            f"{where}: the checkpoint does not fit its config.yaml ({' '.join(str(error).split())[:200]})"
        ) from error
