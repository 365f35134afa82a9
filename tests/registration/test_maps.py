"""The arrays of one registration on the fixed grid."""

from __future__ import annotations

import numpy as np

from heteroreg.data.image import Image
from heteroreg.registration.classical import Undeformed
from heteroreg.registration.maps import Maps


def test_all_arrays_lie_on_the_fixed_grid():
    fixed = Image.from_array(np.arange(4.0, dtype=np.float32).reshape(4, 1).repeat(3, 1), (1.0, 1.0))
    moving = Image.from_array(np.arange(2.0, dtype=np.float32).reshape(2, 1).repeat(3, 1), (2.0, 1.0))
    maps = Undeformed().register(moving, fixed).maps()
    assert maps.spacing == (1.0, 1.0)
    assert maps.shape == maps.moving.shape == maps.moved.shape == (4, 3)
    np.testing.assert_allclose(maps.moving[:3, 0], [0, 0.5, 1])  # every other voxel lies between two of 2 mm
    assert set(maps.arrays()) == {"fixed", "moving", "moved", "displacement"}


def test_one_slice_has_its_displacement_in_the_plane():
    random = np.random.default_rng(0)
    volume = random.random((2, 3, 4))
    maps = Maps(
        spacing=(1.0, 2.0, 8.0),
        fixed=volume,
        moving=volume,
        moved=volume,
        displacement=random.random((3, 2, 3, 4)),
        weight=volume,
    )
    one = maps.at(1)
    assert one.spacing == (1.0, 2.0)
    np.testing.assert_array_equal(one.weight, volume[..., 1])
    np.testing.assert_array_equal(one.displacement, maps.displacement[:2, ..., 1])
    assert one.noise_sd is None
