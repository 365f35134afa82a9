"""What tests share."""

from __future__ import annotations

import os
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder of real pairs: HETEROREG_DATA, or `shared/data` beside the checkout; skips where absent."""
    folder = Path(os.environ.get("HETEROREG_DATA", Path(__file__).parents[2] / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip(f"no real data at {folder}; set HETEROREG_DATA")
    return folder
