import numpy as np
import pytest

from heteroreg.data.phantom import make_pair
from heteroreg.data.phantom.artefacts import add_artefacts, clutter, drop_out, shadow_wedge
from heteroreg.system.errors import UserError

SHAPES = [(64, 72), (40, 48, 20)]


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("draw", [shadow_wedge, drop_out, clutter])
def test_windows(draw, shape):
    for seed in range(10):
        window = draw(shape, np.random.default_rng(seed))
        assert window.shape == shape
        assert window.min() == 0
        assert 0.4 < window.max() <= 1
        assert 0.001 < (window > 0).mean() < 0.5


def test_a_shadow_opens_downwards():
    for seed in range(10):
        window = shadow_wedge((200, 200), np.random.default_rng(seed)) > 0
        assert window[:, 190].sum() > 1.3 * window[:, 60].sum() > 0


@pytest.mark.parametrize("shape", SHAPES)
def test_an_image_changes_inside_the_mask_alone(shape):
    image = np.random.default_rng(9).uniform(200, 600, shape)
    for seed in range(10):
        changed, mask = add_artefacts(image, np.random.default_rng(seed))
        np.testing.assert_array_equal(changed[~mask], image[~mask])
        assert (changed[mask] != image[mask]).mean() > 0.95
        assert changed.min() >= 0
        assert 0.002 < mask.mean() < 0.6


def test_strength_and_units():
    image = np.random.default_rng(9).uniform(200, 600, (64, 64))
    for seed in range(10):

        def change(image, strength, seed=seed):
            return add_artefacts(image, np.random.default_rng(seed), strength=strength)[0] - image

        np.testing.assert_array_equal(change(image, 0.0), 0)
        assert np.abs(change(image, 0.5)).sum() < np.abs(change(image, 1.0)).sum()
        np.testing.assert_allclose(change(image * 8, 1.0), 8 * change(image, 1.0), atol=1e-9)


def test_a_negative_strength():
    with pytest.raises(UserError, match=r"^strength: -1"):
        add_artefacts(np.ones((8, 8)), np.random.default_rng(0), strength=-1)


def test_artefacts_of_a_pair_are_one_sided():
    for seed in range(6):
        pair = make_pair((3, seed), artefacts=True, strength=1.0)
        moving, fixed = pair.moving_artefact.array > 0, pair.fixed_artefact.array > 0
        assert moving.any()
        assert fixed.any()
        assert (moving & fixed).sum() < 0.9 * min(moving.sum(), fixed.sum())
