"""The examples in the docstrings of the public functions."""

from __future__ import annotations

import doctest
import importlib

import pytest


@pytest.mark.parametrize(
    "name",
    [
        "heteroreg.evaluation.metrics",
        "heteroreg.evaluation.overlap",
        "heteroreg.evaluation.surface",
        "heteroreg.spatial.regularity",
    ],
)
def test_examples_run(name: str) -> None:
    found = doctest.testmod(importlib.import_module(name))
    assert found.attempted > 0
    assert found.failed == 0
