"""A process that forks while another of its threads reads, as PyTorch's DataLoader may do."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from pydicom.data import get_testdata_file

from heteroreg.data.image import read_image

FORKS = 6
LIMIT = 20.0  # seconds for a child that reads one small file

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")


@contextmanager
def reading(path: Path) -> Iterator[None]:
    """Read a file again and again in another thread."""
    stop = threading.Event()

    def loop() -> None:
        while not stop.is_set():
            read_image(path)

    thread = threading.Thread(target=loop)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


def ends(child: int) -> bool:
    """Return whether a child ends well in time; kill one that does not end."""
    end = time.monotonic() + LIMIT
    while time.monotonic() < end:
        if (found := os.waitpid(child, os.WNOHANG))[0]:
            return os.waitstatus_to_exitcode(found[1]) == 0
        time.sleep(0.01)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return False


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
@pytest.mark.parametrize("kind", ["dicom", "nifti"])
def test_a_forked_child_reads(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "a.nii.gz"
    if kind == "dicom":
        path = Path(str(get_testdata_file("CT_small.dcm")))
    else:
        nib.save(nib.Nifti1Image(np.arange(24.0).reshape(4, 3, 2), np.eye(4)), path)
    expected = read_image(path).array
    with reading(path):
        for fork in range(FORKS):
            time.sleep(0.007 * fork)
            child = os.fork()
            if child == 0:
                code = 1
                try:
                    code = 0 if np.array_equal(read_image(path).array, expected) else 2
                finally:
                    os._exit(code)
            assert ends(child)
