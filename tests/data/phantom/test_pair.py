import numpy as np
import pytest
from scipy import ndimage

from heteroreg.data.phantom import make_pair
from heteroreg.data.phantom.heart import Heart
from heteroreg.data.phantom.motion import Beat, contract
from heteroreg.system.errors import UserError

STACK = {"shape": (48, 48, 16), "spacing": (3.0, 3.0, 6.0)}
KINDS = [{"shape": (96, 96)}, {"shape": (64, 80)}, STACK, {"view": "2CH"}, {"view": "4CH"}]


def jacobian_determinant(u: np.ndarray) -> np.ndarray:
    d = len(u)
    x = np.stack(np.meshgrid(*[np.arange(n) for n in u.shape[1:]], indexing="ij")) + u
    matrix = np.stack([np.stack(np.gradient(component)) for component in x])
    return np.linalg.det(np.moveaxis(matrix.reshape(d, d, -1), -1, 0))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("seed", range(6))
def test_motion_is_a_diffeomorphism_of_a_plausible_size(kind, seed):
    u = make_pair((7, seed), **kind).true_displacement
    voxel = 96 / u.shape[1]  # units of the anatomy in a voxel along x
    assert jacobian_determinant(u).min() > 0.15
    longest = np.linalg.norm(u, axis=0).max() * voxel
    assert 2.5 < longest < 14


VARIED = [{"varied": True, **kind} for kind in ({}, STACK, {"view": "4CH"}, {"noise": "speckle"})]


@pytest.mark.parametrize("kind", VARIED)
@pytest.mark.parametrize("seed", range(12))
def test_varied_motion_is_a_diffeomorphism(kind, seed):
    assert jacobian_determinant(make_pair((7, seed), **kind).true_displacement).min() > 0.1


def test_varied_pairs_fill_and_empty_and_are_of_many_contrasts_views_and_noises():
    change, contrast, share, noises, noisy = [], [], [], set(), []
    for seed in range(40):
        pair = make_pair((5, seed), varied=True)
        moving, fixed = pair.moving_labels.array, pair.fixed_labels.array
        noises.add(pair.noise)
        noisy.append(float(pair.moving_noise_sd.array.mean()))
        share.append((moving > 0).mean())
        if (moving == 1).sum() > 50:  # its plane meets the cavity
            change.append((fixed == 1).sum() / (moving == 1).sum())
            clean = pair.moving_clean.array
            contrast.append(np.median(clean[moving == 1]) / np.median(clean[moving == 2]))
    assert min(change) < 0.5
    assert max(change) > 1.5
    assert min(contrast) < 0.7  # dark blood
    assert max(contrast) > 4
    assert max(share) > 4 * max(min(share), 0.01)
    assert noises == {"gaussian", "rician"}
    assert max(noisy) > 10 * min(noisy)


@pytest.mark.parametrize(
    "kind", [{"shape": (96, 96)}, {"shape": (128, 128)}, {"varied": True, "shape": (128, 128)}]
)
def test_fixed_is_moving_at_the_displaced_positions(kind):
    pair = make_pair(3, **kind)
    grid = np.stack(np.meshgrid(*[np.arange(n) for n in kind["shape"]], indexing="ij"))
    warped = ndimage.map_coordinates(
        pair.moving_clean.array.astype(float), grid + pair.true_displacement, order=3, mode="nearest"
    )
    inside = (slice(14, -14),) * 2  # positions that do not leave the image
    error = np.abs(warped - pair.fixed_clean.array)[inside]
    before = np.abs(pair.moving_clean.array - pair.fixed_clean.array)[inside]
    # What is left is the interpolation of edges one voxel wide, here; the phantom itself interpolates nothing.
    assert error.mean() < 0.08 * before.mean()


@pytest.mark.parametrize("kind", [{"shape": (96, 96)}, STACK, {"view": "4CH"}, {"varied": True}])
def test_fixed_labels_are_moving_labels_at_the_displaced_positions(kind):
    pair = make_pair(5, **kind)
    grid = np.stack(np.meshgrid(*[np.arange(n) for n in pair.moving_labels.array.shape], indexing="ij"))
    warped = ndimage.map_coordinates(
        pair.moving_labels.array, grid + pair.true_displacement, order=0, mode="nearest"
    )
    agree = warped == pair.fixed_labels.array
    assert agree.mean() > 0.96
    # They differ only by the rounding to the nearest voxel, so within a voxel of an edge.
    footprint = np.ones((3,) * warped.ndim)
    edge = ndimage.maximum_filter(warped, footprint=footprint) != ndimage.minimum_filter(
        warped, footprint=footprint
    )
    assert agree[~edge].mean() > 0.998


@pytest.mark.slow
@pytest.mark.parametrize(
    "kind",
    [
        {"shape": (96, 96)},
        pytest.param({"shape": (64, 64, 24), "spacing": (2.25, 2.25, 4.0)}, marks=pytest.mark.long),
    ],
)
def test_the_heart_beats_as_hearts_do(kind):
    dice, ejection, growth = [], [], []
    for seed in range(12):
        pair = make_pair((1, seed), **kind)
        moving, fixed = pair.moving_labels.array, pair.fixed_labels.array
        assert set(np.unique(moving)) == set(np.unique(fixed)) == {0, 1, 2, 3}
        ejection.append(1 - (fixed == 1).sum() / (moving == 1).sum())
        growth.append((fixed == 2).sum() / (moving == 2).sum())
        both = ((moving == 2) & (fixed == 2)).sum()
        dice.append(2 * both / ((moving == 2).sum() + (fixed == 2).sum()))
        # Wall thickness over cavity radius: a thick wall about a small cavity at end-systole.
        thickness = [np.sqrt((m >= 1).sum() - (m == 3).sum()) - np.sqrt((m == 1).sum()) for m in (moving, fixed)]
        if len(kind["shape"]) == 2:
            assert thickness[1] > 1.1 * thickness[0]
    assert min(ejection) > 0.30
    assert max(ejection) < 0.72
    assert 0.42 < np.mean(ejection) < 0.62
    assert min(growth) > 0.85
    assert max(growth) < 1.35
    assert 0.42 < np.mean(dice) < 0.72


def test_contraction_of_a_round_heart_by_hand():
    # A cylinder-like level z = 0: inner radius 12, outer radius 18. Half is ejected in the plane: the inner
    # radius at end-systole is √(0.5)·12 = 8.485; the wall keeps its area, so the outer one is
    # √(72 + 18² − 12²) = √252 = 15.875. Both must come from 12 and 18.
    heart = Heart(
        endo=12.0,
        epi=18.0,
        length=200.0,
        base=150.0,
        lobes=((0.0, 0.0),) * 3,
        rv=(15.0, 20.0, 30.0),
        rv_offset=(2.0, 0.0),
        papillary=(1.0, -1.0),
        papillary_radius=2.0,
    )
    beat = Beat(ejection=0.5, shortening=0.0, wall_gain=1.0, twist=0.0, rv_shift=0.0)
    radii = np.array([np.sqrt(72.0), np.sqrt(252.0), 60.0])
    p = np.stack([radii * np.cos(0.3), radii * np.sin(0.3), np.zeros(3)])
    moved = contract(p, heart, beat)
    np.testing.assert_allclose(np.hypot(moved[0], moved[1]), [12.0, 18.0, 60.0], rtol=1e-6)
    np.testing.assert_allclose(np.arctan2(moved[1], moved[0]), 0.3, rtol=1e-6)


def test_the_same_seed_gives_the_same_pair_and_another_seed_another():
    a, b, c = (make_pair((0, i), artefacts=True) for i in (1, 1, 2))
    np.testing.assert_array_equal(a.moving.array, b.moving.array)
    np.testing.assert_array_equal(a.true_displacement, b.true_displacement)
    assert np.abs(a.moving_clean.array - c.moving_clean.array).mean() > 20


def test_noise_changes_neither_the_heart_nor_its_motion():
    a, b = make_pair(2, noise="gaussian"), make_pair(2, noise="rician", artefacts=True)
    np.testing.assert_array_equal(a.fixed_clean.array, b.fixed_clean.array)
    np.testing.assert_array_equal(a.true_displacement, b.true_displacement)


def test_without_strength_the_image_is_the_clean_one():
    pair = make_pair(2, strength=0.0, artefacts=True)
    np.testing.assert_array_equal(pair.fixed.array, pair.fixed_clean.array)
    assert not pair.fixed_noise_sd.array.any()


def test_intensities_are_those_of_cine_mri_and_structure_is_everywhere():
    pair = make_pair(4)
    clean, labels = pair.moving_clean.array, pair.moving_labels.array
    assert clean.min() > 0
    assert clean.max() <= 1000
    assert np.median(clean[labels == 1]) > 2 * np.median(clean[labels == 2])
    blocks = clean.reshape(8, 12, 8, 12).std(axis=(1, 3))
    assert blocks.min() > 1


def test_grid():
    pair = make_pair(0, shape=(48, 40, 12), spacing=(3.0, 3.0, 8.0))
    for image in (pair.moving, pair.fixed, pair.moving_labels, pair.fixed_noise_sd):
        assert image.grid.shape == (48, 40, 12)
        assert image.grid.spacing == (3.0, 3.0, 8.0)
    assert pair.true_displacement.shape == (3, 48, 40, 12)
    assert pair.moving_artefact is None


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"shape": (16, 96)}, "16, 96"),
        ({"noise": "pink"}, "noise: 'pink'"),
        ({"strength": -1.0}, "strength: -1.0"),
        ({"view": "3CH"}, "view: '3CH' is not possible"),
        (
            {"view": "2CH", "shape": (64, 64, 8), "spacing": (1, 1, 1)},
            "view: '2CH' .*only the first in 3D",
        ),
    ],
)
def test_what_is_not_allowed(options, message):
    with pytest.raises(UserError, match=message):
        make_pair(0, **options)
