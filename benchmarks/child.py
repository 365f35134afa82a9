"""One measurement in a process of its own, so that its memory is its own: started by `measure.apart`.

    python -m benchmarks.child TASK '{"threads": 2, …}'

Prints the figures as a line of JSON.
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from benchmarks.case import Case
from benchmarks.measure import limit_memory, peak, reset_peak, resident, spread
from benchmarks.ours import Step, registrar
from benchmarks.step import published_steps
from benchmarks.synthetic import images
from heteroreg.data.cohort import Cohort
from heteroreg.evaluation import evaluate

OUT_OF_MEMORY = {"failed": "out of memory"}


def measured(call: Callable[[], object], repeats: int) -> dict[str, float]:
    """Time and memory of a call: the peak of the process, and what it is above what it was before."""
    before = resident()
    reset_peak()
    seconds = []
    for _ in range(repeats):
        began = time.perf_counter()
        call()
        seconds.append(time.perf_counter() - began)
    # The first call prepares kernels; where there are more, it does not count.
    return spread(seconds[1:] or seconds) | {"peak_bytes": peak(), "added_bytes": peak() - before}


def published_step(shape: Sequence[int], batch: int, variant: str, repeats: int) -> dict[str, float]:
    """A step as published."""
    return measured(published_steps(Case(tuple(shape), batch))[variant], repeats)


def step(
    shape: Sequence[int], batch: int, method: str, precision: str, settings: Mapping[str, Any], repeats: int
) -> dict[str, float]:
    """A step of ours."""
    with tempfile.TemporaryDirectory() as folder:
        return measured(Step(method, shape, batch, precision, Path(folder), settings), repeats)


def register(shape: Sequence[int], method: str, settings: Mapping[str, Any], repeats: int) -> dict[str, float]:
    """Return the registration of a pair of arrays."""
    moving, fixed = images(shape, 2)
    with tempfile.TemporaryDirectory() as folder:
        model = registrar(Path(folder), len(shape), method, settings)
        return measured(lambda: model.register(moving, fixed, spacing=1.0), repeats)


def evaluation(cohort: str, pairs: int, method: str, settings: Mapping[str, Any]) -> dict[str, float]:
    """Evaluate the first pairs of a 2D cohort."""
    chosen = Cohort(Cohort.read(cohort).pairs[:pairs], cohort)
    with tempfile.TemporaryDirectory() as folder:
        model = registrar(Path(folder), 2, method, settings)
        evaluate(model, Cohort(chosen.pairs[:2], cohort))  # prepares kernels
        return measured(lambda: evaluate(model, chosen, out=Path(folder) / "scores"), 1)


TASKS: dict[str, Callable[..., dict[str, float]]] = {
    "published_step": published_step,
    "step": step,
    "register": register,
    "evaluation": evaluation,
}


def main() -> None:
    """Does the task that the command line names."""
    arguments = json.loads(sys.argv[2])
    torch.set_num_threads(arguments.pop("threads"))
    limit_memory()
    try:
        figures: Mapping[str, Any] = TASKS[sys.argv[1]](**arguments)
    except MemoryError:
        figures = OUT_OF_MEMORY
    except RuntimeError as error:
        if "can't allocate memory" not in str(error) and "could not create a memory" not in str(error):
            raise
        figures = OUT_OF_MEMORY
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
