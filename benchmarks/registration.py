"""Time of a registration: as published, pair by pair, and ours, one pair and a stack of slices."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks.case import PRECISIONS, Plan
from benchmarks.measure import alternate, spread
from benchmarks.ours import networks, registrar
from benchmarks.published import Published
from benchmarks.synthetic import images
from heteroreg.registration.model import ModelRegistrar
from heteroreg.training.run import Run

METHOD = "hetero"
PUBLISHED = "as published, networks, one pair"


def measure(plan: Plan) -> list[dict[str, Any]]:
    """Return one row per way to register, with the time for one pair (of slices or of volumes)."""
    (plane,) = (case.shape for case in plan.cases if len(case.shape) == 2)
    (volume,) = (case.shape for case in plan.cases if len(case.shape) == 3)
    with tempfile.TemporaryDirectory() as folder:
        return [
            *_measure(plan, plane, plan.slices, Path(folder) / "2D"),
            *_measure(plan, volume, 1, Path(folder) / "3D"),
        ]


def _register(model: ModelRegistrar, pair: Sequence[NDArray[np.float32]], spacing: Any) -> None:
    moving, fixed = pair
    model.register(moving, fixed, spacing=spacing)


def _measure(plan: Plan, shape: tuple[int, ...], count: int, folder: Path) -> list[dict[str, Any]]:
    dims = len(shape)
    run = registrar(folder, dims, METHOD, plan.settings).run.folder
    moving, fixed = (torch.from_numpy(images(shape, count, seed)[:, None]) for seed in (0, 1))
    one = moving[0, 0].numpy(), fixed[0, 0].numpy()
    calls: dict[tuple[str, str], tuple[int, Callable[[], object]]] = {
        (PUBLISHED, "32-true"): (1, partial(Published(shape).register, moving[:1], fixed[:1]))
    }
    for precision in PRECISIONS:
        model = ModelRegistrar(Run.read(run), precision=precision)
        calls |= {
            ("networks, one pair", precision): (1, partial(networks, model, moving[:1], fixed[:1])),
            ("register, one pair", precision): (1, partial(_register, model, one, 1.0)),
        }
        if count > 1:
            # A stack of thick slices, which a 2D model takes apart.
            stack = [images.movedim(0, -1)[0].numpy() for images in (moving, fixed)]
            spacing = (1.0,) * dims + (8.0,)
            calls |= {
                (f"networks, batch of {count}", precision): (count, partial(networks, model, moving, fixed)),
                (f"register, stack of {count}", precision): (count, partial(_register, model, stack, spacing)),
            }
    seconds = alternate({"/".join(key): call for key, (_, call) in calls.items()}, plan.repeats)
    times = {key: spread([s / pairs for s in seconds["/".join(key)]]) for key, (pairs, _) in calls.items()}
    published = times[PUBLISHED, "32-true"]["ms"]
    case = f"{dims}D {'×'.join(map(str, shape))}"
    return [
        {
            "case": case,
            "way": way,
            "precision": precision,
            "pairs": calls[way, precision][0],
            **time,
            "speedup": published / time["ms"],
        }
        for (way, precision), time in times.items()
    ]
