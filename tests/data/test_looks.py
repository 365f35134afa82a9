import numpy as np

from heteroreg.data.image import Image
from heteroreg.data.looks import is_padded, label_values
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
