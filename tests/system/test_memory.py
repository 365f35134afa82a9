"""Work that does not fit into memory."""

from __future__ import annotations

import errno
import resource
import subprocess
import sys
import zlib
from pathlib import Path
from typing import Any
from unittest.mock import patch

import nibabel as nib
import numpy as np
import pytest
import torch

from heteroreg import Cohort, Image, UserError, read_image, register_cohort, train
from heteroreg.registration.base import BaseRegistrar
from heteroreg.registration.classical import Undeformed
from heteroreg.registration.result import Registration
from heteroreg.system.memory import OutOfMemoryError, is_out_of_memory, memory_errors

SHORT: list[BaseException] = [
    MemoryError(),
    RuntimeError("[enforce fail at alloc_cpu.cpp:117] DefaultCPUAllocator: can't allocate memory: you tried …"),
    RuntimeError("could not create a memory object"),
    RuntimeError("could not create a primitive"),
    RuntimeError("can't start new thread"),
    RuntimeError("std::bad_alloc"),
    RuntimeError("Exception thrown in SimpleITK: Failed to allocate memory for image."),
    torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"),
    OSError(errno.ENOMEM, "Cannot allocate memory"),
    OSError("out of memory error when reading image file"),
    zlib.error("Error -4 while decompressing data"),
]


@pytest.mark.parametrize("error", SHORT, ids=lambda error: str(error)[:20])
def test_what_says_that_memory_is_short(error: BaseException) -> None:
    assert is_out_of_memory(error)
    with pytest.raises(OutOfMemoryError, match=r"^a step: does not fit into .*memory"), memory_errors("a step"):
        raise error


def test_a_gpu_is_named() -> None:
    with (
        pytest.raises(OutOfMemoryError, match=r"the GPU; .*another `device`"),
        memory_errors("a step"),
    ):
        raise next(error for error in SHORT if isinstance(error, torch.OutOfMemoryError))


@pytest.mark.parametrize(
    "error",
    [
        RuntimeError("shape"),
        OSError(errno.ENOSPC, "full"),
        OSError(errno.ENOENT, "No such file", "out of memory.nii"),
        zlib.error("Error -3 while decompressing data: invalid block type"),
        KeyError("a"),
    ],
    ids=str,
)
def test_other_errors_are_as_they_were(error: Exception) -> None:
    with pytest.raises(type(error)) as raised, memory_errors("a step"):
        raise error
    assert raised.value is error


def test_a_damaged_file_is_not_what_a_lack_of_memory_is_called(tmp_path: Path) -> None:
    nib.save(nib.Nifti1Image(np.eye(8), np.eye(4)), tmp_path / "a.nii")
    with (
        patch("heteroreg.data.io.nifti.ArrayProxy", side_effect=MemoryError),
        pytest.raises(OutOfMemoryError, match=r"^\S*a\.nii: does not fit into memory"),
    ):
        read_image(tmp_path / "a.nii")


def test_too_little_memory_to_decompress_is_no_damage(tmp_path: Path) -> None:
    nib.save(nib.Nifti1Image(np.eye(8), np.eye(4)), tmp_path / "a.nii.gz")
    with (
        patch("gzip.GzipFile.read", side_effect=zlib.error("Error -4 while decompressing data")),
        pytest.raises(OutOfMemoryError, match=r"^\S*a\.nii\.gz: does not fit into memory"),
    ):
        read_image(tmp_path / "a.nii.gz")


def test_what_pytorch_and_numpy_raise_here() -> None:
    for allocate in (lambda: torch.empty(2**55), lambda: np.empty(2**55)):
        with pytest.raises(OutOfMemoryError), memory_errors("a volume"):
            allocate()


class Large(BaseRegistrar):
    """Needs more memory than there is for one pair of a cohort."""

    name = "large"

    def _register(self, moving: Image, fixed: Image, moving_labels: Image | None) -> Registration:
        if fixed.grid.shape[0] > 40:
            torch.empty(2**55)
        return Undeformed().register(moving, fixed, moving_labels)


def test_one_pair_that_does_not_fit_stops_no_other(tmp_path: Path) -> None:
    lines = ["id,moving,fixed"]
    for name, size in (("a", 32), ("big", 64), ("c", 32)):
        for phase in ("ED", "ES"):
            noise = np.random.default_rng(len(lines)).random((size, size)).astype(np.float32)
            nib.save(nib.Nifti1Image(noise, np.eye(4)), tmp_path / f"{name}_{phase}.nii.gz")
        lines.append(f"{name},{name}_ED.nii.gz,{name}_ES.nii.gz")
    (tmp_path / "pairs.csv").write_text("\n".join(lines) + "\n")
    table = register_cohort(Large(), tmp_path, tmp_path / "out").set_index("id")
    assert table.loc["big", "error"].startswith("pair big: registration of ")
    assert "does not fit into memory" in table.loc["big", "error"]
    assert (table.loc[["a", "c"], "error"] == "").all()
    assert (tmp_path / "out" / "c" / "summary.json").is_file()
    assert not (tmp_path / "out" / "big").exists()


def test_a_batch_that_does_not_fit(cohort_2d: Cohort, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def short(*_: Any) -> None:
        torch.empty(2**55)

    monkeypatch.setattr("heteroreg.training.loop.update", short)
    with pytest.raises(UserError, match=r"^batch_size 2: does not fit into memory; choose a smaller one"):
        train(cohort_2d, tmp_path / "run", method="mse", steps=2, batch_size=2)


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="the limit holds on Linux")
def test_the_program_says_one_line(tmp_path: Path) -> None:
    """An image of 400 MB, 800 MB as float32, with a limit of 1.5 GB for the process."""
    header = nib.Nifti1Header()
    header.set_data_dtype(np.int16)
    header.set_data_shape((640, 640, 512))
    header["vox_offset"], header["magic"] = 352, b"n+1"
    with (tmp_path / "a.nii").open("wb") as file:
        file.write(header.binaryblock)
        file.truncate(352 + 640 * 640 * 512 * 2)  # zeros that take no room on the disk
    command = [sys.executable, "-m", "heteroreg", "register", str(tmp_path / "a.nii"), str(tmp_path / "a.nii")]
    done = subprocess.run(
        [*command, "--model", "undeformed", "--out", str(tmp_path / "out")],
        capture_output=True,
        text=True,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_AS, (1_500_000_000, 1_500_000_000)),
        check=False,
    )
    assert done.returncode == 2, done.stderr
    assert done.stderr.count("\n") == 1
    assert "not fit into memory" in done.stderr
    assert not (tmp_path / "out").exists()


@pytest.mark.skipif(sys.platform != "linux", reason="the limit holds on Linux")
def test_scipy_is_not_loaded_where_it_would_not_fit() -> None:
    """OpenBLAS, which it brings, would never return."""
    program = """
import resource
from pathlib import Path
from heteroreg.system.memory import load_ndimage
has = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (has + 2**26, -1))
try:
    load_ndimage()
except MemoryError:
    print("short")
resource.setrlimit(resource.RLIMIT_AS, (-1, -1))
print(load_ndimage().__name__)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=120, check=False)
    assert done.stdout.split() == ["short", "scipy.ndimage"], done.stderr


@pytest.mark.skipif(sys.platform != "linux", reason="the limit holds on Linux")
def test_a_thread_with_a_stack_and_no_more_memory_does_not_hang(tmp_path: Path) -> None:
    """The thread got its stack of 8 MiB and ended before its first line, for which `Thread.start` waits."""
    program = """
import os, resource, sys, time
from pathlib import Path
from heteroreg.system.locks import only_writer
has = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
ends = []
for more in range(0, 2**17, 2**12):
    child = os.fork()
    if not child:
        resource.setrlimit(resource.RLIMIT_STACK, (2**23, -1))
        resource.setrlimit(resource.RLIMIT_AS, (has + 2**23 + more, -1))
        try:
            with only_writer(Path(sys.argv[1])):
                os._exit(0)
        except MemoryError:
            os._exit(3)
    until = time.monotonic() + 10
    while not (ended := os.waitpid(child, os.WNOHANG))[0] and time.monotonic() < until:
        time.sleep(0.01)
    if not ended[0]:
        os.kill(child, 9)
        os.waitpid(child, 0)
    ends.append(os.waitstatus_to_exitcode(ended[1]) if ended[0] else "hangs")
print(*ends)
"""
    command = [sys.executable, "-c", program, str(tmp_path / "out")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=400, check=False)
    assert set(done.stdout.split()) == {"3"}, done.stdout + done.stderr
    assert list((tmp_path / "out").iterdir()) == []
