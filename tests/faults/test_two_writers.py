"""Two commands that write one folder at the same time: one of them writes it, the other says who does.

Each case starts the same command twice, the second a random moment after the first; in some cases the first is
killed at a random moment. A command ends well, or is refused in one line. Afterwards the same command ends as one
that was alone: a run is the same bit for bit, an output has the same files. `HETEROREG_FAULTS` sets the number of
cases, a quarter of it; `HETEROREG_FAULTS_SEED` draws others.
"""

from __future__ import annotations

import os
import random
import re
import shutil
import signal
import time
from collections import Counter
from pathlib import Path

import pytest
from attempts import Outcome, attempt, command, end_apart, start_apart
from checks import check_the_end, files_of

from heteroreg import evaluate
from heteroreg.system.locks import LOCK_FILE
from heteroreg.system.outputs import STAGE
from heteroreg.training import Run

CASES = max(6, int(os.environ.get("HETEROREG_FAULTS", "32")) // 4)
SEED = int(os.environ.get("HETEROREG_FAULTS_SEED", "0"))
KILLED = -signal.SIGKILL
SETTINGS = {"method": "mse", "steps": 12, "batch_size": 2, "log_every": 1, "checkpoint_every": 2}


@pytest.fixture(scope="module")
def arguments(cohort_2d, tmp_path_factory) -> dict[str, list[str]]:
    """Return the arguments of each command, without its output."""
    scores = tmp_path_factory.mktemp("scores") / "a"
    evaluate("undeformed", cohort_2d, out=scores)
    moving, fixed = str(cohort_2d[0].moving), str(cohort_2d[0].fixed)
    return {
        "train": command(cohort_2d.name, Path("OUT"), SETTINGS, "--quiet"),
        "evaluate": ["heteroreg", "evaluate", cohort_2d.name, "--model", "undeformed", "--quiet", "--out", "OUT"],
        "register": ["heteroreg", "register", moving, fixed, "--model", "undeformed", "--quiet", "--out", "OUT"],
        "compare": ["heteroreg", "compare", str(scores), "--quiet", "--out", "OUT"],
    }


def at(arguments: list[str], out: Path) -> list[str]:
    return [str(out) if word == "OUT" else word for word in arguments]


def pair_of(arguments: list[str], home: Path, wait: float, kill: float | None) -> tuple[Outcome, Outcome]:
    """Run a command twice, and return how both ended; the first may be killed after some seconds."""
    errors = [home / "first.txt", home / "second.txt"]
    first = start_apart(arguments, errors[0])
    began = time.monotonic()
    time.sleep(wait)
    second = start_apart(arguments, errors[1])
    if kill is not None:
        time.sleep(max(0.0, began + kill - time.monotonic()))
        first.kill()
    return end_apart(first, errors[0]), end_apart(second, errors[1])


def check_case(name: str, arguments: list[str], whole: Path, home: Path, times: tuple[float, float | None]) -> str:
    """Run a case, check all that must hold, and return whether one of them was refused."""
    out = home / "out"
    outcomes = pair_of(at(arguments, out), home, *times)
    refused = rf"heteroreg: (--out: )?{re.escape(str(out))}: is being written by process \d+ on \S+; wait .*\n"
    for outcome in outcomes:
        assert outcome.code in ((0, 2) if times[1] is None or outcome is outcomes[1] else (0, 2, KILLED)), outcome
        if outcome.code == 2:
            assert re.fullmatch(refused, outcome.text), outcome.text
        else:
            assert outcome.text == ""
    assert KILLED in (outcomes[0].code,) or 0 in [outcome.code for outcome in outcomes]
    again = attempt(at(arguments, out))
    assert (again.code, again.text) == (0, "")
    if name == "train":
        check_the_end(out, Run.read(whole))
    else:
        assert files_of(out) == files_of(whole)
    left = [path.name for path in out.iterdir() if path.name == LOCK_FILE or path.name.startswith(STAGE)]
    assert left == []
    return "refused" if 2 in [outcome.code for outcome in outcomes] else "after"


def run_cases(arguments: dict[str, list[str]], folder: Path, number: int) -> Counter[str]:
    generator = random.Random(SEED)
    seconds, wholes, seen = {}, {}, Counter()
    for case in range(number):
        name = list(arguments)[case % len(arguments)]
        if name not in wholes:
            wholes[name] = folder / "whole" / name / "out"
            wholes[name].parent.mkdir(parents=True)
            errors = folder / "errors.txt"
            began = time.monotonic()
            alone = end_apart(start_apart(at(arguments[name], wholes[name]), errors), errors)
            seconds[name] = time.monotonic() - began
            assert (alone.code, alone.text) == (0, "")
        home = folder / str(case)
        home.mkdir()
        wait = generator.choice((0.0, generator.uniform(0, seconds[name])))
        kill = generator.uniform(0, 1.5 * seconds[name]) if generator.random() < 0.3 else None
        if case == 0:  # both at once, whatever the machine: one is refused
            wait, kill = 0.0, None
        print(f"case {case}: {name}, second after {wait:.2f} s, first killed after {kill}")
        seen[check_case(name, arguments[name], wholes[name], home, (wait, kill))] += 1
        shutil.rmtree(home)
    return seen


@pytest.mark.slow
def test_two_writers(arguments, tmp_path):
    """A run, which grows, and an evaluation, which is put in place at its end."""
    seen = run_cases({name: arguments[name] for name in ("train", "evaluate")}, tmp_path, 2)
    assert seen["refused"]


@pytest.mark.long
@pytest.mark.slow
def test_many_pairs_of_writers(arguments, tmp_path, capsys):
    seen = run_cases(arguments, tmp_path, CASES)
    assert seen["refused"]
    with capsys.disabled():
        print(f"\n{CASES} faults hit: {CASES} two-writers")
