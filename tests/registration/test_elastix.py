"""elastix itself; skipped only where it is not installed."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import torch

from heteroreg.data.grid import Grid
from heteroreg.data.image import Image
from heteroreg.data.samples.preparation import scale_of
from heteroreg.registration.classical import Elastix
from heteroreg.registration.elastix import BSPLINE, align
from heteroreg.system.errors import UserError

pytestmark = [  # itk takes many seconds to load
    pytest.mark.slow,
    pytest.mark.skipif(find_spec("itk") is None, reason="itk-elastix is not installed"),
]

QUICK = {"NumberOfResolutions": "2", "MaximumNumberOfIterations": "60", "NumberOfSpatialSamples": "500"}


def blob(shape: tuple[int, ...], centre: tuple[float, ...], width: float) -> np.ndarray:
    """A bump with two smaller ones beside it, as a function of position."""
    x = np.indices(shape).astype(float)
    at = [np.asarray(centre).reshape(-1, *[1] * len(shape)) + offset for offset in (0, width, -1.5 * width)]
    bumps = [np.exp(-((x - c) ** 2).sum(0) / (2 * (width / k) ** 2)) for k, c in enumerate(at, start=1)]
    return (bumps[0] + 0.7 * bumps[1] - 0.5 * bumps[2]).astype(np.float32)


@pytest.mark.parametrize(
    ("shape", "spacing", "shift"),
    [((40, 36), (1.0, 2.0), (3.0, -2.0)), ((24, 20, 16), (1.0, 1.5, 2.0), (1.5, -1, 1))],
)
def test_a_known_shift(shape: tuple[int, ...], spacing: tuple[float, ...], shift: tuple[float, ...]) -> None:
    centre = tuple((n - 1) / 2 for n in shape)
    fixed = blob(shape, centre, 4.0)
    moving = blob(shape, tuple(np.add(centre, shift)), 4.0)  # moving(x) = fixed(x - s), so moving(x + s) = fixed(x)
    found = align(moving, fixed, spacing, settings=QUICK)
    assert found.shape == (len(shape), *shape)
    middle = np.abs(fixed) > 0.3  # where there is something to see
    np.testing.assert_allclose([channel[middle].mean() for channel in found], shift, atol=0.25)


def test_it_is_reproducible_bit_for_bit() -> None:
    fixed, moving = blob((32, 32), (15, 16), 4.0), blob((32, 32), (16.5, 15), 4.5)
    first, again = (align(moving, fixed, (1.0, 1.0), settings=QUICK) for _ in range(2))
    np.testing.assert_array_equal(first, again)
    assert first.any()
    other = align(moving, fixed, (1.0, 1.0), settings=QUICK | {"RandomSeed": "2"})
    assert not np.array_equal(first, other)


def test_the_moved_image_is_that_of_elastix_on_an_oblique_anisotropic_grid() -> None:
    """What elastix itself makes of the moving image, against the displacement in voxels and one warp."""
    import itk

    c, s = np.cos(0.7), np.sin(0.7)
    axes = np.array([[c, -s, 0], [s, c, 0], [0, 0, -1.0]]) @ np.array([[1, 0, 0], [0, c, -s], [0, s, c]])
    grid = Grid((26, 22, 16), (1.0, 1.4, 2.2), (-31.0, 12.0, 55.0), tuple(axes.ravel()))
    # Saturated at both ends, so that the percentiles are the ends and scaling clips nothing.
    fixed, moving = (
        Image(np.clip(blob(grid.shape, centre, 4.0), 0.02, 0.8), grid) for centre in ((12, 11, 7), (13.5, 10, 7.5))
    )
    registration = Elastix(settings=QUICK).register(moving, fixed)

    images = []
    for image in (fixed, moving):
        scaled = itk.image_from_array(np.ascontiguousarray(scale_of(image, "percentile")(image.array).T))
        scaled.SetSpacing(grid.spacing)  # along the axes: elastix turns its grid of control points with the image
        images.append(scaled)
    parameters = itk.ParameterObject.New()
    parameters.ReadParameterFile(str(BSPLINE))
    for name, value in QUICK.items():
        parameters.SetParameter(0, name, value)
    result, _ = itk.elastix_registration_method(*images, parameter_object=parameters, number_of_threads=1)
    inner = (slice(4, -4),) * 3  # beyond the moving image each has its own rule
    expected = itk.array_from_image(result).T[inner]
    scale = scale_of(moving, "percentile")
    assert np.abs(scale(moving.array)[inner] - expected).max() > 0.2
    np.testing.assert_allclose(scale(registration.moved.array)[inner], expected, atol=1e-4)
    # And in space: T(x) - x in mm along the axes of the space.
    index = np.array([12.0, 11.0, 7.0])
    there = grid.physical(index) + registration.displacement_mm[:, 12, 11, 7]
    np.testing.assert_allclose(grid.index(there) - index, registration.displacement[:, 12, 11, 7], atol=1e-6)


def test_two_threads_find_what_one_finds_and_leave_itk_as_it_was() -> None:
    """Beside PyTorch, which has threads of its own; with ITK's own default the process ended by SIGSEGV."""
    import itk

    fixed, moving = blob((32, 32), (15, 16), 4.0), blob((32, 32), (16.5, 15), 4.5)
    torch.nn.functional.conv2d(torch.rand(2, 4, 64, 64), torch.rand(8, 4, 3, 3))
    threads = itk.MultiThreaderBase
    settings = (
        threads.GetGlobalDefaultThreader,
        threads.GetGlobalMaximumNumberOfThreads,
        threads.GetGlobalDefaultNumberOfThreads,
    )
    before = [setting() for setting in settings]
    one = align(moving, fixed, (1.0, 1.0), settings=QUICK)
    for number in (2, 3):
        found = align(moving, fixed, (1.0, 1.0), settings=QUICK, threads=number)
        np.testing.assert_allclose(found, one, atol=1e-6)
    assert np.abs(one).max() > 0.5
    assert [setting() for setting in settings] == before


def test_failures_are_told_with_the_reason_that_elastix_gives(tmp_path: Path) -> None:
    fixed = blob((24, 24), (11, 12), 4.0)
    with pytest.raises(UserError, match=r"elastix failed \(Too many samples map outside moving image buffer"):
        align(fixed, fixed.T.copy(), (1.0, 1.0), settings=QUICK | {"RequiredRatioOfValidSamples": "1.01"})
    with pytest.raises(UserError, match=r"elastix failed \(The following component could not be created: Nonsense"):
        align(fixed, fixed, (1.0, 1.0), settings={"Transform": "Nonsense"})
    with pytest.raises(UserError, match=r"gone\.txt: no such file"):
        align(fixed, fixed, (1.0, 1.0), parameters=tmp_path / "gone.txt")
    (tmp_path / "bad.txt").write_text("(Metric no quotes\n")
    with pytest.raises(UserError, match=r"bad\.txt: is not a parameter file of elastix"):
        align(fixed, fixed, (1.0, 1.0), parameters=tmp_path / "bad.txt")


def test_it_says_nothing_on_its_own(capfd: pytest.CaptureFixture[str]) -> None:
    fixed = blob((24, 24), (11, 12), 4.0)
    align(blob((24, 24), (12, 12), 4.0), fixed, (1.0, 1.0), settings=QUICK)
    with pytest.raises(UserError):
        align(fixed, fixed, (1.0, 1.0), settings={"Transform": "Nonsense"})
    assert capfd.readouterr() == ("", "")


def test_it_leaves_no_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    fixed = blob((24, 24), (11, 12), 4.0)
    align(blob((24, 24), (12, 12), 4.0), fixed, (1.0, 1.0), settings=QUICK)
    assert not list(tmp_path.iterdir())
