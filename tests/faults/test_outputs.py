"""Commands that are killed while they write: the user's files are untouched, the output is the old or the new one.

Each case chooses a command, a place for its output (a new folder, the current one, a link, a mount point where root
may make one), whether an earlier output is there, whether files of the system lie there too, and a moment between
two operations on files, at which the command kills itself. Afterwards the same command must end as one that was
never killed. `HETEROREG_FAULTS` sets the number of cases, a quarter of it; `HETEROREG_FAULTS_SEED` draws others.
"""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from unittest.mock import patch

import pytest
import torch
from attempts import PROCESSES, attempt
from checks import files_of

from heteroreg import evaluate, train
from heteroreg.system.locks import LOCK_FILE
from heteroreg.system.outputs import MARKER_FILE, STAGE, read_marker, recover
from heteroreg.uncertainty.calibration_file import FILE as CALIBRATION
from heteroreg.uncertainty.calibration_file import read_calibration

CASES = max(6, int(os.environ.get("HETEROREG_FAULTS", "32")) // 4)
SEED = int(os.environ.get("HETEROREG_FAULTS_SEED", "0"))
OPERATIONS = ("replace", "fsync", "unlink", "rmdir", "mkdir")
PLACES = ("new", "current", "link", "mount")
# What a file server, a notebook server and a disk leave in any folder.
OF_SYSTEMS = (".nfs0001", ".ipynb_checkpoints/table-checkpoint.csv", "lost+found/a", ".DS_Store")
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
        "calibrate": [
            ["calibrate", cohort, "--model", "undeformed", "--split", "all", "--steps", "2", "--seed", seed]
            for seed in ("0", "1")
        ],
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
    # A model of two steps may be no better than none, which is a warning.
    lines = [line for line in outcome.text.splitlines() if "does not beat no registration" not in line]
    assert (outcome.code, lines) == (0, []), outcome.text
    return seen


def _apart(arguments: list[str], out: Path, here: Path, moment: int) -> None:
    torch.set_num_threads(1)
    run(arguments, out, here, moment)


def whole(arguments: list[str], folder: Path) -> tuple[dict[str, bytes], int]:
    """Return the output of a command that nothing disturbs, and the number of its operations on files."""
    folder.mkdir(parents=True)
    operations = run(arguments, folder / "out", folder)
    return files_of(folder / "out"), len(operations)


@contextmanager
def mounted(folder: Path, point: Path) -> Iterator[bool]:
    """Mount a folder at a point, as containers do; yield False where that is not allowed."""
    point.mkdir()
    mount = shutil.which("mount")
    done = mount and os.geteuid() == 0 and subprocess.run([mount, "--bind", folder, point], check=False)
    if not done or done.returncode:
        yield False
        return
    try:
        yield True
    finally:
        subprocess.run(["umount", point], check=True)


class Case:
    """A command, the place of its output, and the moment at which it dies."""

    def __init__(
        self,
        commands: dict[str, list[list[str]]],
        place: str,
        number: int,
        folder: Path,
        name: str | None = None,
    ) -> None:
        self.generator = random.Random(SEED * 100_003 + number)
        self.name = self.generator.choice(list(commands)) if name is None else name
        self.first, self.second = commands[self.name]
        self.place, self.earlier = place, self.generator.random() < 0.6
        self.systems = self.generator.random() < 0.5
        self.home = folder / str(number)
        self.here = self.home / "here"
        self.here.mkdir(parents=True)
        (self.home / "thesis.txt").write_text("mine")
        self.out = self.here / "out" if place == "new" else self.here

    def hit(self, undisturbed: list[tuple[dict[str, bytes], int]]) -> None:
        """Kill the command once, and check what is left, before and after it is run again."""
        with mounted(self.here, self.home / "mount") as possible:
            if self.place == "mount" and not possible:
                pytest.skip("this machine lets the tests mount nothing (root, mount --bind)")
            (self.home / "link").symlink_to(self.here)
            given = {"new": self.out, "current": Path()}.get(self.place, self.home / self.place)
            self._hit(given, undisturbed)

    def _hit(self, given: Path, undisturbed: list[tuple[dict[str, bytes], int]]) -> None:
        (old_output, _), (new_output, operations) = undisturbed
        theirs = [self.out / name for name in OF_SYSTEMS] if self.systems else []
        for path in theirs:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text("theirs")
        if self.earlier:
            run(self.first, given, self.here)
        moment = self.generator.randrange(1, operations + 1)
        process = PROCESSES.Process(target=_apart, args=(self.second, given, self.here, moment), daemon=True)
        process.start()
        process.join(120)
        where = f"{self.name}, {self.place}, earlier {self.earlier}, operation {moment} of {operations}"
        assert process.exitcode in (0, KILLED), where

        assert (self.home / "thesis.txt").read_text() == "mine", where
        if self.out.exists():
            recover(self.out)
        left = self.files() if self.out.exists() else {}
        left = {key: text for key, text in left.items() if STAGE not in key and Path(key).name != LOCK_FILE}
        assert self.whole(left) in (self.whole(old_output) if self.earlier else {}, self.whole(new_output)), where
        if self.name == "calibrate" and left.get(CALIBRATION):
            read_calibration(self.out)

        run(self.second, given, self.here)
        assert self.files() == new_output, where
        marker = read_marker(self.out)
        assert marker is not None
        assert self.name == "calibrate" or set(marker["files"]) | {MARKER_FILE} == set(new_output), where
        assert [path.read_text() for path in theirs] == ["theirs"] * len(theirs), where

    def whole(self, files: dict[str, bytes]) -> dict[str, bytes]:
        """Return what is old or new after a kill: all files; of a folder that grows, the file that completes it."""
        if self.name != "calibrate":
            return files
        return {name: text for name, text in files.items() if name == CALIBRATION}

    def files(self) -> dict[str, bytes]:
        """Return the files of the output, without those of the system."""
        return {name: text for name, text in files_of(self.out).items() if name not in OF_SYSTEMS}


@pytest.fixture(scope="module")
def undisturbed(commands, tmp_path_factory):
    """Return a function that gives what the two outputs of a command are if nothing disturbs it."""
    folder, known = tmp_path_factory.mktemp("whole"), {}

    def of(name: str) -> list[tuple[dict[str, bytes], int]]:
        if name not in known:
            known[name] = [whole(words, folder / f"{name}{k}") for k, words in enumerate(commands[name])]
        return known[name]

    return of


@pytest.mark.slow
@pytest.mark.parametrize(("number", "place"), list(enumerate(PLACES)))
def test_a_killed_command_leaves_the_old_output_or_the_new_one(commands, undisturbed, tmp_path, number, place):
    case = Case(commands, place, number, tmp_path)
    case.hit(undisturbed(case.name))


@pytest.mark.slow
def test_a_killed_calibration_goes_on(commands, undisturbed, tmp_path):
    Case(commands, "new", 2, tmp_path, "calibrate").hit(undisturbed("calibrate"))


@pytest.mark.long
@pytest.mark.slow
@pytest.mark.parametrize("place", PLACES)
def test_many_killed_commands(commands, undisturbed, tmp_path, capsys, place):
    for number in range(-(-CASES // len(PLACES))):
        case = Case(commands, place, len(PLACES) + number, tmp_path)
        case.hit(undisturbed(case.name))
    with capsys.disabled():
        print(f"\n{number + 1} faults hit: {number + 1} kills of commands, output {place}")


# A shell that mounts a folder in a space of its own, which needs no root, and runs the command there.
IN_A_MOUNT = ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c"]
SCRIPT = 'mount --bind "$0" "$1" || exit 77; shift; exec "$@"'


@pytest.mark.slow
def test_a_mount_point_takes_an_output(cohort_2d, tmp_path):
    """As a volume of a container: the folder itself cannot be renamed or replaced."""
    (tmp_path / "volume").mkdir()
    (tmp_path / "point").mkdir()
    twice = "import sys, heteroreg as hr; [hr.evaluate('undeformed', sys.argv[1], out=sys.argv[2]) for _ in '12']"
    python = [sys.executable, "-c", twice, cohort_2d.name, tmp_path / "point"]  # the second replaces the first
    if not shutil.which("unshare"):
        pytest.skip("this machine has no unshare")
    inside = [*IN_A_MOUNT, SCRIPT, tmp_path / "volume", tmp_path / "point", *python]
    done = subprocess.run(inside, capture_output=True, text=True, check=False)
    if done.returncode == 77 or "unshare failed" in done.stderr:
        pytest.skip(f"this machine lets the tests mount nothing: {done.stderr.strip()}")
    assert (done.returncode, done.stderr) == (0, "")
    assert {"heteroreg.json", "scores.csv", "summary.json"} <= set(files_of(tmp_path / "volume"))
    assert not [name for name in files_of(tmp_path / "volume") if name.startswith(".heteroreg")]
    assert list((tmp_path / "point").iterdir()) == []


@pytest.mark.parametrize("name", ["evaluate", "register", "compare", "phantom", "calibrate"])
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
