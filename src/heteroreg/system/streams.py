"""The standard streams of a program: those it was started without, and those that cannot show every character."""

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


def print_anything() -> None:
    """Let stdout and stderr write what their encoding lacks as a question mark: ×, λ, a name in another script.

    Encodings other than UTF-8 are usual in a pipe on Windows and in containers without a locale.
    """
    for stream in (sys.stdout, sys.stderr):
        reconfigure = getattr(stream, "reconfigure", None)  # a test's own stream has none
        if reconfigure is not None and "utf" not in str(stream.encoding).lower():
            reconfigure(errors="replace")
