"""Sizes that are declared are looked at before memory is taken."""

from __future__ import annotations

import gzip
import os
import struct
import zlib
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from heteroreg.data.cohort import Cohort
from heteroreg.data.grid import Grid
from heteroreg.data.image import Image, read_image, read_labels, write_image
from heteroreg.data.io.displacement import read_displacement
from heteroreg.data.samples.preparation import Preparation
from heteroreg.evaluation.gallery import Case
from heteroreg.system.errors import UserError
from heteroreg.system.limits import MAX_VOXELS, USUAL_VOXELS, max_voxels, require_size, require_stored
from heteroreg.system.text import read_json, read_yaml

HUGE = 1_000_000


def nrrd(n: int) -> bytes:
    return f"NRRD0004\ntype: float\ndimension: 3\nsizes: {n} {n} {n}\nencoding: raw\nendian: little\n\n".encode()


def metaimage(n: int) -> bytes:
    return (
        f"ObjectType = Image\nNDims = 3\nDimSize = {n} {n} {n}\nElementType = MET_FLOAT\nElementDataFile = LOCAL\n"
    ).encode()


def png(n: int) -> bytes:
    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = struct.pack(">IIBBBBB", n, n, 8, 0, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(bytes(9))) + chunk(b"IEND", b"")
    )


def nifti(n: int) -> bytes:
    header = nib.Nifti1Header()
    header.set_data_shape((min(n, 32767),) * 3)
    header.set_data_dtype(np.float32)
    header["magic"], header["vox_offset"] = b"n+1", 352
    return header.binaryblock + bytes(100)


FORMATS = {
    "a.nrrd": nrrd, "a.mha": metaimage, "a.png": png, "a.nii": nifti, "a.nii.gz": lambda n: gzip.compress(nifti(n)),
}  # fmt: skip


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize("read", [read_image, read_labels, read_displacement])
def test_a_header_that_declares_too_much(name: str, read, tmp_path: Path) -> None:
    path = tmp_path / name
    path.write_bytes(FORMATS[name](HUGE))
    with pytest.raises(UserError, match=rf"more than the limit of {USUAL_VOXELS}.*{MAX_VOXELS}") as error:
        read(path)
    assert str(path) in str(error.value)


@pytest.mark.parametrize("name", FORMATS)
def test_a_header_that_declares_more_than_the_file_can_hold(name: str, tmp_path: Path) -> None:
    # 900³ voxels are below the limit, 3 GB, and not in some hundred bytes; 30,000² likewise.
    (tmp_path / name).write_bytes(FORMATS[name](30_000 if name == "a.png" else 900))
    with pytest.raises(UserError, match=r"bytes .*where its header promises .*is the file whole"):
        read_image(tmp_path / name)


def test_a_bomb_behind_the_voxels_is_not_unfolded(tmp_path: Path) -> None:
    image = nib.Nifti1Image(np.arange(8 * 8 * 4, dtype=np.int16).reshape(8, 8, 4), np.eye(4))
    small, padded, bomb = (tmp_path / f"{name}.nii.gz" for name in ("small", "padded", "bomb"))
    nib.save(image, small)
    content = gzip.decompress(small.read_bytes())
    padded.write_bytes(gzip.compress(content + bytes(4096)))
    np.testing.assert_array_equal(read_image(padded).array, read_image(small).array)
    bomb.write_bytes(gzip.compress(content + bytes(50 * 1024**2)))
    with pytest.raises(UserError, match=r"bomb\.nii\.gz: holds far more than the \d+ bytes"):
        read_image(bomb)


@pytest.mark.parametrize("name", ["a.nii.gz", "a.nii", "a.mha", "a.nrrd", "a.png"])
def test_the_limit_can_be_set(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_image(Image.from_array(np.arange(100, dtype=np.uint8).reshape(10, 10)), tmp_path / name)
    monkeypatch.setenv(MAX_VOXELS, "100")
    assert read_image(tmp_path / name).array.shape == (10, 10)
    monkeypatch.setenv(MAX_VOXELS, "99")
    with pytest.raises(UserError, match="declares 10 x 10 voxels, more than the limit of 99"):
        read_image(tmp_path / name)


def test_large_images_pass() -> None:
    require_size("ct.nii.gz", (512, 512, 2000))
    require_stored("ct.nii.gz", 512 * 512 * 2000 * 2, 300 * 1024**2, compressed=True)
    require_stored("zeros.nii.gz", 100 * 1024**2, len(zlib.compress(bytes(100 * 1024**2))), compressed=True)


@pytest.mark.parametrize("shape", [(), (0, 5), (5, -1)])
def test_no_voxels_are_no_image(shape: tuple[int, ...]) -> None:
    with pytest.raises(UserError, match=r"a\.nii: its header declares"):
        require_size("a.nii", shape)


@pytest.mark.parametrize("text", ["many", "0", "-5", "1e9", ""])
def test_a_limit_that_is_none(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(MAX_VOXELS, text)
    with pytest.raises(UserError, match=f"{MAX_VOXELS}={text}"):
        max_voxels()


def test_a_spacing_that_makes_a_small_image_huge() -> None:
    fixed = Grid.of_shape((64, 64, 8), (1e5, 1e5, 1e5))
    with pytest.raises(UserError, match=r"f\.nii: at the working spacing .* is the spacing .* right"):
        Preparation(3, (1.5, 1.5, 1.5)).working_grid(fixed, "f.nii")


@pytest.mark.parametrize("read", [read_yaml, read_json, Cohort.read])
def test_text_files_without_end(read, tmp_path: Path) -> None:
    path = tmp_path / "pairs.csv"
    with path.open("wb") as handle:
        handle.truncate(65 * 1024**2)
    with pytest.raises(UserError, match=r"pairs\.csv: has \d+ bytes, more than the \d+"):
        read(path)


def test_devices_and_pipes_are_no_files(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.nii.gz")
    for path in (Path("/dev/zero"), tmp_path / "pipe.nii.gz"):
        for read in (read_image, read_labels, read_displacement, read_yaml, Case.read):
            with pytest.raises(UserError, match="no such file"):
                read(path)
