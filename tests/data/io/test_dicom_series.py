"""Cine series, enhanced and classic, and clips: which voxels a frame has, and where they lie."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pydicom
import pytest
import SimpleITK as sitk
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from tests.data import dicom_writer as writer

import heteroreg as hr
from heteroreg.data.image import read_grid, read_image
from heteroreg.system.errors import UserError

ARRAY = writer.voxels()
SHIPPED = Path(pydicom.__file__).parent / "data" / "test_files"


def nothing(dataset: Dataset, k: int, t: int) -> None:
    """As written."""


def check_frames(path: Path, array: NDArray[np.float64] = ARRAY) -> None:
    """Every frame has its voxels, and each voxel lies where its slice's header says."""
    for t in range(array.shape[3]):
        found = read_image(f"{path}#{t}")
        np.testing.assert_allclose(found.array, array[..., t], rtol=1e-6)
        assert found.name == f"{path}#{t}"
        assert found.grid == read_grid(f"{path}#{t}")
        np.testing.assert_allclose(found.grid.spacing, writer.SPACING, rtol=1e-7)
        for index in ((0, 0, 0), (5, 3, 2), (13, 10, 3)):
            i, j, k = index
            place = writer.position(k) + 1.25 * i * writer.ROW + 1.5 * j * writer.COLUMN
            np.testing.assert_allclose(found.grid.physical(np.array(index, float)), place, atol=1e-6)
            np.testing.assert_allclose(found.to_sitk().TransformIndexToPhysicalPoint(index), place, atol=1e-6)


def only(*keep: str):
    """A change that leaves one of the tags that tell the time, under the names of both kinds of header."""

    def change(dataset: Dataset, k: int, t: int) -> None:
        for name in ("TriggerTime", "InstanceNumber", "TemporalPositionIdentifier"):
            if name in dataset:
                delattr(dataset, name)
        numbers = {"InstanceNumber": 100 * k + t, "TemporalPositionIdentifier": t + 1}
        values = numbers | {"TriggerTime": str(900 - 20 * (4 - t))}
        for name in keep:
            setattr(dataset, name, values[name])

    return change


@pytest.mark.parametrize("key", ["TriggerTime", "InstanceNumber", "TemporalPositionIdentifier"])
def test_a_classic_cine(key: str, tmp_path: Path) -> None:
    check_frames(writer.write_classic(tmp_path / "cine", ARRAY, only(key)))


def test_a_time_that_is_the_same_in_all_files_tells_nothing(tmp_path: Path) -> None:
    def change(dataset: Dataset, k: int, t: int) -> None:
        only("InstanceNumber")(dataset, k, t)
        dataset.TriggerTime, dataset.TemporalPositionIdentifier = "0", 1

    check_frames(writer.write_classic(tmp_path / "cine", ARRAY, change))


def test_a_frame_as_simpleitk_reads_its_files_alone(tmp_path: Path) -> None:
    folder = writer.write_classic(tmp_path / "cine", ARRAY)
    names = {}
    for file in folder.iterdir():
        header = pydicom.dcmread(file)
        height = float(np.dot(header.ImagePositionPatient, writer.NORMAL))
        names.setdefault(round(height), []).append((header.TriggerTime, str(file)))
    reader = sitk.ImageSeriesReader()
    reader.SetFileNames([sorted(names[height])[2][1] for height in sorted(names)])
    expected, found = reader.Execute(), read_image(f"{folder}#2").to_sitk()
    np.testing.assert_array_equal(sitk.GetArrayFromImage(found), sitk.GetArrayFromImage(expected))
    np.testing.assert_allclose(found.GetOrigin(), expected.GetOrigin(), atol=1e-6)
    np.testing.assert_allclose(found.GetSpacing(), expected.GetSpacing(), atol=1e-6)
    np.testing.assert_allclose(found.GetDirection(), expected.GetDirection(), atol=1e-6)


def test_the_voxels_of_other_frames_are_not_read(tmp_path: Path) -> None:
    folder = writer.write_classic(tmp_path / "cine", ARRAY)
    for file in folder.iterdir():
        if abs(float(pydicom.dcmread(file).TriggerTime) - 31.5 * 2) > 2:
            file.write_bytes(file.read_bytes()[:-200])
    np.testing.assert_array_equal(read_image(f"{folder}#2").array, ARRAY[..., 2])
    with pytest.raises(UserError, match=r"IM\d+ cannot be read as a part of the DICOM series"):
        read_image(f"{folder}#3")


def trigger_delay(groups: Dataset, k: int, t: int) -> None:
    groups.FrameContentSequence = writer.item(DimensionIndexValues=[1, k + 1, 1])
    groups.CardiacSynchronizationSequence = writer.item(NominalCardiacTriggerDelayTime=40.0 * t)


def dimension(groups: Dataset, k: int, t: int) -> None:
    groups.FrameContentSequence = writer.item(DimensionIndexValues=[1, k + 1, t + 1])


@pytest.mark.parametrize("change", [nothing, trigger_delay, dimension])
def test_an_enhanced_cine(change: writer.Change, tmp_path: Path) -> None:
    check_frames(writer.write_enhanced(tmp_path / "cine.dcm", ARRAY, change))


def test_a_folder_of_one_enhanced_file(tmp_path: Path) -> None:
    writer.write_enhanced(tmp_path / "cine" / "IM1", ARRAY)
    check_frames(tmp_path / "cine")


def test_an_enhanced_clip_has_no_places(tmp_path: Path) -> None:
    """Angiography."""
    path = writer.write_enhanced(tmp_path / "angio.dcm", ARRAY)
    dataset = pydicom.dcmread(path)
    dataset.Modality = "XA"
    for groups in dataset.PerFrameFunctionalGroupsSequence:
        del groups.PlanePositionSequence
    writer.save(dataset, path)
    found = read_image(f"{path}#17")
    np.testing.assert_array_equal(found.array, dataset.pixel_array[17].T)
    np.testing.assert_allclose(found.grid.spacing, writer.SPACING[:2])


@pytest.mark.parametrize("own", [False, True])
def test_the_values_of_enhanced_frames_are_scaled_each_as_it_says(own: bool, tmp_path: Path) -> None:
    """ITK scales all frames as the first."""

    def slope(k: int, t: int) -> float:
        return 2.0 + (0.5 * t + 0.25 * k if own else 0.0)

    def change(groups: Dataset, k: int, t: int) -> None:
        groups.PixelValueTransformationSequence = writer.item(
            RescaleSlope=str(slope(k, t)), RescaleIntercept=str(-3 * t), RescaleType="US"
        )

    scaled = ARRAY.astype(float)
    for k in range(4):
        for t in range(5):
            scaled[:, :, k, t] = scaled[:, :, k, t] * slope(k, t) - 3 * t
    check_frames(writer.write_enhanced(tmp_path / "cine.dcm", ARRAY, change), scaled)


def test_the_values_of_classic_slices_are_scaled_each_as_it_says(tmp_path: Path) -> None:
    """The reader of a series rounds all to the type of the first file."""

    def change(dataset: Dataset, k: int, t: int) -> None:
        dataset.RescaleSlope, dataset.RescaleIntercept = str(1 + 0.5 * k), "0"

    scaled = ARRAY * (1 + 0.5 * np.arange(4))[:, None]
    check_frames(writer.write_classic(tmp_path / "cine", ARRAY, change), scaled)


def test_a_single_slice_over_time_is_as_thick_as_it_says(tmp_path: Path) -> None:
    folder = writer.write_classic(tmp_path / "cine", ARRAY[:, :, :1])
    found = read_image(f"{folder}#3")
    np.testing.assert_array_equal(found.array, ARRAY[:, :, :1, 3])
    np.testing.assert_allclose(found.grid.spacing, (1.25, 1.5, 6.0))
    np.testing.assert_allclose(found.grid.axes, np.stack([writer.ROW, writer.COLUMN, writer.NORMAL], 1), atol=1e-9)


def test_a_still_stack_needs_no_frame(tmp_path: Path) -> None:
    folder = writer.write_classic(tmp_path / "still", ARRAY[..., :1])
    np.testing.assert_array_equal(read_image(folder).array, ARRAY[..., 0])
    with pytest.raises(UserError, match=r"still#0: is a still image without frames; leave out the #0"):
        read_image(f"{folder}#0")


@pytest.mark.parametrize("kind", ["classic", "enhanced", "clip"])
def test_frames_that_are_not_there(kind: str, tmp_path: Path) -> None:
    if kind == "clip":
        path = writer.write_clip(tmp_path / "clip.dcm", np.zeros((5, 20, 30, 3), np.uint8))
    else:
        write = writer.write_classic if kind == "classic" else writer.write_enhanced
        path = write(tmp_path / f"{kind}.dcm", ARRAY)
    for read in (read_image, read_grid):
        with pytest.raises(UserError, match=rf"{path.name}#5: there are 5 frames; name one, from .*#0 to .*#4$"):
            read(f"{path}#5")
        with pytest.raises(UserError, match=rf"{path.name}: holds 5 frames; name one, from .*#0 to .*#4$"):
            read(path)


# Clips


def test_a_colour_clip(tmp_path: Path) -> None:
    frames = np.random.default_rng(0).integers(0, 256, (4, 20, 30, 3), dtype=np.uint8)
    found = read_image(f"{writer.write_clip(tmp_path / 'clip', frames)}#3")  # no ending: known by its first bytes
    grey = frames[3] @ np.array([0.299, 0.587, 0.114])
    np.testing.assert_allclose(found.array, grey.T, rtol=1e-6)
    np.testing.assert_allclose(found.grid.spacing, (0.4, 0.3))
    assert found.grid.origin == (0, 0)
    assert found.grid.direction == (1, 0, 0, 1)


def test_a_palette_clip(tmp_path: Path) -> None:
    frames = np.random.default_rng(0).integers(0, 256, (4, 20, 30), dtype=np.uint8)
    path = writer.write_clip(tmp_path / "clip.dcm", frames, "PALETTE COLOR")
    dataset = pydicom.dcmread(path)
    tables = np.random.default_rng(1).integers(0, 256, (3, 256), dtype=np.uint8)
    for colour, table in zip(("Red", "Green", "Blue"), tables, strict=True):
        dataset.add_new(f"{colour}PaletteColorLookupTableDescriptor", "US", [256, 0, 8])
        setattr(dataset, f"{colour}PaletteColorLookupTableData", table.tobytes())
    writer.save(dataset, path)
    grey = np.tensordot([0.299, 0.587, 0.114], tables[:, frames[2]].astype(float), axes=1)
    np.testing.assert_allclose(read_image(f"{path}#2").array, grey.T, rtol=1e-6)


def test_a_clip_without_calibration_is_in_pixels_and_says_so(tmp_path: Path) -> None:
    path = writer.write_clip(tmp_path / "clip.dcm", np.ones((2, 20, 30), np.uint8), "MONOCHROME2", calibrated=False)
    with pytest.warns(UserWarning, match=r"clip\.dcm: does not declare the size of its pixels; 1 mm is assumed"):
        assert read_image(f"{path}#1").grid.spacing == (1, 1)


def test_the_echo_clip_that_comes_with_pydicom() -> None:
    """JPEG, YBR; calibrated in its regions: 0.051 cm."""
    path = SHIPPED / "examples_ybr_color.dcm"
    colours = pydicom.dcmread(path).pixel_array
    assert colours.shape == (30, 240, 320, 3)
    for frame in (0, 12, 29):
        found = read_image(f"{path}#{frame}")
        np.testing.assert_allclose(found.array, (colours[frame] @ np.array([0.299, 0.587, 0.114])).T, atol=1.5)
        np.testing.assert_allclose(found.grid.spacing, 0.5104970559477806)


@pytest.mark.parametrize(
    ("name", "shape", "spacing"),
    [
        ("examples_palette.dcm", (800, 350), (0.2622878766196998,) * 2),
        ("examples_overlay.dcm", (484, 300, 1), (0.72314049586777, 0.72314049586777, 4.0)),
        ("MR_small.dcm", (64, 64, 1), (0.3125, 0.3125, 0.8)),
    ],
)
def test_still_images_that_come_with_pydicom(name: str, shape: tuple[int, ...], spacing: tuple[float, ...]) -> None:
    found = read_image(SHIPPED / name)
    assert found.grid.shape == shape
    np.testing.assert_allclose(found.grid.spacing, spacing)


@pytest.mark.filterwarnings("ignore:.*does not declare the size of its pixels")
@pytest.mark.parametrize(
    "name", ["examples_rgb_color.dcm", "examples_jpeg2k.dcm", "SC_rgb_rle.dcm", "SC_rgb_jpeg.dcm"]
)
def test_colours_that_come_with_pydicom(name: str) -> None:
    found = read_image(SHIPPED / name)
    colours = pydicom.dcmread(SHIPPED / name).pixel_array
    np.testing.assert_allclose(found.array, (colours @ np.array([0.299, 0.587, 0.114])).T, atol=1.5)


# Series that are none


def missing_position(dataset: Dataset, k: int, t: int) -> None:
    if (k, t) == (1, 2):
        del dataset.ImagePositionPatient


def two_kinds(dataset: Dataset, k: int, t: int) -> None:
    dataset.ImageType = ["ORIGINAL", "PRIMARY", "PM"[t % 2]]


def the_same_time_twice(dataset: Dataset, k: int, t: int) -> None:
    dataset.TriggerTime = str(t // 2)


def no_time(dataset: Dataset, k: int, t: int) -> None:
    only()(dataset, k, t)


def mixed_series(dataset: Dataset, k: int, t: int) -> None:
    if k == 1:
        dataset.SeriesInstanceUID = "1.2.77.99"


def missing_slice(dataset: Dataset, k: int, t: int) -> None:
    dataset.ImagePositionPatient = writer.decimals(writer.position(k + (k > 1)))


def tilted(dataset: Dataset, k: int, t: int) -> None:
    dataset.ImagePositionPatient = writer.decimals(writer.position(k) + k * writer.ROW)


def turned(dataset: Dataset, k: int, t: int) -> None:
    if k == 2:
        dataset.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]


def of_another_size(dataset: Dataset, k: int, t: int) -> None:
    if k == 2:
        dataset.Rows, dataset.PixelData = 10, dataset.PixelData[:-28]


def no_pixel_size(dataset: Dataset, k: int, t: int) -> None:
    del dataset.PixelSpacing


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (missing_position, r"IM\d+ does not declare the position of its image"),
        (no_pixel_size, r"IM\d+ does not declare the size of its pixels"),
        (two_kinds, "several kinds of images"),
        (the_same_time_twice, "several images of a slice at the same time"),
        (no_time, "several images of a slice at the same time, or their order is unknown"),
        (mixed_series, "contains 2 DICOM series; name a folder with one series"),
        (missing_slice, r"its slices are unevenly spaced, 8\.0 to 16\.0 mm apart; is one missing\?"),
        (tilted, "shifted sideways"),
        (turned, "lie in different planes"),
        (of_another_size, "differ in size"),
    ],
)
def test_series_that_make_no_cine(change: writer.Change, problem: str, tmp_path: Path) -> None:
    folder = writer.write_classic(tmp_path / "cine", ARRAY, change)
    with pytest.raises(UserError, match=rf"^{folder}: .*{problem}"):
        read_image(f"{folder}#0")


def test_a_slice_that_lacks_a_frame(tmp_path: Path) -> None:
    folder = writer.write_classic(tmp_path / "cine", ARRAY)
    file = next(file for file in folder.iterdir() if pydicom.dcmread(file).TriggerTime == 31.5 * 2 + 0.25)
    file.unlink()
    with pytest.raises(UserError, match=r"has 4 images of the slice at .* mm but 5 of others; each slice needs"):
        read_image(f"{folder}#0")


def test_several_clips_in_a_folder(tmp_path: Path) -> None:
    for name in ("a2c.dcm", "a4c.dcm"):
        writer.write_clip(tmp_path / name, np.ones((2, 20, 30, 3), np.uint8))
    with pytest.raises(UserError, match=r"contains 2 files, 2 of them with several frames; name one.*a2c\.dcm"):
        read_image(f"{tmp_path}#0")


@pytest.mark.parametrize("cut", [100, 1500, -300])
def test_a_truncated_clip(cut: int, tmp_path: Path) -> None:
    path = writer.write_clip(tmp_path / "clip.dcm", np.ones((2, 20, 30, 3), np.uint8))
    path.write_bytes(path.read_bytes()[:cut])
    with pytest.raises(UserError, match=r"clip\.dcm: (cannot|could not|the DICOM|holds)"):
        read_image(f"{path}#1")


def test_a_text_called_dcm(tmp_path: Path) -> None:
    (tmp_path / "notes.dcm").write_text("a patient's notes\n" * 100)
    with pytest.raises(UserError, match=r"notes\.dcm: cannot be read as a DICOM image; is it one"):
        read_image(tmp_path / "notes.dcm")


def test_a_folder_without_dicom(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("nothing")
    with pytest.raises(UserError, match="contains 0 DICOM series"):
        read_image(tmp_path)


@pytest.mark.parametrize("values", [{"RescaleSlope": "0"}, {"RescaleIntercept": "5"}, {"RescaleSlope": "2"}])
def test_scales_that_are_not_whole(values: dict[str, str], tmp_path: Path) -> None:
    """A slope of 0, or one without the other: no crash, and frames of one scale stay alike."""

    def change(groups: Dataset, k: int, t: int) -> None:
        groups.PixelValueTransformationSequence = writer.item(**values)

    path = writer.write_enhanced(tmp_path / "cine.dcm", ARRAY, change)
    found = [read_image(f"{path}#{t}").array for t in (0, 1)]
    slope = np.polyfit(ARRAY[..., 0].ravel(), found[0].ravel(), 1)
    np.testing.assert_allclose(found[1], np.polyval(slope, ARRAY[..., 1]), atol=0.01)


def test_a_secondary_capture_clip_says_that_its_pixels_have_no_size(tmp_path):
    """Its frames have neither times nor places: they are read as slices of 1 mm, and both is said."""
    frames = np.random.default_rng(0).integers(0, 256, (5, 18, 20), dtype=np.uint8)
    path = writer.write_clip(tmp_path / "sc.dcm", frames, "MONOCHROME2", calibrated=False)
    dataset = pydicom.dcmread(path)
    del dataset.FrameTime, dataset.FrameIncrementPointer
    dataset.Modality = "OT"
    dataset.save_as(path)
    with pytest.warns(
        UserWarning, match=r"does not declare the size of its pixels; .*, and its frames are taken as slices"
    ):
        assert read_image(path).array.shape == (20, 18, 5)
    with hr.reading(spacing=(0.3, 0.3, 2.0)):
        assert read_image(path).grid.spacing == (0.3, 0.3, 2.0)
