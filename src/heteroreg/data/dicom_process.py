"""The program that decodes DICOM series for `dicom`: questions on stdin, answers on stdout, a line of JSON each.

It imports nothing of the package, so that it starts in a fraction of a second.
"""

from __future__ import annotations

import json
import math
import os
import signal
import sys
from pathlib import Path
from typing import Any

import SimpleITK as sitk

MB = 1024**2
# Deflate, JPEG 2000 and JPEG-LS all make at most about this much out of a byte of an image that shows something.
MOST_UNFOLDED = 1032
BYTES = {
    sitk.sitkUInt8: 1, sitk.sitkInt8: 1, sitk.sitkUInt16: 2, sitk.sitkInt16: 2, sitk.sitkUInt32: 4,
    sitk.sitkInt32: 4, sitk.sitkFloat32: 4, sitk.sitkFloat64: 8,
}  # fmt: skip


def main() -> None:
    """Answers until stdin ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the program that asks decides
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what GDCM prints is no answer
    sitk.ProcessObject.SetGlobalWarningDisplay(False)
    usual = _memory()
    for line in sys.stdin.buffer:
        question = json.loads(line)
        try:
            answer, content = _read(question, usual)
        except RefusedError as error:
            answer, content = {"error": str(error)}, b""
        except MemoryError:
            answer, content = {"error": "the DICOM series asks for more memory than its size explains"}, b""
        except RuntimeError as error:
            last = str(error).strip().splitlines()[-1].strip() if str(error).strip() else "no reason"
            answer, content = {"error": f"the DICOM series could not be read ({last}); export it again"}, b""
        answers.write(json.dumps(answer | {"length": len(content)}).encode() + b"\n")
        answers.write(content)
        answers.flush()


class RefusedError(Exception):
    """What is wrong with the folder."""


def _read(question: dict[str, Any], usual: int) -> tuple[dict[str, Any], bytes | memoryview]:
    folder, stored = question["folder"], question["bytes"]
    _limit_memory(usual + 64 * MB + 4 * stored)
    reader = sitk.ImageSeriesReader()
    series = reader.GetGDCMSeriesIDs(folder)
    if len(series) != 1:
        raise RefusedError(f"holds {len(series)} DICOM series where one is needed; name a folder with one series")
    names = reader.GetGDCMSeriesFileNames(folder, series[0])
    left_out = sorted(_dicom_files(Path(folder)) - {Path(name).name for name in names})
    if left_out:  # GDCM passes over what it cannot read, and the series comes out with a gap
        raise RefusedError(
            f"{left_out[0]} cannot be read as a part of the DICOM series; export it again, or remove it"
        )
    needed = _declared(names, question["voxels"], stored)
    _limit_memory(usual + 128 * MB + 4 * stored + 6 * needed)
    reader.SetFileNames(names)
    image = reader.Execute()
    if image.GetNumberOfComponentsPerPixel() > 1:
        raise RefusedError(f"has {image.GetNumberOfComponentsPerPixel()} values in each voxel; name a scalar image")
    array = sitk.GetArrayFromImage(image)
    answer = {
        "shape": image.GetSize(), "spacing": image.GetSpacing(), "origin": image.GetOrigin(),
        "direction": image.GetDirection(), "dtype": array.dtype.str,
    }  # fmt: skip
    return answer, memoryview(array).cast("B")


def _dicom_files(folder: Path) -> set[str]:
    """The names of the files that are DICOM by their ending or their first bytes, but for an index."""
    found = set()
    for path in folder.iterdir():
        if path.is_file() and path.name.upper() != "DICOMDIR" and not path.name.startswith("."):
            with path.open("rb") as handle:
                if path.suffix.lower() in (".dcm", ".ima") or handle.read(132)[128:] == b"DICM":
                    found.add(path.name)
    return found


def _declared(names: tuple[str, ...], voxels: int, stored: int) -> int:
    """The bytes of the voxels that the headers of a series declare."""
    count = needed = 0
    for name in names:
        one = sitk.ImageFileReader()
        one.SetImageIO("GDCMImageIO")
        one.SetFileName(name)
        one.ReadImageInformation()
        size = math.prod(one.GetSize())
        count += size
        needed += size * one.GetNumberOfComponents() * BYTES.get(one.GetPixelIDValue(), 8)
        if count > voxels:
            written = " x ".join(map(str, one.GetSize()))
            raise RefusedError(
                f"{Path(name).name} declares {written} voxels, with those before it more than the limit of {voxels}"
                "; if the series is that large, set the environment variable HETEROREG_MAX_VOXELS"
            )
        if needed > MOST_UNFOLDED * stored:
            raise RefusedError(
                f"holds {stored} bytes where its headers promise {needed}; is it whole? Export it again"
            )
    return needed


def _memory() -> int:
    """The address space that the program has, in bytes; 0 where that is not known."""
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
