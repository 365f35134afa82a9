"""Work that does not fit into memory ends in one line."""

from __future__ import annotations

import errno
import re
import sys
import threading
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from typing import Any

from heteroreg.system.errors import UserError

# What PyTorch (CPU, oneDNN, CUDA), ITK, C++, the loader, Pillow, HDF5 and zlib (Z_MEM_ERROR is -4) say. PyTorch
# raises a plain RuntimeError on the CPU.
WORDS = re.compile(
    r"DefaultCPUAllocator|not enough memory|out of memory|failed to allocate memory|can ?not allocate memory"
    r"|can't allocate memory|bad[_ ]alloc|could not create a (memory|primitive)|can't start new thread"
    r"|failed to map segment|unable to allocate|^Error -4 ",
    re.IGNORECASE,
)
GPU = re.compile("CUDA|HIP|MPS")
SCIPY_BYTES = 2**28  # of address space, with OpenBLAS and its buffers
THREAD_BYTES = 2**24  # of address space: a stack of 8 MiB, and its first objects
ADVICE = "use smaller images, or a machine with more memory"


class OutOfMemoryError(UserError):
    """The work does not fit into memory."""


def is_out_of_memory(error: BaseException | None) -> bool:
    """Return whether an error, or what caused it, says that memory is short: that of the machine or that of a GPU.

    Readers turn every error of a library into one about their file, so the cause tells more than the error.
    """
    if error is None:
        return False
    if isinstance(error, MemoryError) or (isinstance(error, OSError) and error.errno == errno.ENOMEM):
        return True
    if isinstance(error, OSError) and error.errno is not None:  # its text may name a file
        return is_out_of_memory(error.__cause__)
    if isinstance(error, RuntimeError | ImportError | OSError | zlib.error) and WORDS.search(str(error)):
        return True
    return is_out_of_memory(error.__cause__)


def require_memory(size: int) -> None:
    """Check that so many bytes can be had at once; none of them is used.

    Raises:
        MemoryError: They cannot.
    """
    bytes(size)  # from calloc, which touches none of them; NumPy would bring OpenBLAS


def start_thread(thread: threading.Thread) -> None:
    """Start a thread if there is memory for its stack and its first objects.

    `Thread.start` waits until the new thread runs. It never returns if that thread got its stack and then ended for
    want of memory, before its first line.

    Raises:
        MemoryError: It would not fit.
    """
    require_memory(THREAD_BYTES)
    thread.start()


def load_ndimage() -> Any:
    """Import `scipy.ndimage` where it is needed, as that is slow.

    It brings OpenBLAS, which never returns or crashes if it gets no memory as it is loaded.

    Raises:
        MemoryError: It would not fit.
    """
    if "scipy.ndimage" not in sys.modules:
        require_memory(SCIPY_BYTES)
    return import_module("scipy.ndimage")


@contextmanager
def memory_errors(what: str = "", advice: str = ADVICE) -> Iterator[None]:
    """Raise `OutOfMemoryError` for a block that runs out of memory.

    Args:
        what: What does not fit, as the subject of the message; "the work" if it is empty.
        advice: What to do.

    Raises:
        OutOfMemoryError: Memory is short.
    """
    try:
        yield
    except OutOfMemoryError:
        raise
    except (MemoryError, RuntimeError, ImportError, OSError, zlib.error, UserError) as error:
        if not is_out_of_memory(error):
            raise
        on_gpu = bool(GPU.search(f"{type(error).__module__} {error}"))
        where = "the memory of the GPU" if on_gpu else "memory"
        more = ", or another `device`" if on_gpu else ""
        subject = f"{what}: does" if what else "the work does"
        raise OutOfMemoryError(f"{subject} not fit into {where}; {advice}{more}") from error
