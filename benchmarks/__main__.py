"""Speed and memory of heteroreg, in one run: `python -m benchmarks`, or `make bench`.

What is compared takes turns; every figure is the median over the turns. The tables come on stdout, all figures as
JSON. benchmarks/performance.md says what each of them means.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks import data, memory, registration, scale, step
from benchmarks.case import METHODS, Plan
from benchmarks.options import add_common, add_quick, begin, finish

PARTS: dict[str, Callable[[Plan], list[dict[str, Any]]]] = {
    "step": step.measure,
    "registration": registration.measure,
    "data": data.measure,
    "memory": memory.measure,
}


def arguments() -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add_common(parser)
    add_quick(parser, Path("bench.json"))
    parser.add_argument(
        "--only",
        nargs="+",
        choices=[*PARTS, "scale"],
        default=list(PARTS),
        help="some parts; by default all but scale, which takes long",
    )
    parser.add_argument("--repeats", type=int, help="turns, of which the median counts (default: 9)")
    parser.add_argument("--methods", nargs="+", help=f"in the parts step and memory (default: {' '.join(METHODS)})")
    return parser.parse_args()


def main() -> None:
    """Measure the parts, print the tables and write the JSON."""
    options = arguments()
    results = begin(options)
    threads, settings = results["machine"]["threads"], results["settings"]
    given: dict[str, Any] = {"settings": settings}
    if options.methods:
        given["methods"] = tuple(options.methods)
    if options.repeats:
        given["repeats"] = options.repeats
    plan = Plan.quick(threads, **given) if options.quick else Plan(threads, **given)
    for part in options.only:
        print(part, file=sys.stderr)
        if part == "scale":
            curve = scale.Curve.quick(threads, settings) if options.quick else scale.Curve(threads, settings)
            results[part] = scale.measure(curve)
        else:
            results[part] = PARTS[part](plan)
    finish(results, options.out, options.into)


if __name__ == "__main__":
    main()
