"""The program that decodes image files for `decoder`: questions on stdin, answers on stdout, one line of JSON each.

One kind of question asks for the DICOM headers of a file or folder, another for the voxels of files. Of a header
only numbers leave the process: sizes, positions, times, and numbers that tell images apart; no names, dates or
identifiers. The program imports nothing of the package, so that it starts in a fraction of a second.
"""

from __future__ import annotations

import json
import math
import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK as sitk

MB = 1024**2
# Elements that are read from a header: the keyword, and the tag as ITK writes it.
PLAIN = {
    "Modality": "0008|0060", "SeriesInstanceUID": "0020|000e", "ImageType": "0008|0008", "EchoNumbers": "0018|0086",
    "Rows": "0028|0010", "Columns": "0028|0011", "NumberOfFrames": "0028|0008", "PixelSpacing": "0028|0030",
    "ImagerPixelSpacing": "0018|1164", "SliceThickness": "0018|0050", "SpacingBetweenSlices": "0018|0088",
    "ImagePositionPatient": "0020|0032", "ImageOrientationPatient": "0020|0037", "FrameTime": "0018|1063",
    "TemporalPositionIdentifier": "0020|0100", "TriggerTime": "0018|1060", "InstanceNumber": "0020|0013",
}  # fmt: skip
NESTED = (
    "FrameIncrementPointer", "SequenceOfUltrasoundRegions", "SharedFunctionalGroupsSequence",
    "PerFrameFunctionalGroupsSequence", "DimensionIndexSequence",
)  # fmt: skip
# Functional groups of an enhanced object that are used here.
GROUPS = (
    "FrameContentSequence", "CardiacSynchronizationSequence", "PixelMeasuresSequence", "PlanePositionSequence",
    "PlaneOrientationSequence", "PixelValueTransformationSequence", "MRImageFrameTypeSequence",
    "CTImageFrameTypeSequence",
)  # fmt: skip
# Modalities whose frames follow one another in time; FrameTime and FrameTimeVector, which say so too.
MOVING = ("US", "IVUS", "XA", "RF", "ES", "XC", "GM")
TIMES = (0x00181063, 0x00181065)
# Dimensions along which slices differ: ImagePositionPatient, StackID, InStackPositionNumber.
PLACES = (0x00200032, 0x00209056, 0x00209057)
TWO_DIMENSIONAL, CENTIMETRES = 1, 3  # of ultrasound regions

Reply = tuple[dict[str, Any], bytes | memoryview]


def main() -> None:
    """Answer questions until stdin ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent process handles Ctrl-C
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # keep GDCM's own prints out of the answers
    sitk.ProcessObject.SetGlobalWarningDisplay(False)
    usual = _memory()
    for line in sys.stdin.buffer:
        question = json.loads(line)
        try:
            answer, content = (_headers if question["about"] == "headers" else _voxels)(question, usual)
        except RefusedError as error:
            answer, content = {"error": str(error)}, b""
        except MemoryError:
            answer, content = {"error": f"{question['subject']} needs more memory than its size explains"}, b""
        except RuntimeError as error:
            last = str(error).strip().splitlines()[-1].strip() if str(error).strip() else "no reason"
            answer, content = (
                {"error": f"{question['subject']} could not be read ({last}); is the file whole? Export it again"},
                b"",
            )
        answers.write(json.dumps(answer | {"length": len(content)}).encode() + b"\n")
        answers.write(content)
        answers.flush()


class RefusedError(Exception):
    """A file or folder that cannot be used, with the reason."""


class UnreadableError(RefusedError):
    """A file that a reader does not take at all."""


def _headers(question: dict[str, Any], usual: int) -> Reply:
    """Read the headers of a file, or of all DICOM files in a folder; series and kinds of images get numbers."""
    _limit_memory(usual + 64 * MB + 4 * question["bytes"])
    path = Path(question["path"])
    numbers: dict[str, int] = {}
    headers = []
    for file in [path] if path.is_file() else sorted(_dicom_files(path, tuple(question["endings"]))):
        try:
            headers.append({"file": str(file), **_header(file, numbers, question["most_unfolded"])})
        except (RefusedError, MemoryError):
            raise
        except Exception as error:  # a damaged header raises nearly anything
            raise _unreadable(file, question["subject"], path.is_file()) from error
    return {"headers": headers}, b""


def _unreadable(file: Path, subject: str, alone: bool) -> UnreadableError:
    if alone:
        return UnreadableError("cannot be read as a DICOM image; is it one, is it whole? Export it again")
    return UnreadableError(f"{file.name} cannot be read as a part of {subject}; export it again, or remove it")


def _dicom_files(folder: Path, endings: tuple[str, ...]) -> list[Path]:
    """Return the files with a DICOM ending or DICOM's first bytes, without a DICOMDIR index."""
    found = []
    for path in folder.iterdir():
        if path.is_file() and path.name.upper() != "DICOMDIR" and not path.name.startswith("."):
            with path.open("rb") as handle:
                if path.suffix.lower() in endings or handle.read(132)[128:] == b"DICM":
                    found.append(path)
    return found


def _header(file: Path, numbers: dict[str, int], most_unfolded: int) -> dict[str, Any]:
    """Describe a file without reading its voxels; for an enhanced object `planes` has all frames."""
    pydicom = _pydicom()
    if pydicom is None:
        source: Any = _itk_tags(file)
    else:
        source = pydicom.dcmread(file, force=True, stop_before_pixels=True, specific_tags=[*PLAIN, *NESTED])
    rows, columns = _numbers(source, "Rows", 1), _numbers(source, "Columns", 1)
    frames = int(_number(source, "NumberOfFrames") or 1)
    spacing = _numbers(source, "PixelSpacing", 2) or _numbers(source, "ImagerPixelSpacing", 2)
    ultrasound = _texts(source.get("Modality")) == ["US"]
    if pydicom is None and (frames > 1 or (ultrasound and not spacing)):
        raise RefusedError(f"{file.name} is of a kind that needs pydicom: pip install 'heteroreg[dicom]'")
    enhanced = bool(source.get("PerFrameFunctionalGroupsSequence"))
    stored = file.stat().st_size
    if not 0 < frames <= stored or frames * columns[0] * rows[0] > most_unfolded * stored:
        raise RefusedError(
            f"{file.name} holds {stored} bytes and declares {frames} images of {columns[0]:.0f} x {rows[0]:.0f}; "
            "is it whole? Export it again"
        )
    planes = _frame_planes(source, numbers) if enhanced else [_plane(source, numbers)]
    if enhanced and len(planes) != frames:
        raise RefusedError(f"{file.name} describes {len(planes)} frames and declares {frames}; export it again")
    pointers = source.get("FrameIncrementPointer") or []
    pointers = [pointers] if isinstance(pointers, int) else list(pointers)
    in_time = bool(source.get("FrameTime")) or any(int(pointer) in TIMES for pointer in pointers)
    return {
        "series": _numbered(numbers, "series", _texts(source.get("SeriesInstanceUID"))),
        "size": [int(columns[0]), int(rows[0])],  # a file without them is not an image
        "frames": frames,
        # An enhanced ultrasound object is a volume.
        "moving": (in_time or "".join(_texts(source.get("Modality"))) in MOVING) and not (enhanced and ultrasound),
        # DICOM writes the spacing of the rows first.
        "spacing": spacing[::-1] or planes[0]["spacing"] or _region_spacing(source),
        "planes": planes,
    }


def _pydicom() -> Any:
    """Import pydicom, which PNG files do not need; None if it is not installed: ITK reads no sequences."""
    try:
        import pydicom
    except ImportError:
        return None
    return pydicom


def _plane(source: Any, numbers: dict[str, int]) -> dict[str, Any]:
    """Describe the position of the only image of a file, and its times, the most reliable first."""
    return {
        "position": _numbers(source, "ImagePositionPatient", 3),
        "orientation": _numbers(source, "ImageOrientationPatient", 6),
        "spacing": _numbers(source, "PixelSpacing", 2)[::-1],
        "thickness": _number(source, "SpacingBetweenSlices") or _number(source, "SliceThickness"),
        "times": [_number(source, word) for word in ("TemporalPositionIdentifier", "TriggerTime")],
        "number": _number(source, "InstanceNumber"),
        "kind": _numbered(
            numbers, "kind", [*_texts(source.get("ImageType"))[2:], *_texts(source.get("EchoNumbers"))]
        ),
        "scale": [],
    }


def _frame_planes(source: Any, numbers: dict[str, int]) -> list[dict[str, Any]]:
    """Describe each frame of an enhanced object likewise, from its functional groups."""
    shared = (source.get("SharedFunctionalGroupsSequence") or [{}])[0]
    dimensions = [int(item.DimensionIndexPointer) for item in source.get("DimensionIndexSequence") or []]
    planes = []
    for number, groups in enumerate(source.PerFrameFunctionalGroupsSequence):
        found = {word: ((groups.get(word) or shared.get(word)) or [{}])[0] for word in GROUPS}
        content, cardiac = found["FrameContentSequence"], found["CardiacSynchronizationSequence"]
        measures, value = found["PixelMeasuresSequence"], found["PixelValueTransformationSequence"]
        indices = _numbers(content, "DimensionIndexValues", len(dimensions))
        times = [index for index, tag in zip(indices, dimensions, strict=False) if tag not in PLACES]
        slope, intercept = _number(value, "RescaleSlope"), _number(value, "RescaleIntercept")
        frame_type = found["MRImageFrameTypeSequence"] or found["CTImageFrameTypeSequence"]
        planes.append({
            "position": _numbers(found["PlanePositionSequence"], "ImagePositionPatient", 3),
            "orientation": _numbers(found["PlaneOrientationSequence"], "ImageOrientationPatient", 6),
            "spacing": _numbers(measures, "PixelSpacing", 2)[::-1],
            "thickness": _number(measures, "SpacingBetweenSlices") or _number(measures, "SliceThickness"),
            "times": [
                _number(content, "TemporalPositionIndex"),
                _number(cardiac, "NominalCardiacTriggerDelayTime"),
                *times,
            ],
            "number": number,
            "kind": _numbered(numbers, "kind", _texts(frame_type.get("FrameType"))[2:]),
            "scale": [slope, intercept or 0.0] if slope else [],
        })  # fmt: skip
    return planes


def _region_spacing(source: Any) -> list[float]:
    """Return width and height of a pixel in mm in the largest 2D ultrasound region; empty without one."""
    best, largest = [], 0.0
    for region in source.get("SequenceOfUltrasoundRegions") or []:
        x, y = (abs(_number(region, f"PhysicalDelta{axis}") or 0.0) * 10 for axis in "XY")
        units = [_number(region, f"PhysicalUnits{axis}Direction") for axis in "XY"]
        low = [_number(region, f"RegionLocationMin{axis}0") or 0.0 for axis in "XY"]
        high = [_number(region, f"RegionLocationMax{axis}1") or 0.0 for axis in "XY"]
        area = (high[0] - low[0] + 1) * (high[1] - low[1] + 1)
        flat = _number(region, "RegionSpatialFormat") == TWO_DIMENSIONAL and units == [CENTIMETRES] * 2
        if flat and x > 0 and y > 0 and area > largest:
            best, largest = [x, y], area
    return best


def _itk_tags(file: Path) -> dict[str, str]:
    """Read the plain tags of a file with ITK, which does not decode the voxels for that."""
    reader = _information(str(file), "GDCMImageIO")
    return {word: reader.GetMetaData(tag) for word, tag in PLAIN.items() if reader.HasMetaDataKey(tag)}


def _texts(value: Any) -> list[str]:
    """Return the values of a tag as texts: pydicom gives numbers and lists, ITK a single text."""
    values = str(value).split("\\") if isinstance(value, str | int | float) else list(value or ())
    return [text for text in (str(one).strip(" \0") for one in values) if text]


def _numbers(source: Any, word: str, count: int) -> list[float]:
    """Return the numbers of a tag; empty if it is missing."""
    found = [float(text) for text in _texts(source.get(word))]
    if found and (len(found) != count or not all(map(math.isfinite, found))):
        raise ValueError(f"{word} is damaged")
    return found


def _number(source: Any, word: str) -> float | None:
    return next(iter(_numbers(source, word, 1)), None)


def _numbered(numbers: dict[str, int], what: str, texts: Sequence[str]) -> int:
    """Return an anonymous integer for an identifier: equal texts get equal numbers."""
    return numbers.setdefault(f"{what} {texts}", len(numbers))


def _voxels(question: dict[str, Any], usual: int) -> Reply:
    """Read the voxels of whole files, one after the other, or of some frames of one file.

    DICOM that GDCM cannot decode, such as clips whose frames are in several fragments, is read by pydicom.
    """
    if question["indices"]:
        return _palette_indices(question)
    try:
        return _voxels_by_itk(question, usual)
    except (RuntimeError, UnreadableError) as error:
        if question["reader"] != "GDCMImageIO" or question["header_only"] or (pydicom := _pydicom()) is None:
            raise
        return _voxels_by_pydicom(pydicom, question, usual, error)


def _voxels_by_pydicom(pydicom: Any, question: dict[str, Any], usual: int, first: Exception) -> Reply:
    """Read voxels as `_voxels_by_itk`, rescaled to the file's units.

    Raises:
        RefusedError: They cannot be decoded, or the headers declare too much.
    """
    from pydicom.pixels import apply_rescale

    slabs, source = [], None
    needed = 0
    for name in question["files"]:
        source = pydicom.dcmread(name, force=True)
        shape = [int(source.get(word) or 1) for word in ("NumberOfFrames", "Rows", "Columns", "SamplesPerPixel")]
        needed += math.prod(shape) * int(source.get("BitsAllocated") or 8) // 8
        if math.prod(shape[:3]) > question["voxels"] or needed > question["most_unfolded"] * question["bytes"]:
            raise RefusedError(f"{Path(name).name} declares {' x '.join(map(str, shape))} values; is it whole?")
        _limit_memory(usual + 256 * MB + 4 * question["bytes"] + 10 * needed)
        try:
            array = apply_rescale(source.pixel_array, source)
        except MemoryError:
            raise
        except Exception as error:  # its decoders raise nearly anything
            syntax = getattr(getattr(source, "file_meta", None), "TransferSyntaxUID", None)
            kind = getattr(syntax, "name", "unknown")
            reason = (str(error).strip().splitlines() or [type(error).__name__])[-1]
            plugins = "; pip install 'heteroreg[dicom]' brings decoders" if syntax and syntax.is_compressed else ""
            reason = f"({kind}: {reason.strip()}){plugins}"
            if question["alone"]:
                raise RefusedError(f"cannot be decoded {reason}; is it whole? Export it again") from first
            raise RefusedError(
                f"{Path(name).name} cannot be read as a part of {question['subject']} {reason}; export it again, "
                "or remove it"
            ) from first
        slabs.append(array.reshape(shape[0], shape[1], shape[2], *shape[3:] if shape[3] > 1 else ()))
    voxels: Any = np.concatenate(slabs)
    if question["frames"] is not None:
        voxels = voxels[question["frames"]]
    voxels = np.ascontiguousarray(voxels, dtype=np.float32 if voxels.dtype == np.float64 else None)
    spacing = _numbers(source, "PixelSpacing", 2) or _numbers(source, "ImagerPixelSpacing", 2) or [1.0, 1.0]
    about = {
        "size": voxels.shape[2::-1], "spacing": [*spacing[::-1], 1.0], "origin": [0.0] * 3,
        "direction": np.eye(3).ravel().tolist(), "components": voxels.shape[3] if voxels.ndim > 3 else 1,
        "shape": voxels.shape, "dtype": voxels.dtype.str,
    }  # fmt: skip
    return about, memoryview(voxels).cast("B")


def _palette_indices(question: dict[str, Any]) -> Reply:
    """Read the indices of a PNG with a palette: of a label map they are the labels, the colours only show them."""
    from PIL import Image

    try:
        with Image.open(question["files"][0], formats=["PNG"]) as image:
            if image.width * image.height > question["voxels"]:
                raise RefusedError(f"declares {image.width} x {image.height} pixels; is it whole?")
            array: Any = np.ascontiguousarray(np.asarray(image))
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise RefusedError(f"the image could not be read ({error}); is the file whole? Export it again") from error
    about = {
        "size": array.shape[::-1], "spacing": [1.0, 1.0], "origin": [0.0, 0.0], "direction": [1.0, 0.0, 0.0, 1.0],
        "components": 1, "shape": array.shape, "dtype": array.dtype.str,
    }  # fmt: skip
    return about, memoryview(array).cast("B")


def _voxels_by_itk(question: dict[str, Any], usual: int) -> Reply:
    names, stored, frames = question["files"], question["bytes"], question["frames"]
    _limit_memory(usual + 64 * MB + 4 * stored)
    if question["header_only"]:
        header = _information(names[0], question["reader"])
        return _about(header, header.GetSize(), header.GetNumberOfComponents(), np.empty(0)), b""
    needed, pixels = _declared(names, question)
    _limit_memory(usual + 128 * MB + 4 * stored + 6 * needed)
    if len(names) == 1:
        reader = sitk.ImageFileReader()
        reader.SetFileName(names[0])
    else:
        reader = sitk.ImageSeriesReader()
        reader.SetFileNames(names)
    reader.SetImageIO(question["reader"])
    if len(pixels) > 1:  # the reader would round all files to the type of the first one
        reader.SetOutputPixelType(sitk.sitkFloat32)
    image = reader.Execute()
    array = sitk.GetArrayFromImage(image)
    if frames is not None:
        array = array[frames]
    size = array.shape[image.GetDimension() - 1 :: -1]
    return _about(image, size, image.GetNumberOfComponentsPerPixel(), array), memoryview(array).cast("B")


def _about(image: Any, size: Sequence[int], components: int, array: Any) -> dict[str, Any]:
    return {
        "size": size, "spacing": image.GetSpacing(), "origin": image.GetOrigin(), "direction": image.GetDirection(),
        "components": components, "shape": array.shape, "dtype": array.dtype.str,
    }  # fmt: skip


def _information(name: str, kind: str) -> Any:
    reader = sitk.ImageFileReader()
    reader.SetImageIO(kind)
    reader.SetFileName(name)
    reader.ReadImageInformation()
    return reader


def _declared(names: Sequence[str], question: dict[str, Any]) -> tuple[int, set[int]]:
    """Return the bytes of the voxels that the headers of files declare, and the types of the voxels."""
    voxels, stored = question["voxels"], question["bytes"]
    count = needed = 0
    pixels = set()
    for name in names:
        try:
            one = _information(name, question["reader"])
        except RuntimeError as error:
            if question["reader"] != "GDCMImageIO":
                raise
            raise _unreadable(Path(name), question["subject"], question["alone"]) from error
        size = math.prod(one.GetSize())
        count += size
        needed += size * one.GetNumberOfComponents() * _bytes_per_value(one.GetPixelIDValue())
        pixels.add(one.GetPixelIDValue())
        if count > voxels:
            written = " x ".join(map(str, one.GetSize()))
            raise RefusedError(
                f"{Path(name).name} declares {written} voxels, with those before it more than the limit of {voxels}"
                "; if the series is that large, set the environment variable HETEROREG_MAX_VOXELS"
            )
        if needed > question["most_unfolded"] * stored:
            raise RefusedError(
                f"holds {stored} bytes but its headers declare {needed}; is it whole? Export it again"
            )
    return needed, pixels


def _bytes_per_value(pixel: int) -> int:
    return sitk.Image([1, 1], pixel).GetSizeOfPixelComponent() if pixel != sitk.sitkUnknown else 8


def _memory() -> int:
    """Return the size of the address space in bytes; 0 if unknown."""
    try:
        return int(Path("/proc/self/statm").read_text().split()[0]) * os.sysconf("SC_PAGE_SIZE")
    except OSError:
        return 0


def _limit_memory(limit: int) -> None:
    if _memory():
        import resource

        hard = resource.getrlimit(resource.RLIMIT_AS)[1]
        soft = max(limit, _memory() + 64 * MB)
        resource.setrlimit(resource.RLIMIT_AS, (soft if hard < 0 else min(soft, hard), hard))


if __name__ == "__main__":
    main()
