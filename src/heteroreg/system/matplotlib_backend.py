"""Matplotlib does not load where MPLBACKEND names no backend; say so in one line."""

from __future__ import annotations

import os

from heteroreg.system.errors import UserError


def require_matplotlib() -> None:
    """Load Matplotlib.

    Raises:
        UserError: The environment variable MPLBACKEND names no backend.
    """
    try:
        import matplotlib  # noqa: F401
    except ValueError as error:
        name = os.environ.get("MPLBACKEND", "")
        raise UserError(
            f"MPLBACKEND: '{name}' is not a backend of Matplotlib; unset it, or set it to agg"
        ) from error
