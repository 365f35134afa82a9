"""The figure of one or several registrations: its panels, scales and titles."""

from __future__ import annotations

import io
import os
import subprocess
import sys
from dataclasses import replace
from typing import Any

import matplotlib as mpl
import numpy as np
import pytest
from matplotlib.figure import Figure

from heteroreg.data.image import Image
from heteroreg.registration.maps import Maps
from heteroreg.registration.plot import plot_registrations
from heteroreg.registration.result import Registration
from heteroreg.system.errors import UserError

SHAPE = (24, 20)


def make_maps(**settings: Any) -> Maps:
    ramp = np.indices(SHAPE)[0].astype(float)
    labels = (ramp > 12).astype(int)
    sd = 1.0 + np.indices(SHAPE)[1]
    settings = {"noise_sd": sd, "weight": 1 / sd} | settings
    return Maps(
        spacing=(1.0, 2.0),
        fixed=ramp,
        moving=ramp + 4,
        moved=ramp + 1,
        displacement=np.stack([np.full(SHAPE, 3.0), np.full(SHAPE, 2.0)]),
        fixed_labels=labels,
        moving_labels=labels,
        moved_labels=labels,
        **settings,
    )


def titles(figure: Figure) -> list[str]:
    return [title for axes in figure.axes if (title := axes.get_title(loc="left"))]


def panel(figure: Figure, title: str) -> Any:
    return next(axes for axes in figure.axes if axes.get_title(loc="left") == title)


def test_the_panels_of_one_registration() -> None:
    figure = plot_registrations({"": make_maps()})
    # u is 3 voxels of 1 mm along x and 2 of 2 mm along y: 5 mm
    assert titles(figure) == [
        "Fixed", "Moving", "|fixed − moving|",
        "Moved", "Displacement ≤ 5.0 mm", "|fixed − moved|", "Predicted noise σ̂", "Weight",
    ]  # fmt: skip
    figure.savefig(io.BytesIO(), format="png", dpi=40)


def test_the_truth_is_shown_above_the_estimate() -> None:
    sd = make_maps().noise_sd
    assert sd is not None
    figure = plot_registrations({"": make_maps(true_noise_sd=3 * sd, end_point_error=sd, displacement_sd=sd)})
    assert titles(figure)[3] == "True noise σ"
    assert titles(figure)[-2:] == ["Displacement uncertainty", "Displacement error"]
    predicted, true = panel(figure, "Predicted noise σ̂"), panel(figure, "True noise σ")
    assert predicted.get_position().x0 == pytest.approx(true.get_position().x0)
    # sd = 1 … 20 and three times that: the 99.5th percentile of both maps together is 60
    assert predicted.images[0].get_clim() == true.images[0].get_clim() == (0, 60)


def test_the_weight_is_relative_to_its_mean() -> None:
    figure = plot_registrations({"": make_maps(weight=np.full(SHAPE, 7.0))})
    np.testing.assert_allclose(panel(figure, "Weight").images[0].get_array(), 1)


def test_several_registrations_share_scales_and_columns() -> None:
    one, two = make_maps(noise_sd=None, weight=None), make_maps()
    figure = plot_registrations({"mse": one, "hetero": two})
    assert [text.get_text() for text in figure.texts] == ["mse", "hetero"]
    empty = [axes for axes in figure.axes if any(text.get_text() == "not estimated" for text in axes.texts)]
    assert [axes.get_title(loc="left") for axes in empty] == ["Predicted noise σ̂", "Weight"]
    greys = {axes.images[0].get_clim() for axes in figure.axes if axes.get_title(loc="left") in ("Fixed", "Moved")}
    assert len(greys) == 1


def test_the_legend_names_the_labels() -> None:
    (legend,) = plot_registrations({"": make_maps()}).legends
    assert [text.get_text() for text in legend.get_texts()] == ["label 1", "dashed: fixed labels"]
    (legend,) = plot_registrations({"": make_maps()}, {1: "LV", 2: "RV"}).legends
    assert legend.get_texts()[0].get_text() == "LV"


@pytest.mark.parametrize(
    "maps",
    [
        replace(make_maps(), fixed_labels=None, moving_labels=None, moved_labels=None),
        make_maps(noise_sd=np.zeros(SHAPE), weight=np.zeros(SHAPE), displacement_sd=np.zeros(SHAPE)),
        replace(make_maps(), fixed=np.ones(SHAPE), moving=np.ones(SHAPE), moved=np.ones(SHAPE)),
    ],
    ids=["no labels", "maps of zeros", "no contrast"],
)
def test_with_less(maps: Maps) -> None:
    plot_registrations({"": maps}).savefig(io.BytesIO(), format="png", dpi=30)


def test_settings_of_matplotlib_stay_as_they_were() -> None:
    before = dict(mpl.rcParams)
    plot_registrations({"": make_maps()})
    assert dict(mpl.rcParams) == before


def test_an_unknown_backend_does_not_matter() -> None:
    code = "from heteroreg.registration.plot import plot_registrations"
    environment = os.environ | {"MPLBACKEND": "module://no.such.backend"}
    subprocess.run([sys.executable, "-c", code], env=environment, check=True)


PLOT = """
import numpy as np, heteroreg as hr
registration = hr.load("undeformed").register(np.eye(8), np.eye(8), spacing=1)
def report():
    from heteroreg.report import write_report


for use in (registration.plot, report):
    try:
        use()
        print("no error")
    except hr.UserError as error:
        print(error)
"""


def test_a_backend_that_does_not_exist_is_named_in_one_line() -> None:
    environment = os.environ | {"MPLBACKEND": "nonsense"}
    done = subprocess.run([sys.executable, "-c", PLOT], env=environment, capture_output=True, text=True, check=True)
    line = "MPLBACKEND: 'nonsense' is not a backend of Matplotlib; unset it, or set it to agg"
    assert done.stdout.splitlines() == [line, line]


def volume() -> Registration:
    x, y, z = np.indices((12, 10, 6)).astype(float)
    image = Image.from_array(x + y + 10 * z)
    field = np.zeros((3, 12, 10, 6))
    return Registration(image, image, image, displacement=field, inverse_displacement=field)


@pytest.mark.parametrize(("settings", "index"), [({}, 3), ({"slice": 0}, 0)])
def test_a_registration_plots_one_slice_of_a_volume(settings: dict[str, int], index: int) -> None:
    registration = volume()
    shown = panel(registration.plot(**settings), "Fixed").images[0].get_array()
    np.testing.assert_array_equal(shown, registration.fixed.array[..., index].T)


def test_a_slice_outside_the_volume_is_refused() -> None:
    with pytest.raises(UserError, match="slice: 6 is not between 0 and 5"):
        volume().plot(slice=6)
