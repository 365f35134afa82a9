"""Measure time and memory."""

from __future__ import annotations

import json
import os
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
MIB, GIB = 2**20, 2**30
# Of what is free, the share that a measurement may take: beyond it, it fails and the machine goes on.
SHARE_OF_FREE = 0.9


def alternate(
    calls: Mapping[str, Callable[[], object]], repeats: int, warm_up: int = 2, show: bool = True
) -> dict[str, list[float]]:
    """Return the seconds of each call, measured by turns, so that a machine that slows down slows all alike.

    Args:
        calls: Name → what to time.
        repeats: Turns that count.
        warm_up: Turns before them: the first calls of each shape prepare kernels and fill the allocator.
        show: Name each turn on stderr.
    """
    seconds: dict[str, list[float]] = {name: [] for name in calls}
    for turn in range(-warm_up, repeats):
        if show:
            print(f"\rturn {turn + 1} of {repeats}   ", end="", file=sys.stderr, flush=True)
        for name, call in calls.items():
            began = time.perf_counter()
            call()
            if turn >= 0:
                seconds[name].append(time.perf_counter() - began)
    if show:
        print(file=sys.stderr)
    return seconds


def spread(seconds: Sequence[float]) -> dict[str, float]:
    """Median, least and greatest, in milliseconds."""
    return {
        "ms": 1000 * statistics.median(seconds),
        "ms_least": 1000 * min(seconds),
        "ms_greatest": 1000 * max(seconds),
    }


def resident() -> int:
    """Bytes of this process that are in memory now (Linux)."""
    return _status("VmRSS")


def reset_peak() -> None:
    """Lets `peak` count from now on: what an import took for a moment does not belong to a step."""
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")


def peak() -> int:
    """Return the peak memory of this process in bytes since `reset_peak` (Linux)."""
    return _status("VmHWM")


def _status(name: str) -> int:
    for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines():
        if line.startswith(f"{name}:"):
            return 1024 * int(line.split()[1])
    raise OSError(f"/proc/self/status has no {name}")


def limit_memory() -> None:
    """Make allocations beyond the free memory fail, so that no other process is killed for them."""
    for line in Path("/proc/meminfo").read_text(encoding="ascii").splitlines():
        if line.startswith("MemAvailable:"):
            allowed = resident() + int(SHARE_OF_FREE * 1024 * int(line.split()[1]))
            resource.setrlimit(resource.RLIMIT_DATA, (allowed, allowed))


def apart(task: str, threads: int, **arguments: Any) -> dict[str, Any]:
    """Return the result of a task of `benchmarks.child` in a process of its own.

    Returns:
        Its figures; {"failed": "out of memory"} where there was too little.

    Raises:
        RuntimeError: It failed for another reason.
    """
    command = [sys.executable, "-m", "benchmarks.child", task, json.dumps({"threads": threads, **arguments})]
    environment = os.environ | {"OMP_NUM_THREADS": str(threads)}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)  # noqa: S603
    if done.returncode:
        raise RuntimeError(f"{task} {arguments} ended with {done.returncode}:\n{done.stderr}")
    figures: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return figures
