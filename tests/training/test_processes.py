"""Several processes on one machine: the same global batch gives the same losses as one process."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from heteroreg.data.cohort import Cohort
from heteroreg.errors import UserError
from heteroreg.training import Run, train

SETTINGS = {"method": "hetero", "steps": 4, "batch_size": 4, "log_every": 1}


@pytest.mark.slow
def test_two_processes_give_the_losses_of_one(cohort_2d: Cohort, tmp_path: Path) -> None:
    one = train(cohort_2d, tmp_path / "one", config=SETTINGS)
    options = [f"--set={name}={value}" for name, value in SETTINGS.items()]
    command = [sys.executable, "-m", "heteroreg", "train", cohort_2d.name, "--out", str(tmp_path / "two")]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    subprocess.run(
        [*command, *options, "--devices", "2", "--quiet"],
        check=True,
        timeout=240,
        env=environment,
        capture_output=True,
    )
    two = Run.read(tmp_path / "two")
    columns = ["step", "loss", "data", "smoothness", "variance", "val_loss"]
    np.testing.assert_allclose(one.metrics[columns], two.metrics[columns], rtol=2e-4, atol=1e-8)


def test_a_batch_that_cannot_be_cut(cohort_2d: Cohort, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="batch_size"):
        train(cohort_2d, tmp_path / "run", config={**SETTINGS, "accumulate": 3})
