"""Opens spoiled files in processes of their own, and tells what became of each."""

from __future__ import annotations

import json
import os
import random
import resource
import select
import shutil
import signal
import tempfile
import time
import traceback
import warnings
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.fuzz.headers import spoil
from tests.fuzz.readers import READERS, problem_with
from tests.fuzz.seeds import Seed

from heteroreg.data.io import decoder
from heteroreg.system.errors import UserError

SECONDS = 15.0  # for one input; they take milliseconds
SECONDS_FOR_DECODER = 10.0  # its start included; then the process is ended, and the input refused
VOXELS = 2**20  # the largest size that a header may declare here
MEGABYTES = 200  # that reading may take: a few copies of so many voxels in float64, or the program that reads DICOM
ADDRESS_SPACE = 3 * 1024**3  # beyond what the program has: protects the machine


@dataclass(frozen=True)
class Job:
    """One input: its format and its number; below 0 a seed as it is."""

    format: str
    number: int


@dataclass(frozen=True)
class Outcome:
    """What became of an input.

    Attributes:
        job: The input.
        kind: `read`, `refused`, or else a finding: `exception`, `message`, `noise`, `memory`, `hang`, `crash`.
        detail: The refusal, or what was found.
        where: For findings, what tells one from another.
        megabytes: Peak memory while it was read, beyond what the process had.
    """

    job: Job
    kind: str
    detail: str
    where: str = ""
    megabytes: float = 0.0

    @property
    def finding(self) -> bool:
        """Whether it is anything but a sound result or a refusal."""
        return self.kind not in ("read", "refused")


def make(seeds: dict[str, list[Seed]], job: Job, seed: int, folder: Path) -> tuple[Seed, Path]:
    """Writes an input into a folder; the same seed and job give the same bytes."""
    rng = random.Random(f"{seed}:{job.format}:{job.number}")
    chosen = rng.choice(seeds[job.format]) if job.number >= 0 else seeds[job.format][-job.number - 1]
    target = rng.choice(chosen.spoiled) if job.number >= 0 and chosen.spoiled else ""
    for name, content in chosen.files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(spoil(name, content, rng) if name == target else content)
    return chosen, folder / chosen.opened


def run(seeds: dict[str, list[Seed]], jobs: Iterable[Job], seed: int) -> list[Outcome]:
    """Opens every input. A process that dies or hangs is replaced, and the input named."""
    left, outcomes = list(jobs), []
    while left:
        done = _batch(seeds, left, seed)
        outcomes += done
        left = left[len(done) :]
    return outcomes


def _batch(seeds: dict[str, list[Seed]], jobs: Sequence[Job], seed: int) -> list[Outcome]:
    """The outcomes of the first jobs, up to the one that the process did not survive."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reading)
        try:
            _work(seeds, jobs, seed, writing)
        finally:
            os._exit(0)
    os.close(writing)
    outcomes: list[Outcome] = []
    ended = ""
    with os.fdopen(reading, "rb") as pipe:
        while len(outcomes) < len(jobs):
            if not select.select([pipe], [], [], SECONDS)[0]:
                os.kill(child, signal.SIGKILL)
                ended = "hang"
                break
            line = pipe.readline()
            if not line:
                ended = "crash"
                break
            outcomes.append(Outcome(jobs[len(outcomes)], **json.loads(line)))
    _, status = os.waitpid(child, 0)
    if ended:
        detail = f"nothing came of it in {SECONDS:.0f} s"
        if ended == "crash":
            number = os.waitstatus_to_exitcode(status)
            detail = signal.Signals(-number).name if number < 0 else f"exit code {number}"
        outcomes.append(Outcome(jobs[len(outcomes)], ended, detail, f"{ended}: {detail}"))
    return outcomes


def _work(seeds: dict[str, list[Seed]], jobs: Sequence[Job], seed: int, pipe: int) -> None:
    """In the child: one line for each input."""
    os.environ["HETEROREG_MAX_VOXELS"] = str(VOXELS)
    decoder.DECODER_SECONDS = SECONDS_FOR_DECODER
    space = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize() + ADDRESS_SPACE
    resource.setrlimit(resource.RLIMIT_AS, (space, space))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    warnings.filterwarnings("ignore")
    warnings.filterwarnings("error", category=RuntimeWarning, module="heteroreg")
    shared = Path("/dev/shm")  # memory, where there is one: thousands of small files
    place = Path(tempfile.mkdtemp(prefix="fuzz-", dir=shared if shared.is_dir() else None))
    noise = place / "stderr"
    opened = os.open(noise, os.O_RDWR | os.O_CREAT | os.O_APPEND)
    os.dup2(opened, 2)
    os.dup2(opened, 1)
    try:
        for job in jobs:
            folder = place / "in put"
            folder.mkdir()
            os.ftruncate(opened, 0)
            outcome = one(seeds, job, seed, folder)
            said = noise.read_bytes()
            if said and not outcome["where"]:
                first = said.decode("utf-8", errors="replace").strip().splitlines()[0][:200]
                outcome |= {"kind": "noise", "detail": first, "where": f"noise: {first[:40]}"}
            shutil.rmtree(folder)
            os.write(pipe, (json.dumps(outcome) + "\n").encode())
    finally:
        shutil.rmtree(place, ignore_errors=True)


def one(seeds: dict[str, list[Seed]], job: Job, seed: int, folder: Path) -> dict[str, str | float]:
    """Makes and opens one input here and now."""
    chosen, path = make(seeds, job, seed, folder)
    before = _reset_peak()
    try:
        READERS[chosen.reader](path, job.number)
        kind, detail, where = "read", "", ""
    except UserError as error:
        kind, detail, where = "refused", str(error), ""
        problem = problem_with(error, path)
        if problem:
            kind, detail, where = "message", problem, f"message: {problem[:50]}"
    except BaseException as error:
        frames = [f for f in traceback.extract_tb(error.__traceback__) if "/heteroreg/" in f.filename]
        ours = frames[-1] if frames else traceback.extract_tb(error.__traceback__)[-1]
        kind, detail = "exception", f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"
        where = f"{type(error).__name__} in {Path(ours.filename).name}:{ours.name}"
    used = (_peak() - before) / 1024
    if used > MEGABYTES and kind in ("read", "refused"):
        kind, detail, where = "memory", f"{used:.0f} MB; {detail[:200]}", f"memory in {chosen.reader}"
    return {"kind": kind, "detail": detail, "where": where, "megabytes": round(used, 1)}


def _reset_peak() -> int:
    """Starts the peak of the resident memory anew; gives where it starts, in kB."""
    for process in _processes():
        (process / "clear_refs").write_text("5")
    return _peak()


def _peak() -> int:
    """Of this process and of those that it has started."""
    return sum(
        int(line.split()[1])
        for process in _processes()
        for line in (process / "status").read_text().splitlines()
        if line.startswith("VmHWM:")
    )


def _processes() -> list[Path]:
    """This process and its children, as far as they live."""
    children = Path("/proc/self/task").joinpath(str(os.getpid()), "children").read_text().split()
    return [Path("/proc/self"), *(path for child in children if (path := Path("/proc", child)).is_dir())]


def shares(total: int, weights: dict[str, float]) -> list[Job]:
    """So many jobs, shared out over the formats."""
    whole = sum(weights.values())
    counts = {name: round(total * weight / whole) for name, weight in weights.items()}
    return [Job(name, number) for name, count in counts.items() for number in range(count)]


def whole(seeds: dict[str, list[Seed]], formats: Iterable[str]) -> list[Job]:
    """The seeds as they are: each must be read."""
    return [Job(name, -k - 1) for name in formats for k in range(len(seeds[name]))]


def timed(seeds: dict[str, list[Seed]], jobs: list[Job], seed: int) -> tuple[list[Outcome], float]:
    """The outcomes and the seconds that they took."""
    began = time.monotonic()
    return run(seeds, jobs, seed), time.monotonic() - began
