import json

import numpy as np
import pytest
from scipy import ndimage

from heteroreg.data.cohort import Cohort
from heteroreg.data.image import read_image, read_labels
from heteroreg.data.io.displacement import read_displacement
from heteroreg.data.phantom import make_pair, write_phantom
from heteroreg.system.errors import UserError


def test_files_hold_what_the_pair_has(tmp_path):
    cohort = write_phantom(tmp_path / "hearts", pairs=2, size=40, noise="rician", artefacts=True, seed=3)
    pair, expected = cohort[1], make_pair((3, 1), shape=(40, 40), noise="rician", artefacts=True)
    np.testing.assert_array_equal(read_image(pair.moving).array, expected.moving.array)
    np.testing.assert_array_equal(read_image(pair.fixed).array, expected.fixed.array)
    np.testing.assert_array_equal(read_labels(pair.fixed_labels).array, expected.fixed_labels.array)
    np.testing.assert_array_equal(read_image(pair.truth["moving_noise_sd"]).array, expected.moving_noise_sd.array)
    np.testing.assert_array_equal(read_image(pair.truth["fixed_noise_sd"]).array, expected.fixed_noise_sd.array)
    displacement, grid = read_displacement(pair.truth["true_displacement"])
    np.testing.assert_allclose(displacement, expected.true_displacement, atol=1e-5)
    assert grid.same_as(expected.fixed.grid)
    assert grid.spacing == (1.5, 1.5)
    assert pair.extra["noise"] == "rician"
    mask = read_labels(tmp_path / "hearts" / pair.extra["moving_artefact"]).array
    np.testing.assert_array_equal(mask, expected.moving_artefact.array)


def test_volumes(tmp_path):
    pair = write_phantom(tmp_path / "hearts", pairs=1, dims=3, size=36)[0]
    fixed = read_image(pair.fixed)
    assert fixed.grid.shape == (36, 36, 12)
    assert fixed.grid.spacing == (1.5, 1.5, 3.0)
    displacement, _ = read_displacement(pair.truth["true_displacement"])
    index = np.stack(np.meshgrid(*[np.arange(n) for n in fixed.grid.shape], indexing="ij"))
    moved = ndimage.map_coordinates(
        read_labels(pair.moving_labels).array, index + displacement, order=0, mode="nearest"
    )
    assert (moved == read_labels(pair.fixed_labels).array).mean() > 0.93


@pytest.mark.parametrize(
    ("pairs", "train", "val", "test"),
    [(24, 17, 2, 5), (10, 7, 1, 2), (3, 1, 1, 1), (4, 2, 1, 1), (2, 1, 0, 1), (1, 1, 0, 0)],
)
def test_splits(tmp_path, pairs, train, val, test):
    cohort = write_phantom(tmp_path / "hearts", pairs=pairs, size=32)
    counts = [sum(pair.split == split for pair in cohort) for split in ("train", "val", "test")]
    assert counts == [train, val, test]


def test_a_pair_does_not_depend_on_how_many_there_are(tmp_path):
    few = write_phantom(tmp_path / "few", pairs=2, size=32)
    more = write_phantom(tmp_path / "more", pairs=3, size=32)
    for a, b in zip(few, more, strict=False):
        assert a.moving.read_bytes() == b.moving.read_bytes()
        assert a.truth["true_displacement"].read_bytes() == b.truth["true_displacement"].read_bytes()
    other = write_phantom(tmp_path / "other", pairs=1, size=32, seed=1)
    assert other[0].moving.read_bytes() != few[0].moving.read_bytes()


def test_written_again_it_replaces_itself_but_nothing_else(tmp_path):
    out = tmp_path / "hearts"
    write_phantom(out, pairs=3, size=32)
    write_phantom(out, pairs=1, size=32, strength=0.5)
    assert len(Cohort.read(out)) == 1
    assert json.loads((out / "phantom.json").read_text())["strength"] == 0.5
    foreign = tmp_path / "mine"
    foreign.mkdir()
    (foreign / "pairs.csv").write_text("id,moving,fixed\na,b,c\n")
    with pytest.raises(UserError, match="did not write"):
        write_phantom(foreign, pairs=1, size=32)
    assert [path.name for path in foreign.iterdir()] == ["pairs.csv"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"pairs": 0}, "^pairs: 0 is too few"),
        ({"dims": 4}, "^dims: 4"),
        ({"size": 8}, "^size: 8 is too small"),
        ({"noise": "pink"}, "^noise: 'pink' is unknown"),
        ({"strength": float("nan")}, "^strength: nan"),
        ({"layout": "bids"}, "^layout: 'bids' is unknown"),
    ],
)
def test_what_is_not_allowed(tmp_path, options, message):
    with pytest.raises(UserError, match=message):
        write_phantom(tmp_path / "hearts", **options)
    assert not (tmp_path / "hearts").exists()
