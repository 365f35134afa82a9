from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk

from heteroreg.data.image import read_image, read_labels
from heteroreg.data.io.headers import TextHeader, check_text_header
from heteroreg.system.errors import UserError

META = {
    "ObjectType": "Image", "NDims": "3", "BinaryData": "True", "BinaryDataByteOrderMSB": "False",
    "CompressedData": "False", "TransformMatrix": "1 0 0 0 1 0 0 0 1", "Offset": "0 0 0", "ElementSpacing": "1 1 8",
    "DimSize": "4 3 2", "ElementType": "MET_UCHAR", "ElementDataFile": "LOCAL",
}  # fmt: skip
NRRD = {
    "type": "uchar", "dimension": "3", "space": "left-posterior-superior", "sizes": "4 3 2",
    "space directions": "(1,0,0) (0,1,0) (0,0,8)", "kinds": "domain domain domain", "endian": "little",
    "encoding": "raw", "space origin": "(0,0,0)",
}  # fmt: skip


def meta(path: Path, **changes: str | None) -> Path:
    fields = {key: value for key, value in (META | changes).items() if value is not None}
    end = fields.pop("ElementDataFile", None)
    lines = [f"{key} = {value}" for key, value in fields.items()]
    lines += [] if end is None else [f"ElementDataFile = {end}"]
    path.write_bytes("\n".join([*lines, ""]).encode() + bytes(range(24)))
    return path


def nrrd(path: Path, *more: str, **changes: str | None) -> Path:
    named = {key.replace("_", " "): value for key, value in changes.items()}
    lines = [f"{key}: {value}" for key, value in (NRRD | named).items() if value is not None]
    path.write_bytes("\n".join(["NRRD0004", "# made by hand", *lines, *more, "", ""]).encode() + bytes(range(24)))
    return path


def test_sound_headers_are_read_by_itk_too(tmp_path: Path) -> None:
    expected = np.arange(24).reshape(2, 3, 4).T
    for path in (
        meta(tmp_path / "a.mha"),
        meta(tmp_path / "b.mha", Comment="made by hand", Modality="MET_MOD_MR", AnatomicalOrientation="RAI"),
        nrrd(tmp_path / "a.nrrd"),
        nrrd(
            tmp_path / "b.nrrd", "modality:=MR", "DWMRI_b-value:=" + "9" * 300, type="unsigned char", content="x: y"
        ),
    ):
        header = check_text_header(path)
        assert header is not None
        assert (header.data, header.compressed) == (path, False)
        np.testing.assert_array_equal(read_image(path).array, expected)


def test_data_in_another_file(tmp_path: Path) -> None:
    assert check_text_header(meta(tmp_path / "a.mhd", ElementDataFile="a.raw")) == TextHeader(
        tmp_path / "a.raw", False
    )
    path = nrrd(tmp_path / "a.nhdr", "data file: sub/a.gz", encoding="gzip")
    assert check_text_header(path) == TextHeader(tmp_path / "sub" / "a.gz", compressed=True)


def test_what_simpleitk_writes(tmp_path: Path) -> None:
    image = sitk.GetImageFromArray(np.zeros((2, 3, 4), np.float64))
    image.SetMetaData("a key", "a value")
    for name in ("a.mha", "a.mhd", "a.nrrd", "a.nhdr"):
        for compressed in (False, True):
            sitk.WriteImage(image, str(tmp_path / name), useCompression=compressed)
            header = check_text_header(tmp_path / name)
            assert header is not None
            assert header.compressed == compressed
            assert header.data.is_file()


def test_other_files_have_none(tmp_path: Path) -> None:
    assert check_text_header(tmp_path / "a.nii.gz") is None


@pytest.mark.parametrize(
    "changes",
    [
        {"NDims": "100"},
        {"NDims": "-1"},
        {"NDims": "1e308"},
        {"NDims": None},
        {"DimSize": "4 3"},
        {"DimSize": "4 3 2.5"},
        {"DimSize": "4 3 0"},
        {"DimSize": "4 3 nan"},
        {"DimSize": "99999 99999 99999"},
        {"ElementType": "MET_STRING"},
        {"ElementType": None},
        {"ElementSpacing": "1 1 []"},
        {"TransformMatrix": "1 0 0 1"},
        {"ObjectType": "Scene"},
        {"BinaryData": "False"},
        {"CompressedDataSize": "99999999999"},
        {"CompressedDataSize": "-9223372036854775809"},
        {"CompressedData": "True"},
        {"HeaderSize": "-7"},
        {"ElementNumberOfChannels": "1000000000"},
        {"Comment": "x" * 5000},
        {"Comment": "\x00"},
        {"ElementDataFile": "LIST"},
        {"ElementDataFile": "%s%s%n.raw 1 6 1"},
        {"ElementDataFile": "a%03d.raw 1 6 1"},
        {"ElementDataFile": None},
    ],
    ids=str,
)
def test_unsound_fields_of_metaimage(changes: dict[str, str | None], tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"a\.mha"):
        read_image(meta(tmp_path / "a.mha", **changes))


@pytest.mark.parametrize(
    "changes",
    [
        {"dimension": "16"},
        {"dimension": "2"},
        {"dimension": None},
        {"sizes": "4 3"},
        {"sizes": "4 3 -2"},
        {"sizes": "99999 99999 99999"},
        {"type": "block"},
        {"encoding": "bzip2"},
        {"encoding": None},
        {"endian": "middle"},
        {"space_directions": "(1,0,0) (nan,1,0) (0,0,8)"},
        {"space_origin": "(inf,0,0)"},
        {"line_skip": "999999999"},
        {"byte_skip": "-9"},
        {"unheard_of": "1"},
        {"content": "x" * 5000},
        {"endian": "little" + " " * 5000},
        {"data_file": "LIST"},
        {"data_file": "%s%n 0 5 1"},
    ],
    ids=str,
)
def test_unsound_fields_of_nrrd(changes: dict[str, str | None], tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"a\.nrrd"):
        read_image(nrrd(tmp_path / "a.nrrd", **changes))


def test_a_field_that_is_there_twice(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="has the line 'sizes: 4 3 2'"):
        read_image(nrrd(tmp_path / "a.nrrd", "sizes: 4 3 2"))


def test_a_header_without_end(tmp_path: Path) -> None:
    for name in ("a.mha", "a.nrrd"):
        (tmp_path / name).write_bytes(b"NRRD0004\n" * (name == "a.nrrd") + b"Comment = a\n" * 10_000)
        with pytest.raises(UserError, match="does not end within"):
            read_image(tmp_path / name)


@pytest.mark.parametrize("compressed", [False, True])
@pytest.mark.parametrize("ending", [".mha", ".mhd"])
def test_voxels_that_are_cut_short_or_missing(tmp_path: Path, ending: str, compressed: bool) -> None:
    rng = np.random.default_rng(0)
    image = sitk.GetImageFromArray(rng.integers(0, 255, size=(9, 30, 40), dtype=np.uint8))
    path = tmp_path / f"a{ending}"
    sitk.WriteImage(image, str(path), useCompression=compressed)
    np.testing.assert_array_equal(read_image(path).array, sitk.GetArrayFromImage(image).T)
    data = next((file for file in tmp_path.iterdir() if file.suffix in (".raw", ".zraw")), path)
    content = data.read_bytes()
    data.write_bytes(content[:-2000])
    with pytest.raises(UserError, match=rf"a{ending}: "):
        read_image(path)
    if compressed:
        data.write_bytes(content[:-4])  # all voxels, without their checksum
        with pytest.raises(UserError, match=rf"a{ending}: "):
            read_image(path)
        data.write_bytes(content[:-5000] + bytes(1) + content[-4999:])
        with pytest.raises(UserError, match=rf"a{ending}: .*compressed data are damaged"):
            read_image(path)
    if ending == ".mhd":
        data.unlink()
        with pytest.raises(UserError, match=rf"a\.mhd: .*its data file {data.name} is missing"):
            read_image(path)


def test_a_local_file_that_metaio_does_not_know(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(UserError, match="its data file LOCAl is missing"):
        read_image(meta(tmp_path / "a.mha", ElementDataFile="LOCAl"))
    assert capfd.readouterr().err == ""


def test_voxels_behind_a_header_of_their_own(tmp_path: Path) -> None:
    expected = np.arange(24).reshape(2, 3, 4).T
    path = meta(tmp_path / "a.mhd", ElementDataFile="a.raw", HeaderSize="100")
    (tmp_path / "a.raw").write_bytes(bytes(100) + bytes(range(24)))
    np.testing.assert_array_equal(read_image(path).array, expected)
    path = meta(tmp_path / "a.mhd", ElementDataFile="a.raw", HeaderSize="-1")
    np.testing.assert_array_equal(read_image(path).array, expected)


def test_long_key_value_lines_of_slicer_are_read(tmp_path):
    """A .seg.nrrd has some 2,000 characters of `Segmentation_ConversionParameters`; geometry has no such line."""
    labels = np.random.default_rng(0).integers(0, 3, (4, 32, 32)).astype(np.uint8)
    image = sitk.GetImageFromArray(labels)
    image.SetMetaData("Segment0_LabelValue", "1")
    image.SetMetaData(
        "Segmentation_ConversionParameters", "&".join(f"parameter {k}|1|{'words ' * 20}" for k in range(14))
    )
    path = tmp_path / "a.seg.nrrd"
    sitk.WriteImage(image, str(path), True)
    assert max(map(len, path.read_bytes().split(b"\n\n")[0].split(b"\n"))) > 1500
    np.testing.assert_array_equal(read_labels(path).array, labels.T)
