from pathlib import Path

import pytest

from heteroreg.data.cohort import Pair
from heteroreg.data.splits import part_of, split_patients
from heteroreg.system.errors import UserError


def pairs_of(*parts: tuple[str | None, int], views: int = 1) -> list[Pair]:
    """Pairs of so many patients in each part, several views each."""
    patients = [(split, f"{split}{k}") for split, count in parts for k in range(count)]
    return [
        Pair(f"{name}_{view}", Path("m"), Path("f"), split=split, patient=name)
        for split, name in patients
        for view in range(views)
    ]


def patients(pairs: list[Pair], split: str) -> set[str]:
    return {pair.patient for pair in pairs if pair.split == split}


@pytest.mark.parametrize(
    ("parts", "split", "counts"),
    [
        # No parts of its own: 70,10,20 unless told otherwise.
        ([(None, 100)], None, (70, 10, 20)),
        ([(None, 100)], (60, 20, 20), (60, 20, 20)),
        ([(None, 100)], (80, 20), (80, 20, 0)),
        ([(None, 3)], None, (1, 1, 1)),
        ([(None, 1)], None, (1, 0, 0)),
        # ACDC: 100 to train, 50 to test.
        ([("train", 100), ("test", 50)], None, (80, 20, 50)),
        ([("train", 100), ("test", 50)], (90, 10), (90, 10, 50)),
        ([("train", 100), ("test", 50)], (60, 20, 20), (90, 30, 30)),
        # CAMUS and M&Ms: all three parts.
        ([("train", 40), ("val", 5), ("test", 5)], None, (40, 5, 5)),
        ([("train", 40), ("val", 5), ("test", 5)], (80, 20), (36, 9, 5)),
        # No rounding leaves a part empty that was asked for; none is filled that was not.
        ([(None, 10)], (98, 1, 1), (8, 1, 1)),
        ([(None, 10)], (100, 0, 0), (10, 0, 0)),
        ([(None, 10)], (0, 0, 100), (0, 0, 10)),
    ],
)
def test_counts(parts, split, counts):
    pairs = split_patients(pairs_of(*parts, views=2), split, seed=0)
    assert tuple(len(patients(pairs, name)) for name in ("train", "val", "test")) == counts
    # No patient is in two parts.
    assert sum(counts) == len({pair.patient for pair in pairs})


def test_the_own_test_part_stays_what_it_is():
    before = pairs_of(("train", 10), ("test", 5))
    after = split_patients(before, (50, 50), seed=4)
    assert patients(after, "test") == patients(before, "test")
    assert [pair.id for pair in after] == [pair.id for pair in before]


def test_seed():
    draw = [split_patients(pairs_of((None, 30)), (50, 50), seed) for seed in (0, 0, 1)]
    assert draw[0] == draw[1] != draw[2]


@pytest.mark.parametrize("split", [(100,), (50, 40), (120, -20), (25, 25, 25, 25)])
def test_percentages_that_do_not_add_up(split):
    with pytest.raises(UserError, match=r"^split: "):
        split_patients(pairs_of((None, 10)), split, seed=0)


@pytest.mark.parametrize(
    ("path", "part"),
    [("Training/Labeled/A0", "train"), ("testing/patient1", "test"), ("Validation/x", "val"), ("patient1", None)],
)
def test_part_of_a_path(path, part):
    assert part_of(Path(path)) == part
