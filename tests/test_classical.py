import numpy as np
import pytest

from heteroreg.classical import Undeformed, thick_slices
from heteroreg.data.grid import Grid
from heteroreg.data.image import Image
from heteroreg.errors import UserError


def test_the_identity_moves_nothing():
    array = np.random.default_rng(0).random((5, 6), dtype=np.float32)
    image = Image.from_array(array, (1.0, 2.0))
    labels = image.with_array((array > 0.5).astype(np.int32))
    result = Undeformed().register(image, image, labels)
    np.testing.assert_array_equal(result.moved.array, array)
    np.testing.assert_array_equal(result.moved_labels.array, labels.array)
    assert not result.displacement.any()
    assert result.displacement.shape == (2, 5, 6)
    assert result.noise_sd is None


def test_moving_keeps_its_place_in_space():
    # A ramp of 1 per mm, on a fixed grid of half the spacing that begins 2 mm further on.
    moving = Image.from_array(np.arange(10.0, dtype=np.float32)[:, None] * np.ones((1, 4), np.float32))
    fixed = Image(np.zeros((5, 4)), Grid((5, 4), (0.5, 1.0), (2.0, 0.0), (1.0, 0.0, 0.0, 1.0)))
    moved = Undeformed().register(moving, fixed).moved
    np.testing.assert_allclose(moved.array[:, 1], [2, 2.5, 3, 3.5, 4])
    assert moved.grid == fixed.grid


def test_dimensions_must_agree():
    with pytest.raises(UserError, match="dimensions"):
        Undeformed().register(Image.from_array(np.zeros((4, 4))), Image.from_array(np.zeros((4, 4, 4))))


@pytest.mark.parametrize(
    ("shape", "spacing", "expected"),
    [
        ((4, 4, 4), (1.25, 1.25, 10.0), True),
        ((4, 4, 4), (1.0, 1.0, 3.0), False),
        ((4, 4, 4), (1.0, 4.0, 10.0), False),
        ((4, 4), (1.0, 10.0), False),
    ],
)
def test_thick_slices(shape, spacing, expected):
    assert thick_slices(Grid.of_shape(shape, spacing)) is expected
