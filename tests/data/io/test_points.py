import json

import numpy as np
import pytest

from heteroreg.data.io.points import is_points, read_points, write_points
from heteroreg.system.errors import UserError

SHIFT = np.array([10.0, 0.0, 0.0])
FCSV = """# Markups fiducial file version = 4.11
# CoordinateSystem = {system}
# columns = id,x,y,z,ow,ox,oy,oz,vis,sel,lock,label,desc,associatedNodeID
vtkMRMLMarkupsFiducialNode_0,{x},{y},3.5,0,0,0,1,1,1,0,apex,"a, b",vtkMRMLScalarVolumeNode1
vtkMRMLMarkupsFiducialNode_1,4,5,6,0,0,0,1,1,1,0,base,,
"""
MARKUPS = {
    "@schema": "https://raw.githubusercontent.com/slicer/slicer/master/markups-schema-v1.0.3.json#",
    "markups": [
        {
            "type": "Fiducial",
            "coordinateSystem": "RAS",
            "controlPoints": [
                {"id": "1", "label": "apex", "position": [-1.0, -2.0, 3.5], "selected": True},
                {"id": "2", "label": "", "position": [4.0, 5.0, 6.0]},
            ],
        }
    ],
}


def written(path, content):
    path.write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")
    return path


@pytest.mark.parametrize(("system", "x", "y"), [("LPS", 1, 2), ("1", 1, 2), ("RAS", -1, -2), ("0", -1, -2)])
def test_fiducials_are_read_in_lps_and_kept(system, x, y, tmp_path):
    path = written(tmp_path / "a.fcsv", FCSV.format(system=system, x=x, y=y))
    points = read_points(path)
    np.testing.assert_array_equal(points.positions[0], (1, 2, 3.5))
    assert list(points.names) == ["apex", "base"]
    write_points(points, points.positions + SHIFT, tmp_path / "b.fcsv")
    again = read_points(tmp_path / "b.fcsv")
    np.testing.assert_allclose(again.positions, points.positions + SHIFT)
    lines = (tmp_path / "b.fcsv").read_text().splitlines()
    assert lines[:3] == FCSV.format(system=system, x=x, y=y).splitlines()[:3]
    assert lines[3].endswith(',3.500000,0,0,0,1,1,1,0,apex,"a, b",vtkMRMLScalarVolumeNode1')


def test_markups_are_read_in_lps_and_kept(tmp_path):
    path = written(tmp_path / "a.mrk.json", MARKUPS)
    points = read_points(path)
    np.testing.assert_array_equal(points.positions, [(1, 2, 3.5), (-4, -5, 6)])
    assert list(points.names) == ["apex", "point 2"]
    write_points(points, points.positions + SHIFT, tmp_path / "b.mrk.json")
    found = json.loads((tmp_path / "b.mrk.json").read_text())
    first = found["markups"][0]["controlPoints"][0]
    assert first == {"id": "1", "label": "apex", "position": [-11.0, -2.0, 3.5], "selected": True}
    assert found["@schema"] == MARKUPS["@schema"]
    assert read_points(path).positions[0, 0] == 1  # what was read is as it was


@pytest.mark.parametrize(("header", "row", "dims"), [("x,y,z,t,label", "1,2,3,0,apex", 3), ("y,x", "2,1", 2)])
def test_tables_keep_their_columns(header, row, dims, tmp_path):
    points = read_points(written(tmp_path / "a.csv", f"{header}\n{row}\n"))
    assert points.positions.shape == (1, dims)
    np.testing.assert_array_equal(points.positions[0], (1, 2, 3)[:dims])
    write_points(points, points.positions * 2, tmp_path / "b.csv")
    assert (tmp_path / "b.csv").read_text().startswith(header)
    np.testing.assert_array_equal(read_points(tmp_path / "b.csv").positions, points.positions * 2)


def test_what_is_a_file_of_points():
    assert [is_points(name) for name in ("a.csv", "A.FCSV", "a.mrk.json", "a.json", "a.nii.gz")] == [
        True, True, True, False, False,
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.csv", None, "no such file"),
        ("a.txt", "x,y\n1,2\n", "does not have the ending of a file of points"),
        ("a.csv", "x,z\n1,2\n", "column 'y' is missing"),
        ("a.csv", "x,y\n1,two\n", "line 2: 'two' is not a number"),
        ("a.csv", "x,y\n", "has no points"),
        ("a.csv", "x,y\n1,nan\n", "NaN or infinite"),
        ("a.fcsv", FCSV.format(system="IJK", x=1, y=2), "coordinate system 'IJK'"),
        ("a.fcsv", "# CoordinateSystem = LPS\n# columns = id,x,y\n", "lack one of x, y and z"),
        ("a.fcsv", "# CoordinateSystem = LPS\na,1\n", "line 2 has 2 cells"),
        ("a.mrk.json", "{", "not readable as JSON"),
        ("a.mrk.json", {"markups": [{"controlPoints": []}]}, "is not a markups file|has no points"),
        (
            "a.mrk.json",
            {"markups": [{"coordinateSystem": "LPS", "controlPoints": [{"position": [1, 2]}]}]},
            "markups",
        ),
        ("a.mrk.json", [1], "is not a markups file"),
    ],
)
def test_damaged_files_are_told(name, content, message, tmp_path):
    path = tmp_path / name
    if content is not None:
        written(path, content)
    with pytest.raises(UserError, match=message):
        read_points(path)


def test_points_are_written_as_what_they_were(tmp_path):
    points = read_points(written(tmp_path / "a.csv", "x,y\n1,2\n"))
    with pytest.raises(UserError, match=r"end the name in \.csv"):
        write_points(points, points.positions, tmp_path / "b.fcsv")
