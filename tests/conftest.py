"""Fixtures that several tests share: the real pairs, small cohorts on disk, and small trained runs."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from heteroreg.data.cohort import Cohort
from heteroreg.data.phantom import write_phantom
from heteroreg.training import Run, train

REAL = "HETEROREG_DATA"
# The files that take longest begin first, so that at the end no process works on one of them alone.
LONGEST = (
    "tests/faults/test_faults.py",
    "tests/fuzz/test_fuzz.py",
    "tests/test_extend.py",
    "tests/test_guide.py",
    "tests/training/test_resume.py",
    "tests/system/test_processes.py",
    "tests/system/test_names.py",
    "tests/faults/test_workers.py",
    "tests/faults/test_full_disk.py",
    "tests/faults/test_outputs.py",
    "tests/real/test_accuracy.py",
    "tests/cli/test_app.py",
    "tests/report/test_browser.py",
    "tests/training/test_loop.py",
    "tests/test_docstrings.py",
)

# Where the tests run in the background, Ctrl-C is ignored; those that send it need it heard.
signal.signal(signal.SIGINT, signal.default_int_handler)
# Tests that run beside one another (pytest -n), and what they start, have a core each: threads that wait for a core
# that is taken cost more than they bring.
if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    torch.set_num_threads(1)
else:
    torch.set_num_threads(min(2, torch.get_num_threads()))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Let the longest files begin first; the order within a file stays."""
    place = {name: number for number, name in enumerate(LONGEST)}
    items.sort(key=lambda item: place.get(item.nodeid.partition("::")[0], len(place)))


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder of the real pairs: HETEROREG_DATA, or shared/data beside the checkout."""
    folder = Path(os.environ.get(REAL) or Path(__file__).resolve().parents[2] / "shared" / "data")
    if not folder.is_dir():
        pytest.skip(f"no real pairs at {folder}; set {REAL} to their folder")
    return folder


@pytest.fixture(scope="session", autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Prepared samples go to a folder of the tests, and never to the user's."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HETEROREG_CACHE", str(tmp_path_factory.mktemp("cache")))
        patch.delenv("HETEROREG_CACHE_LIMIT", raising=False)
        yield


@pytest.fixture
def rng() -> np.random.Generator:
    """Random numbers that are the same in every run."""
    return np.random.default_rng(20240610)


@pytest.fixture(scope="session")
def cohort_2d(tmp_path_factory: pytest.TempPathFactory) -> Cohort:
    """Eight labelled phantom pairs of 32x32 pixels: five to train, one to validate, two to test."""
    cohort = write_phantom(tmp_path_factory.mktemp("phantom") / "small", pairs=8, size=32, seed=3)
    assert cohort is not None
    return cohort


@pytest.fixture(scope="session")
def cohort_3d(tmp_path_factory: pytest.TempPathFactory) -> Cohort:
    """Three labelled phantom volumes of 32x32x12 voxels, one of each split."""
    cohort = write_phantom(tmp_path_factory.mktemp("phantom") / "volumes", pairs=3, dims=3, size=32, seed=3)
    assert cohort is not None
    return cohort


@pytest.fixture(scope="session")
def run_2d(cohort_2d: Cohort, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A 2D run of `hetero`, trained just long enough to move voxels."""
    settings = {"steps": 60, "batch_size": 4, "head_sd": 0.2, "smoothness": 0.001, "validate_every": 20}
    return train(cohort_2d, tmp_path_factory.mktemp("runs") / "two", **settings)


@pytest.fixture(scope="session")
def run_3d(cohort_3d: Cohort, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A 3D run of `hetero`, trained just long enough to move voxels."""
    settings = {"steps": 10, "batch_size": 1, "head_sd": 0.2, "smoothness": 0.001, "validate_every": 10}
    return train(cohort_3d, tmp_path_factory.mktemp("runs") / "three", dims=3, **settings)
