"""DICOM that GDCM does not decode, read by pydicom: the same values, the same place."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import PIL.Image
import pytest
from tests.data import dicom_writer

from heteroreg.data.image import read_grid, read_image
from heteroreg.system.errors import UserError

pydicom = pytest.importorskip("pydicom")


def write_jpeg_clip(path: Path, fragments: int) -> np.ndarray:
    """A clip of five frames in JPEG, each in so many fragments; return what pydicom decodes, [t, y, x]."""
    from pydicom.encaps import encapsulate
    from pydicom.uid import JPEGBaseline8Bit

    x, y = np.mgrid[:40, :48]
    frames = []
    for k in range(5):
        stream = io.BytesIO()
        PIL.Image.fromarray(((x * 3 + y * 2 + k * 9) % 256).astype(np.uint8)).save(stream, "JPEG", quality=95)
        frames.append(stream.getvalue())
    dicom_writer.write_clip(path, np.zeros((5, 40, 48), np.uint8), "MONOCHROME2")
    dataset = pydicom.dcmread(path)
    dataset.file_meta.TransferSyntaxUID = JPEGBaseline8Bit
    dataset.PixelData = encapsulate(frames, fragments_per_frame=fragments)
    dataset["PixelData"].VR, dataset["PixelData"].is_undefined_length = "OB", True
    dataset.save_as(path)
    return np.asarray(pydicom.dcmread(path).pixel_array)


@pytest.mark.parametrize("fragments", [1, 3])
def test_frames_in_several_fragments(tmp_path, fragments):
    """GDCM takes one fragment for each frame, and fails on three."""
    values = write_jpeg_clip(tmp_path / "clip.dcm", fragments)
    for frame in (0, 3):
        found = read_image(f"{tmp_path / 'clip.dcm'}#{frame}")
        np.testing.assert_array_equal(found.array, values[frame].T)
        assert found.grid == read_grid(f"{tmp_path / 'clip.dcm'}#{frame}")
        assert found.grid.spacing == pytest.approx((0.4, 0.3))


def test_the_reason_is_told(tmp_path):
    write_jpeg_clip(tmp_path / "clip.dcm", 3)
    content = (tmp_path / "clip.dcm").read_bytes()
    start = content.index(b"\xff\xd8\xff")
    (tmp_path / "clip.dcm").write_bytes(content[: start + 2] + bytes(200) + content[start + 202 :])
    with pytest.raises(UserError, match=r"clip.dcm: cannot be decoded \(JPEG Baseline .*: .*\)"):
        read_image(f"{tmp_path / 'clip.dcm'}#0")
