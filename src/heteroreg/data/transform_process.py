"""The program that reads ITK's transform files for `transforms`: one question on stdin, one answer on stdout.

ITK's readers of these files, HDF5 above all, end the process on some damaged ones. It imports nothing of the
package, so that it starts in a fraction of a second.
"""

from __future__ import annotations

import json
import os
import sys
from typing import Any

import SimpleITK as sitk


def main() -> None:
    """A line of JSON, and the vectors of a field behind it."""
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what ITK prints is no answer
    sitk.ProcessObject.SetGlobalWarningDisplay(False)
    try:
        answer, content = _read(json.load(sys.stdin))
    except (RuntimeError, ValueError) as error:  # a message with odd bytes is a UnicodeDecodeError
        lines = str(error).strip().splitlines() if isinstance(error, RuntimeError) else []
        answer, content = {"error": lines[-1].strip() if lines else "it is no transform"}, b""
    answers.write(json.dumps(answer).encode() + b"\n")
    answers.write(content)


def _read(question: dict[str, Any]) -> tuple[dict[str, Any], bytes | memoryview]:
    transform = sitk.ReadTransform(question["path"])
    dims = transform.GetDimension()
    answer: dict[str, Any] = {"name": transform.GetName(), "dims": dims}
    if dims not in (2, 3):
        return answer, b""
    if transform.IsLinear():
        units = [[float(i == k) for i in range(dims)] for k in range(dims)]
        answer["images"] = [transform.TransformPoint(point) for point in [[0.0] * dims, *units]]
    if transform.GetTransformEnum() == sitk.sitkDisplacementField:
        image = sitk.DisplacementFieldTransform(transform).GetDisplacementField()
    elif question["grid"] is None or len(question["grid"][0]) != dims:
        return answer, b""
    else:
        image = sitk.TransformToDisplacementField(transform, sitk.sitkVectorFloat64, *_placed(question["grid"]))
    answer["grid"] = [image.GetSize(), image.GetSpacing(), image.GetOrigin(), image.GetDirection()]
    return answer, memoryview(sitk.GetArrayFromImage(image)).cast("B")


def _placed(grid: list[list[float]]) -> tuple[list[float], ...]:
    """Size, origin, spacing and direction, in the order in which ITK's filter takes them."""
    size, spacing, origin, direction = grid
    return size, origin, spacing, direction


if __name__ == "__main__":
    main()
