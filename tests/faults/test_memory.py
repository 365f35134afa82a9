"""Too little memory: one line for what does not fit, and the rest is done.

Each case runs a command in a process that may take only so many bytes more, a random number of them, from almost
none to more than it needs. Whatever the number, the command ends by itself, in plain lines. `HETEROREG_FAULTS` sets
the number of cases, a quarter of it; `HETEROREG_FAULTS_SEED` draws others.
"""

from __future__ import annotations

import os
import random
import shutil
import sys
from collections import Counter
from pathlib import Path

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
from attempts import end_apart, start_apart
from checks import files_of
from moments import Fault

CASES = max(6, int(os.environ.get("HETEROREG_FAULTS", "32")) // 4)
SEED = int(os.environ.get("HETEROREG_FAULTS_SEED", "0"))
MEGABYTE = 2**20
SIZES = {"a": (40, 40, 2), "big": (320, 320, 24), "c": (40, 40, 2)}
LARGEST = 600  # megabytes; more than the largest pair takes

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the limit holds on Linux")


@pytest.fixture(scope="module")
def stacks(tmp_path_factory) -> Path:
    """Return a cohort of two small stacks and a large one."""
    folder = tmp_path_factory.mktemp("stacks")
    generator = np.random.default_rng(0)
    lines = ["id,moving,fixed"]
    for name, size in SIZES.items():
        for phase in ("ED", "ES"):
            voxels = generator.integers(0, 400, size).astype(np.int16)
            nib.save(nib.Nifti1Image(voxels, np.diag([1.5, 1.5, 8.0, 1.0])), folder / f"{name}_{phase}.nii.gz")
        lines.append(f"{name},{name}_ED.nii.gz,{name}_ES.nii.gz")
    (folder / "pairs.csv").write_text("\n".join(lines) + "\n")
    return folder


def check_case(stacks: Path, folder: Path, megabytes: float, model: str) -> str:
    """Register the cohort with so much memory, check what must hold, and return how it ended."""
    out, errors = folder / "out", folder / "errors.txt"
    words = ["heteroreg", "register", str(stacks), "--model", model, "--quiet", "--out", str(out)]
    outcome = end_apart(start_apart(words, errors, Fault("memory", int(megabytes * MEGABYTE))), errors)
    lines = outcome.text.splitlines()
    where = f"{megabytes:.1f} MB, {model}: {outcome}"
    assert outcome.code in (0, 2), where
    assert all(line.startswith("heteroreg: ") for line in lines), where
    if not (out / "registrations.csv").is_file():
        assert outcome.code == 2, where
        (line,) = lines
        assert "memory" in line, where
        return "nothing"
    table = pd.read_csv(out / "registrations.csv", keep_default_na=False).set_index("id")
    failed = [name for name in table.index if table.loc[name, "error"]]
    assert all("memory" in table.loc[name, "error"] for name in failed), where
    assert [line.removeprefix("heteroreg: ") for line in lines[:-1]] == [
        table.loc[name, "error"] for name in failed
    ]
    assert bool(failed) == bool(lines) == (outcome.code == 2), where
    done = set(table.index) - set(failed)
    assert all((out / name / "summary.json").is_file() == (name in done) for name in SIZES), where
    assert not [name for name in files_of(out) if name.startswith(".")], where
    return "+".join(failed) or "all"


def run_cases(stacks: Path, folder: Path, limits: list[float]) -> Counter[str]:
    generator = random.Random(SEED)
    seen: Counter[str] = Counter()
    for case, megabytes in enumerate(limits):
        home = folder / str(case)
        home.mkdir()
        model = generator.choice(["undeformed", "phantom"])
        print(f"case {case}: {model}, {megabytes:.1f} MB", flush=True)
        seen[check_case(stacks, home, megabytes, model)] += 1
        shutil.rmtree(home)
    return seen


@pytest.mark.slow
def test_too_little_memory(stacks, tmp_path):
    seen = run_cases(stacks, tmp_path, [2.0, 400.0, LARGEST])
    # With 2 MB either nothing begins or every pair fails: what is loaded by then differs by machine.
    hardly = {"nothing", "a+big+c"}
    assert len(hardly & set(seen)) == 1
    assert set(seen) - hardly == {"big", "all"}


@pytest.mark.slow
@pytest.mark.parametrize("megabytes", [13.0, 16.0])
def test_hardly_any_memory_for_a_network(stacks, tmp_path, megabytes):
    """oneDNN crashed there: it calls kernels for whose code it got no memory."""
    assert check_case(stacks, tmp_path, megabytes, "phantom") in {"nothing", "a+big+c"}


@pytest.mark.long
@pytest.mark.slow
def test_many_limits_of_memory(stacks, tmp_path, capsys):
    generator = random.Random(SEED)
    limits = [LARGEST ** generator.random() for _ in range(CASES)]
    seen = run_cases(stacks, tmp_path, limits)
    with capsys.disabled():
        print(f"\n{CASES} faults hit: {CASES} memory limits: {dict(seen)}")
