"""Fixtures of the tests of images, samples and their cache."""

from __future__ import annotations

from collections import Counter

import pytest

from heteroreg.data.samples import dataset


@pytest.fixture
def decoded(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """How often each file was decoded."""
    counts: Counter[str] = Counter()
    for name in ("read_image", "read_labels"):
        read = getattr(dataset, name)

        def count(path, read=read):
            counts[path.name] += 1
            return read(path)

        monkeypatch.setattr(dataset, name, count)
    return counts
