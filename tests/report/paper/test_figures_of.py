"""The figures: what is in them, and the files that they become."""

from __future__ import annotations

import io
import re
import zlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from PIL import Image as Picture

from heteroreg.comparison import compare
from heteroreg.evaluation import Case, Scores
from heteroreg.evaluation.metrics import metric
from heteroreg.report.paper import figures_of, write_figures
from heteroreg.report.paper.curves import sparsification_figure

Evaluate = Callable[..., Path]
MakeCase = Callable[..., Case]

BETTER = [0.80, 0.82, 0.78, 0.85, 0.81]
WORSE = [0.75, 0.78, 0.72, 0.81, 0.77]
SHAPE = (24, 20)


def moving_case(case: Case, sd: float = 0.5, *, truth: bool = True) -> Case:
    error = np.hypot(*np.indices(SHAPE)) / 10 if truth else None
    return replace(case, displacement_sd=sd * (1.0 + np.indices(SHAPE)[0]), end_point_error=error)


def texts(figure: Figure) -> list[str]:
    found = [text.get_text() for text in figure.texts]
    for axes in figure.axes:
        found += [text.get_text() for text in axes.texts] + [axes.get_xlabel(), axes.get_ylabel()]
    for legend in figure.legends:
        found += [text.get_text() for text in legend.get_texts()]
    return found


def test_only_what_there_is_something_for(evaluation: Evaluate, case: MakeCase, tmp_path: Path) -> None:
    plain = evaluation("plain", BETTER, cases=(case(labels=False, noise=False),), noise=False, labels=False)
    assert figures_of(compare([plain])) == {}
    assert write_figures({}, tmp_path / "none") == []
    assert not (tmp_path / "none").exists()
    bare = evaluation("bare", BETTER, noise=False)
    assert list(figures_of(compare([bare]))) == ["dice"]
    whole = evaluation("whole", BETTER, cases=(moving_case(case(truth=True)),))
    assert list(figures_of(compare([bare, whole]))) == [
        "warped-myocardium",
        "noise-maps",
        "sparsification",
        "displacement-uncertainty",
        "dice",
    ]


def test_a_figure_of_every_method(evaluation: Evaluate, case: MakeCase) -> None:
    one, two = case("P00"), case("P00", noise=False)
    folders = [
        evaluation("mse", WORSE, cases=(two,), noise=False),
        evaluation("hetero", BETTER, cases=(moving_case(one),)),
    ]
    figures = figures_of(compare(folders))
    warped = texts(figures["warped-myocardium"])
    assert [word for word in warped if word in ("Moving", "Fixed", "mse", "hetero")] == [
        "Moving",
        "Fixed",
        "mse",
        "hetero",
    ]
    assert {"75.00", "80.00"} <= set(warped)  # the Dice of P00 in %
    for name in ("noise-maps", "displacement-uncertainty"):
        assert "hetero" in texts(figures[name])
        assert "mse" not in texts(figures[name])  # it has nothing to show there
    assert "difference to mse (points)" in texts(figures["dice"])
    noise = figures["noise-maps"]
    # reference and hetero: moved, residual, σ̂ and weight, and three colour bars
    assert len(noise.axes) == 2 * 4 + 3
    assert texts(noise).count("intensity") == 2


def test_the_residual_and_its_scale(evaluation: Evaluate, case: MakeCase) -> None:
    one = case()
    noise = figures_of(compare([evaluation("hetero", BETTER, cases=(one,))]))["noise-maps"]
    shown = [np.asarray(axes.images[0].get_array()) for axes in noise.axes if axes.images]
    np.testing.assert_allclose(shown[0], one.fixed.T)
    np.testing.assert_allclose(shown[1], one.moved.T)
    before, after = np.abs(one.fixed - one.moving), np.abs(one.fixed - one.moved)
    assert any(np.array_equal(array, before.T) for array in shown)
    assert any(np.array_equal(array, after.T) for array in shown)


def test_the_grid_has_the_colours_of_the_uncertainty(evaluation: Evaluate, case: MakeCase) -> None:
    # σ̂_z = 0.5 (1 + x) and no displacement: the vertical grid line at x has the value 0.5 (1 + x) throughout.
    still = replace(moving_case(case()), displacement=np.zeros((2, *SHAPE)))
    figure = figures_of(compare([evaluation("z", BETTER, cases=(still,))]))["displacement-uncertainty"]
    drawn = [found for axes in figure.axes for found in axes.collections if isinstance(found, LineCollection)]
    (grid,) = [found for found in drawn if found.get_array() is not None]  # without the edges of colour bars
    values = np.asarray(grid.get_array())
    segments = grid.get_segments()
    middles = np.array([segment[len(segment) // 2] for segment in segments])
    np.testing.assert_allclose(values, 0.5 * (1 + middles[:, 0]), atol=1e-6)
    red, blue = grid.cmap(1.0), grid.cmap(0.0)
    assert red[0] > 0.7 > red[2]
    assert blue[2] > 0.7 > blue[0]
    assert {"σ̂z (mm)", "error (mm)"} <= set(texts(figure))


def test_without_the_truth_no_error(evaluation: Evaluate, case: MakeCase) -> None:
    folder = evaluation("z", BETTER, cases=(moving_case(case(), truth=False),))
    assert "error (mm)" not in texts(figures_of(compare([folder]))["displacement-uncertainty"])


def test_the_legend_has_the_ause_of_the_summary(evaluation: Evaluate) -> None:
    folder = evaluation("hetero", BETTER)
    scores = Scores.read(folder)
    figure = sparsification_figure({"hetero": scores})
    assert figure is not None
    mean = scores.summary["metrics"]["ause"]["mean"]
    assert f"hetero · AUSE {metric('ause').format(mean, unit=True)}" in texts(figure)
    assert "1.20" in metric("ause").format(mean, unit=True)  # 1.2e-4 of every patient
    assert len(figure.axes) == 1


@pytest.mark.parametrize(("factor", "plots"), [(1.0, 1), (2.0, 2)])
def test_the_foreground_where_it_is_not_all(evaluation: Evaluate, factor: float, plots: int) -> None:
    scores = Scores.read(evaluation("hetero", BETTER))
    assert scores.sparsification is not None
    table = scores.sparsification.assign(
        **{f"{key}_foreground": factor * scores.sparsification[key] for key in ("mse", "oracle", "random")}
    )
    figure = sparsification_figure({"hetero": replace(scores, sparsification=table)})
    assert figure is not None
    assert len(figure.axes) == plots
    assert figure.get_figwidth() * 25.4 == pytest.approx(85 if plots == 1 else 174)


@pytest.mark.parametrize(("factor", "scale"), [(2.0, "linear"), (1e-3, "log")])
def test_curves_that_differ_much_have_a_logarithmic_axis(evaluation: Evaluate, factor: float, scale: str) -> None:
    scores = Scores.read(evaluation("hetero", BETTER))
    assert scores.sparsification is not None
    # error = 2e-3 (1 - fraction): from 1 to 0.1 of it up to a fraction of 0.9, within a factor of 20
    table = scores.sparsification.assign(mse=factor * scores.sparsification["mse"])
    figure = sparsification_figure({"a": scores, "b": replace(scores, sparsification=table)})
    assert figure is not None
    assert figure.axes[0].get_yscale() == scale


@pytest.mark.slow
def test_many_methods(evaluation: Evaluate, case: MakeCase) -> None:
    cases = tuple(moving_case(case(f"P0{k}")) for k in range(4))
    folders = [evaluation(f"method-with-a-long-name-{k}", BETTER, cases=cases) for k in range(13)]
    for name, figure in figures_of(compare(folders)).items():
        width, height = (25.4 * size for size in figure.get_size_inches())
        assert width == pytest.approx(85 if name == "sparsification" else 174)
        assert height <= 230 + 1e-6


@pytest.mark.parametrize("shape", [(1, 1), (1, 300), (300, 1)])
def test_odd_shapes(evaluation: Evaluate, shape: tuple[int, int]) -> None:
    flat, labels = np.ones(shape), np.ones(shape, dtype=np.int32)
    odd = Case(
        id="odd",
        slice=None,
        spacing=(1.0, 3.0),
        fixed=flat,
        moving=flat,
        moved=flat,
        displacement=np.zeros((2, *shape)),
        fixed_labels=2 * labels,
        moved_labels=2 * labels,
        moving_labels=2 * labels,
        noise_sd=0 * flat,
        weight=0 * flat,
        displacement_sd=0 * flat,
    )
    figures = figures_of(compare([evaluation("odd", BETTER, cases=(odd,))]))
    assert len(figures) == 5
    for figure in figures.values():
        figure.savefig(io.BytesIO(), format="png", dpi=30)


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[bytes]]:
    """Two small figures, each written twice."""
    found: dict[str, list[bytes]] = {}
    for folder in (tmp_path_factory.mktemp("one"), tmp_path_factory.mktemp("two")):
        figure = Figure(figsize=(85 / 25.4, 60 / 25.4))
        axes = figure.add_subplot()
        axes.plot([0, 1], [0, 1])
        axes.imshow(np.eye(3), interpolation="none")
        axes.set_xlabel("Dice ↑ $x$ σ̂")
        for path in write_figures({"figure": figure}, folder):
            found.setdefault(path.name, []).append(path.read_bytes())
    return found


def test_the_same_figure_gives_the_same_bytes(written: dict[str, list[bytes]]) -> None:
    for first, second in written.values():
        assert first == second
    assert not re.search(rb"/(CreationDate|ModDate|Producer|Creator)", written["figure.pdf"][0])


def test_the_pdf_is_vector_with_its_fonts(written: dict[str, list[bytes]]) -> None:
    pdf = written["figure.pdf"][0]
    assert b"/FontFile2" in pdf  # TrueType, embedded
    assert b"/Type3" not in pdf
    assert b"DejaVuSans" in pdf
    box = re.search(rb"/MediaBox \[ 0 0 ([\d.]+) ([\d.]+) \]", pdf)
    assert box is not None
    # 85 mm and 60 mm in points of 1/72 inch
    assert [float(side) for side in box.groups()] == pytest.approx([85 / 25.4 * 72, 60 / 25.4 * 72], abs=0.01)
    streams = [
        zlib.decompress(part) for part in re.findall(rb"FlateDecode >>\nstream\n(.*?)\nendstream", pdf, re.S)
    ]
    assert any(re.search(rb"[\d.]+ [\d.]+ l\b", stream) for stream in streams)  # a line is drawn as a line
    assert re.search(rb"/Width 3\b", pdf)  # and an image keeps its own pixels


def test_the_png_has_300_dots_per_inch(written: dict[str, list[bytes]], tmp_path: Path) -> None:
    (tmp_path / "figure.png").write_bytes(written["figure.png"][0])
    with Picture.open(tmp_path / "figure.png") as picture:
        assert picture.info["dpi"] == pytest.approx((300, 300), abs=0.1)
        assert picture.width == pytest.approx(85 / 25.4 * 300, abs=1)  # 1004


def test_a_row_far_off_is_a_number_and_the_others_fill_the_plot(evaluation: Evaluate) -> None:
    rows = {"none": [0.30, 0.35, 0.28, 0.40, 0.33], "worse": WORSE, "better": BETTER}
    folders = [evaluation(name, values, noise=False) for name, values in rows.items()]
    figure = figures_of(compare(folders, baseline="worse"))["dice"]
    differences = figure.axes[1]
    # The means of the label: 0.332 and 0.766, so -43.4 points; the others lie within 0 and 6 points.
    assert [text.get_text() for text in differences.texts] == ["◂ −43.4"]
    assert differences.get_xlim()[0] > -2


def test_rows_that_are_alike_stay_in_the_plot(evaluation: Evaluate) -> None:
    folders = [evaluation("worse", WORSE, noise=False), evaluation("better", BETTER, noise=False)]
    assert not figures_of(compare(folders))["dice"].axes[1].texts
