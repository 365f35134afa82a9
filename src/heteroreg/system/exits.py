"""From an exception that ends a program to one line on stderr and an exit code."""

from __future__ import annotations

import sys
import traceback
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from heteroreg.system.errors import StoppedError, UserError, one_line
from heteroreg.system.memory import memory_errors
from heteroreg.system.signals import Interruption

PROGRAM = "heteroreg: "  # how each line begins
MISTAKE = 2  # exit code of a user's mistake


@contextmanager
def one_line_errors(is_verbose: Callable[[], bool] = lambda: False) -> Iterator[None]:
    """Print what ends a program as one line, and exit: with 2 for a mistake, with 128 + number for a signal.

    Warnings for the user become lines too.

    Args:
        is_verbose: Asked after a mistake: show its traceback instead of the line?

    Raises:
        SystemExit: The block raised an error that the user can correct, or a signal ended it.
    """
    before, warnings.showwarning = warnings.showwarning, _show_warning
    try:
        with memory_errors():
            yield
    except (UserError, OSError) as error:
        if getattr(error, "elsewhere", False):  # another process of the same work reports it
            raise SystemExit(0) from None
        if is_verbose():
            traceback.print_exc()
            raise SystemExit(MISTAKE) from None
        _exit(_line(error), MISTAKE)
    except StoppedError as stopped:
        if stopped.elsewhere:
            raise SystemExit(0) from None
        _exit(str(stopped), 128 + stopped.signal)
    except Interruption as interruption:
        _exit("interrupted", 128 + interruption.signal)
    finally:
        warnings.showwarning = before


def _exit(line: str, code: int) -> None:
    print(f"{PROGRAM}{one_line(line)}", file=sys.stderr)
    raise SystemExit(code) from None


def _line(error: Exception) -> str:
    if isinstance(error, OSError) and error.strerror:
        where = f"{error.filename}: " if error.filename else ""
        return f"{where}{error.strerror}; check the path, its permissions and the room on the disk"
    return str(error)


def _show_warning(message: Any, category: type[Warning], *_args: Any, **_kwargs: Any) -> None:
    if issubclass(category, UserWarning):
        print(f"{PROGRAM}warning: {one_line(str(message))}", file=sys.stderr)
