"""Time to decode and prepare a pair, and to evaluate one."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.case import Plan
from benchmarks.measure import alternate, spread
from benchmarks.ours import prepare, registrar
from heteroreg.data.cohort import Cohort, Pair
from heteroreg.data.image import Image, read_image, write_image
from heteroreg.data.phantom import make_pair, write_phantom
from heteroreg.evaluation import evaluate
from heteroreg.registration.classical import Undeformed
from heteroreg.training.config import Config

SPACING = (1.4, 1.4, 8.0)  # mm, as of a short-axis stack
WORKING = 1.25  # mm: another spacing than the files', so that they are resampled


def measure(plan: Plan) -> list[dict[str, Any]]:
    """Return one row per task, with the time for one pair."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        pair = _stack(folder / "stack", plan.native)
        edge = 16 * (round(0.5 * plan.native[0]) // 16)
        config = Config.build(
            {"dims": 2, "size": (edge, edge), "spacing": (WORKING, WORKING), "method": "hetero"}, plan.settings
        )
        side = plan.cases[0].shape[0]
        cohort = write_phantom(folder / "phantom", pairs=plan.evaluated, size=side)
        assert cohort is not None
        model = registrar(folder / "model", 2, "hetero", plan.settings)
        stack = "×".join(map(str, plan.native))
        calls: dict[str, tuple[int, Callable[[], object]]] = {
            f"decode the two images of {stack}, .nii.gz": (1, partial(_decode, pair)),
            "decode and prepare them": (1, partial(prepare, [pair], config)),
            "take them from the cache": (1, partial(prepare, [pair], config, folder / "cache")),
            f"score a pair of {side}×{side} with labels": (
                plan.evaluated,
                partial(_evaluate, Undeformed(), cohort),
            ),
            "register and score it": (plan.evaluated, partial(_evaluate, model, cohort)),
        }
        seconds = alternate({name: call for name, (_, call) in calls.items()}, plan.repeats, warm_up=1)
    return [{"task": name, **spread([s / calls[name][0] for s in values])} for name, values in seconds.items()]


def _stack(folder: Path, shape: tuple[int, int, int]) -> Pair:
    """A pair of phantom stacks as files of 16 bits, as scanners leave them."""
    phantom = make_pair(0, shape=shape, spacing=SPACING)
    files = {}
    for side, image in (("moving", phantom.moving), ("fixed", phantom.fixed)):
        files[side] = folder / f"{side}.nii.gz"
        low, high = float(image.array.min()), float(image.array.max())
        values = np.round(2000 * (image.array - low) / (high - low)).astype(np.int16)
        write_image(Image(values, image.grid, side), files[side])
    return Pair("stack", files["moving"], files["fixed"])


def _decode(pair: Pair) -> None:
    read_image(pair.moving)
    read_image(pair.fixed)


def _evaluate(registrar: Any, cohort: Cohort) -> None:
    evaluate(registrar, cohort)
