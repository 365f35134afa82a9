"""How large carried labels are, and how sure that is."""

import numpy as np
import pytest

from heteroreg.data.grid import Grid
from heteroreg.data.image import Image
from heteroreg.uncertainty.label_sizes import LabelSamples, in_words, labels_of, size

GRID = Grid.of_shape((8, 6), (2.0, 1.0))


def shift(along_first, grid=GRID):
    u = np.zeros((grid.dims, *grid.shape), dtype=np.float32)
    u[0] = along_first
    return u


def bar():
    """Label 3 in the columns 0 to 3, label 7 in the last one: 24 and 6 voxels of 2 mm²."""
    array = np.zeros(GRID.shape, dtype=np.int32)
    array[:4], array[7] = 3, 7
    return Image(array, GRID, "bar")


def test_probabilities_and_sizes_by_hand():
    # moved[x] = labels[x + u]. u = 0: as it is. u = 2: label 3 in the columns 0 and 1, label 7 in 5, none beyond.
    samples = LabelSamples.of(bar(), [shift(0), shift(0), shift(0), shift(2)], GRID)
    np.testing.assert_array_equal(samples.probability[3][:, 0], [1, 1, 0.75, 0.75, 0, 0, 0, 0])
    np.testing.assert_array_equal(samples.probability[7][:, 0], [0, 0, 0, 0, 0, 0.25, 0, 0.75])
    np.testing.assert_array_equal(samples.sizes[3], [48, 48, 48, 24])  # mm²
    np.testing.assert_array_equal(samples.sizes[7], [12, 12, 12, 12])
    # The mean size is the sum of the probabilities.
    assert samples.probability[3].sum() * 2 == pytest.approx(samples.sizes[3].mean())


def test_the_interval_is_one_of_percentiles():
    # 101 samples of the sizes 0 to 100: the percentiles are the sizes.
    samples = LabelSamples({}, {1: np.random.default_rng(0).permutation(np.arange(101.0))})
    assert samples.interval(1) == pytest.approx((2.5, 97.5))


def test_sizes_in_3d_are_in_ml():
    grid = Grid.of_shape((20, 20, 5), (1.0, 1.0, 10.0))
    assert size(np.ones(grid.shape, bool), grid) == pytest.approx(20)  # 2000 voxels of 10 mm³


def test_a_label_that_is_moved_out_of_the_image_has_no_size():
    samples = LabelSamples.of(bar(), [shift(50)], GRID)
    assert samples.interval(3) == (0, 0)
    assert not samples.probability[3].any()


def test_no_labels_no_sizes():
    empty = Image(np.zeros(GRID.shape, np.int32), GRID)
    assert labels_of(empty) == []
    assert LabelSamples.of(empty, [shift(0)], GRID).sizes == {}


@pytest.mark.parametrize(
    ("sizes", "dims", "line"),
    [
        (
            {"3": {"volume_ml": 54.04, "interval_95": [51.2, 58.11]}},
            3,
            "volume of label 3: 54.0 ml, in 95 % of the samples 51.2-58.1",
        ),
        ({"1": {"area_mm2": 0.0512}}, 2, "area of label 1: 0.0512 mm²"),
    ],
)
def test_in_words(sizes, dims, line):
    assert in_words(sizes, dims) == [line]
