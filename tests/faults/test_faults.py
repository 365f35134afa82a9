"""Faults at random moments of a training: nothing is lost, and every resumed run ends bit for bit the same.

A case begins a small training and hits it with a few faults, one after another, at random moments: SIGKILL
(between two operations on files, in the middle of a write, or after a random time), SIGTERM, SIGINT, a full disk,
a limit on the size of files, samples that cannot be read, files of the cache that lose their content while they
are mapped, a NaN, a clock that jumps. After each fault the exit
code and the line are those of the guide, every checkpoint is whole and finite, and every figure is one of the
undisturbed run. At the end the run is compared with an undisturbed one bit for bit.

`HETEROREG_FAULTS` is the number of faults, 32 without it; `HETEROREG_FAULTS_SEED` draws others:

    HETEROREG_FAULTS=200 pytest tests/faults

At the end a line says how many of which kind have hit. Processes that die are in `test_workers.py`.
"""

from __future__ import annotations

import os
import random
import re
import shutil
import signal
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from unittest.mock import patch

import pytest
from attempts import METHODS_TOO, Outcome, attempt, command, end_apart, start_apart
from checks import check_after_a_fault, check_the_end, last_step, temporary_files
from moments import WRITES, Fault, Seen

from heteroreg.methods import METHODS
from heteroreg.training import Run

FAULTS = int(os.environ.get("HETEROREG_FAULTS", "32"))
SEED = int(os.environ.get("HETEROREG_FAULTS_SEED", "0"))

# Of twenty faults so many are of each kind.
KINDS = {
    "kill": 3, "late-kill": 2, "term": 3, "int": 2, "full": 3, "limit": 1, "read": 2, "bus": 1, "nan": 2,
    "clock": 1,
}  # fmt: skip
POISONS = ("image", "loss", "gradient", "parameter", "validation")
SETUPS = {
    "mse": {"method": "mse", "log_every": 2, "validate_every": 4, "checkpoint_every": 3, "batch_size": 4},
    "parts": {
        "method": "hetero", "log_every": 1, "validate_every": 5, "checkpoint_every": 4, "batch_size": 4,
        "accumulate": 2, "warm_start": 0.25, "variance_alone": 0.25,
    },
    "drawing": {"method": "drawing", "log_every": 3, "validate_every": 3, "checkpoint_every": 2, "batch_size": 2},
}  # fmt: skip
STEPS = 12
# What a file server and a notebook server leave in a folder; it is let alone, and ends nothing.
FOREIGN = (
    "checkpoints/.nfs0001", "checkpoints/.ipynb_checkpoints/state.json",
    "checkpoints/last/.nfs0002", "checkpoints/last/.ipynb_checkpoints/state.json",
)  # fmt: skip
HIT: Counter[str] = Counter()


def cases() -> list[tuple[int, tuple[str, ...]]]:
    """The kinds of the faults of each case; a clock that jumps stops nothing, so it comes last."""
    generator = random.Random(SEED)
    kinds = [kind for kind, count in KINDS.items() for _ in range(count)]
    kinds = [kinds[k % len(kinds)] for k in range(-(-FAULTS // len(kinds)) * len(kinds))]
    generator.shuffle(kinds)
    groups = [kinds[first : min(first + 4, FAULTS)] for first in range(0, FAULTS, 4)]
    return [(number, tuple(sorted(group, key="clock".__eq__))) for number, group in enumerate(groups)]


@dataclass(frozen=True)
class Whole:
    """A run that nothing disturbed, and the moments that it went through."""

    run: Run
    seen: Seen


@pytest.fixture(scope="module")
def wholes(cohort_2d, tmp_path_factory) -> Iterator[dict[str, Whole]]:
    result = {}
    with patch.dict(METHODS, METHODS_TOO):
        for name, settings in SETUPS.items():
            out = tmp_path_factory.mktemp("whole") / name
            outcome = attempt(command(cohort_2d.name, out, {**settings, "steps": STEPS}, "--quiet"))
            assert (outcome.code, outcome.text) == (0, "")
            result[name] = Whole(Run.read(out), outcome.seen)
        yield result


@pytest.fixture(scope="module", autouse=True)
def tally(request):
    yield
    text = ", ".join(f"{count} {kind}" for kind, count in sorted(HIT.items()))
    with request.config.pluginmanager.getplugin("capturemanager").global_and_fixture_disabled():
        print(f"\n{sum(HIT.values())} faults hit: {text}")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("number", "kinds"), cases(), ids=[f"{number}-{'+'.join(kinds)}" for number, kinds in cases()]
)
def test_nothing_is_lost(number, kinds, cohort_2d, wholes, tmp_path):
    generator = random.Random(SEED * 100_003 + number)
    setup = list(SETUPS)[number % len(SETUPS)]
    case = Case(setup, wholes[setup], cohort_2d.name, tmp_path, generator)
    for kind in kinds:
        case.hit(kind)
    case.finish()


class Case:
    """One run and what befalls it."""

    def __init__(self, setup: str, whole: Whole, cohort: str, folder: Path, generator: random.Random) -> None:
        self.setup, self.whole, self.generator, self.folder = setup, whole, generator, folder
        self.out, self.step = folder / "run", 0
        self.foreign: set[Path] = set()
        self.arguments = command(cohort, self.out, {**SETUPS[setup], "steps": STEPS}, "--quiet")

    def hit(self, kind: str) -> None:
        """Lets a fault hit the run; where the run ended before it, once more."""
        for _ in range(30):
            fault, outcome = self.once(kind)
            print(f"{self.setup}, step {self.step}: {fault} -> {outcome.code} {outcome.text.strip()}")
            assert "Traceback" not in outcome.text
            killed = outcome.code in (-signal.SIGKILL, -signal.SIGBUS)
            hit = outcome.seen.fired is not None or killed
            if hit:
                HIT[kind] += 1
                CHECKS[kind](self, fault, outcome)
                self.step = check_after_a_fault(self.out, self.whole.run, self.step, killed=killed)
                if not killed:
                    assert temporary_files(self.out) == []
                self.leave_foreign_files()
                return
            assert outcome.code == 0
            self.begin_again()
        pytest.fail(f"{kind} never hit")

    def once(self, kind: str) -> tuple[Fault, Outcome]:
        """One attempt."""
        if kind == "late-kill":
            return Fault(kind), self.kill_late()
        fault = self.draw(kind)
        if kind in ("kill", "bus"):
            errors = self.folder / "errors"
            return fault, end_apart(start_apart(self.arguments, errors, fault), errors)
        # What is shown is checked where the clock jumps.
        arguments = self.arguments[:-1] if kind == "clock" else self.arguments
        return fault, attempt(arguments, fault)

    def draw(self, kind: str) -> Fault:
        """A fault at a random moment of what is left of the run."""
        moments = self.whole.seen.moments
        count = {
            "full": sum(moment in WRITES for moment in moments),
            "read": moments.count("fetch"),
            "bus": moments.count("fetch"),
        }.get(kind, len(moments))
        at = self.generator.randrange(max(1, count * (STEPS - self.step) // STEPS))
        detail = ""
        if kind == "nan":
            at, detail = self.generator.randint(min(self.step + 1, STEPS), STEPS), self.generator.choice(POISONS)
        if kind == "limit":
            largest = max(path.stat().st_size for path in self.whole.run.folder.rglob("*"))
            at = int(largest ** self.generator.random())
        return Fault(kind, at, detail, self.generator.randrange(2**32))

    def kill_late(self) -> Outcome:
        """SIGKILL at a random time after a random row."""
        errors = self.folder / "errors"
        process, row = start_apart(self.arguments, errors), self.generator.randrange(4)
        path = self.out / "metrics.csv"
        deadline = time.monotonic() + 60
        while process.is_alive() and time.monotonic() < deadline:
            if path.exists() and len(path.read_text().splitlines()) > row:
                break
            time.sleep(0.002)
        time.sleep(self.generator.uniform(0, 0.2))
        process.kill()
        return end_apart(process, errors)

    def leave_foreign_files(self) -> None:
        """Put files of other programs beside the checkpoints, once there are any."""
        for name in FOREIGN if (self.out / "checkpoints").is_dir() else ():
            path = self.out / name
            path.parent.mkdir(exist_ok=True)
            path.write_text("theirs")
            self.foreign.add(path)

    def begin_again(self) -> None:
        """The run ended undisturbed: it is as it should be, and a new one begins."""
        check_the_end(self.out, self.whole.run)
        shutil.rmtree(self.out)
        self.step = 0
        self.foreign.clear()

    def finish(self) -> None:
        """Goes on to the end."""
        outcome = attempt(self.arguments)
        assert (outcome.code, outcome.text) == (0, "")
        check_the_end(self.out, self.whole.run)
        assert all(path.read_text() == "theirs" for path in self.foreign)


def one_line(outcome: Outcome, pattern: str, code: int) -> re.Match[str]:
    """The exit code, and the one line on the standard error."""
    assert outcome.code == code
    # That samples find no room in the cache is said, and the training goes on.
    text = re.sub(r"heteroreg: warning: .*: samples cannot be kept there .*\n", "", outcome.text)
    found = re.fullmatch(f"heteroreg: {pattern}\n", text)
    assert found, outcome.text
    return found


def check_kill(_case: Case, _fault: Fault, outcome: Outcome) -> None:
    assert (outcome.code, outcome.text) == (-signal.SIGKILL, "")


def check_bus(_case: Case, _fault: Fault, outcome: Outcome) -> None:
    assert (outcome.code, outcome.text) == (-signal.SIGBUS, "")


def check_signal(case: Case, fault: Fault, outcome: Outcome) -> None:
    found = one_line(
        outcome,
        rf"(?:interrupted|.*: stopped and saved after step (\d+) of {STEPS}; go on with --resume)",
        {"term": 143, "int": 130}[fault.kind],
    )
    assert outcome.seen.updates - outcome.seen.updates_when_fired <= 1
    if found[1] is None:  # outside of the loop: nothing to save
        assert outcome.seen.updates in (0, STEPS - case.step)
    else:
        assert last_step(case.out) == int(found[1]) == case.step + outcome.seen.updates


def check_full(_case: Case, _fault: Fault, outcome: Outcome) -> None:
    one_line(outcome, r".+: (No space left on device|File too large); check .* the room on the disk", 2)


def check_read(_case: Case, _fault: Fault, outcome: Outcome) -> None:
    one_line(outcome, "samples: Input/output error; check the path, .*", 2)


def check_nan(case: Case, fault: Fault, outcome: Outcome) -> None:
    kept = "the last checkpoint is kept" if last_step(case.out) else "there is no checkpoint yet"
    if fault.detail == "validation":
        one_line(outcome, rf".*: the validation loss is not finite after step \d+; {kept}\..*", 2)
        return
    found = one_line(
        outcome,
        r".*: (the loss or its gradient|a parameter or its optimiser) is not finite at step (\d+), "
        rf"with the pairs ([\w, ]+); {kept}\. .*",
        2,
    )
    step = int(found[2])
    assert step == fault.at or (fault.detail == "parameter" and step == fault.at + 1)
    assert set(found[3].split(", ")) == outcome.seen.batches[step]
    assert last_step(case.out) == max(case.step, (fault.at - 1) // interval(case) * interval(case))


def interval(case: Case) -> int:
    return int(str(SETUPS[case.setup]["checkpoint_every"]))


def check_clock(case: Case, _fault: Fault, outcome: Outcome) -> None:
    """The run ends as if nothing had been; then the files come from the future, and it is resumed once more."""
    assert outcome.code == 0
    shown = [
        re.fullmatch(rf"training \w+: (\d+)/{STEPS}, (?:(\d+) s left|loss).*", line)
        for line in outcome.text.splitlines()
    ]
    assert all(shown)
    done = [int(line[1]) for line in shown if line]
    assert done == sorted(set(done))
    assert done[-1:] in ([], [STEPS])  # nothing is shown of what is over in two seconds
    left = [line[2] for line in shown if line]
    assert None not in left[1:]  # after its first step a slow training cannot say yet how long it will take
    assert all(0 <= int(seconds) < 120 for seconds in left if seconds)
    future = time.time() + 48 * 3600
    for path in [case.out, *case.out.rglob("*")]:
        os.utime(path, (future, future))


CHECKS = {
    "kill": check_kill,
    "late-kill": check_kill,
    "term": check_signal,
    "int": check_signal,
    "full": check_full,
    "limit": check_full,
    "read": check_read,
    "bus": check_bus,
    "nan": check_nan,
    "clock": check_clock,
}
