import zipfile
from dataclasses import replace

import numpy as np
import pytest

from heteroreg.evaluation.gallery import Case, spread_evenly
from heteroreg.registration.maps import Maps
from heteroreg.system.errors import UserError


def volume():
    random = np.random.default_rng(0)
    return Maps(
        spacing=(1.0, 2.0, 8.0),
        fixed=random.random((5, 6, 4), dtype=np.float32) * 1e6,
        moving=random.random((5, 6, 4), dtype=np.float32),
        moved=random.random((5, 6, 4), dtype=np.float32),
        displacement=random.random((3, 5, 6, 4)),
        fixed_labels=random.integers(0, 2036, (5, 6, 4), dtype=np.int32),
    )


def test_a_volume_is_shown_by_its_middle_slice():
    view = volume()
    case = Case.of("p", view)
    assert case.slice == 2
    assert case.spacing == (1, 2)
    np.testing.assert_array_equal(case.fixed, view.fixed[..., 2])
    np.testing.assert_array_equal(case.displacement, view.displacement[:2, ..., 2])
    assert case.noise_sd is None


def test_a_case_comes_back_from_its_file(tmp_path):
    case = Case.of("näme", volume())
    case.save(tmp_path / "case.npz")
    again = Case.read(tmp_path / "case.npz")
    assert (again.id, again.slice) == ("näme", 2)
    np.testing.assert_array_equal(again.fixed, case.fixed)  # 1e6 is more than float16 holds
    np.testing.assert_array_equal(again.fixed_labels, case.fixed_labels)  # 2035 is more than uint8 holds
    np.testing.assert_allclose(again.displacement, case.displacement, atol=1e-3)
    assert again.weight is None


def test_a_2d_case_has_no_slice(tmp_path):
    Case.of("p", volume().at(0)).save(tmp_path / "case.npz")
    assert Case.read(tmp_path / "case.npz").slice is None


@pytest.mark.parametrize("content", [b"", b"no zip", b"PK\x03\x04cut"])
def test_a_damaged_case_is_named(tmp_path, content):
    (tmp_path / "case.npz").write_bytes(content)
    with pytest.raises(UserError, match=r"case\.npz"):
        Case.read(tmp_path / "case.npz")


@pytest.mark.parametrize(
    ("count", "total", "expected"),
    [(3, 9, [0, 4, 8]), (6, 3, [0, 1, 2]), (1, 5, [0]), (0, 5, []), (2, 0, [])],
)
def test_spread_evenly(count, total, expected):
    assert spread_evenly(count, total) == expected


def spoiled(tmp_path, **changes):
    case = Case.of("p", volume())
    case.save(tmp_path / "case.npz")
    with np.load(tmp_path / "case.npz") as content:
        arrays = {name: content[name] for name in content.files}
    arrays |= changes
    np.savez(tmp_path / "case.npz", **{name: array for name, array in arrays.items() if array is not None})
    return tmp_path / "case.npz"


@pytest.mark.parametrize(
    "changes",
    [
        {"fixed": np.zeros((5, 6, 4))},
        {"moved": np.zeros((6, 5))},
        {"moving": np.full((5, 6), np.nan)},
        {"fixed": np.full((5, 6), "a")},
        {"displacement": np.zeros((3, 5, 6))},
        {"spacing": np.array([1.0, 0.0])},
        {"spacing": np.array([1.0])},
        {"fixed_labels": np.zeros((5, 6))},
        {"id": np.array("a\nb")},
        {"id": None},
        {"slice": np.array(-1)},
        {"weights": np.zeros((5, 6))},
        {"weight": np.full((5, 6), np.inf)},
    ],
    ids=str,
)
def test_what_is_no_case_is_named(tmp_path, changes):
    with pytest.raises(UserError, match=r"case\.npz: not a readable gallery case"):
        Case.read(spoiled(tmp_path, **changes))


def test_an_array_cannot_declare_more_than_the_file_holds(tmp_path):
    path = spoiled(tmp_path)
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    # 10^9 × 10^9 float32 in the header, the same length of it
    head = members["fixed.npy"]
    members["fixed.npy"] = head.replace(b"(5, 6), }" + b" " * 20, b"(1000000000, 1000000000), }  ")
    assert members["fixed.npy"] != head
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    with pytest.raises(UserError, match=r"declares an array of \(1000000000, 1000000000\)"):
        Case.read(path)


def test_a_weight_above_what_is_stored_stays_a_number(tmp_path):
    view = volume()
    weight = np.full(view.fixed.shape, 1e6, np.float32)
    Case.of("p", replace(view, weight=weight)).save(tmp_path / "case.npz")
    assert np.isfinite(Case.read(tmp_path / "case.npz").weight).all()
