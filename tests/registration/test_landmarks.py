"""Landmarks of a pair: their error, and intervals that are scaled by them."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import heteroreg as hr
from heteroreg.data.check import check
from heteroreg.data.image import read_image, write_image
from heteroreg.data.io.displacement import read_displacement
from heteroreg.data.landmarks import Landmarks, read_landmarks
from heteroreg.registration.landmarks import landmark_errors
from heteroreg.system.errors import UserError

PLACES = np.array([[20, 24], [24, 18], [28, 26], [16, 30]])


def write_csv(path, positions, names=None):
    """Write points as ANTs does."""
    axes = "x,y,z"[: 2 * positions.shape[1] - 1]
    lines = [f"{axes},label" if names else axes]
    for k, place in enumerate(positions):
        lines.append(",".join(map(repr, map(float, place))) + (f",{names[k]}" if names else ""))
    path.write_text("\n".join(lines) + "\n")
    return path


def marked(pair, folder, names=None, order=slice(None)):
    """The pair with landmarks that its true displacement maps onto one another."""
    grid = read_image(pair.fixed).grid
    u, _ = read_displacement(pair.truth["true_displacement"])
    fixed = grid.physical(PLACES.astype(float))
    moving = grid.physical(PLACES + u[:, PLACES[:, 0], PLACES[:, 1]].T)
    return replace(
        pair,
        fixed_points=write_csv(folder / f"{pair.id}_fixed.csv", fixed, names),
        moving_points=write_csv(folder / f"{pair.id}_moving.csv", moving[order], names and names[order]),
    )


@pytest.fixture(scope="module")
def cohort(tmp_path_factory):
    return hr.phantom(tmp_path_factory.mktemp("cohort") / "hearts", pairs=5, size=48, seed=3)


@pytest.fixture(scope="module")
def folder(cohort):
    return Path(cohort.name).parent


def test_the_target_registration_error_of_the_identity_is_the_true_motion(cohort, folder):
    pair = marked(cohort[0], folder)
    row = hr.evaluate("undeformed", hr.Cohort((pair,), "c")).table.iloc[0]
    u, _ = read_displacement(pair.truth["true_displacement"])
    length = 1.5 * np.linalg.norm(u[:, PLACES[:, 0], PLACES[:, 1]], axis=0)  # of voxels of 1.5 mm
    assert row["tre_mean"] == pytest.approx(length.mean(), abs=1e-4) == row["tre_undeformed"]
    assert row["tre_max"] == pytest.approx(length.max(), abs=1e-4)


def test_points_correspond_by_name_where_they_have_one(cohort, folder):
    names = ["apex", "base", "septum", "wall"]
    pair = marked(cohort[1], folder, names, slice(None, None, -1))
    found = read_landmarks(pair, *[read_image(path).grid for path in (pair.moving, pair.fixed)])
    plain = marked(cohort[1], folder)
    expected = read_landmarks(plain, *[read_image(path).grid for path in (pair.moving, pair.fixed)])
    np.testing.assert_allclose(found.moving, expected.moving)


def test_the_cohort_keeps_the_columns(cohort, folder):
    pairs = tuple(marked(pair, folder) for pair in cohort)
    hr.Cohort(pairs).write(folder / "marked.csv")
    again = hr.Cohort.read(folder / "marked.csv", confine=True)
    assert [pair.fixed_points for pair in again] == [pair.fixed_points for pair in pairs]
    assert not [one for one in check(again) if one.level == "problem"]


def test_landmarks_that_cannot_be_used_are_named(cohort, folder):
    pair = marked(cohort[2], folder)
    lost = replace(pair, moving_points=write_csv(folder / "three.csv", np.zeros((3, 2)) + 20))
    far = replace(pair, moving_points=write_csv(folder / "far.csv", np.array([[900.0, 20]] + [[20.0, 20]] * 3)))
    flat = replace(pair, fixed_points=None)
    for bad, words in (
        (lost, "has 4 points, and .*three.csv 3"),
        (far, r"far.csv: line 2 lies outside its image \(1 of 4 points do\).*RAS"),
        (flat, "has moving_points and no fixed_points"),
    ):
        with pytest.raises(UserError, match=words):
            hr.evaluate("undeformed", hr.Cohort((bad,), "c"))
        assert [one.level for one in check(hr.Cohort((bad,), "c")) if one.pair == bad.id] == ["problem"]


def test_in_a_stack_each_landmark_counts_in_its_slice(tmp_path):
    grid = hr.Image.from_array(np.zeros((32, 32, 4)), spacing=(1.5, 1.5, 10)).grid
    random = np.random.default_rng(0)
    paths = [tmp_path / f"{name}.nii.gz" for name in ("moving", "fixed")]
    for path in paths:
        write_image(hr.Image(random.random((32, 32, 4)).astype(np.float32), grid), path)
    places = np.array([[10.0, 10, 1], [12, 10, 1], [10, 20, 3]])
    shift = np.array([[2.0, 0, 0], [4, 0, 0], [0, 0, 0.3]])  # the last through the plane
    files = [write_csv(tmp_path / f"{k}.csv", grid.physical(p)) for k, p in enumerate((places + shift, places))]
    pair = hr.Pair("p", *paths, moving_points=files[0], fixed_points=files[1])
    table = hr.evaluate("undeformed", hr.Cohort((pair,), "c")).table.set_index("slice")
    assert table["tre_mean"][1] == pytest.approx((3 + 6) / 2)  # 2 and 4 voxels of 1.5 mm
    assert table["tre_mean"][3] == pytest.approx(3)  # 0.3 slices of 10 mm
    assert table["tre_mean"][[0, 2]].isna().all()


def test_the_displacement_is_taken_between_the_voxels(cohort):
    pair = cohort[0]
    registration = hr.load("phantom", device="cpu").register(pair.moving, pair.fixed)
    grid, u = registration.grid, registration.displacement
    place = np.array([[20.5, 24.0]])
    found = landmark_errors(registration, Landmarks(grid.physical(place), grid.physical(place)))
    expected = 1.5 * (u[:, 20, 24] + u[:, 21, 24]) / 2  # the same point in both: the error is the displacement
    np.testing.assert_allclose(found.errors[0], expected, rtol=1e-5)


def test_without_labels_the_landmarks_give_the_scale(folder, tmp_path, monkeypatch):
    monkeypatch.setattr("heteroreg.registration.calibration_work.MOST_DRAWS", 1)
    cohort = hr.phantom(tmp_path / "hearts", pairs=21, size=48, seed=4)
    pairs = [replace(marked(pair, tmp_path), moving_labels=None, fixed_labels=None) for pair in cohort]
    registrar = hr.load("phantom", device="cpu")
    found = hr.calibrate(
        registrar, hr.Cohort(tuple(pairs[:-1]), "c"), out=tmp_path / "out", split=("all",), steps=5
    )
    assert (found.labelled, found.marked, found.level) == (0, 20, 95)
    assert found.combination is not None
    assert "by the landmarks of 20 patients" in found.in_words()
    scores = hr.evaluate(registrar, hr.Cohort((pairs[-1],), "c")).table.iloc[0]
    assert 0 <= scores["landmark_coverage_50"] <= scores["landmark_coverage_95"] <= 1
    assert scores["landmark_width"] > 0
