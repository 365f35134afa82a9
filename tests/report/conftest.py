from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from heteroreg.evaluation import Case, Scores
from heteroreg.evaluation.scores import over_patients
from heteroreg.evaluation.stack import Stack
from heteroreg.registration.maps import Maps

SHAPE = (24, 20)
SLICES = 5


def disc(x: float, y: float, radius: float) -> np.ndarray:
    first, second = np.indices(SHAPE)
    return (np.hypot(first - x, second - y) < radius).astype(np.int32)


def make_case(pair: str = "P01", *, labels: bool = True, noise: bool = True, truth: bool = False) -> Case:
    fixed = 100.0 * disc(12, 10, 6) + np.indices(SHAPE)[0]
    moving = 100.0 * disc(10, 10, 7) + np.indices(SHAPE)[0]
    displacement = np.stack([np.full(SHAPE, -2.0), np.zeros(SHAPE)])
    sd = 1.0 + np.indices(SHAPE)[1]
    return Case(
        id=pair,
        slice=3,
        spacing=(1.0, 2.0),
        fixed=fixed,
        moving=moving,
        moved=np.roll(moving, 2, axis=0),
        displacement=displacement,
        fixed_labels=disc(12, 10, 6) if labels else None,
        moving_labels=disc(10, 10, 7) if labels else None,
        moved_labels=disc(12, 10, 7) if labels else None,
        noise_sd=sd if noise else None,
        weight=(1 / sd) / np.mean(1 / sd) if noise else None,
        true_noise_sd=2 * sd if truth else None,
    )


@pytest.fixture
def case() -> Callable[..., Case]:
    """Makes a case of the gallery: a disc that moved by two voxels, on pixels of 1 x 2 mm."""
    return make_case


def make_view(seed: int = 0) -> Maps:
    """Five slices of a disc that moves, each with its own noise, on voxels of 1 x 2 x 8 mm."""
    random = np.random.default_rng(seed)
    shape = (*SHAPE, SLICES)
    noise = [random.normal(0, 5, shape) for _ in range(3)]
    fixed, moving, moved = (
        np.repeat(disc(*place)[..., None], SLICES, axis=2) for place in ((12, 10, 6), (10, 10, 7), (12, 10, 7))
    )
    sd = 1.0 + random.random(shape)
    displacement = np.zeros((3, *shape))
    displacement[0] = -2
    return Maps(
        spacing=(1.0, 2.0, 8.0),
        fixed=100 * fixed + noise[0],
        moving=100 * moving + noise[1],
        moved=100 * moved + noise[2],
        displacement=displacement,
        fixed_labels=2 * fixed,
        moving_labels=2 * moving,
        moved_labels=2 * moved,
        noise_sd=sd,
        weight=1 / sd,
    )


@pytest.fixture(scope="session")
def view() -> Callable[..., Maps]:
    """Makes a view with five slices."""
    return make_view


@pytest.fixture
def evaluation(tmp_path: Path) -> Callable[..., Path]:
    """Writes a folder as `evaluate` does: one slice for each patient, with the Dice of label 2 that is given."""
    return partial(_write, tmp_path)


@pytest.fixture(scope="module")
def lasting_evaluation(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """The same for what all tests of a file share."""
    return partial(_write, tmp_path_factory.mktemp("evaluations"))


def _write(
    folder: Path,
    name: str,
    dice: list[float],
    *,
    cases: tuple[Case, ...] = (),
    stacks: tuple[Stack, ...] = (),
    noise: bool = True,
    missed: int = 0,
    mode: str = "standard",
    labels: bool = True,
) -> Path:
    count = len(dice)
    table = pd.DataFrame(
        {
            "id": [f"P{k:02d}" for k in range(count)],
            "patient": [f"P{k:02d}" for k in range(count)],
            "slice": pd.array([3] * count, dtype="Int64"),
        }
    )
    if labels:
        table["dice_2"] = dice
        table["hd_2"] = [10 - 5 * number for number in dice]
    table["folding_percent"] = 0.0
    table["ause"] = [1.2e-4] * count if noise else [math.nan] * count
    metrics = [column for column in table.columns if column not in ("id", "patient", "slice")]
    fraction = np.linspace(0, 0.99, 12)
    curve = pd.DataFrame(
        {
            "fraction": fraction,
            "mse": 2e-3 * (1 - fraction),
            "oracle": 2e-3 * (1 - fraction) ** 2,
            "random": 2e-3,
        }
    )
    summary = {
        "kind": "evaluation",
        "registrar": name,
        "mode": mode,
        "split": "test",
        "cohort": "pairs.csv",
        "slicewise": True,
        "counts": {"pairs": count, "labelled_pairs": count, "patients": count, "rows": count},
        "labels": {"2": {"rows": count, "missed": missed, "one_sided": 0}},
        "metrics": over_patients(table, metrics),
    }
    Scores(table, summary, curve if noise else None, cases, stacks).save(folder / name)
    return folder / name
