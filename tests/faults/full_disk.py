"""Trainings on a disk that is really full; called by `test_full_disk.py` where there is such a disk.

Usage: python full_disk.py COHORT DISK ELSEWHERE FAULTS SEED
"""

from __future__ import annotations

import random
import re
import sys
from pathlib import Path

import torch
from attempts import attempt, command
from checks import check_after_a_fault, check_the_end, temporary_files

from heteroreg.training import Run

SETTINGS = {"method": "hetero", "steps": 8, "batch_size": 2, "log_every": 1, "checkpoint_every": 2}


def main(cohort: str, disk: Path, elsewhere: Path, faults: int, seed: int) -> None:
    """Runs out of room again and again, at random moments, and each time goes on when there is some."""
    whole_outcome = attempt(command(cohort, elsewhere / "whole", SETTINGS, "--quiet"))
    assert (whole_outcome.code, whole_outcome.text) == (0, ""), whole_outcome.text
    whole = Run.read(elsewhere / "whole")
    generator, hit, step = random.Random(seed), 0, 0
    out, ballast = disk / "run", disk / "ballast"
    size = sum(path.stat().st_size for path in whole.folder.rglob("*") if path.is_file())
    while hit < faults:
        fill(ballast, generator.randrange(2 * size))
        outcome = attempt(command(cohort, out, SETTINGS, "--quiet"), cache=elsewhere / "cache")
        print(f"step {step} -> {outcome.code} {outcome.text.strip()}")
        ballast.unlink()
        if outcome.code == 0:
            check_the_end(out, whole)
            remove(out)
            step = 0
            continue
        assert outcome.code == 2
        line = (
            r"heteroreg: /.+: No space left on device; check the path, its permissions and the room on the disk\n"
        )
        assert re.fullmatch(line, outcome.text), outcome.text
        hit += 1
        if out.exists():
            step = check_after_a_fault(out, whole, step, killed=False)
            assert temporary_files(out) == []
    outcome = attempt(command(cohort, out, SETTINGS, "--quiet"), cache=elsewhere / "cache")
    assert (outcome.code, outcome.text) == (0, "")
    check_the_end(out, whole)
    print(f"hit {hit}")


def fill(ballast: Path, room: int) -> None:
    """Leaves so many bytes of room."""
    with ballast.open("wb", buffering=0) as handle:
        try:
            while handle.write(bytes(4096)) == 4096:
                pass
        except OSError:
            handle.truncate(max(0, handle.tell() - room))


def remove(folder: Path) -> None:
    """Removes a folder."""
    for path in sorted(folder.rglob("*"), reverse=True):
        path.rmdir() if path.is_dir() else path.unlink()
    folder.rmdir()


if __name__ == "__main__":
    torch.set_num_threads(1)
    main(sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3]), int(sys.argv[4]), int(sys.argv[5]))
