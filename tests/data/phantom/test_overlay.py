"""Noise and artefacts of known truth, laid over images that are there already."""

import json
from dataclasses import replace

import numpy as np
import pytest

from heteroreg.data.cohort import Cohort, Pair
from heteroreg.data.grid import Grid
from heteroreg.data.image import Image, read_image, read_labels, write_image
from heteroreg.data.phantom import write_overlay, write_phantom
from heteroreg.system.errors import UserError


@pytest.fixture
def stacks(tmp_path):
    """Two pairs of stacks of thick slices with labels, one of them with a name that no file may have."""
    grid = Grid.of_shape((40, 36, 3), (1.25, 1.25, 10.0))
    ramp = np.broadcast_to(np.linspace(100, 300, 40, dtype=np.float32)[:, None, None], grid.shape)
    folder = tmp_path / "real"
    pairs = []
    for number, name in enumerate(("one", "a/b")):
        files = {
            role: folder / f"{number}_{role}.nii.gz"
            for role in ("moving", "fixed", "moving_labels", "fixed_labels")
        }
        for role, path in files.items():
            array = (ramp > 200).astype(np.uint8) if role.endswith("labels") else ramp.copy()
            write_image(Image(array, grid), path)
        pairs.append(Pair(id=name, patient="p", split=("train", "test")[number], extra={"vendor": "A"}, **files))
    Cohort(tuple(pairs)).write(folder / "pairs.csv")
    return Cohort.read(folder)


def test_what_is_laid_over_is_the_noise_that_is_written(stacks, tmp_path):
    cohort = write_overlay(tmp_path / "noisy", stacks, strength=2.0)
    z = []
    for before, after in zip(stacks, cohort, strict=True):
        for role in ("moving", "fixed"):
            sd = read_image(after.truth[f"{role}_noise_sd"])
            image = read_image(getattr(after, role))
            assert sd.grid.same_as(image.grid)
            z.append((image.array - read_image(getattr(before, role)).array) / sd.array)
    z = np.stack(z)  # 4 stacks of 4,320 voxels: the mean has an error of 1/√17,280 = 0.008
    assert abs(z.mean()) < 0.03
    assert abs(z.std() - 1) < 0.03
    assert abs(np.corrcoef(z.reshape(4, -1)) - np.eye(4)).max() < 0.06  # each image has its own


def test_the_rest_is_that_of_the_cohort(stacks, tmp_path):
    cohort = write_overlay(tmp_path / "noisy", stacks, artefacts=True)
    for before, after in zip(stacks, cohort, strict=True):
        assert (after.id, after.patient, after.split) == (before.id, before.patient, before.split)
        assert after.extra["vendor"] == "A"
        assert after.fixed_labels.resolve() == before.fixed_labels.resolve()
        assert after.moving_labels.resolve() == before.moving_labels.resolve()
    assert not list((tmp_path / "noisy").glob("*labels*"))
    assert json.loads((tmp_path / "noisy" / "phantom.json").read_text())["kind"] == "overlay"


def test_without_noise_the_image_is_unchanged_outside_the_artefacts(stacks, tmp_path):
    cohort = write_overlay(tmp_path / "artefacts", stacks, artefacts=True, noise_strength=0.0)
    for before, after in zip(stacks, cohort, strict=True):
        for role in ("moving", "fixed"):
            mask = read_labels(tmp_path / "artefacts" / after.extra[f"{role}_artefact"]).array > 0
            old, new = read_image(getattr(before, role)).array, read_image(getattr(after, role)).array
            np.testing.assert_array_equal(old[~mask], new[~mask])
            assert (read_image(after.truth[f"{role}_noise_sd"]).array == 0).all()
            # Every slice was acquired on its own, so each has artefacts, and they lie elsewhere.
            assert all(mask[..., k].any() for k in range(3))
            assert (mask[..., 0] != mask[..., 1]).any()
            assert (old != new)[mask].mean() > 0.9


def test_a_volume_has_artefacts_in_space(tmp_path):
    volumes = write_phantom(tmp_path / "hearts", pairs=1, dims=3, size=36, strength=0.0)
    pair = write_overlay(tmp_path / "over", volumes, artefacts=True)[0]
    mask = read_labels(tmp_path / "over" / pair.extra["moving_artefact"]).array > 0
    changes = (mask[..., 1:] != mask[..., :-1]).mean()
    assert mask.any()
    assert changes < 0.5 * mask.mean()  # neighbouring slices share most of it
    assert pair.truth["true_displacement"].resolve() == volumes[0].truth["true_displacement"].resolve()


def test_it_depends_on_seed_and_id_alone(stacks, tmp_path):
    both = write_overlay(tmp_path / "both", stacks, seed=1)
    one = write_overlay(tmp_path / "one", Cohort(stacks.pairs[1:], stacks.name), seed=1)
    other = write_overlay(tmp_path / "other", stacks, seed=2)
    np.testing.assert_array_equal(read_image(both[1].fixed).array, read_image(one[0].fixed).array)
    assert (read_image(both[1].fixed).array != read_image(other[1].fixed).array).any()


@pytest.mark.parametrize("noise", ["rician", "speckle"])
def test_values_that_such_noise_cannot_have(stacks, tmp_path, noise):
    image = read_image(stacks[1].moving)
    write_image(image.with_array(image.array - 200), stacks[1].moving)
    with pytest.raises(UserError, match=rf"{stacks[1].moving.name}: has negative values, which {noise}"):
        write_overlay(tmp_path / "over", stacks, noise=noise)
    assert not (tmp_path / "over").exists()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"noise": "pink"}, "noise: 'pink'"),
        ({"strength": -1.0}, "strength: -1"),
        ({"noise_strength": -1.0}, "noise_strength: -1"),
        ({"artefacts": True, "strength": float("nan")}, "strength: nan"),
    ],
)
def test_what_is_not_allowed(stacks, tmp_path, options, message):
    missing = Cohort(tuple(replace(pair, fixed=tmp_path / "missing.nii.gz") for pair in stacks), stacks.name)
    with pytest.raises(UserError, match=message):
        write_overlay(tmp_path / "over", missing, **options)
    assert not (tmp_path / "over").exists()
