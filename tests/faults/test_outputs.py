"""Commands that are killed while they write: the user's files are untouched, the output is the old or the new one.

Each case chooses a command, a place for its output (a new folder, the current one, a link, a mount point where the
system gives one), whether an earlier output is there, and a moment between two operations on files, at which the
command kills itself. Afterwards the same command must end as one that was never killed. `HETEROREG_FAULTS` sets the
number of cases, a quarter of it; `HETEROREG_FAULTS_SEED` draws others.
"""

from __future__ import annotations

import os
import random
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from unittest.mock import patch

import pytest
import torch
from attempts import PROCESSES, attempt

from heteroreg import evaluate, train
from heteroreg.system.locks import LOCK_FILE
from heteroreg.system.outputs import MARKER_FILE, STAGE, read_marker, recover

CASES = max(6, int(os.environ.get("HETEROREG_FAULTS", "32")) // 4)
SEED = int(os.environ.get("HETEROREG_FAULTS_SEED", "0"))
OPERATIONS = ("replace", "fsync", "unlink", "rmdir", "mkdir")
PLACES = ("new", "current", "link")
KILLED = -signal.SIGKILL


@pytest.fixture(scope="module")
def commands(cohort_2d, tmp_path_factory) -> dict[str, list[list[str]]]:
    """Return for each command its arguments, and other arguments that give another output of the same kind."""
    folder = tmp_path_factory.mktemp("inputs")
    cohort = str(Path(cohort_2d.name).parent)
    train(cohort_2d, folder / "run", method="hetero", steps=1, batch_size=2)
    evaluate("undeformed", cohort_2d, out=folder / "a")
    evaluate("phantom", cohort_2d, out=folder / "b")
    moving, fixed = str(cohort_2d[0].moving), str(cohort_2d[0].fixed)
    scored = ["evaluate", cohort, "--split", "all", "--model"]
    return {
        "evaluate": [[*scored, "undeformed"], [*scored, str(folder / "run")]],
        "register": [["register", moving, fixed, "--model", name] for name in (str(folder / "run"), "undeformed")],
        "compare": [["compare", str(folder / "a")], ["compare", str(folder / "a"), str(folder / "b")]],
        "phantom": [["phantom", "--pairs", "2", "--size", "32", "--seed", seed] for seed in ("0", "1")],
    }


@contextmanager
def counted(moment: int | None) -> Iterator[list[str]]:
    """Count operations on files, and end the process by SIGKILL before the one of that number."""
    seen: list[str] = []

    def before(name, function):
        def call(*arguments, **options):
            seen.append(name)
            if len(seen) == moment:
                os.kill(os.getpid(), signal.SIGKILL)
            return function(*arguments, **options)

        return call

    with patch.multiple(os, **{name: before(name, getattr(os, name)) for name in OPERATIONS}):
        yield seen


def run(arguments: list[str], out: Path, here: Path, moment: int | None = None) -> list[str]:
    """Run a command in this process, and return its operations on files."""
    name, *rest = arguments
    given = [str(out)] if name == "phantom" else ["--out", str(out)]
    before = Path.cwd()
    os.chdir(here)
    try:
        with counted(moment) as seen:
            outcome = attempt(["heteroreg", name, *given, *rest, "--quiet"], cache=here.parent / "cache")
    finally:
        os.chdir(before)
    assert (outcome.code, outcome.text) == (0, ""), outcome.text
    return seen


def _apart(arguments: list[str], out: Path, here: Path, moment: int) -> None:
    torch.set_num_threads(1)
    run(arguments, out, here, moment)


def whole(arguments: list[str], folder: Path) -> tuple[dict[str, bytes], int]:
    """Return the output of a command that nothing disturbs, and the number of its operations on files."""
    folder.mkdir(parents=True)
    operations = run(arguments, folder / "out", folder)
    return files(folder / "out"), len(operations)


def files(folder: Path) -> dict[str, bytes]:
    """Return the content of the files of an output that do not depend on the time."""
    found = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    timed = ("summary.json", "scores.csv", "index.html", "README.md")
    return {str(path.relative_to(folder)): b"" if path.name in timed else text for path, text in found.items()}


@pytest.mark.long
@pytest.mark.slow
def test_a_killed_command_leaves_the_old_output_or_the_new_one(commands, tmp_path):
    generator = random.Random(SEED)
    undisturbed: dict[str, list[tuple[dict[str, bytes], int]]] = {}
    for number in range(CASES):
        name = generator.choice(list(commands))
        first, second = commands[name]
        place, earlier = generator.choice(PLACES), generator.random() < 0.6
        home = tmp_path / str(number)
        here = home / "here"
        here.mkdir(parents=True)
        (home / "thesis.txt").write_text("mine")
        if name not in undisturbed:
            undisturbed[name] = [
                whole(arguments, tmp_path / "whole" / f"{name}{k}") for k, arguments in enumerate(commands[name])
            ]
        (old_output, _), (new_output, operations) = undisturbed[name]
        out = here / "out" if place == "new" else here
        given = {"new": out, "current": Path(), "link": home / "link"}[place]
        if place == "link":
            (home / "link").symlink_to(here)
        if earlier:
            run(first, given, here)
        moment = generator.randrange(1, operations + 1)
        process = PROCESSES.Process(target=_apart, args=(second, given, here, moment), daemon=True)
        process.start()
        process.join(120)
        where = f"case {number}: {name}, {place}, earlier {earlier}, operation {moment} of {operations}"
        assert process.exitcode in (0, KILLED), where

        assert (home / "thesis.txt").read_text() == "mine", where
        if out.exists():
            recover(out)
        left = {} if not out.exists() else files(out)
        left = {key: text for key, text in left.items() if STAGE not in key and Path(key).name != LOCK_FILE}
        assert left in (old_output if earlier else {}, new_output), where

        run(second, given, here)
        assert files(out) == new_output, where
        marker = read_marker(out)
        assert marker is not None
        assert set(marker["files"]) | {MARKER_FILE} == set(new_output), where


@pytest.mark.parametrize("name", ["evaluate", "register", "compare", "phantom"])
def test_a_users_file_in_the_way_ends_every_command_before_its_work(commands, tmp_path, name):
    out = tmp_path / "out"
    out.mkdir()
    for foreign in ("summary.json", "scores.csv", "index.html", "table.csv", "notes/thesis.txt"):
        (out / foreign).parent.mkdir(exist_ok=True)
        (out / foreign).write_text("mine")
    with pytest.raises(AssertionError, match="out: "):
        run(commands[name][0], out, tmp_path)
    assert {path.read_text() for path in out.rglob("*") if path.is_file()} == {"mine"}
    assert len(list(out.rglob("*"))) == 6
