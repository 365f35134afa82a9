"""Measure how time and memory grow: volumes from 64³ to 160×192×224, and evaluations from 10 to 1,000 pairs.

    python -m benchmarks.scale --set batch_size=1 --out scale.json

Every point is measured in a process of its own. One that would need more memory than is free is reported as out
of memory. `--set` passes settings of the training on, such as those that save memory.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.case import PRECISIONS, SMALL
from benchmarks.measure import apart
from benchmarks.options import add_common, add_quick, begin, finish
from benchmarks.synthetic import labelled_cohort

SHAPES = ((64, 64, 64), (96, 96, 96), (128, 128, 128), (160, 192, 224))
PAIRS = (10, 100, 1000)
SIDE = 64  # of the evaluated images
METHOD = "hetero"


@dataclass(frozen=True)
class Curve:
    """Choice of measurements.

    Attributes:
        threads: Threads of PyTorch.
        settings: Settings of the training.
        shapes: Volumes.
        pairs: Sizes of the evaluated cohorts.
        precisions: Precisions of the training step.
        repeats: Steps and registrations at each point; the first does not count where there are more.
    """

    threads: int
    settings: dict[str, Any]
    shapes: Sequence[tuple[int, ...]] = SHAPES
    pairs: Sequence[int] = PAIRS
    precisions: Sequence[str] = PRECISIONS
    repeats: int = 3

    @classmethod
    def quick(cls, threads: int, settings: dict[str, Any]) -> Curve:
        """Return a plan that takes seconds."""
        return cls(threads, settings, (SMALL,), (2, 3), PRECISIONS[:1], 1)


def measure(curve: Curve) -> list[dict[str, Any]]:
    """Return one row per point."""
    rows: list[dict[str, Any]] = []
    common = {"method": METHOD, "settings": curve.settings}
    for shape in curve.shapes:
        name = "×".join(map(str, shape))
        for precision in curve.precisions:
            options = {"shape": shape, "batch": 1, "precision": precision, "repeats": curve.repeats}
            figures = apart("step", curve.threads, **options, **common)
            rows.append({"what": "training step", "size": name, "precision": precision, **figures})
        figures = apart("register", curve.threads, shape=shape, repeats=curve.repeats, **common)
        rows.append({"what": "registration", "size": name, "precision": "", **figures})
    with tempfile.TemporaryDirectory() as folder:
        labelled_cohort(Path(folder), SIDE, max(curve.pairs))
        for count in curve.pairs:
            figures = apart("evaluation", curve.threads, cohort=folder, pairs=count, **common)
            rows.append({"what": "evaluation", "size": f"{count} pairs", "precision": "", **figures})
    return rows


def main() -> None:
    """Measures, prints the table, writes the JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_common(parser)
    add_quick(parser, Path("scale.json"))
    parser.add_argument("--shapes", nargs="+", metavar="XxYxZ", help="volumes, instead of the usual ones")
    parser.add_argument("--pairs", nargs="+", type=int, default=PAIRS, help="sizes of the evaluated cohorts")
    parser.add_argument("--precisions", nargs="+", choices=PRECISIONS, default=PRECISIONS)
    parser.add_argument("--repeats", type=int, default=3, help="of which the first does not count")
    options = parser.parse_args()
    results = begin(options)
    threads, settings = results["machine"]["threads"], results["settings"]
    shapes = [tuple(map(int, text.split("x"))) for text in options.shapes] if options.shapes else SHAPES
    curve = Curve(threads, settings, shapes, options.pairs, options.precisions, options.repeats)
    curve = Curve.quick(threads, settings) if options.quick else curve
    finish(results | {"scale": measure(curve)}, options.out, options.into)


if __name__ == "__main__":
    main()
