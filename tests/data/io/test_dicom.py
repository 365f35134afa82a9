from __future__ import annotations

import locale
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from tests.data import dicom_writer as writer

from heteroreg.data.image import read_grid, read_image
from heteroreg.data.io import decoder
from heteroreg.system.errors import UserError
from heteroreg.system.limits import MAX_VOXELS

ARRAY = np.arange(16 * 12 * 3, dtype=np.int16).reshape(16, 12, 3)


@pytest.fixture
def series(tmp_path: Path) -> Path:
    """A series of three slices, 0.dcm to 2.dcm."""
    folder = tmp_path / "se ries ü"
    folder.mkdir()
    before = locale.setlocale(locale.LC_ALL)
    for k in range(3):
        image = sitk.GetImageFromArray(np.ascontiguousarray(ARRAY[:, :, k : k + 1].T))
        image.SetSpacing((1.5, 1.25, 8.0))
        tags = {
            "0008|0060": "MR", "0020|000e": "1.2.3", "0008|0018": f"1.2.3.{k}", "0020|0013": str(k),
            "0020|0032": f"-10\\5\\{8 * k}", "0020|0037": "1\\0\\0\\0\\1\\0",
            "0008|0016": "1.2.840.10008.5.1.4.1.1.4",
        }  # fmt: skip
        for tag, value in tags.items():
            image.SetMetaData(tag, value)
        writer = sitk.ImageFileWriter()
        writer.KeepOriginalImageUIDOn()
        writer.SetFileName(str(folder / f"{k}.dcm"))
        writer.Execute(image)
    locale.setlocale(locale.LC_ALL, before)  # GDCM leaves "C" behind, in which text is ASCII
    return folder


def test_a_series(series: Path) -> None:
    (series / "notes.txt").write_text("not DICOM")
    found = read_image(series)
    np.testing.assert_array_equal(found.array, ARRAY)
    np.testing.assert_allclose(found.grid.spacing, (1.5, 1.25, 8.0))
    np.testing.assert_allclose(found.grid.origin, (-10, 5, 0))
    assert found.array.flags.writeable


@pytest.mark.parametrize("cut", [20, 300, 1000])
def test_a_damaged_slice_is_not_left_out_in_silence(series: Path, cut: int) -> None:
    content = (series / "1.dcm").read_bytes()
    (series / "1.dcm").write_bytes(content[:-cut])
    with pytest.raises(UserError, match=r"1\.dcm cannot be read as a part of the DICOM series"):
        read_image(series)


def test_the_limit_counts_the_whole_series(series: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(MAX_VOXELS, str(16 * 12 * 3))
    assert read_image(series).array.size == 16 * 12 * 3
    monkeypatch.setenv(MAX_VOXELS, str(16 * 12 * 3 - 1))
    with pytest.raises(UserError, match=rf"declares 16 x 12 x 1 voxels.*{MAX_VOXELS}"):
        read_image(series)


def test_one_process_decodes_all_and_is_replaced_when_it_dies(series: Path) -> None:
    read_image(series)
    first = decoder.DECODER._process
    assert first is not None
    read_image(series)
    assert decoder.DECODER._process is first
    os.kill(first.pid, signal.SIGKILL)
    first.wait()
    np.testing.assert_array_equal(read_image(series).array, ARRAY)
    assert decoder.DECODER._process is not first


@pytest.fixture
def without_pydicom(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The process that reads finds no pydicom."""
    (tmp_path / "hidden" / "pydicom").mkdir(parents=True)
    (tmp_path / "hidden" / "pydicom" / "__init__.py").write_text("raise ImportError('hidden')")
    paths = [str(tmp_path / "hidden"), os.environ.get("PYTHONPATH", "")]
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(path for path in paths if path))
    decoder.DECODER.stop()
    yield
    decoder.DECODER.stop()


@pytest.mark.usefixtures("without_pydicom")
def test_without_pydicom_files_of_one_image_are_read(series: Path, tmp_path: Path) -> None:
    test_a_series(series)
    array = writer.voxels()
    folder = writer.write_classic(tmp_path / "cine", array)
    found = read_image(f"{folder}#3")
    np.testing.assert_array_equal(found.array, array[..., 3])
    np.testing.assert_allclose(found.grid.physical(np.array([2.0, 0, 1])), writer.position(1) + 2.5 * writer.ROW)


@pytest.mark.usefixtures("without_pydicom")
def test_without_pydicom_others_say_what_to_install(tmp_path: Path) -> None:
    paths = (
        writer.write_enhanced(tmp_path / "enhanced.dcm", writer.voxels()),
        writer.write_clip(tmp_path / "clip.dcm", np.ones((2, 20, 30, 3), np.uint8)),
        writer.write_clip(tmp_path / "still.dcm", np.ones((1, 20, 30, 3), np.uint8)),
    )
    for path in paths:
        with pytest.raises(UserError, match=rf"{path.name} is of a kind that needs pydicom: pip install 'hetero"):
            read_image(path)


def test_headers_are_read_once_until_a_file_changes(series: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []
    ask = decoder.DECODER.ask
    monkeypatch.setattr(
        decoder.DECODER, "ask", lambda question, seconds: asked.append(question["about"]) or ask(question, seconds)
    )
    read_grid(series)
    read_image(series)
    assert asked == ["headers", "voxels"]
    os.utime(series / "1.dcm", ns=(1, 1))
    read_grid(series)
    assert asked == ["headers", "voxels", "headers"]


@pytest.mark.parametrize(
    ("program", "problem"),
    [
        ("import time; time.sleep(60)", "takes too long to decode"),
        ("import os; os.abort()", "crashes the program that decodes it"),
        ("print('no JSON')", "crashes the program that decodes it"),
        ("print('{\"length\": 1000}', flush=True)", "crashes the program that decodes it"),
    ],
)
def test_a_decoder_that_fails(
    program: str, problem: str, series: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "program.py").write_text(program)
    decoder.DECODER.stop()
    with monkeypatch.context() as patch:
        patch.setattr(decoder.DECODER, "path", tmp_path / "program.py")
        patch.setattr(decoder, "DECODER_SECONDS", 1.0)
        with pytest.raises(UserError, match=problem) as error:
            read_image(series)
        assert str(series) in str(error.value)
    np.testing.assert_array_equal(read_image(series).array, ARRAY)  # the next one is read as ever
