"""Two processes, one of which dies: the other ends too, with a line, and the run goes on bit for bit the same.

A start of two processes takes seconds, so there are few: one, or among the long tests, with `HETEROREG_FAULTS` of
100 or more, all of `DEATHS`.
"""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from attempts import attempt, command
from checks import check_after_a_fault, check_the_end, last_step, rows, temporary_files

from heteroreg.training import Run

SETTINGS = {"method": "hetero", "steps": 30, "batch_size": 2, "log_every": 1, "checkpoint_every": 3}
DEATHS = ("second", "first", "first at the start", "stop", "second at the start")
FULL = int(os.environ.get("HETEROREG_FAULTS", "32")) >= 100
SEED = int(os.environ.get("HETEROREG_FAULTS_SEED", "0"))
PATIENCE = 120  # seconds for a start on a busy machine
END = 20  # seconds within which the survivor must end; Fabric looks every 5 s

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="needs /proc to find the second process"),
]


def begin(cohort: str, out: Path, errors: Path) -> subprocess.Popen[bytes]:
    arguments = command(cohort, out, SETTINGS, "--quiet", "--devices", "2")[1:]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    with errors.open("wb") as handle:
        return subprocess.Popen([sys.executable, "-m", "heteroreg", *arguments], env=environment, stderr=handle)


def second_of(first: subprocess.Popen[bytes]) -> int:
    """The number of the process that the first has started."""
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        assert first.poll() is None, "ended before the second began"
        for task in Path(f"/proc/{first.pid}/task").iterdir():
            for child in (task / "children").read_text().split():
                if b"--devices" in Path(f"/proc/{child}/cmdline").read_bytes():
                    return int(child)
        time.sleep(0.05)
    raise AssertionError("the second process did not begin")


def alive(number: int) -> bool:
    try:
        return Path(f"/proc/{number}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except FileNotFoundError:
        return False


def wait_for(what, seconds: float) -> bool:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if what():
            return True
        time.sleep(0.02)
    return False


def metrics_rows(out: Path) -> int:
    path = out / "metrics.csv"
    return len(path.read_text().splitlines()) - 1 if path.exists() else 0


def begin_and_wait(cohort: str, out: Path, errors: Path) -> float:
    """Train with two processes to the end, and return the seconds until the first step."""
    began = time.monotonic()
    process = begin(cohort, out, errors)
    assert wait_for(lambda: metrics_rows(out) > 0, 2 * PATIENCE)
    start = time.monotonic() - began
    assert process.wait(2 * PATIENCE) == 0, errors.read_text()
    assert errors.read_text() == ""
    return start


def die(death: str, cohort: str, out: Path, errors: Path, row: int, wait: float) -> None:
    """Train with two processes until one of them dies, and check that the other ends, with a line.

    Args:
        death: One of `DEATHS`.
        cohort: The cohort.
        out: The run.
        errors: The file for what both write to the standard error.
        row: The row of the metrics at which it dies, unless it dies at the start.
        wait: Seconds from there.
    """
    first = begin(cohort, out, errors)
    second = second_of(first)
    if not death.endswith("at the start"):
        assert wait_for(lambda: metrics_rows(out) >= row, PATIENCE)
    time.sleep(wait)
    if death == "stop":
        os.kill(first.pid, signal.SIGTERM)  # the second hears of it from the first
    else:
        os.kill(second if death.startswith("second") else first.pid, signal.SIGKILL)
    began = time.monotonic()
    # Reaps the first; the second is its child, or nobody's.
    gone = wait_for(lambda: first.poll() is not None and not alive(second), END)
    assert gone, f"{death}: one is left"
    took, text = time.monotonic() - began, errors.read_text()
    print(f"{death}: ended after {took:.1f} s with {first.returncode}: {text}")
    assert "Traceback" not in text
    lines = text.splitlines()
    if death == "stop":
        assert first.returncode == 143
        (line,) = lines
        assert "stopped and saved after step" in line
    else:
        assert first.returncode != 0
        # One line from the survivor; from Fabric where the first hung while it was killed.
        told = ("another process of this work ended", "Child process with PID")
        assert [line for line in lines if not any(word in line for word in told)] == []
        assert len(lines) == 1 or (len(lines) == 2 and death.startswith("second"))


def go_on_alone(cohort: str, out: Path, expected: Run) -> None:
    """Go on with one process in place of two, and check that it ends with the same figures."""
    outcome = attempt(command(cohort, out, SETTINGS, "--quiet"))
    assert (outcome.code, outcome.text) == (0, "")
    columns = ["step", "loss", "data", "smoothness", "variance", "val_loss"]
    np.testing.assert_allclose(Run.read(out).metrics[columns], expected.metrics[columns], rtol=5e-3, atol=1e-6)
    assert temporary_files(out) == []


def test_a_process_that_dies(cohort_2d, tmp_path):
    """The figures are those of one process that nothing disturbs, which takes a start of two processes less."""
    generator = random.Random(SEED)
    whole = attempt(command(cohort_2d.name, tmp_path / "whole", SETTINGS, "--quiet"))
    assert (whole.code, whole.text) == (0, "")
    out, row = tmp_path / "run", generator.randrange(4, 9)
    die(generator.choice(DEATHS[:2]), cohort_2d.name, out, tmp_path / "errors", row, generator.uniform(0, 0.3))
    assert row - SETTINGS["checkpoint_every"] <= last_step(out) < SETTINGS["steps"]
    go_on_alone(cohort_2d.name, out, Run.read(tmp_path / "whole"))


@pytest.mark.long
def test_processes_that_die_one_after_the_other(cohort_2d, tmp_path, capsys):
    generator = random.Random(SEED)
    errors = tmp_path / "errors"
    # Here and now; the second process begins half-way.
    start = begin_and_wait(cohort_2d.name, tmp_path / "whole", errors)
    expected = Run.read(tmp_path / "whole")

    out, step, row = tmp_path / "run", 0, 0
    deaths = DEATHS if FULL else (generator.choice(DEATHS[:2]),)
    for death in deaths:
        row = max(row, step) + generator.randrange(1, 6)
        wait = generator.uniform(0, 0.4 * start if death.endswith("at the start") else 0.3)
        die(death, cohort_2d.name, out, errors, row, wait)
        if out.exists():
            step = check_after_a_fault(out, expected, step, killed=death != "stop")

    alone = tmp_path / "alone"  # one process can go on with it too
    shutil.copytree(out, alone)
    go_on_alone(cohort_2d.name, alone, expected)

    last = begin(cohort_2d.name, out, errors)
    assert last.wait(2 * PATIENCE) == 0, errors.read_text()
    check_the_end(out, expected)
    assert len(rows(out)) == SETTINGS["steps"]
    with capsys.disabled():
        print(f"\n{len(deaths)} faults hit: {len(deaths)} worker")
