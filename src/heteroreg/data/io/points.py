"""Landmarks: points in mm, read from files and written to them.

In memory they are in LPS, as all positions. A file is written as it was read: in its own coordinate system, with
all other properties of its points.
"""

from __future__ import annotations

import copy
import csv
import io
import json
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from heteroreg.data.grid import LPS_TO_RAS
from heteroreg.system.arrays import Doubles
from heteroreg.system.errors import UserError
from heteroreg.system.files import write_text
from heteroreg.system.text import read_json, read_table, read_text

AXIS_COLUMNS = ("x", "y", "z")
# Slicer's names of coordinate systems, numbers in older versions, and the factors to and from LPS.
TO_LPS = {"LPS": np.ones(3), "1": np.ones(3), "RAS": LPS_TO_RAS, "0": LPS_TO_RAS}
SLICER_COLUMNS = "id,x,y,z,ow,ox,oy,oz,vis,sel,lock,label,desc,associatedNodeID"


@dataclass(frozen=True)
class Points:
    """Points in space, with their file.

    Attributes:
        positions: (n, d) in mm, LPS.
        names: Name of each point.
        text_with: Function from other positions (n, d) to the text of the file.
        name: The file.
    """

    positions: Doubles
    names: Sequence[str]
    text_with: Callable[[Doubles], str]
    name: str


def is_points(path: str | Path) -> bool:
    """Return True if a file has the ending of a file of points."""
    return _ending(Path(path)) is not None


def read_points(path: str | Path) -> Points:
    """Read points.

    - `.csv`: the columns x, y and, in 3D, z, in mm (LPS), the format of ANTs; further columns are kept.
    - `.fcsv`: Slicer's fiducials, in the coordinate system that the file names.
    - `.mrk.json`: Slicer's markups, likewise.

    Raises:
        UserError: The file is missing, of another format or damaged, has no points, or a position is not finite.
    """
    path = Path(path)
    if not path.is_file():
        raise UserError(f"{path}: no such file; name a file of points")
    points = _READERS[_kind(path)](path)
    if not len(points.positions):
        raise UserError(f"{path}: has no points; save it with at least one")
    if not np.isfinite(points.positions).all():
        raise UserError(f"{path}: has a position that is NaN or infinite; remove it")
    return points


def write_points(points: Points, positions: Doubles, path: str | Path) -> None:
    """Write the points' file with other positions.

    Args:
        points: The points as they were read.
        positions: (n, d) in mm, LPS.
        path: The new file, of the same format.

    Raises:
        UserError: The new file has another format.
    """
    path, kind = Path(path), _kind(Path(points.name))
    if _ending(path) != kind:
        raise UserError(f"{path}: the points come from a {kind} file; end the name in {kind}")
    write_text(path, points.text_with(positions))


def _from_csv(path: Path) -> Points:
    columns, rows = read_table(path, AXIS_COLUMNS[:2])
    axes = [axis for axis in AXIS_COLUMNS if axis in columns]
    positions = [[_number(path, line, cells[axis]) for axis in axes] for line, cells in rows]

    def text_with(moved: Doubles) -> str:
        filled = [
            {**cells, **dict(zip(axes, map(_written, place), strict=True))}
            for (_, cells), place in zip(rows, moved, strict=True)
        ]
        return _csv([columns, *([cells[column] for column in columns] for cells in filled)])

    names = [cells.get("label") or cells.get("name") or f"line {line}" for line, cells in rows]
    return Points(np.array(positions, dtype=float).reshape(-1, len(axes)), names, text_with, str(path))


def _from_fcsv(path: Path) -> Points:
    lines = read_text(path).splitlines()
    comments = [line for line in lines if line.startswith("#")]
    said = dict(re.findall(r"^# *(\w+) *= *(.*?) *$", "\n".join(comments), re.MULTILINE))
    flip = _system(path, said.get("CoordinateSystem", ""))
    columns = said.get("columns", SLICER_COLUMNS).split(",")
    if not set(AXIS_COLUMNS) <= set(columns):
        raise UserError(f"{path}: its columns lack one of x, y and z; save the points from Slicer again")
    places = [columns.index(axis) for axis in AXIS_COLUMNS]
    rows = []
    for number, line in enumerate(lines, start=1):
        if line.strip() and not line.startswith("#"):
            cells = next(csv.reader([line]))
            if len(cells) <= max(places):
                raise UserError(f"{path}: line {number} has {len(cells)} cells; save the points from Slicer again")
            rows.append((number, cells))
    positions = [[_number(path, number, cells[place]) for place in places] for number, cells in rows]
    label = columns.index("label") if "label" in columns else None

    def text_with(moved: Doubles) -> str:
        filled = []
        for (_, cells), place in zip(rows, moved * flip, strict=True):
            changed = list(cells)
            for column, value in zip(places, place, strict=True):
                changed[column] = _written(value)
            filled.append(changed)
        return "\n".join([*comments, _csv(filled)])

    names = [
        (cells[label] if label is not None and label < len(cells) else "") or f"line {number}"
        for number, cells in rows
    ]
    return Points(np.array(positions, dtype=float).reshape(-1, 3) * flip, names, text_with, str(path))


def _from_markups(path: Path) -> Points:
    content = read_json(path)
    try:
        markups = content["markups"]
        found = [(markup["coordinateSystem"], point) for markup in markups for point in markup["controlPoints"]]
        flips = np.array([_system(path, system) for system, _ in found]).reshape(-1, 3)
        positions = np.array([point["position"] for _, point in found], dtype=float).reshape(-1, 3)
        names = [str(point.get("label") or f"point {k}") for k, (_, point) in enumerate(found, start=1)]
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise UserError(f"{path}: is not a markups file of Slicer ({error!r}); save the points again") from error

    def text_with(moved: Doubles) -> str:
        changed = copy.deepcopy(content)
        points = [point for markup in changed["markups"] for point in markup["controlPoints"]]
        for point, place in zip(points, moved * flips, strict=True):
            point["position"] = place.tolist()
        return json.dumps(changed, indent=4, ensure_ascii=False) + "\n"

    return Points(positions * flips, names, text_with, str(path))


_READERS: dict[str, Callable[[Path], Points]] = {
    ".csv": _from_csv, ".fcsv": _from_fcsv, ".mrk.json": _from_markups,
}  # fmt: skip
POINT_ENDINGS = tuple(_READERS)


def _ending(path: Path) -> str | None:
    return next((ending for ending in POINT_ENDINGS if path.name.lower().endswith(ending)), None)


def _kind(path: Path) -> str:
    ending = _ending(path)
    if ending is None:
        raise UserError(
            f"{path}: does not have the ending of a file of points, which is one of {', '.join(POINT_ENDINGS)}"
        )
    return ending


def _system(path: Path, text: str) -> Doubles:
    if text not in TO_LPS:
        raise UserError(f"{path}: has the coordinate system '{text}'; save it in LPS or RAS")
    return TO_LPS[text]


def _number(path: Path, line: int, text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise UserError(f"{path}: line {line}: '{text}' is not a number") from None


def _written(value: float) -> str:
    return f"{value:.6f}"


def _csv(rows: Iterable[Sequence[str]]) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    return text.getvalue()
