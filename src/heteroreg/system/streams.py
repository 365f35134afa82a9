"""The standard streams of a program that was started without some of them, as daemons are."""

from __future__ import annotations

import os
import sys
from pathlib import Path


def open_closed_streams() -> None:
    """Open what is closed of stdin, stdout and stderr on nothing.

    Otherwise the next file to be opened would get the number of stderr, and what libraries write to stderr would go
    into that file.
    """
    number = os.open(os.devnull, os.O_RDWR)
    while number <= 2:
        number = os.open(os.devnull, os.O_RDWR)
    os.close(number)
    # Python has None in place of a stream that was closed when it started.
    sys.stdout = sys.stdout or Path(os.devnull).open("w", encoding="utf-8")  # noqa: SIM115 - until the end
    sys.stderr = sys.stderr or Path(os.devnull).open("w", encoding="utf-8")  # noqa: SIM115 - until the end
