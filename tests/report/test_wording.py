"""Text for the page."""

from __future__ import annotations

import pytest

from heteroreg.report.wording import NBSP, joined, unbroken


def test_unbroken() -> None:
    assert unbroken("p = 0.21") == f"p{NBSP}={NBSP}0.21"


@pytest.mark.parametrize(
    ("names", "text"), [(["a"], "a"), (["a", "b"], "a and b"), (["a", "b", "c"], "a, b and c")]
)
def test_joined(names: list[str], text: str) -> None:
    assert joined(names) == text
