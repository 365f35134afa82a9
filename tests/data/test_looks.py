import warnings

import nibabel as nib
import numpy as np
import pytest
from numpy.typing import NDArray

from heteroreg.data.check import check
from heteroreg.data.cohort import Cohort, Pair
from heteroreg.data.grid import Grid
from heteroreg.data.image import Image
from heteroreg.data.inputs import as_pair
from heteroreg.data.looks import is_padded, label_values, time_points
from heteroreg.data.samples.preparation import scale_of

X, Y = np.mgrid[:64, :64]
OUTSIDE = np.hypot(X - 32, Y - 32) > 31  # 1 - π·31²/64² = 26 %


def test_padding_is_left_out_of_the_scale():
    plain = np.random.default_rng(0).normal(-900, 50, (64, 64)).astype(np.float32)
    padded = np.where(OUTSIDE, np.float32(-2000), plain)
    assert not is_padded(plain)
    assert is_padded(padded)
    inside = np.percentile(plain[~OUTSIDE], (0.5, 99.5))
    scale = scale_of(Image.from_array(padded), "percentile")
    np.testing.assert_allclose((scale.low, scale.high), inside, rtol=1e-6)
    assert (scale(padded)[OUTSIDE] == 0).all()


def test_a_background_is_no_padding():
    bright = np.where(OUTSIDE, 0, np.random.default_rng(0).normal(900, 20, (64, 64)))  # from 0 up
    assert not is_padded(bright)
    small = np.where(np.hypot(X - 32, Y - 32) < 12, np.random.default_rng(0).normal(3, 0.2, (64, 64)), -0.5)
    assert not is_padded(small)  # a brain after standardisation: more than half is background
    assert not is_padded(np.where(OUTSIDE, -1100.0, np.random.default_rng(0).normal(0, 400, (64, 64)).clip(-1024)))


def test_label_maps_and_images():
    labels = np.where(OUTSIDE, 0, np.where(X > 32, 1, 3))
    assert label_values(labels) == "0, 1, 3"
    assert label_values(np.random.default_rng(0).integers(0, 4, (64, 64))) == ""  # noise: no regions
    assert label_values(labels + np.linspace(0, 0.5, 64)) == ""
    assert label_values(np.zeros((8, 8))) == ""


def cine(frames: int = 30, beats: float = 1.0) -> NDArray[np.float32]:
    """Frames [x, y, t] of a disc that shrinks and widens again, in a body that stays."""
    body = 50 + 40 * np.sin(X / 9) * np.cos(Y / 7)
    radii = 14 - 2 * (1 - np.cos(2 * np.pi * beats * np.arange(frames) / frames))
    discs = [np.clip(radius - np.hypot(X - 32, Y - 32), 0, 1) * 60 for radius in radii]
    return np.stack([body + disc for disc in discs], -1).astype(np.float32)


def heart() -> NDArray[np.float32]:
    """A volume of a ball in a body that narrows: slices change, and do not come back."""
    z = np.arange(30)
    body = 90 * (np.hypot(X - 32, Y - 32)[..., None] < 15 + 0.5 * z)
    ball = 60 * (np.hypot(np.hypot(X - 32, Y - 32)[..., None], z - 15) < 12)
    return (body + ball + np.random.default_rng(0).normal(0, 2, (64, 64, 30))).astype(np.float32)


@pytest.mark.parametrize(
    ("array", "spacing", "reason"),
    [
        (cine(), (1.5, 1.5, 1.0), "come back"),
        (cine(), (1.5, 1.5, 8.0), "come back"),
        (cine(beats=0.5), (1.5, 1.5, 0.033), "although they lie 0.033 mm apart"),
        (cine(beats=0.5), (1.5, 1.5, 8.0), "although they lie 8 mm apart"),
        (cine(beats=0.5), (1.5, 1.5, 1.5), None),  # a volume may be like that
        (cine(frames=6), (1.5, 1.5, 1.0), None),
        (heart(), (1.5, 1.5, 1.5), None),
        (heart(), (1.5, 1.5, 8.0), None),
        (np.repeat(cine(1), 30, axis=2), (1.5, 1.5, 1.5), None),  # one slice, repeated
        (np.random.default_rng(0).normal(size=(64, 64, 30)), (1.5, 1.5, 8.0), None),
    ],
)
def test_time_points_taken_for_slices(array, spacing, reason):
    found = time_points(array, Grid.of_shape(array.shape, spacing))
    assert reason in found if reason else found == ""


def test_a_cine_saved_as_a_volume_is_named_with_what_to_do(tmp_path):
    path = tmp_path / "cine.nii.gz"
    image = nib.Nifti1Image(cine(beats=0.5), np.diag([1.5, 1.5, 1.5, 1]))
    image.header.set_xyzt_units(t="sec")
    nib.save(image, path)
    expected = "its 30 slices look like time points: they hardly differ, and the header has a unit of time"
    with pytest.warns(UserWarning, match=expected) as caught:
        as_pair(path, path, None, None)
    assert "name two of them, as" in str(caught[0].message)
    notes = [one.text for one in check(Cohort((Pair("p", path, path),)))]
    assert any(expected in note for note in notes)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        as_pair(f"{path}#0", f"{path}#15", None, None)
        image.header.set_xyzt_units("mm", "sec")  # as ITK writes every volume
        nib.save(image, path)
        as_pair(path, path, None, None)
    with pytest.warns(UserWarning, match="array: its 30 slices look like .*; if so, give two of them as 2D images"):
        as_pair(cine(), cine(), None, 1.5)
