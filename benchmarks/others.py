"""Other programs and trained models on the same pairs: Dice, distances, folding, and processor time.

    python -m venv others
    others/bin/pip install -e '.[elastix]' picsl_greedy==1.4.0.3 antspyx==0.6.3 dipy
    others/bin/python -m benchmarks.others ../shared/data/mnms results/others --model pyramid=runs/pyramid

Each program has a few settings that its makers recommend. The one with the best Dice (mean over labels) on the
validation pairs is scored on the test pairs, once. Everything runs on one thread. What is there is not done again.
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS", "1")

import argparse
import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd
import torch

import heteroreg as hr
from benchmarks.peers import Ants, ConvexAdam, Dipy, Greedy
from heteroreg.data.image import Image
from heteroreg.registration.classical import Elastix, Undeformed
from heteroreg.system.files import write_text

# Rows: the settings to choose from.
ROWS: Mapping[str, Mapping[str, hr.BaseRegistrar]] = {
    "undeformed": {"": Undeformed()},
    "elastix": {"": Elastix()},
    "greedy-ssd": {
        "1.7vox 0.7vox": Greedy(smoothing="1.7vox 0.7vox"),
        "3vox 1.5vox": Greedy(smoothing="3vox 1.5vox"),
        "1.7vox 0.7vox, -sv": Greedy(smoothing="1.7vox 0.7vox", velocity=True),
    },
    "greedy-wncc": {
        "1.7vox 0.7vox": Greedy("WNCC", "1.7vox 0.7vox"),
        "3vox 1.5vox": Greedy("WNCC", "3vox 1.5vox"),
        "1.7vox 0.7vox, -sv": Greedy("WNCC", "1.7vox 0.7vox", velocity=True),
    },
    "ants-ms": {"flow 3": Ants(), "flow 1": Ants(flow=1), "flow 3, total 1": Ants(total=1)},
    "ants-cc": {"flow 3": Ants("CC"), "flow 1": Ants("CC", flow=1), "flow 3, total 1": Ants("CC", total=1)},
    "dipy-ssd": {f"smooth {value:g}": Dipy("SSD", value) for value in (4, 1, 16)},
    "dipy-cc": {f"sigma {value:g}": Dipy("CC", value) for value in (2, 3, 1)},
    "convexadam": {f"lambda {value:g}": ConvexAdam(value) for value in (1.25, 0.5, 3)},
}


@dataclass
class Timed(hr.BaseRegistrar):
    """A registrar that notes the processor seconds of each pair.

    Attributes:
        registrar: The registrar.
        seconds: Of each pair so far.
    """

    registrar: hr.BaseRegistrar
    seconds: list[float] = field(default_factory=list)

    @property
    def name(self) -> str:
        """Name of the registrar."""
        return self.registrar.name

    @property
    def dims(self) -> int | None:
        """Number of axes that the images need at least."""
        return self.registrar.dims

    def _register(self, moving: Image, fixed: Image, moving_labels: Image | None) -> hr.Registration:
        began = time.process_time()
        found = self.registrar.register(moving, fixed, moving_labels)
        self.seconds.append(time.process_time() - began)
        return found


def scored(registrar: hr.BaseRegistrar, cohort: hr.Cohort, out: Path, initial: str | None) -> dict[str, float]:
    """Return the means over patients, and the processor seconds of a pair; from `out` if they are there."""
    if not (out / "cpu.json").is_file():
        timed = Timed(registrar)
        timed.register(cohort[0].moving, cohort[0].fixed)  # loads the libraries, outside the clock
        timed.seconds.clear()
        hr.evaluate(timed, cohort, out=out / "scores", initial=initial, gallery=0, stacks=0, show=True)
        write_text(out / "cpu.json", json.dumps(timed.seconds))
    metrics = hr.Scores.read(out / "scores").summary["metrics"]
    found = {name: float(value["mean"]) for name, value in metrics.items() if value["mean"] is not None}
    dice = [value for name, value in found.items() if name.startswith("dice_")]
    seconds = json.loads((out / "cpu.json").read_text(encoding="utf-8"))
    kept = ("dice_", "hd95_", "folding_percent", "sd_log_jacobian")
    return {
        "dice": sum(dice) / len(dice),
        **{name: value for name, value in found.items() if name.startswith(kept)},
        "cpu_seconds": sum(seconds) / len(seconds),
    }


def row(name: str, settings: Mapping[str, hr.BaseRegistrar], options: argparse.Namespace) -> dict[str, object]:
    """Choose a setting on the validation pairs, and score it on the test pairs."""
    cohort, out = hr.Cohort.read(options.cohort), options.out / name
    best = next(iter(settings))
    if len(settings) > 1:
        found = {
            key: scored(one, cohort.split("val"), out / f"val-{number}", options.initial)["dice"]
            for number, (key, one) in enumerate(settings.items())
        }
        best = max(found, key=found.__getitem__)
        print(name, {key: round(100 * value, 2) for key, value in found.items()}, flush=True)
    return {
        "row": name,
        "setting": best,
        **scored(settings[best], cohort.split("test"), out / "test", options.initial),
    }


def main(arguments: Sequence[str] | None = None) -> None:
    """Score all rows and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("cohort", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--rows", nargs="*", default=list(ROWS), choices=list(ROWS), metavar="ROW")
    parser.add_argument("--model", nargs="*", default=[], metavar="NAME=RUN", help="trained models, and phantom")
    parser.add_argument("--refine", type=int, default=0, help="also each model with so many steps of refinement")
    parser.add_argument("--initial", help="initial alignment of all rows, as in `heteroreg register`")
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    rows = [row(name, ROWS[name], options) for name in options.rows]
    for text in options.model:
        name, _, run = text.partition("=")
        rows.append(row(name, {"": hr.load(run or name)}, options))
        if options.refine:
            rows.append(row(f"{name}-refined", {"": hr.load(run or name, refine=options.refine)}, options))
    table = pd.DataFrame(rows)
    write_text(options.out / "table.csv", table.to_csv(index=False))
    shares = [name for name in table.columns if name.startswith("dice")]
    table[shares] = 100 * table[shares]
    print(table.round(2).to_string(index=False))


if __name__ == "__main__":
    main()
