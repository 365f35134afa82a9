"""The program that reads and writes ITK's transform files for `transforms`: an answer for each question.

ITK's readers of these files, HDF5 above all, crash on some damaged ones. After a write to a full disk, its HDF5
writer crashes at exit. The program imports nothing of the package, so that it starts in a fraction of a second.
"""

from __future__ import annotations

import json
import os
import sys
from typing import Any

import numpy as np
import SimpleITK as sitk


def main() -> None:
    """Answer questions, each a line of JSON; the vectors of a field follow the answer.

    After a question to write follow the vectors, to the end: it is the only one.
    """
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # keep ITK's own prints out of the answer
    sitk.ProcessObject.SetGlobalWarningDisplay(False)
    for line in iter(sys.stdin.buffer.readline, b""):
        try:
            question = json.loads(line)
            answer, content = _write(question) if question["write"] else _read(question)
        except (RuntimeError, ValueError) as error:  # an undecodable message is a UnicodeDecodeError
            lines = str(error).strip().splitlines() if isinstance(error, RuntimeError) else []
            answer, content = {"error": lines[-1].strip() if lines else "it is not a transform"}, b""
        answers.write(json.dumps(answer | {"length": len(content)}).encode() + b"\n")
        answers.write(content)
        answers.flush()


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


def _write(question: dict[str, Any]) -> tuple[dict[str, Any], bytes]:
    """Write the field that follows, and check the file: ITK does not report a full disk."""
    size, origin, spacing, direction = _placed(question["grid"])
    vectors = np.frombuffer(sys.stdin.buffer.read(), dtype=np.float64).reshape([*size[::-1], len(size)])
    image = sitk.GetImageFromArray(vectors, isVector=True)
    image.SetOrigin(origin)
    image.SetSpacing(spacing)
    image.SetDirection(direction)
    sitk.WriteTransform(sitk.DisplacementFieldTransform(image), question["path"])
    written = sitk.DisplacementFieldTransform(sitk.ReadTransform(question["path"])).GetDisplacementField()
    found = sitk.GetArrayViewFromImage(written)
    whole = found.shape == vectors.shape and np.allclose(found, vectors, rtol=1e-5, atol=1e-5, equal_nan=True)
    return {"whole": bool(whole)}, b""


def _placed(grid: list[list[Any]]) -> tuple[list[Any], ...]:
    """Return size, origin, spacing and direction, in the order of ITK's filter."""
    size, spacing, origin, direction = grid
    return size, origin, spacing, direction


if __name__ == "__main__":
    main()
