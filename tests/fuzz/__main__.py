"""The command; see the package's docstring."""

from __future__ import annotations

import argparse
import contextlib
import json
import multiprocessing
import os
import sys
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any

import torch
from tests.fuzz import harness, seeds
from tests.fuzz.harness import Job, Outcome

# Share of the inputs. Formats that foreign programs write, and that a library in C++ reads, get the most.
WEIGHTS = {
    "nifti": 12, "nifti-gz": 12, "metaimage": 12, "nrrd": 12, "png": 10, "dicom": 12, "field": 8, "labels": 8,
    "header": 8, "transform": 4,
    "cohort": 8, "settings": 8, "config": 4, "state": 3, "safetensors": 5, "scores": 4, "summary": 4, "gallery": 5,
    "import": 4, "name": 6,
}  # fmt: skip


def main() -> int:
    """Runs, prints a table of outcomes and the findings; exit code 1 if there is one."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("--inputs", type=int, default=int(os.environ.get("HETEROREG_FUZZ", "12000")))
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--format", action="append", choices=list(WEIGHTS), help="only this one; may be repeated")
    parser.add_argument("--show", metavar="FORMAT:NUMBER", help="open this one input here, with its traceback")
    parser.add_argument("--keep", type=Path, metavar="DIR", help="with --show: where to leave the input")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write counts and findings there")
    chosen = parser.parse_args()
    torch.set_num_threads(1)

    made = _seeds()
    if chosen.show:
        return _show(made, chosen.show, chosen.seed, chosen.keep)
    weights = {name: weight for name, weight in WEIGHTS.items() if not chosen.format or name in chosen.format}
    for outcome in harness.run(made, harness.whole(made, weights), chosen.seed):
        if outcome.kind != "read":
            print(f"{outcome.job.format}: a valid file came out as {outcome.kind}: {outcome.detail}")
            return 1
    outcomes, seconds = harness.timed(made, harness.shares(chosen.inputs, weights), chosen.seed)
    findings = [outcome for outcome in outcomes if outcome.finding]
    print(_table(outcomes))
    print(f"{len(outcomes)} inputs in {seconds:.0f} s, {len(findings)} findings")
    first: dict[tuple[str, str], list[Outcome]] = {}
    for outcome in findings:
        first.setdefault((outcome.job.format, outcome.where), []).append(outcome)
    for (name, where), alike in first.items():
        print(f"  {name}:{alike[0].job.number} ({len(alike)}x) {where} | {alike[0].detail}")
    if chosen.json:
        counts: dict[str, Any] = {
            name: dict(Counter(o.kind for o in outcomes if o.job.format == name)) for name in weights
        }
        told = [f"{o.job.format}:{o.job.number} {o.where} | {o.detail}" for o in findings]
        report = {"inputs": len(outcomes), "seconds": seconds, "counts": counts, "findings": told}
        chosen.json.write_text(json.dumps(report, indent=2))
    return 1 if findings else 0


def _seeds() -> dict[str, list[seeds.Seed]]:
    """Made in a process of their own: a library that has started threads cannot be forked."""
    with tempfile.TemporaryDirectory() as folder, multiprocessing.get_context("fork").Pool(1) as pool:
        return pool.apply(seeds.quietly, (seeds.build, Path(folder)))


def _show(made: dict[str, list[seeds.Seed]], which: str, seed: int, keep: Path | None) -> int:
    name, _, number = which.partition(":")
    os.environ["HETEROREG_MAX_VOXELS"] = str(harness.VOXELS)
    with contextlib.ExitStack() as stack:
        folder = keep or Path(stack.enter_context(tempfile.TemporaryDirectory()))
        folder.mkdir(parents=True, exist_ok=True)
        chosen, path = harness.make(made, Job(name, int(number)), seed, folder)
        print(f"{path}", flush=True)
        harness.READERS[chosen.reader](path, int(number))
    print("read")
    return 0


def _table(outcomes: list[Outcome]) -> str:
    rows = ["format         inputs    read  refused  findings  largest MB"]
    for name in dict.fromkeys(outcome.job.format for outcome in outcomes):
        own = [outcome for outcome in outcomes if outcome.job.format == name]
        kinds = Counter(outcome.kind for outcome in own)
        found = len(own) - kinds["read"] - kinds["refused"]
        most = max(outcome.megabytes for outcome in own)
        rows.append(f"{name:12} {len(own):8} {kinds['read']:7} {kinds['refused']:8} {found:9} {most:11.0f}")
    return "\n".join(rows)


if __name__ == "__main__":
    sys.exit(main())
