import numpy as np
import pytest

from heteroreg.data.cohort import Cohort, Pair
from heteroreg.data.image import Image, read_image, write_image
from heteroreg.system.errors import UserError
from heteroreg.training import Config
from heteroreg.training.resolve import resolve


def cohort_of_shapes(folder, shapes, spacings):
    pairs = []
    for k, (shape, spacing) in enumerate(zip(shapes, spacings, strict=True)):
        path = folder / f"{k}.nii.gz"
        write_image(Image.from_array(np.arange(np.prod(shape), dtype=np.float32).reshape(shape), spacing), path)
        pairs.append(Pair(str(k), path, path))
    return Cohort(tuple(pairs), "some cohort")


@pytest.mark.parametrize(
    ("shapes", "spacings", "dims", "spacing", "size"),
    [
        # The median spacing; the largest image is 40·1.5/1.25 = 48 and 20·2/1.5 = 27 pixels, up to 32.
        ([(40, 20), (30, 20), (33, 20)], [(1.5, 2.0), (1.0, 1.5), (1.25, 1.5)], 2, (1.25, 1.5), (48, 32)),
        # Thick slices: 2D. 8 mm is more than three times 1.5.
        ([(32, 48, 5)], [(1.5, 1.5, 8.0)], 2, (1.5, 1.5), (32, 48)),
        # Slices three times as thick: 3D still.
        ([(32, 33, 5)], [(1.0, 1.0, 3.0)], 3, (1.0, 1.0, 3.0), (32, 48, 16)),
        # 512 pixels are more than 1.5·256: coarsened by two.
        ([(512, 384)], [(0.5, 0.5)], 2, (1.0, 1.0), (256, 192)),
        # 300 are not: cut to 256.
        ([(300, 100)], [(0.5, 0.5)], 2, (0.5, 0.5), (256, 112)),
    ],
)
def test_what_is_found_from_the_images(shapes, spacings, dims, spacing, size, tmp_path):
    cohort = cohort_of_shapes(tmp_path, shapes, spacings)
    config = resolve(Config.build({"steps": 500}), cohort)
    assert config.dims == dims
    assert config.spacing == pytest.approx(spacing)
    assert config.size == size
    assert (config.validate_every, config.checkpoint_every) == (50, 50)
    assert config.batch_size == {2: 8, 3: 2}[dims]
    assert config.cohort == "some cohort"


@pytest.mark.parametrize(
    ("settings", "kernel"),
    [({}, 1.0), ({"kernel": 0}, 0.0), ({"kernel": 2.5}, 2.5), ({"network": "voxelmorph"}, 0.0), ({"dims": 2}, 0.0)],
)
def test_the_kernel_is_that_of_the_network_and_dimension(settings, kernel, tmp_path):
    cohort = cohort_of_shapes(tmp_path, [(32, 33, 20)], [(1.0, 1.0, 1.0)])
    assert resolve(Config.build(settings), cohort).kernel == kernel


def test_voxels_are_not_read(tmp_path):
    cohort = cohort_of_shapes(tmp_path, [(40, 20)], [(1.5, 2.0)])
    path = cohort[0].fixed
    path.write_bytes(path.read_bytes()[:-100])  # reading it would fail
    with pytest.raises(UserError, match="cut short"):
        read_image(path)
    assert resolve(Config.build({}), cohort).size == (48, 32)


@pytest.mark.parametrize(("accumulate", "batch_size"), [(1, 2), (2, 2), (3, 3)])
def test_a_batch_has_as_many_volumes_as_it_is_split_into(tmp_path, accumulate, batch_size):
    cohort = cohort_of_shapes(tmp_path, [(32, 33, 20)], [(1.0, 1.0, 1.0)])
    assert resolve(Config.build({"accumulate": accumulate}), cohort).batch_size == batch_size


def test_what_is_given_stays(tmp_path):
    cohort = cohort_of_shapes(tmp_path, [(32, 48, 5)], [(1.5, 1.5, 8.0)])
    given = {
        "dims": 3,
        "spacing": [2.0, 2.0, 4.0],
        "size": [32, 32, 16],
        "batch_size": 5,
        "validate_every": 7,
        "checkpoint_every": 3,
    }
    config = resolve(Config.build(given), cohort)
    assert config.dims == 3
    assert config.spacing == (2.0, 2.0, 4.0)
    assert config.size == (32, 32, 16)
    assert (config.batch_size, config.validate_every, config.checkpoint_every) == (5, 7, 3)
