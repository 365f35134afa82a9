"""Description of the machine that made a measurement."""

from __future__ import annotations

import datetime
import os
import platform
from pathlib import Path
from typing import Any

import torch

import heteroreg

# What decides the rate of a convolution.
FLAGS = ("avx2", "avx512f", "avx512_bf16", "amx_bf16", "asimd", "sve", "bf16")


def machine(threads: int) -> dict[str, Any]:
    """Return the processor, its instruction sets, memory, versions, threads and date."""
    return {
        "cpu": _cpu("model name") or platform.processor() or platform.machine(),
        "cores": os.cpu_count(),
        "flags": sorted(set(FLAGS) & set((_cpu("flags") or _cpu("Features")).split())),
        "memory_gib": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1),
        "system": platform.platform(),
        "threads": threads,
        "load": round(os.getloadavg()[0], 2),
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "versions": {
            "python": platform.python_version(),
            "torch": torch.__version__,
            "heteroreg": heteroreg.__version__,
        },
    }


def _cpu(key: str) -> str:
    path = Path("/proc/cpuinfo")
    lines = path.read_text(encoding="utf-8").splitlines() if path.is_file() else []
    return next((line.partition(":")[2].strip() for line in lines if line.partition(":")[0].strip() == key), "")
