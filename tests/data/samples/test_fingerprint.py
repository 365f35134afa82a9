import os

import numpy as np
import pytest
import SimpleITK as sitk

from heteroreg.data.samples.fingerprint import Fingerprints, files_of
from heteroreg.system.errors import UserError


def print_of(path):
    return Fingerprints().of(path)


def test_it_is_of_the_content_and_the_ending(tmp_path):
    for name in ("a.nii", "b.nii", "c.png"):
        (tmp_path / name).write_bytes(b"12345")
    assert print_of(tmp_path / "a.nii") == print_of(tmp_path / "b.nii")
    assert print_of(tmp_path / "a.nii") != print_of(tmp_path / "c.png")  # another reader
    assert len(print_of(tmp_path / "a.nii")) == 64


def test_a_change_that_leaves_size_and_time_alone(tmp_path):
    path = tmp_path / "a.nii"
    path.write_bytes(b"12345")
    before, stat = print_of(path), path.stat()
    path.write_bytes(b"12435")
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    assert path.stat().st_mtime_ns == stat.st_mtime_ns
    assert print_of(path) != before


@pytest.mark.parametrize("ending", [".mhd", ".nhdr", ".hdr"])
@pytest.mark.parametrize("compressed", [False, True])
def test_voxels_in_a_file_of_their_own_count(ending, compressed, rng, tmp_path):
    path = tmp_path / f"a b{ending}"
    image = sitk.GetImageFromArray(rng.integers(0, 256, size=(8, 8), dtype=np.uint8))
    sitk.WriteImage(image, str(path), useCompression=compressed)
    (data,) = [other for other in tmp_path.iterdir() if other != path]
    assert set(files_of(path)) == {path, data}
    before = print_of(path)
    content = bytearray(data.read_bytes())
    content[-1] ^= 1
    data.write_bytes(content)
    assert print_of(path) != before


@pytest.mark.parametrize("ending", [".mha", ".nrrd"])
@pytest.mark.parametrize("compressed", [False, True])
def test_voxels_behind_their_header(ending, compressed, rng, tmp_path):
    path = tmp_path / f"a{ending}"
    image = sitk.GetImageFromArray(rng.integers(0, 256, size=(8, 8), dtype=np.uint8))
    sitk.WriteImage(image, str(path), useCompression=compressed)
    assert files_of(path) == [path]


@pytest.mark.parametrize(
    ("name", "header"),
    [
        ("a.mhd", "NDims = 3\nElementDataFile = LIST\na.raw\nb.raw\n"),
        ("a.mhd", "NDims = 3\nElementDataFile = slice%03d.raw 1 10 1\n"),
        ("a.nhdr", "NRRD0004\ndata file: LIST\na.raw\n"),
        ("a.mhd", "NDims = 3\nElementDataFile = gone.raw\n"),
    ],
)
def test_voxels_spread_over_files_have_none(name, header, tmp_path):
    (tmp_path / name).write_text(header)
    (tmp_path / "a.raw").write_bytes(b"12")
    assert files_of(tmp_path / name) is None
    assert print_of(tmp_path / name) is None


def test_of_a_series_every_file_counts(tmp_path):
    folder = tmp_path / "series"
    folder.mkdir()
    for name in ("1.dcm", "2.dcm"):
        (folder / name).write_bytes(b"12345")
    found = {print_of(folder)}
    (folder / "2.dcm").write_bytes(b"12346")
    found.add(print_of(folder))
    (folder / "3.dcm").write_bytes(b"12345")
    found.add(print_of(folder))
    (folder / "3.dcm").rename(folder / "4.dcm")
    found.add(print_of(folder))
    assert len(found) == 4


def test_a_file_is_read_once(tmp_path):
    path = tmp_path / "a.nii"
    path.write_bytes(b"12345")
    prints = Fingerprints()
    first = prints.of(path)
    assert prints.hold(path)
    path.write_bytes(b"54321")
    assert prints.of(path) == first
    assert not prints.hold(path)
    path.unlink()
    assert not prints.hold(path)


def test_missing_and_unreadable_files_are_named(tmp_path, monkeypatch):
    with pytest.raises(UserError, match=r"a\.nii: no such file"):
        print_of(tmp_path / "a.nii")
    (tmp_path / "b.nii").write_bytes(b"12345")

    def broken(*_):
        raise OSError(5, "Input/output error")

    monkeypatch.setattr("hashlib.file_digest", broken)
    with pytest.raises(UserError, match=r"b\.nii: could not be read \(Input/output error\)"):
        print_of(tmp_path / "b.nii")
