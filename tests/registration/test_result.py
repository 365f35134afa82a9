import json
from dataclasses import replace

import numpy as np
import pytest
import SimpleITK as sitk

from heteroreg.data.grid import Grid
from heteroreg.data.image import Image, read_image, read_labels
from heteroreg.data.io.displacement import read_displacement
from heteroreg.registration.result import Registration
from heteroreg.system.errors import UserError

GRID = Grid((10, 8, 6), (1.0, 2.0, 3.0), (5.0, 6.0, 7.0), (-1.0, 0, 0, 0, -1.0, 0, 0, 0, 1.0))


@pytest.fixture
def registration(rng):
    def image(name="image"):
        return Image(rng.normal(size=GRID.shape).astype(np.float32), GRID, name)

    u = rng.normal(size=(3, *GRID.shape))
    return Registration(image("moving.nii"), image("fixed.nii"), image(), u, -u, info={"method": "by hand"})


def test_what_is_saved_is_what_there_is(registration, tmp_path):
    registration.save(tmp_path / "out")
    names = {"moved.nii.gz", "displacement.nii.gz", "inverse_displacement.nii.gz", "summary.json"}
    names.add("heteroreg.json")
    assert {p.name for p in (tmp_path / "out").iterdir()} == names
    np.testing.assert_array_equal(read_image(tmp_path / "out" / "moved.nii.gz").array, registration.moved.array)
    for name, field in (
        ("displacement", registration.displacement),
        ("inverse_displacement", registration.inverse_displacement),
    ):
        found, grid = read_displacement(tmp_path / "out" / f"{name}.nii.gz")
        np.testing.assert_allclose(found, field, atol=1e-5)
        assert grid.same_as(GRID)


def test_everything_is_saved(registration, tmp_path):
    other = registration.fixed
    labels = other.with_array((other.array > 0).astype(np.int32))
    full = replace(
        registration, noise_sd=other, weight=other, moved_labels=labels, posterior=_Two(registration), samples=2
    )
    full.save(tmp_path / "out")
    for name in ("noise_sd", "weight"):
        np.testing.assert_array_equal(read_image(tmp_path / "out" / f"{name}.nii.gz").array, other.array)
    # Two samples 2 voxels of 2 mm apart: √(((-2)² + 2²) / (2 - 1)) mm.
    sd = read_image(tmp_path / "out" / "displacement_sd.nii.gz").array
    np.testing.assert_allclose(sd, np.full(GRID.shape, 8**0.5), rtol=1e-6)
    np.testing.assert_array_equal(read_labels(tmp_path / "out" / "moved_labels.nii.gz").array, labels.array)
    # A later one with less leaves nothing of it.
    registration.save(tmp_path / "out")
    assert not (tmp_path / "out" / "weight.nii.gz").exists()


class _Two:
    """A posterior of two samples, 1 voxel before and behind along the second axis."""

    def __init__(self, registration):
        self.mean = registration.displacement

    def sample(self, n, seed):
        step = np.zeros_like(self.mean)
        step[1] = 1
        yield from [self.mean - step, self.mean + step][:n]


def test_the_summary_by_hand(registration, tmp_path):
    u = np.zeros((3, *GRID.shape))
    u[0, :5] = 3  # 3 voxels of 1 mm in half of them
    u[1, :5] = 2  # 2 voxels of 2 mm: 5 mm in all
    still = replace(registration, displacement=u)
    still.save(tmp_path / "out")
    summary = json.loads((tmp_path / "out" / "summary.json").read_text())
    assert summary["displacement_mm"] == {"mean": 2.5, "max": 5.0}
    assert summary["kind"] == "registration"
    assert summary["method"] == "by hand"
    assert summary["shape"] == [10, 8, 6]
    assert summary["spacing_mm"] == [1.0, 2.0, 3.0]
    # Axes 0 and 1 of this grid point along -x and -y.
    np.testing.assert_allclose(still.displacement_mm[:, 0, 0, 0], [-3, -4, 0])


def test_a_foreign_folder_stays(registration, tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(UserError, match="did not write"):
        registration.save(tmp_path)
    assert [p.name for p in tmp_path.iterdir()] == ["notes.txt"]


def test_it_is_saved_whole_or_not_at_all(registration, tmp_path, monkeypatch):
    registration.save(tmp_path / "out")
    before = {p.name: p.read_bytes() for p in (tmp_path / "out").iterdir()}

    def fail(self):
        raise OSError("no room")

    monkeypatch.setattr(Registration, "summary", fail)
    with pytest.raises(OSError, match="no room"):
        registration.save(tmp_path / "out")
    with pytest.raises(OSError, match="no room"):
        registration.save(tmp_path / "new")
    assert {p.name: p.read_bytes() for p in (tmp_path / "out").iterdir()} == before
    assert [p.name for p in tmp_path.iterdir()] == ["out"]


def test_it_does_not_replace_an_image_that_was_registered(registration, tmp_path):
    registration.save(tmp_path / "out")
    source = read_image(tmp_path / "out" / "moved.nii.gz")
    before = {p.name: p.read_bytes() for p in (tmp_path / "out").iterdir()}
    for name in ("moving", "fixed", "moving_labels"):
        with pytest.raises(UserError, match=r"holds the input .*moved\.nii\.gz"):
            replace(registration, **{name: source}).save(tmp_path / "out")
    assert {p.name: p.read_bytes() for p in (tmp_path / "out").iterdir()} == before


def test_the_name_of_an_array_is_no_file(registration, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    registration.save(".")  # its images are called moving.nii and fixed.nii, which would lie in this folder
    registration.save(".")


def test_itk_reads_the_field_as_a_transform(registration, tmp_path):
    registration.save(tmp_path / "out")
    field = sitk.ReadImage(str(tmp_path / "out" / "displacement.nii.gz"), sitk.sitkVectorFloat64)
    transform = sitk.DisplacementFieldTransform(field)
    index = np.array([3.0, 4.0, 2.0])
    expected = GRID.physical(index + registration.displacement[:, 3, 4, 2])
    np.testing.assert_allclose(transform.TransformPoint(GRID.physical(index).tolist()), expected, atol=1e-4)
