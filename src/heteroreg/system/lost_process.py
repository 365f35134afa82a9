"""Notice that another process of the same work is gone."""

from __future__ import annotations

import os
import re
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import Any

from lightning_fabric import Fabric
from torch import distributed

from heteroreg.system.errors import UserError
from heteroreg.system.memory import start_thread
from heteroreg.system.run_files import has_last_checkpoint

# The process that starts the others leaves its number here for them.
FIRST_PROCESS = "HETEROREG_FIRST_PROCESS"
LOOK_SECONDS = 0.5  # between two looks at the first process
# Base of PyTorch's errors between processes; missing in a PyTorch without them.
_DISTRIBUTED: Any = getattr(distributed, "DistError", ())
_TALKING_MODULES = ("torch.distributed", "torch.nn.parallel.distributed")
# Gloo raises plain RuntimeErrors, which name the place in its source.
_GLOO = re.compile(r"\[[^\]]*\bgloo/[^\]]*:\d+\]")


@contextmanager
def lost_process(what: Path | str, fabric: Fabric, then: str = "resume the training") -> Iterator[None]:
    """Raise a UserError if another process is lost, and let other errors pass.

    If the process that started this one ends while this one waits for it, nothing may ever wake it up; then
    the line is printed and the process ended from here.

    Args:
        what: Output that the processes make.
        fabric: The processes.
        then: Advice at the end of the message.

    Raises:
        UserError: Talking to the other processes failed.
    """
    done = threading.Event()
    if int(os.environ.get("LOCAL_RANK", "0")) > 0 and FIRST_PROCESS in os.environ:
        start_thread(threading.Thread(target=_end_with_the_first, args=(what, then, done), daemon=True))
    try:
        yield
    except RuntimeError as error:
        if fabric.world_size == 1 or not is_lost_process(error):
            raise
        raise UserError(_lost(what, " ".join(str(error).split())[:120], then)) from error
    finally:
        done.set()


def is_lost_process(error: RuntimeError) -> bool:
    """Return True if an error comes from talk between processes, which fails when one of them is gone.

    PyTorch has exceptions of its own for its store, its network and NCCL. Gloo's are plain RuntimeErrors: raised in
    a call of `torch.distributed`, or in a backward pass, whose gradients are reduced by threads of C++.
    """
    if isinstance(error, _DISTRIBUTED):
        return True
    if type(error) is not RuntimeError:
        return False
    return _module_of(error.__traceback__).startswith(_TALKING_MODULES) or _GLOO.match(str(error)) is not None


def _module_of(traceback: TracebackType | None) -> str:
    """Return the name of the module whose call raised."""
    name = ""
    while traceback is not None:
        name = traceback.tb_frame.f_globals.get("__name__", "")
        traceback = traceback.tb_next
    return name


def _end_with_the_first(what: Path | str, then: str, done: threading.Event) -> None:
    """End this process once the one that started it is gone."""
    first = int(os.environ[FIRST_PROCESS])
    while not done.wait(LOOK_SECONDS):
        if os.getppid() != first:
            with suppress(OSError, ValueError):  # nobody may be left to read it
                print(f"heteroreg: {_lost(what, 'the first is gone', then)}", file=sys.stderr, flush=True)
            os._exit(2)


def _lost(what: Path | str, why: str, then: str) -> str:
    rest = f"the last checkpoint is kept, {then}" if has_last_checkpoint(Path(what)) else "start again"
    return f"{what}: another process of this work ended or could not be reached ({why}); {rest}"
