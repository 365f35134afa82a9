"""Compare the speed and memory of two installations of heteroreg, for instance of two versions.

Each is given by its Python interpreter. They take turns in processes of their own, and times are processor time of
one thread, so that other work on the machine matters little. The table shows medians over the turns and the
ratio of after to before. Only names that version 0.1.0 has too are used.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

SIZE, SLICES, BATCH = 96, 10, 4
FEW, MANY = 2, 10  # training steps; the difference leaves out what a training does once
COMMANDS = {
    "import heteroreg": ("-c", "import heteroreg"),
    "import heteroreg.train": ("-c", "import heteroreg; heteroreg.train"),
    "heteroreg --help": ("-m", "heteroreg", "--help"),
    "heteroreg methods": ("-m", "heteroreg", "methods"),
}


def train_step(folder: Path, precision: str) -> float:
    """Return the milliseconds of a training step of `hetero`."""
    import heteroreg as hr

    pairs = tuple(pair for pair in hr.Cohort.read(folder / "cohort") if pair.split == "train")
    settings: dict[str, Any] = {
        "network": "voxelmorph", "size": (SIZE, SIZE), "batch_size": BATCH, "precision": precision,
    }  # fmt: skip
    spent = []
    for steps in (FEW, FEW, MANY):  # the first warms up
        began = time.process_time()
        with tempfile.TemporaryDirectory() as run:
            hr.train(hr.Cohort(pairs, "phantoms"), Path(run) / "run", steps=steps, **settings)
        spent.append(time.process_time() - began)
    return 1000 * (spent[2] - spent[1]) / (MANY - FEW)


def register_stack(folder: Path) -> float:
    """Return the milliseconds of the registration of a stack of slices."""
    import numpy as np

    import heteroreg as hr
    from heteroreg.data.image import read_image

    pair = hr.Cohort.read(folder / "cohort")[0]
    moving, fixed = (
        np.repeat(read_image(path).array[..., None], SLICES, axis=-1) for path in (pair.moving, pair.fixed)
    )
    registrar = hr.load(folder / "model", device="cpu", precision="32-true")
    spent = []
    for _ in range(3):
        began = time.process_time()
        registrar.register(moving, fixed, spacing=(1.5, 1.5, 8.0))
        spent.append(time.process_time() - began)
    return 1000 * min(spent)


def prepare(folder: Path) -> float:
    """Write a cohort and a run with the first installation, whose files the second reads as well; return 0."""
    import heteroreg as hr
    from heteroreg.data.phantom import write_phantom

    write_phantom(folder / "cohort", pairs=8, size=SIZE)
    hr.train(hr.Cohort.read(folder / "cohort"), folder / "model", size=(SIZE, SIZE), steps=2, batch_size=2)
    return 0.0


TASKS: dict[str, Callable[[Path], float]] = {
    "training step, float32": lambda folder: train_step(folder, "32-true"),
    "training step, bfloat16": lambda folder: train_step(folder, "bf16-mixed"),
    "registration of a stack": register_stack,
}


def run(python: str, *arguments: str) -> tuple[str, float]:
    """Run an interpreter with one thread; return its output and the milliseconds of processor time."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    # -P: the files beside this one must not be taken for installed modules.
    command = [python, "-P", *arguments]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, env=environment)  # noqa: S603
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return done.stdout, 1000 * (after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)


def measure(python: str, folder: Path) -> dict[str, float]:
    """Return milliseconds and MiB of everything that is compared, of one interpreter."""
    found = {f"{name} (ms)": run(python, *arguments)[1] for name, arguments in COMMANDS.items()}
    for name in TASKS:
        answer = json.loads(run(python, __file__, "--task", name, "--folder", str(folder))[0].splitlines()[-1])
        found |= {f"{name} (ms)": answer["ms"], f"{name}, peak memory (MiB)": answer["mib"]}
    return found


def main() -> None:
    """Run one task, or compare two interpreters on all."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.before_after",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--before", help="Python interpreter of the first installation")
    parser.add_argument("--after", default=sys.executable, help="of the second (default: this one)")
    parser.add_argument("--turns", type=int, default=5, help="measurements of each, by turns (default: 5)")
    parser.add_argument("--task", choices=[*TASKS, "prepare"], help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.task:
        ms = (prepare if options.task == "prepare" else TASKS[options.task])(options.folder)
        print(json.dumps({"ms": ms, "mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024}))
        return
    if not options.before:
        parser.error("--before is needed")
    first: list[dict[str, float]] = []
    second: list[dict[str, float]] = []
    with tempfile.TemporaryDirectory() as folder:
        run(options.before, __file__, "--task", "prepare", "--folder", folder)
        for turn in range(options.turns):
            for python, found in ((options.before, first), (options.after, second)):
                found.append(measure(python, Path(folder)))
            print(f"turn {turn + 1} of {options.turns}: {first[-1]} {second[-1]}", file=sys.stderr)
    print("| measured | before | after | after / before |\n|---|---|---|---|")
    for name in first[0]:
        before, after = (statistics.median(one[name] for one in found) for found in (first, second))
        print(f"| {name} | {before:.0f} | {after:.0f} | {after / before:.2f} |")


if __name__ == "__main__":
    main()
