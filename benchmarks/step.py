"""Time of a training step: as published, ours, and the limit, by turns."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch

from benchmarks.case import PRECISIONS, Case, Plan
from benchmarks.limit import LargeConvolution, as_written, convolution_operations
from benchmarks.measure import alternate, spread
from benchmarks.ours import Step
from benchmarks.published import Published
from benchmarks.synthetic import images

PUBLISHED, PUBLISHED_MSE = "as published", "as published, `mse` alone"
PARTS = 2  # of a batch in the paper


def measure(plan: Plan) -> list[dict[str, Any]]:
    """Return one row per case, variant and precision."""
    with tempfile.TemporaryDirectory() as folder:
        return [row for case in plan.cases for row in _measure(plan, case, Path(folder) / case.name)]


def published_steps(case: Case) -> dict[str, Callable[[], object]]:
    """Return the published iteration: on the whole batch, on an even batch cut in two, and of MSE alone."""
    moving, fixed = torch.from_numpy(images(case.shape, 2 * case.batch)[:, None]).chunk(2)
    steps: dict[str, Callable[[], object]] = {PUBLISHED: partial(Published(case.shape).step, moving, fixed)}
    if case.batch % PARTS == 0:
        name = f"{PUBLISHED}, {PARTS} × {case.batch // PARTS}"
        steps[name] = partial(Published(case.shape, PARTS).step, moving, fixed)
    steps[PUBLISHED_MSE] = partial(Published(case.shape).mse_step, moving, fixed)
    return steps


def _measure(plan: Plan, case: Case, folder: Path) -> list[dict[str, Any]]:
    dims = len(case.shape)
    steps: dict[tuple[str, str], Callable[[], object]] = {
        (name, "32-true"): step for name, step in published_steps(case).items()
    }
    for method in plan.methods:
        for precision in PRECISIONS:
            where = folder / f"{method}-{precision}"
            steps[method, precision] = Step(method, case.shape, case.batch, precision, where, plan.settings)
    size = plan.large[dims] if plan.large else None
    limits = {
        (precision, layout): LargeConvolution(dims, precision, layout, size)
        for precision in PRECISIONS
        for layout in (True, False)
    }
    with as_written():
        operations = {key: convolution_operations(step) for key, step in steps.items()}
    done = {key: convolution_operations(step) for key, step in steps.items()}
    calls: dict[str, Callable[[], object]] = {"/".join(key): step for key, step in steps.items()}
    calls |= {f"limit/{precision}/{layout}": limit for (precision, layout), limit in limits.items()}
    seconds = {name: spread(values) for name, values in alternate(calls, plan.repeats).items()}
    for step in steps.values():
        if isinstance(step, Step):
            step.check()
    rates = {
        precision: max(
            limits[precision, layout].operations / seconds[f"limit/{precision}/{layout}"]["ms"]
            for layout in (True, False)
        )
        for precision in PRECISIONS
    }
    published = seconds[f"{PUBLISHED}/32-true"]["ms"]
    rows = []
    for name, precision in steps:
        time = seconds[f"{name}/{precision}"]
        mse = seconds.get(f"{', '.join(['mse', *name.split(', ')[1:]])}/{precision}")
        ours = not name.startswith(PUBLISHED)
        rows.append(
            {
                "case": case.name,
                "variant": name,
                "precision": precision,
                **time,
                "speedup": published / time["ms"],
                "over_mse": time["ms"] / mse["ms"] if mse and ours else None,
                "gflop": operations[name, precision] / 1e9,
                "gflop_done": done[name, precision] / 1e9,
                "limit_gflop_per_second": rates[precision] / 1e6,
                "percent_of_limit": 100 * operations[name, precision] / rates[precision] / time["ms"],
            }
        )
    return rows
