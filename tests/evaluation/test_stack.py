"""What an evaluation keeps for the viewer: eight bits of each voxel, within a number of voxels."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from heteroreg.evaluation.stack import Stack, read_stacks, save_stacks
from heteroreg.registration.maps import Maps
from heteroreg.system.errors import UserError

SHAPE = (12, 8, 6)


def volume(**changes) -> Maps:
    random = np.random.default_rng(0)
    labels = np.zeros(SHAPE, dtype=np.int32)
    labels[4:8, 2:6, 2:4] = 2035  # more than eight bits hold
    labels[5, 3, 2] = 7
    view = Maps(
        spacing=(1.0, 1.5, 8.0),
        fixed=random.normal(100, 10, SHAPE),
        moving=random.normal(100, 10, SHAPE),
        moved=random.normal(100, 10, SHAPE),
        displacement=random.normal(0, 2, (3, *SHAPE)),
        fixed_labels=labels,
        moving_labels=labels,
        moved_labels=labels,
        noise_sd=random.random(SHAPE),
    )
    return replace(view, **changes)


def decoded(stack: Stack, name: str) -> np.ndarray:
    low, high = stack.limits[name]
    return low + stack.images[name] / 255 * (high - low)


def test_values_come_back_to_within_half_a_code():
    view = volume()
    stack = Stack.of("p", view)
    low, high = np.percentile(np.stack([view.fixed, view.moving]), [0.5, 99.5])
    assert stack.limits["moved"] == pytest.approx((low, high))
    half = (high - low) / 255 / 2
    np.testing.assert_allclose(decoded(stack, "moved"), np.clip(view.moved, low, high), atol=half * 1.001)
    # a map starts at 0
    top = np.percentile(view.noise_sd, 99.5)
    np.testing.assert_allclose(decoded(stack, "noise_sd"), np.minimum(view.noise_sd, top), atol=top / 255)
    # the displacement in the plane is in mm: 1 and 1.5 mm to a voxel
    motion = view.displacement[:2] * np.array([1.0, 1.5]).reshape(2, 1, 1, 1)
    np.testing.assert_allclose(decoded(stack, "displacement"), motion, atol=np.abs(motion).max() / 255 * 1.001)


def test_labels_come_back_whatever_their_number():
    view = volume()
    stack = Stack.of("p", view)
    assert stack.labels.tolist() == [7, 2035]
    np.testing.assert_array_equal(np.array([0, 7, 2035])[stack.images["fixed_labels"]], view.fixed_labels)


def test_more_labels_than_codes():
    labels = np.arange(np.prod(SHAPE)).reshape(SHAPE)
    stack = Stack.of("p", volume(fixed_labels=labels, moving_labels=labels, moved_labels=labels))
    np.testing.assert_array_equal(stack.images["fixed_labels"], np.where(labels <= 255, labels, 0))


def test_an_image_is_a_stack_of_one_slice():
    stack = Stack.of("p", volume().at(3))
    assert stack.slices is None
    assert stack.shape == (12, 8, 1)
    assert stack.spacing.tolist() == [1.0, 1.5, 1.0]


def test_what_is_far_from_the_labels_goes_first():
    # labels at 4-7, 2-5, 2-3 of 12 x 8 x 6, and a quarter of their size around them: 3-8, 1-6, 1-4
    stack = Stack.of("p", volume(), voxels=6 * 6 * 4)
    assert stack.shape == (6, 6, 4)
    assert stack.origin.tolist() == [3, 1, 1]
    assert stack.step.tolist() == [1, 1, 1]
    assert stack.slices is not None
    assert stack.slices.tolist() == [1, 2, 3, 4]
    whole = Stack.of("p", volume())
    np.testing.assert_array_equal(stack.images["moved"], whole.images["moved"][3:9, 1:7, 1:5])


def test_the_region_does_not_depend_on_the_method():
    view = volume()
    assert view.moved_labels is not None
    other = replace(view, moved_labels=np.roll(view.moved_labels, 3, axis=0))
    frames = {Stack.of("p", one, voxels=150).frame for one in (view, other)}
    assert len(frames) == 1


def test_then_neighbours_are_averaged_where_voxels_are_finest():
    view = volume(fixed_labels=None, moving_labels=None, moved_labels=None)
    whole, stack = Stack.of("p", view), Stack.of("p", view, voxels=6 * 4 * 6)
    # 1 x 1.5 x 8 mm: twice along x is 2 mm and 288 voxels still too many, then twice along y
    assert stack.shape == (6, 4, 6)
    assert stack.step.tolist() == [2, 2, 1]
    assert stack.spacing.tolist() == [2.0, 3.0, 8.0]
    blocks = [whole.images["fixed"][a::2, b::2].astype(float) for a in (0, 1) for b in (0, 1)]
    np.testing.assert_array_equal(stack.images["fixed"], np.rint(np.mean(blocks, axis=0)))
    with pytest.raises(ValueError, match="positive"):
        whole.within(0)


def test_labels_are_not_averaged_and_slices_keep_their_numbers():
    stack = Stack.of("p", volume(), voxels=10)
    assert stack.voxels <= 10
    assert set(np.unique(stack.images["fixed_labels"])) <= {0, 1, 2}
    assert stack.slices is not None
    assert len(stack.slices) == stack.shape[2]
    assert stack.within(10) is stack


def test_stacks_come_back_from_their_folder(tmp_path: Path):
    first, second = Stack.of("näme", volume()), Stack.of("2d", volume().at(0))
    save_stacks([first, second], tmp_path)
    found = read_stacks(tmp_path)
    assert [stack.id for stack in found] == ["näme", "2d"]
    assert [stack.id for stack in found[1:]] == ["2d"]
    assert found[1].slices is None
    assert found[0].frame == first.frame
    assert found[0].limits == first.limits
    for name, array in first.images.items():
        np.testing.assert_array_equal(found[0].images[name], array)
    assert len(read_stacks(tmp_path / "nothing")) == 0


@pytest.mark.parametrize(
    "changes",
    [
        {"moved": np.zeros(SHAPE)},
        {"moved": np.zeros((2, 2, 2), np.uint8)},
        {"moved": None},
        {"displacement": np.zeros(SHAPE, np.uint8)},
        {"fixed_labels": np.full(SHAPE, 3, np.uint8)},
        {"moved_limits": np.array([1.0, 1.0])},
        {"moved_limits": np.array([0.0, np.nan])},
        {"moved_limits": None},
        {"spacing": np.array([1.0, 0.0, 1.0])},
        {"origin": np.array([1.0, 0.0, 1.0])},
        {"step": np.array([1])},
        {"slices": np.array([1, 2])},
        {"labels": np.array(["a", "b"])},
        {"id": np.array("a\nb")},
        {"other": np.zeros(SHAPE, np.uint8)},
    ],
    ids=str,
)
def test_what_is_no_stack_is_named(tmp_path: Path, changes: dict):
    Stack.of("p", volume()).save(tmp_path / "000.npz")
    with np.load(tmp_path / "000.npz") as content:
        arrays = {name: content[name] for name in content.files} | changes
    np.savez(tmp_path / "000.npz", **{name: array for name, array in arrays.items() if array is not None})
    with pytest.raises(UserError, match=r"000\.npz: not readable slices for the viewer"):
        Stack.read(tmp_path / "000.npz")


@pytest.mark.parametrize("content", [b"", b"no zip", b"PK\x03\x04cut"])
def test_a_damaged_stack_is_named(tmp_path: Path, content: bytes):
    (tmp_path / "000.npz").write_bytes(content)
    with pytest.raises(UserError, match=r"000\.npz"):
        Stack.read(tmp_path / "000.npz")
