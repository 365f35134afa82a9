"""A disk that is really full: a small one in memory, which the kernel gives to one process alone, without root."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from heteroreg import evaluate, train

# One in twenty of the faults, but four at least.
FAULTS = max(4, int(os.environ.get("HETEROREG_FAULTS", "32")) // 20)
SEED = os.environ.get("HETEROREG_FAULTS_SEED", "0")


def on_a_small_disk(disk: Path, command: list[str]) -> subprocess.CompletedProcess[str]:
    """Runs a command that sees a disk of 16 MiB at `disk`."""
    script = 'mount -t tmpfs -o size=16m tmpfs "$0" || exit 77; exec "$@"'
    inside = ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c", script, str(disk), *command]
    return subprocess.run(inside, capture_output=True, text=True, timeout=600)


@pytest.fixture
def disk(tmp_path):
    """The place of the small disk."""
    disk = tmp_path / "disk"
    disk.mkdir()
    try:
        possible = on_a_small_disk(disk, ["true"]).returncode == 0
    except FileNotFoundError:
        possible = False
    if not possible:
        pytest.skip("this machine gives no disk of its own to a process (unshare, tmpfs)")
    return disk


@pytest.mark.slow
def test_every_command_says_one_line(disk, cohort_2d, tmp_path):
    cohort = Path(cohort_2d.name).parent
    train(cohort_2d, tmp_path / "run", method="mse", steps=1, batch_size=2)
    evaluate("undeformed", cohort_2d, out=tmp_path / "scores")
    child = [sys.executable, str(Path(__file__).with_name("full_disk_commands.py"))]
    result = on_a_small_disk(
        disk, [*child, str(cohort), str(tmp_path / "run"), str(tmp_path / "scores"), str(disk)]
    )
    assert result.returncode == 0, result.stdout + result.stderr
    assert result.stdout.endswith("hit all\n")
    assert result.stdout.count(": 2 heteroreg: ") > 12  # most of them had too little room


@pytest.mark.slow
def test_a_full_disk(disk, cohort_2d, tmp_path, capsys):
    child = [sys.executable, str(Path(__file__).with_name("full_disk.py"))]
    result = on_a_small_disk(disk, [*child, cohort_2d.name, str(disk), str(tmp_path), str(FAULTS), SEED])
    assert result.returncode == 0, result.stdout + result.stderr
    assert result.stdout.endswith(f"hit {FAULTS}\n")
    with capsys.disabled():
        print(f"\n{FAULTS} faults hit: {FAULTS} full-disk")
