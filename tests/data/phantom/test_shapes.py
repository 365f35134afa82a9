import numpy as np
import pytest
from scipy import ndimage
from tests.data.phantom.test_pair import jacobian_determinant

from heteroreg.data.image import read_image
from heteroreg.data.phantom.cohort import write_phantom
from heteroreg.data.phantom.shapes import make_shapes
from heteroreg.system.errors import UserError

SMALL = {"shape": (32, 32, 32)}
PLANE = {"shape": (64, 64), "spacing": (1.0, 1.0)}


@pytest.mark.parametrize("kind", [SMALL, PLANE])
@pytest.mark.parametrize("seed", range(4))
def test_motion_is_a_diffeomorphism_of_a_plausible_size(kind, seed):
    u = make_shapes((7, seed), **kind).true_displacement
    determinant = jacobian_determinant(u)
    assert determinant.min() > 0.1
    assert 0.05 < np.log(determinant).std() < 0.6
    units = 96 / u.shape[1]
    assert 3 < np.linalg.norm(u, axis=0).max() * units < 40


@pytest.mark.parametrize("kind", [{"shape": (48, 48, 48)}, PLANE])
def test_fixed_is_moving_at_the_displaced_positions(kind):
    pair = make_shapes(3, **kind)
    grid = np.stack(np.meshgrid(*[np.arange(n) for n in kind["shape"]], indexing="ij")) + pair.true_displacement
    inside = np.all([(at >= 0) & (at <= n - 1) for at, n in zip(grid, kind["shape"], strict=True)], axis=0)
    warped = ndimage.map_coordinates(pair.moving_clean.array.astype(float), grid, order=3, mode="nearest")
    error = np.abs(warped - pair.fixed_clean.array)[inside]
    before = np.abs(pair.moving_clean.array - pair.fixed_clean.array)[inside]
    assert error.mean() < 0.25 * before.mean()  # the interpolation of the texture, here
    labels = ndimage.map_coordinates(pair.moving_labels.array, grid, order=0, mode="nearest")
    assert (labels == pair.fixed_labels.array)[inside].mean() > 0.95


def test_pairs_are_of_many_contrasts_and_noises():
    pairs = [make_shapes((5, seed), artefacts=True, **PLANE) for seed in range(20)]
    assert {pair.noise for pair in pairs} == {"gaussian", "rician"}
    assert {pair.moving_artefact is None for pair in pairs} == {True, False}
    assert len({int(pair.moving_labels.array.max()) for pair in pairs}) > 3
    noise = [float(pair.moving_noise_sd.array.mean()) for pair in pairs]
    assert max(noise) > 10 * min(noise)


def test_a_cohort_of_shapes(tmp_path):
    cohort = write_phantom(tmp_path / "shapes", pairs=1, dims=3, size=32, seed=4, shapes=True)
    assert cohort is not None
    pair, expected = cohort[0], make_shapes((4, 0), **SMALL)
    moving = read_image(pair.moving)
    assert np.array_equal(moving.array, expected.moving.array)
    assert moving.grid.spacing == (1.0, 1.0, 1.0)


@pytest.mark.parametrize("option", [{"varied": True}, {"layout": "acdc"}])
def test_what_is_for_hearts_alone(tmp_path, option):
    with pytest.raises(UserError, match=f"^{next(iter(option))}: is for hearts"):
        write_phantom(tmp_path / "shapes", shapes=True, **option)
