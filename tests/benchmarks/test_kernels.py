"""The comparison of penalty and kernel: a kernel makes the displacement smoother, and the loss falls with both."""

import numpy as np
import pytest
from benchmarks.kernels import Minimised

from heteroreg.spatial.regularity import sd_log_jacobian


@pytest.fixture
def pair():
    """A blob that grew by a quarter, under noise."""
    random = np.random.default_rng(0)
    axes = np.meshgrid(*[np.arange(32.0) - 15.5] * 2, indexing="ij")
    distance = np.hypot(*axes)
    return [
        (1 / (1 + np.exp(distance - radius)) + 0.1 * random.normal(size=distance.shape)).astype(np.float32)
        for radius in (8, 10)
    ]


def test_a_kernel_keeps_noise_out_of_the_displacement(pair):
    rough = Minimised(smoothness=0.0, iterations=50)._align(*pair, (1.0, 1.0))
    smooth = Minimised(smoothness=0.0, kernel=1.5, iterations=50)._align(*pair, (1.0, 1.0))
    assert sd_log_jacobian(smooth) < 0.6 * sd_log_jacobian(rough)
    # The edge of the fixed blob, at 10 voxels, comes from that of the moving one, at 8: 2 voxels inwards.
    assert smooth[0, 25, 15] == pytest.approx(-2, abs=0.8)
    assert smooth[0, 6, 15] == pytest.approx(2, abs=0.8)
