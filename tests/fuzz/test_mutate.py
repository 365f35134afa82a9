from __future__ import annotations

import random

import pytest
from tests.fuzz import headers, mutate
from tests.fuzz.harness import Job, make, shares
from tests.fuzz.seeds import Seed

CONTENT = bytes(range(256)) * 4
TEXT = b"id,moving,fixed\na,1.5,x.nii\nb,2,y.nii\n"


@pytest.mark.parametrize("change", mutate.BLIND)
def test_a_blind_change_changes_and_repeats(change: mutate.Mutation) -> None:
    results = [change(CONTENT, random.Random(k)) for k in range(20)]
    assert results == [change(CONTENT, random.Random(k)) for k in range(20)]
    assert any(result != CONTENT for result in results)
    assert change(b"", random.Random(0)) is not None  # nothing to spoil is no reason to fail


@pytest.mark.parametrize("change", mutate.WRITTEN)
def test_a_written_change_changes_and_repeats(change: mutate.Mutation) -> None:
    results = [change(TEXT, random.Random(k)) for k in range(20)]
    assert results == [change(TEXT, random.Random(k)) for k in range(20)]
    assert any(result != TEXT for result in results)
    assert change(b"", random.Random(0)) is not None


@pytest.mark.parametrize(
    "name", ["a.nii", "a.nii.gz", "a.mha", "a.nrrd", "a.png", "a.dcm", "a.safetensors", "a.npz", "a.csv", "a"]
)
def test_any_content_can_be_spoiled(name: str) -> None:
    for content in (b"", b"{}", CONTENT):
        for number in range(10):
            assert isinstance(headers.spoil(name, content, random.Random(number)), bytes)


def test_an_input_depends_on_seed_format_and_number_alone(tmp_path) -> None:
    seeds = {"a": [Seed("a", "image", {"x.nii": CONTENT, "y.csv": TEXT}, "x.nii", ("x.nii", "y.csv"))]}

    def content(job: Job, seed: int) -> list[bytes]:
        make(seeds, job, seed, tmp_path)
        return [(tmp_path / name).read_bytes() for name in ("x.nii", "y.csv")]

    first = content(Job("a", 7), 0)
    assert content(Job("a", 7), 0) == first
    assert content(Job("a", 7), 1) != first
    assert content(Job("a", -1), 0) == [CONTENT, TEXT]  # below 0: as it is


def test_shares() -> None:
    assert [job.format for job in shares(6, {"a": 2, "b": 1})] == ["a", "a", "a", "a", "b", "b"]
