"""A runner that does not leave the process, and studies that take seconds."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from heteroreg.data.cohort import Cohort
from heteroreg.study.child import run_job
from heteroreg.study.jobs import Ended, Job
from heteroreg.system.errors import UserError

SETTINGS = {"steps": 6, "batch_size": 2, "validate_every": 2, "head_sd": 0.2, "learning_rate": 0.01}


class Here:
    """Runs jobs in this process, and remembers them."""

    width = 1

    def __init__(self) -> None:
        self.names: list[str] = []

    def run(self, jobs: Sequence[Job], report: Callable[[Ended], None]) -> None:
        for job in jobs:
            self.names.append(job.name)
            began, error = time.monotonic(), ""
            try:
                run_job(**json.loads(job.command()[-1]))
            except UserError as wrong:
                error = str(wrong)
            report(Ended(job, time.monotonic() - began, 0, error))


@pytest.fixture
def here() -> Here:
    return Here()


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    """Sums of several threads differ in the last digits from those of one."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture
def study_file(tmp_path: Path, cohort_2d: Cohort) -> Callable[..., Path]:
    """Writes a study's file: two values of λ, two seeds, few steps, unless told otherwise."""

    def write(name: str = "study.yaml", **changes: Any) -> Path:
        content: dict[str, Any] = {
            "cohort": str(Path(cohort_2d.name).parent),
            "settings": SETTINGS,
            "networks": ["voxelmorph"],
            "seeds": [0, 1],
            "methods": {"mse": {"smoothness": [0.001, 0.1]}, "hetero": {"smoothness": [0.001, 0.1]}},
            "registrars": ["undeformed"],
            "baseline": "mse",
        }
        content |= changes
        path = tmp_path / name
        path.write_text(
            yaml.safe_dump({k: v for k, v in content.items() if v is not None}, allow_unicode=True, sort_keys=False)
        )
        return path

    return write


@pytest.fixture
def contents() -> Callable[[Path], Mapping[str, bytes]]:
    """Reads what of a study must be the same however it came about: all but times, by its place in the folder."""
    return _contents


def _contents(folder: Path) -> dict[str, bytes]:
    found = {}
    for path in sorted(folder.rglob("*")):
        inside = path.relative_to(folder)
        if path.suffix == ".safetensors" or path.name in ("chosen.csv", "study.yaml"):
            found[str(inside)] = path.read_bytes()
        elif path.name in ("metrics.csv", "scores.csv"):
            lines = [line.split(",") for line in path.read_text().splitlines()]
            at = lines[0].index("seconds")
            found[str(inside)] = repr([line[:at] + line[at + 1 :] for line in lines]).encode()
    return found
