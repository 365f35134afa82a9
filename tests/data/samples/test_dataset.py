import errno
from dataclasses import replace

import numpy as np
import pytest
import torch

import heteroreg.data.samples.dataset as dataset
from heteroreg.data.cohort import Pair
from heteroreg.data.image import Image, read_image, write_image
from heteroreg.data.samples.cache import SampleCache
from heteroreg.data.samples.dataset import ImageCache, load_samples
from heteroreg.data.samples.preparation import Preparation, resample, scale_of
from heteroreg.data.samples.samples import Samples
from heteroreg.system.errors import UserError


@pytest.fixture
def pairs(tmp_path, rng):
    """Two stacks of 20x18x3 and 20x18x4 voxels; the moving labels are a square off the centre."""
    result = []
    for k, slices in enumerate((3, 4)):
        shape = (20, 18, slices)
        files = {}
        for name in ("moving", "fixed"):
            files[name] = tmp_path / f"{k}_{name}.nii.gz"
            write_image(
                Image.from_array(rng.uniform(0, 500, shape).astype(np.float32), (1.5, 1.5, 8.0)), files[name]
            )
            labels = np.zeros(shape, dtype=np.int32)
            labels[3:6, 9:12] = 2
            files[f"{name}_labels"] = tmp_path / f"{k}_{name}_labels.nii.gz"
            write_image(Image.from_array(labels, (1.5, 1.5, 8.0)), files[f"{name}_labels"])
        result.append(Pair(f"pair{k}", patient=f"patient{k}", **files))
    return result


def test_stacks_become_slices(pairs):
    samples = load_samples(pairs, Preparation(2), (16, 24), labels=True)
    assert len(samples) == 7
    assert samples.size == (16, 24)
    assert samples.images(range(7)).shape == samples.labels(range(7)).shape == (7, 2, 16, 24)
    assert samples.labelled
    assert samples.shared_labels == (2,)
    assert samples.pair.tolist() == [0, 0, 0, 1, 1, 1, 1]
    assert samples.ids == ("pair0", "pair1")
    assert samples.patients == ("patient0", "patient1")
    image = read_image(pairs[1].fixed)
    scaled = scale_of(image, "percentile")(image.array)
    # 20 rows are cropped to 16 (two off each end), 18 columns padded to 24 (three at each end).
    np.testing.assert_array_equal(samples.images([5])[0, 1, :, 3:21].numpy(), scaled[2:18, :, 2])
    fixed = samples.images(range(7))[:, 1]
    assert (fixed[:, :, :3] == 0).all()
    assert (fixed[:, :, 21:] == 0).all()
    assert samples.labels(range(7)).unique().tolist() == [0, 2]


def test_samples_come_in_the_order_they_are_asked_for(pairs):
    samples = load_samples(pairs, Preparation(2), (16, 24), labels=True)
    everything, maps = samples.images(range(7)), samples.labels(range(7))
    chosen = torch.tensor([6, 0, 3, 3])
    assert torch.equal(samples.images(chosen), everything[chosen])
    assert torch.equal(samples.labels(chosen), maps[chosen])
    assert not torch.equal(everything[2], everything[3])  # the last of one pair, the first of the next
    with pytest.raises(IndexError):
        samples.images([7])


def test_the_labels_in_both_images():
    maps = [torch.tensor([[[0, 1, 2]]]), torch.tensor([[[5, 2, 3]]])]
    images = {"moving": torch.zeros(1, 1, 3), "fixed": torch.zeros(1, 1, 3)}
    pairs = tuple(images | {"moving_labels": a, "fixed_labels": b} for a, b in (maps, maps[::-1]))
    assert Samples(pairs[:1], ("a",), ("a",)).shared_labels == (2,)
    assert Samples(pairs, ("a", "b"), ("a", "b")).shared_labels == (1, 2, 3, 5)
    assert Samples((pairs[0], images), ("a", "b"), ("a", "b")).shared_labels == ()


def test_volumes_stay_whole(pairs):
    samples = load_samples(pairs[:1], Preparation(3), (16, 16, 16))
    assert samples.images([0]).shape == (1, 2, 16, 16, 16)
    assert not samples.labelled
    assert samples.shared_labels == ()


def test_a_crop_about_a_label(pairs):
    samples = load_samples(pairs, Preparation(2), (3, 3), centre_label=2, labels=True)
    assert (samples.labels(range(7))[:, 0] == 2).all()
    image = read_image(pairs[0].moving)
    scaled = scale_of(image, "percentile")(image.array)
    np.testing.assert_array_equal(samples.images([0])[0, 0].numpy(), scaled[3:6, 9:12, 0])
    with pytest.raises(UserError, match="has no label 9 to centre on"):
        load_samples(pairs, Preparation(2), (16, 16), centre_label=9)
    with pytest.raises(UserError, match="pair pair0: has no moving_labels, which centre_label needs"):
        load_samples([replace(pairs[0], moving_labels=None)], Preparation(2), (16, 16), centre_label=2)


def test_labels_are_loaded_only_if_every_pair_has_them(pairs):
    some = [pairs[0], replace(pairs[1], fixed_labels=None)]
    assert not load_samples(some, Preparation(2), (16, 16), labels=True).labelled


def test_the_working_spacing(pairs):
    samples = load_samples(pairs[:1], Preparation(2, (3.0, 3.0)), (10, 9))
    image = read_image(pairs[0].fixed)
    coarse = resample(image, image.grid.with_spacing((3.0, 3.0, 8.0)))
    np.testing.assert_allclose(
        samples.images(range(3))[:, 1].numpy(),
        np.moveaxis(scale_of(image, "percentile")(coarse.array), -1, 0),
        atol=1e-6,
    )


def test_training_sees_the_intensities_that_registration_will(pairs, tmp_path, rng):
    # The moving image covers twice the fixed one and is brighter out there: scaled by all of it in both.
    from heteroreg.registration.model import _batch

    bright = rng.uniform(0, 500, (40, 18, 3)).astype(np.float32)
    bright[20:] *= 3
    write_image(Image.from_array(bright, (1.5, 1.5, 8.0)), tmp_path / "wide.nii.gz")
    pair = replace(pairs[0], moving=tmp_path / "wide.nii.gz", moving_labels=None)
    preparation = Preparation(2)
    samples = load_samples([pair], preparation, (20, 18))
    moving, fixed = read_image(pair.moving), read_image(pair.fixed)
    batch = _batch(moving, scale_of(moving, "percentile"), fixed.grid, 2)
    np.testing.assert_allclose(samples.images(range(3))[:, :1].numpy(), batch.numpy(), atol=1e-6)


def test_each_file_is_decoded_once(pairs, decoded, tmp_path):
    third = Pair("again", pairs[0].fixed, pairs[0].moving, pairs[0].fixed_labels, pairs[0].moving_labels)
    for _ in range(2):
        cache = SampleCache(tmp_path / "cache")
        load_samples([*pairs, third], Preparation(2), (16, 16), centre_label=2, labels=True, cache=cache)
    assert len(decoded) == 8
    assert set(decoded.values()) == {1}


def test_training_decodes_each_file_once(cohort_2d, decoded, monkeypatch, tmp_path):
    from heteroreg.training import train

    monkeypatch.setenv("HETEROREG_CACHE", str(tmp_path / "cache"))
    train(cohort_2d, tmp_path / "run", steps=1, batch_size=2)
    assert set(decoded.values()) == {1}
    # Five pairs to learn from, and one to validate with its labels.
    assert len(decoded) == 5 * 2 + 4
    decoded.clear()
    train(cohort_2d, tmp_path / "again", steps=1, batch_size=2)
    assert not decoded


def test_images_are_let_go_of_after_their_last_pair(pairs, monkeypatch):
    held = []
    prepare = dataset._prepare

    def look(pair, recipe, images):
        made = prepare(pair, recipe, images)
        held.append(sorted(path.name for path, _ in images._images))
        return made

    monkeypatch.setattr(dataset, "_prepare", look)
    third = replace(pairs[1], id="again", moving=pairs[0].moving)
    load_samples([*pairs, third], Preparation(2), (16, 16), cache=SampleCache(None))
    assert held == [
        ["0_fixed.nii.gz", "0_moving.nii.gz"],
        ["0_moving.nii.gz", "1_fixed.nii.gz", "1_moving.nii.gz"],
        ["0_moving.nii.gz", "1_fixed.nii.gz"],
    ]


def test_a_disk_that_fails_is_told_with_the_file(pairs, monkeypatch):
    def broken(path):
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(dataset, "read_image", broken)
    with pytest.raises(UserError, match=r"0_fixed\.nii\.gz: could not be read \(Input/output error\)"):
        load_samples(pairs, Preparation(2), (16, 16), cache=SampleCache(None))


def test_the_cache_forgets_what_was_used_longest_ago(pairs, decoded):
    size = read_image(pairs[0].moving).array.nbytes  # 20·18·3·4 bytes
    cache = ImageCache(limit=2 * size)
    first, second, third = pairs[0].moving, pairs[0].fixed, pairs[0].moving_labels
    cache.image(first)
    cache.image(second)
    cache.image(first)
    cache.labels(third)  # one too many: the second goes
    cache.image(first)
    assert decoded[first.name] == 1
    cache.image(second)
    assert decoded[second.name] == 2


def test_an_image_larger_than_the_cache_is_read_all_the_same(pairs):
    assert ImageCache(limit=1).image(pairs[0].moving).array.shape == (20, 18, 3)


@pytest.mark.parametrize("labels_grid", [(20, 18, 4), (21, 18, 3)])
def test_labels_on_another_grid_are_named(labels_grid, pairs, tmp_path):
    write_image(Image.from_array(np.ones(labels_grid, dtype=np.int32), (1.5, 1.5, 8.0)), tmp_path / "odd.nii.gz")
    pair = replace(pairs[0], fixed_labels=tmp_path / "odd.nii.gz")
    with pytest.raises(UserError, match=r"odd\.nii\.gz: lies on another grid"):
        load_samples([pair], Preparation(2), (16, 16), labels=True)


def test_a_constant_image_is_named(pairs, tmp_path):
    write_image(Image.from_array(np.full((20, 18, 3), 4.0, dtype=np.float32)), tmp_path / "flat.nii.gz")
    with pytest.raises(UserError, match=r"flat\.nii\.gz: every voxel has the value 4"):
        load_samples([replace(pairs[0], moving=tmp_path / "flat.nii.gz")], Preparation(2), (16, 16))
