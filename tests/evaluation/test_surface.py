import itertools
import time

import numpy as np
import pytest

from heteroreg.data.image import Image
from heteroreg.evaluation.surface import (
    average_surface_distance,
    hausdorff,
    hausdorff95,
    surface,
    surface_distances,
)


def mask(shape, *indices):
    array = np.zeros(shape, dtype=bool)
    for index in indices:
        array[index] = True
    return array


def brute_force(a, b, spacing):
    """Every surface voxel against every other, with the surface by its neighbours one at a time."""

    def points(m):
        found = []
        for index in np.argwhere(m):
            for axis, step in itertools.product(range(m.ndim), (-1, 1)):
                other = index.copy()
                other[axis] += step
                if not (0 <= other[axis] < m.shape[axis]) or not m[tuple(other)]:
                    found.append(index * np.asarray(spacing))
                    break
        return np.array(found)

    distances = np.linalg.norm(points(a)[:, None] - points(b)[None], axis=-1)
    return distances.min(1), distances.min(0)


def test_two_voxels_at_the_ends_are_n_minus_1_spacings_apart():
    # 10 voxels of 2 mm: centres 9 · 2 = 18 mm apart, not 20.
    result = surface_distances(mask((10, 3), (0, 1)), mask((10, 3), (9, 1)), (2.0, 5.0))
    assert [result.hd, result.hd95, result.asd, result.assd] == [18.0] * 4


def test_anisotropic_spacing_by_hand():
    # (0, 0) to (3, 2) at 1 mm × 2 mm: √(3² + 4²) = 5.
    assert surface_distances(mask((4, 4), (0, 0)), mask((4, 4), (3, 2)), (1.0, 2.0)).hd == 5.0
    # The nearest voxel is chosen in mm: 2 voxels along x (2 mm) are nearer than 1 along y (4 mm).
    b = mask((5, 3), (2, 0), (0, 1))
    assert surface_distances(mask((5, 3), (0, 0)), b, (1.0, 4.0)).a_to_b.tolist() == [2.0]


def test_a_line_and_a_part_of_it_by_hand():
    # A = {0}, B = {0, 1, 2, 3} on a line at 1 mm. A → B: {0}. B → A: {0, 1, 2, 3}.
    result = surface_distances(mask((6, 1), (0, 0)), mask((6, 1), *[(i, 0) for i in range(4)]))
    assert result.asd == 0  # one way
    assert result.assd == pytest.approx((0 + 0 + 1 + 2 + 3) / 5)
    assert result.hd == 3
    # 95th percentile of (0, 1, 2, 3): position 0.95·3 = 2.85. Poured together with A → B it would be 2.8.
    assert result.hd95 == pytest.approx(2.85)


def test_asd_is_from_the_first_mask_to_the_second():
    a, b = mask((6, 1), (0, 0)), mask((6, 1), *[(i, 0) for i in range(4)])
    assert surface_distances(b, a).asd == pytest.approx(6 / 4)


def test_the_same_mask_has_no_distance():
    m = np.random.default_rng(1).random((6, 7)) > 0.5
    result = surface_distances(m, m, (1.5, 0.5))
    assert (result.hd, result.hd95, result.asd, result.assd) == (0, 0, 0, 0)


@pytest.mark.parametrize("empty", [(True, False), (False, True), (True, True)])
def test_no_distance_to_nothing(empty):
    masks = [np.full((3, 3), not one) for one in empty]
    result = surface_distances(*masks)
    assert not result.defined
    assert np.isnan([result.hd, result.hd95, result.asd, result.assd]).all()


def test_surface_of_a_square():
    # 5 × 5 square: the 16 outer voxels; the corner of the inner 3 × 3 touches outside nowhere by a face.
    square = mask((7, 7), (slice(1, 6), slice(1, 6)))
    expected = square.copy()
    expected[2:5, 2:5] = False
    np.testing.assert_array_equal(surface(square), expected)


def test_a_mask_that_fills_the_array_has_its_border_as_surface():
    # Cropping an image to an object must not take its surface away.
    assert surface(np.ones((4, 4))).sum() == 12
    whole, inner = np.ones((5, 5)), mask((5, 5), (2, 2))
    # The centre is 2 voxels from the border; the border's corners are 2√2 from the centre.
    result = surface_distances(whole, inner)
    assert result.b_to_a.tolist() == [2.0]
    assert result.hd == pytest.approx(2 * np.sqrt(2))


@pytest.mark.parametrize(("shape", "spacing"), [((9, 8), (1.0, 2.5)), ((5, 6, 4), (0.7, 1.3, 4.0))])
@pytest.mark.parametrize("seed", range(5))
def test_against_brute_force(shape, spacing, seed):
    random = np.random.default_rng(seed)
    a, b = random.random((2, *shape)) < random.uniform(0.05, 0.8, 2).reshape(2, *[1] * len(shape))
    a.flat[0] = b.flat[-1] = True
    result = surface_distances(a, b, spacing)
    a_to_b, b_to_a = brute_force(a, b, spacing)
    np.testing.assert_allclose(result.a_to_b, a_to_b)
    np.testing.assert_allclose(result.b_to_a, b_to_a)


def test_shapes_that_differ_are_refused():
    with pytest.raises(ValueError, match="same shape"):
        surface_distances(np.ones((3, 3)), np.ones((3, 1)))


def test_two_hundred_slices_of_three_labels_take_seconds():
    x, y = np.mgrid[:128, :128]
    discs = [(x - 60 - k) ** 2 + (y - 64) ** 2 < (15 + 5 * k) ** 2 for k in range(4)]
    start = time.perf_counter()
    for _ in range(200):
        for k in range(3):
            assert surface_distances(discs[k], discs[k + 1], (1.25, 1.25)).hd > 0
    assert time.perf_counter() - start < 10


def test_distances_of_images_are_in_mm():
    # Along an axis of 1.5 mm: columns 0 and 1 against column 0 alone; distances 0 and 1.5 one way, 0 the other.
    a, b = (Image.from_array(np.array([values]), (1.0, 1.5)) for values in ([2, 2, 0, 1], [2, 0, 0, 1]))
    assert hausdorff(a, b, 2) == 1.5
    assert hausdorff95(a, b, 2) == pytest.approx(0.95 * 1.5)
    assert average_surface_distance(a, b, 2) == 0.75
    assert average_surface_distance(a, b, 2, symmetric=True) == 0.5
    assert hausdorff(a.array, b.array, 2) == 1.0
    assert np.isnan(hausdorff(a, b, 7))
