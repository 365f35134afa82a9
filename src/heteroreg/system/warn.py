"""Warnings for the user."""

from __future__ import annotations

import sys
import warnings
from pathlib import Path

PACKAGE = str(Path(__file__).resolve().parents[1])


def warn_user(text: str) -> None:
    """Warn with a UserWarning that names the line outside this package from which it was called.

    Python shows equal warnings of one line once. The command line prints them as lines on stderr.
    """
    level = 1
    frame = sys._getframe()
    while frame is not None and frame.f_code.co_filename.startswith(PACKAGE):
        level += 1
        parent = frame.f_back
        if parent is None:
            break
        frame = parent
    warnings.warn(text, stacklevel=level)
