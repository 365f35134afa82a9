"""The gallery: cases of several evaluations brought together."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from heteroreg.evaluation import Case
from heteroreg.report.gallery import case_title, pair_views

MakeCase = Callable[..., Case]


def captions(pictures: tuple) -> list[tuple[str, bool]]:
    return [(picture.caption.split(",")[0], bool(picture.source)) for picture in pictures]


def test_pairs_are_brought_together_by_id_and_slice(case: MakeCase) -> None:
    views = pair_views({"a": [case("P1"), case("P2")], "b": [case("P2"), replace(case("P1"), slice=4)]})
    assert [(view.title, [strip.name for strip in view.strips]) for view in views] == [
        ("P1, slice 3", ["a"]),
        ("P2, slice 3", ["a", "b"]),
        ("P1, slice 4", ["b"]),
    ]
    assert [strip.index for strip in views[2].strips] == [1]  # b keeps its colour


def test_the_columns_of_all_evaluations_are_in_line(case: MakeCase) -> None:
    (view,) = pair_views({"mse": [case(noise=False, truth=True)], "hetero": [case(truth=True)]})
    mse, hetero = (captions(strip.pictures) for strip in view.strips)
    assert hetero == [
        ("Moved", True),
        ("Displacement", True),
        ("Predicted noise σ̂", True),
        ("True noise σ", True),
        ("Weight", True),
    ]
    assert mse == [*hetero[:2], ("Predicted noise σ̂", False), ("", False), ("Weight", False)]
    assert view.columns == 5


def test_without_noise_maps_there_are_no_empty_places(case: MakeCase) -> None:
    (view,) = pair_views({"mse": [case(noise=False, truth=True)]})
    assert captions(view.strips[0].pictures) == [("Moved", True), ("Displacement", True)]


def test_maps_share_one_scale_and_say_their_numbers(case: MakeCase) -> None:
    one = case()
    two = replace(case(), noise_sd=3 * one.noise_sd)
    (view,) = pair_views({"a": [one], "b": [two]})
    bars = [strip.pictures[2].bar for strip in view.strips]
    assert bars[0] == bars[1]
    assert bars[0] is not None
    # sd = 1 + y with 20 pixels along y, three times that at most: the 99.5th percentile of both maps is 60
    assert (bars[0].low, bars[0].high, bars[0].unit) == ("0", "60", "intensity units")
    # median of 1 … 20
    assert view.strips[0].pictures[2].alt == "Noise that a predicts in P01, slice 3; median 10.5, largest 20"


def test_the_length_of_the_displacement_is_in_mm(case: MakeCase) -> None:
    # 3 voxels of 1 mm along x and 2 of 2 mm along y: 5 mm
    displacement = np.stack([np.full((24, 20), 3.0), np.full((24, 20), 2.0)])
    (view,) = pair_views({"a": [replace(case(), displacement=displacement)]})
    assert view.strips[0].pictures[1].caption == "Displacement, up to 5.0 mm"


def test_a_pair_that_is_one_image_has_no_slice_in_its_title(case: MakeCase) -> None:
    assert case_title(replace(case("P1"), slice=None)) == "P1"


def test_a_map_of_zeros_and_an_image_without_contrast(case: MakeCase) -> None:
    flat = np.zeros((24, 20))
    (view,) = pair_views({"a": [replace(case(), noise_sd=flat, fixed=flat, moving=flat, moved=flat)]})
    assert all(picture.source for picture in view.strips[0].pictures)
