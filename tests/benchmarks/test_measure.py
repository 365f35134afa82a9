from __future__ import annotations

import time

import numpy as np
import pytest
from benchmarks.measure import MIB, alternate, apart, peak, reset_peak, resident, spread


def test_calls_take_turns() -> None:
    order: list[str] = []
    calls = {"a": lambda: order.append("a"), "b": lambda: (order.append("b"), time.sleep(0.01))}
    seconds = alternate(calls, repeats=3, warm_up=1, show=False)
    assert order == ["a", "b"] * 4
    assert [len(values) for values in seconds.values()] == [3, 3]
    assert min(seconds["b"]) >= 0.01


def test_the_median_counts() -> None:
    assert spread([0.003, 0.001, 0.1]) == {"ms": 3, "ms_least": 1, "ms_greatest": pytest.approx(100)}


def test_the_peak_is_of_what_came_after_the_reset() -> None:
    np.ones(64 * MIB, dtype=np.uint8).sum()
    reset_peak()
    before = resident()
    assert peak() - before < 32 * MIB
    np.ones(96 * MIB, dtype=np.uint8).sum()
    assert 80 * MIB < peak() - before < 160 * MIB


@pytest.mark.slow
def test_too_large_a_volume_is_reported() -> None:
    shape = (8192, 8192, 8192)
    assert apart("register", 1, shape=shape, method="mse", settings={}, repeats=1) == {"failed": "out of memory"}


def test_another_failure_is_shown() -> None:
    with pytest.raises(RuntimeError, match="no method is called 'nonsense'"):
        apart("register", 1, shape=(32, 32), method="nonsense", settings={}, repeats=1)
