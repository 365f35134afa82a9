"""Plots: what is drawn of which numbers."""

from __future__ import annotations

import matplotlib as mpl
import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.text import Text

from heteroreg.evaluation.metrics import metric
from heteroreg.report.embed import data_uri, inline_svg
from heteroreg.report.figures import box_plot, shorten, sparsification_plot
from heteroreg.report.sparsification import SparsificationCurve


@pytest.mark.parametrize("name", ["contour_coverage_95_12", "contour_width_12"])
def test_the_title_of_a_box_plot_fits_its_width(name: str) -> None:
    title = metric(name).long_heading
    figure = box_plot({"a": [1.0, 2.0, 3.0, 6.0]}, title=title)
    FigureCanvasAgg(figure).draw()
    (drawn,) = (text for text in figure.findobj(Text) if " ".join(text.get_text().split()) == title)
    assert drawn.get_window_extent().x1 <= figure.bbox.x1


def test_box_plot_shows_every_patient_and_the_mean() -> None:
    figure = box_plot({"a": [1.0, 2.0, 3.0, 6.0, np.nan], "b": [4.0]}, "mm", "Distance")
    axes = figure.axes[0]
    offsets = [np.asarray(points.get_offsets())[:, 0].tolist() for points in axes.collections]
    # points of a, mean of a (12 / 4), points of b, mean of b
    assert offsets == [[1, 2, 3, 6], [3], [4], [4]]
    assert axes.get_xlabel() == "mm"
    assert axes.get_title(loc="left") == "Distance"
    median = axes.lines[4].get_xdata()
    assert len(axes.patches) == 1  # four values make a box, one does not
    assert np.allclose(median, 2.5)


def test_an_evaluation_without_values_is_named() -> None:
    texts = [text.get_text() for text in box_plot({"a": [1.0], "b": [np.nan]}).axes[0].texts]
    assert texts == ["a", "b: no values"]


def test_sparsification_curves() -> None:
    fraction = np.array([0.0, 0.5, 0.9])
    error, oracle = np.array([4e-3, 2e-3, 1e-3]), np.array([4e-3, 1e-3, 0.0])
    figure = sparsification_plot([SparsificationCurve("hetero", 1, fraction, error, oracle, 1.2e-4)])
    solid, dashed = figure.axes[0].lines[:2]
    # the largest error is 4e-3: shown in thousandths, against the percentage removed
    assert np.allclose(solid.get_xdata(), [0, 50, 90])
    assert np.allclose(solid.get_ydata(), [4, 2, 1])
    assert np.allclose(dashed.get_ydata(), [4, 1, 0])
    assert figure.axes[0].get_ylabel() == "MSE of the rest (×10⁻³)"
    assert [text.get_text() for text in figure.legends[0].get_texts()] == [
        "hetero · AUSE 1.20 ×10⁻⁴",
        "oracle",
    ]


def test_matplotlib_settings_stay_as_they_were() -> None:
    before = dict(mpl.rcParams)
    inline_svg(box_plot({"a": [1.0, 2.0]}), "x", "x")
    assert dict(mpl.rcParams) == before


def test_inline_svg_is_stable_and_takes_the_colours_of_the_page() -> None:
    one, two = (inline_svg(box_plot({"a < b & $x$": [1.0, 2.0]}), "p", 'says "x"') for _ in range(2))
    assert one == two
    assert "currentColor" in one
    assert "var(--rule)" in one
    assert "a &lt; b &amp; $x$" in one
    assert 'aria-label="says &#34;x&#34;"' in one
    assert "xmlns" not in one
    assert "<style" not in one


def test_numbers_and_ids_within_texts_are_left_alone() -> None:
    name = 'id="q" 0.123456 url(#z)'
    assert name in inline_svg(box_plot({name: [1.0]}), "p", "")


def test_data_uri_is_a_webp_picture() -> None:
    assert data_uri(box_plot({"a": [1.0]})).startswith("data:image/webp;base64,UklGR")


@pytest.mark.parametrize(
    ("name", "short"), [("short", "short"), ("two\nlines", "two lines"), ("abcdefghijkl", "abcd…ijkl")]
)
def test_shorten(name: str, short: str) -> None:
    assert shorten(name, 10) == short
