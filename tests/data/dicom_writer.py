"""DICOM files as scanners write them, for the tests. Every text in them that could name a patient is SECRET."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import (
    EnhancedMRImageStorage,
    ExplicitVRLittleEndian,
    MRImageStorage,
    UltrasoundMultiFrameImageStorage,
)

SECRET = "SECRETPERSON"
# Turned about two axes: 30° about z, then 20° about x.
_C, _S, _C2, _S2 = np.cos(0.5235988), np.sin(0.5235988), np.cos(0.3490659), np.sin(0.3490659)
ROW = np.array([_C, _S * _C2, _S * _S2])
COLUMN = np.array([-_S, _C * _C2, _C * _S2])
NORMAL = np.cross(ROW, COLUMN)
ORIGIN = np.array([-40.25, 13.5, 77.125])
SPACING = (1.25, 1.5, 8.0)  # along a row, along a column, between slices

Change = Callable[[Dataset, int, int], None]


def voxels(size: tuple[int, int, int] = (14, 11, 4), frames: int = 5, seed: int = 0) -> NDArray[np.uint16]:
    """Values [x, y, z, t], all different from frame to frame."""
    return np.random.default_rng(seed).integers(0, 4000, (*size, frames), dtype=np.uint16)


def position(k: int) -> NDArray[np.float64]:
    """Where slice k lies."""
    return np.asarray(ORIGIN + SPACING[2] * k * NORMAL)


def item(**values: Any) -> list[Dataset]:
    """A sequence of one item."""
    dataset = Dataset()
    for name, value in values.items():
        setattr(dataset, name, value)
    return [dataset]


def decimals(values: Sequence[float] | NDArray[np.float64]) -> list[str]:
    """Numbers as DICOM writes them, in at most 16 characters."""
    return [f"{value:.10f}"[:16] for value in values]


def blank(uid: str, storage: str, pixels: NDArray[Any], photometric: str = "MONOCHROME2") -> Dataset:
    """A dataset with pixels [frame, row, column(, colour)] and the secret in every tag that may hold it."""
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.SOPClassUID = dataset.file_meta.MediaStorageSOPClassUID = storage
    dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = uid
    dataset.StudyInstanceUID, dataset.SeriesInstanceUID = "1.2.77.1", "1.2.77.2"
    for name in (
        "PatientName", "PatientID", "InstitutionName", "ReferringPhysicianName", "StudyDescription", "StudyID",
        "AccessionNumber", "SeriesDescription", "ProtocolName", "OperatorsName", "StationName", "PatientComments",
        "ImageComments", "OtherPatientIDs", "PatientAddress", "DeviceSerialNumber", "RequestingPhysician",
    ):  # fmt: skip
        setattr(dataset, name, SECRET[:16])
    dataset.PatientBirthDate = dataset.StudyDate = "19010203"
    private = dataset.private_block(0x0029, SECRET, create=True)
    private.add_new(0x01, "LO", SECRET)
    dataset.Rows, dataset.Columns = pixels.shape[1:3]
    bits = pixels.dtype.itemsize * 8
    dataset.BitsAllocated = dataset.BitsStored = bits
    dataset.HighBit, dataset.PixelRepresentation = bits - 1, 0
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1 if pixels.ndim == 3 else 3, photometric
    if pixels.ndim == 4:
        dataset.PlanarConfiguration = 0
    dataset.PixelData = np.ascontiguousarray(pixels).tobytes()
    return dataset


def save(dataset: Dataset, path: Path) -> Path:
    """Writes a file with its preamble."""
    path.parent.mkdir(parents=True, exist_ok=True)
    dataset.save_as(path, enforce_file_format=True)
    return path


def write_classic(
    folder: Path, array: NDArray[Any], change: Change = lambda dataset, k, t: None, ending: str = ""
) -> Path:
    """A cine of one file for each slice k and frame t, whose names and numbers are in neither order."""
    slices, frames = array.shape[2:]
    order = np.random.default_rng(1).permutation(slices * frames)
    for number, place in enumerate(order):
        k, t = divmod(int(place), frames)
        dataset = blank(f"1.2.77.3.{number}", MRImageStorage, array[:, :, k, t].T[None])
        dataset.Modality = "MR"
        dataset.PixelSpacing = decimals([SPACING[1], SPACING[0]])
        dataset.SliceThickness = "6"
        dataset.ImagePositionPatient = decimals(position(k))
        dataset.ImageOrientationPatient = decimals([*ROW, *COLUMN])
        dataset.InstanceNumber = number
        dataset.TriggerTime = str(31.5 * t + 0.25 * k)
        change(dataset, k, t)
        save(dataset, folder / f"IM{number:04d}{ending}")
    return folder


def write_enhanced(path: Path, array: NDArray[Any], change: Change = lambda dataset, k, t: None) -> Path:
    """The same cine as one enhanced object, its frames shuffled; `change` sees the groups of each."""
    slices, frames = array.shape[2:]
    order = [divmod(int(place), frames) for place in np.random.default_rng(2).permutation(slices * frames)]
    dataset = blank("1.2.77.4", EnhancedMRImageStorage, np.stack([array[:, :, k, t].T for k, t in order]))
    dataset.Modality, dataset.NumberOfFrames = "MR", len(order)
    shared = Dataset()
    shared.PixelMeasuresSequence = item(PixelSpacing=decimals([SPACING[1], SPACING[0]]), SliceThickness="6")
    shared.PlaneOrientationSequence = item(ImageOrientationPatient=decimals([*ROW, *COLUMN]))
    dataset.SharedFunctionalGroupsSequence = [shared]
    pointers = (0x00209056, 0x00209057, 0x00209128)  # StackID, InStackPositionNumber, TemporalPositionIndex
    dataset.DimensionIndexSequence = [item(DimensionIndexPointer=pointer)[0] for pointer in pointers]
    dataset.PerFrameFunctionalGroupsSequence = []
    for k, t in order:
        groups = Dataset()
        groups.FrameContentSequence = item(TemporalPositionIndex=t + 1, DimensionIndexValues=[1, k + 1, t + 1])
        groups.PlanePositionSequence = item(ImagePositionPatient=decimals(position(k)))
        change(groups, k, t)
        dataset.PerFrameFunctionalGroupsSequence.append(groups)
    return save(dataset, path)


def write_clip(path: Path, frames: NDArray[Any], photometric: str = "RGB", calibrated: bool = True) -> Path:
    """An echo clip [t, y, x(, 3)] whose pixels are 0.4 mm wide and 0.3 mm high."""
    dataset = blank("1.2.77.5", UltrasoundMultiFrameImageStorage, frames, photometric)
    dataset.Modality, dataset.NumberOfFrames, dataset.FrameTime = "US", len(frames), "33.3"
    dataset.FrameIncrementPointer = 0x00181063
    if calibrated:
        where = {
            "RegionLocationMinX0": 0, "RegionLocationMinY0": 0, "RegionLocationMaxX1": frames.shape[2] - 1,
            "RegionLocationMaxY1": frames.shape[1] - 3, "RegionDataType": 1,
        }  # fmt: skip
        centimetres = {"PhysicalUnitsXDirection": 3, "PhysicalUnitsYDirection": 3}
        echo = item(
            **where, **centimetres, RegionSpatialFormat=1, PhysicalDeltaX=0.04, PhysicalDeltaY=-0.03, RegionFlags=0
        )
        trace = item(  # an ECG below it: time along a row
            **where | {"RegionLocationMaxX1": 10**4}, PhysicalUnitsXDirection=4, PhysicalUnitsYDirection=0,
            RegionSpatialFormat=3, PhysicalDeltaX=0.001, PhysicalDeltaY=0.0, RegionFlags=0,
        )  # fmt: skip
        dataset.SequenceOfUltrasoundRegions = [*trace, *echo]
    return save(dataset, path)
