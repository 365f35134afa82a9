"""The page in a browser: what is drawn, what keys and fingers do; nothing is asked for or complained of."""

from __future__ import annotations

import io
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest
from PIL import Image as Picture

from heteroreg.evaluation.stack import Stack
from heteroreg.registration.maps import Maps
from heteroreg.report import write_report

playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")

CHROMIUM = next(
    (path for name in ("chromium", "chromium-browser", "google-chrome") if (path := shutil.which(name))), None
)
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium or Chrome is installed")
FLAGS = [
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
]  # fmt: skip
DICE = [0.75, 0.9, 0.6]
NUMBERS = "#v-table tbody td:nth-child(2)"


@dataclass
class Visit:
    """A page that is looked at, and what must not happen there."""

    page: Any
    stacks: dict[str, list[Stack]]
    troubles: list[str] = field(default_factory=list)

    def shown(self, *, pair: int = 0, at: int = 2, method: str = "1", overlay: str = "") -> None:
        """Waits until this is on the screen."""
        self.page.wait_for_selector(f'#viewer[data-shown="{pair} {at} {method} {overlay}"]', timeout=20_000)

    def pixels(self, selector: str = "#v-canvas", shape: tuple[int, ...] | None = None) -> np.ndarray:
        """The colour in the middle of each voxel of a canvas, (x, y, 3)."""
        picture = np.asarray(Picture.open(io.BytesIO(self.page.locator(selector).screenshot())).convert("RGB"))
        shape = shape or self.stacks["b"][0].shape
        rows, columns = (
            ((np.arange(count) + 0.5) * size / count).astype(int)
            for count, size in zip((shape[1], shape[0]), picture.shape[:2], strict=True)
        )
        return picture[rows][:, columns].transpose(1, 0, 2).astype(float)

    def same(self, expected: np.ndarray, selector: str, *, cross: bool) -> None:
        """Compares a canvas with a grey slice, voxels under the lines of the crosshair aside."""
        wrong = np.abs(self.pixels(selector, expected.shape) - grey((1, expected))).max(axis=-1) > 1
        if cross:
            rows = wrong.sum(axis=1) > wrong.shape[1] // 2
            columns = wrong.sum(axis=0) > wrong.shape[0] // 2
            assert (rows.sum(), columns.sum()) <= (1, 1)
            wrong = wrong[~rows][:, ~columns]
        assert not wrong.any()

    def values(self, selector: str) -> list[str]:
        return self.page.locator(selector).all_inner_texts()


def grey(*parts: tuple[float, np.ndarray]) -> np.ndarray:
    """A mixture of slices as three equal channels."""
    return np.repeat(sum(share * codes.astype(float) for share, codes in parts)[..., None], 3, axis=-1)


@pytest.fixture(scope="module")
def stacks(view: Callable[..., Maps]) -> dict[str, list[Stack]]:
    """Three pairs for two evaluations, of which the first has no noise map."""
    views = [view(index) for index in range(3)]
    return {
        "a": [Stack.of(f"P{k:02d}", replace(one, noise_sd=None, weight=None)) for k, one in enumerate(views)],
        "b": [Stack.of(f"P{k:02d}", one) for k, one in enumerate(views)],
    }


@pytest.fixture(scope="module")
def report(lasting_evaluation: Callable[..., Path], stacks: dict[str, list[Stack]], tmp_path_factory) -> Path:
    folders = [lasting_evaluation(name, DICE, stacks=tuple(stacks[name])) for name in stacks]
    return write_report(folders, tmp_path_factory.mktemp("report") / "out", figures=False)


@pytest.fixture(scope="module")
def play() -> Iterator[Any]:
    with playwright.sync_playwright() as found:
        yield found


@pytest.fixture(scope="module")
def browser(play: Any) -> Iterator[Any]:
    started = play.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
    yield started
    started.close()


def opened(browser: Any, report: Path, stacks: dict[str, list[Stack]], **options: Any) -> Iterator[Visit]:
    context = browser.new_context(**{"viewport": {"width": 1280, "height": 900}} | options)
    page = context.new_page()
    visit = Visit(page, stacks)
    page.on("console", lambda message: visit.troubles.append(f"{message.type}: {message.text}"))
    page.on("pageerror", lambda error: visit.troubles.append(str(error)))
    page.on("dialog", lambda dialog: visit.troubles.append(dialog.message))
    page.on(
        "request",
        lambda request: (
            None
            if request.url == report.as_uri() or request.url.startswith(("data:", "blob:"))
            else visit.troubles.append(f"asked for {request.url}")
        ),
    )
    page.goto(report.as_uri())
    page.wait_for_selector("#viewer[data-shown]", timeout=20_000)
    yield visit
    context.close()
    assert visit.troubles == []


@pytest.fixture
def visit(browser: Any, report: Path, stacks: dict[str, list[Stack]]) -> Iterator[Visit]:
    yield from opened(browser, report, stacks)


@pytest.fixture
def phone(browser: Any, report: Path, stacks: dict[str, list[Stack]]) -> Iterator[Visit]:
    yield from opened(
        browser, report, stacks, viewport={"width": 390, "height": 844}, has_touch=True, is_mobile=True,
        device_scale_factor=2, color_scheme="dark", reduced_motion="reduce",
    )  # fmt: skip


def test_the_first_pair_is_drawn_voxel_by_voxel(visit: Visit):
    visit.shown()
    assert visit.page.inner_text("#v-name") == "P00"
    assert visit.page.inner_text("#v-place") == "slice 2, 3 of 5"
    visit.page.uncheck("#v-contours")
    fixed = visit.stacks["b"][0].images["fixed"][..., 2]
    np.testing.assert_allclose(visit.pixels(), grey((1, fixed)), atol=1)


def test_fixed_and_moved_cross_fade_under_an_overlay(visit: Visit):
    page, images = visit.page, visit.stacks["b"][0].images
    page.uncheck("#v-contours")
    page.fill("#v-fade", "30")
    base = grey((0.7, images["fixed"][..., 2]), (0.3, images["moved"][..., 2]))
    np.testing.assert_allclose(visit.pixels(), base, atol=1)
    page.select_option("#v-overlay", "noise_sd")
    visit.shown(overlay="noise_sd")
    page.fill("#v-opacity", "60")
    # only one evaluation has this map: its own range is that of the colours
    colours = 255 * mpl.colormaps["viridis"](images["noise_sd"][..., 2].astype(int))[..., :3]
    np.testing.assert_allclose(visit.pixels(), 0.4 * base + 0.6 * colours, atol=2)
    assert "70 % fixed, 30 % moved by b" in page.inner_text("#v-status")
    assert "overlay Predicted noise σ̂ at 60 %" in (page.get_attribute("#v-canvas", "aria-label") or "")
    top = visit.stacks["b"][0].limits["noise_sd"][1]
    assert visit.values("#v-bar span") == ["0", f"{top:.3g}"]


def test_slices_scroll_by_slider_key_and_wheel(visit: Visit):
    page, fixed = visit.page, visit.stacks["b"][0].images["fixed"]
    page.uncheck("#v-contours")
    page.fill("#v-slice", "0")
    np.testing.assert_allclose(visit.pixels(), grey((1, fixed[..., 0])), atol=1)
    page.focus("#v-canvas")
    page.keyboard.press("ArrowUp")  # already the first
    assert page.inner_text("#v-place") == "slice 0, 1 of 5"
    page.keyboard.press("ArrowDown")
    page.hover("#v-canvas")
    page.mouse.wheel(0, 100)
    playwright.expect(page.locator("#v-slice")).to_have_value("2")
    np.testing.assert_allclose(visit.pixels(), grey((1, fixed[..., 2])), atol=1)
    assert page.get_attribute("#v-slice", "aria-valuetext") == "slice 2, 3 of 5"


def test_the_second_image_is_that_of_the_chosen_method(visit: Visit):
    page = visit.page
    page.uncheck("#v-contours")
    page.fill("#v-fade", "100")
    page.select_option("#v-method", "moving")
    visit.shown(method="moving")
    np.testing.assert_allclose(visit.pixels(), grey((1, visit.stacks["b"][0].images["moving"][..., 2])), atol=1)
    assert page.is_disabled("#v-grid")
    page.select_option("#v-method", "0")
    visit.shown(method="0")
    np.testing.assert_allclose(visit.pixels(), grey((1, visit.stacks["a"][0].images["moved"][..., 2])), atol=1)
    assert page.is_disabled("#v-overlay option[value=noise_sd]")


def test_a_score_sorts_the_pairs_by_click_and_key(visit: Visit):
    page = visit.page
    column = page.locator("#v-table thead th").nth(1)
    assert column.inner_text().replace("\n", " ").startswith("Dice, label 2")
    assert visit.values(NUMBERS) == ["75.00", "90.00", "60.00"]
    column.locator("button").click()
    assert (column.get_attribute("aria-sort"), visit.values(NUMBERS)) == ("ascending", ["60.00", "75.00", "90.00"])
    page.keyboard.press("Enter")  # the focus has stayed there
    assert (column.get_attribute("aria-sort"), visit.values(NUMBERS)) == ("descending", ["90.00", "75.00", "60.00"])
    assert page.locator("#v-table [aria-sort]").count() == 1
    page.locator("#v-table tbody button").first.click()
    visit.shown(pair=1)
    assert page.get_attribute("#v-table tr[data-pair='1']", "aria-current") == "true"
    page.keyboard.press("ArrowRight")  # the next one as sorted
    visit.shown(pair=0)
    page.keyboard.press("ArrowLeft")
    visit.shown(pair=1)
    assert page.is_disabled("#v-previous")
    before = page.locator("#v-table thead th").count()
    page.check("#v-all")
    assert page.locator("#v-table thead th").count() >= before


def test_keys(visit: Visit):
    page = visit.page
    page.focus("#v-canvas")
    page.keyboard.press("o")
    visit.shown(overlay="difference")
    page.keyboard.press("o")
    visit.shown(overlay="noise_sd")
    page.keyboard.press("o")
    visit.shown(overlay="weight")
    page.keyboard.press("o")  # round again
    visit.shown()
    page.keyboard.press("O")
    visit.shown(overlay="weight")
    page.keyboard.press("m")
    visit.shown(method="moving", overlay="weight")
    assert page.is_visible("#v-absent")
    page.keyboard.press("c")
    assert not page.is_checked("#v-contours")
    page.keyboard.press("m")
    visit.shown(method="0", overlay="weight")
    page.keyboard.press("g")
    assert page.is_checked("#v-grid")
    page.keyboard.press("?")
    assert page.is_visible("#v-help")
    page.keyboard.press("Escape")
    assert not page.is_visible("#v-help")
    page.focus("#v-fade")
    page.keyboard.press("ArrowRight")  # a slider keeps its own arrows
    assert page.input_value("#v-fade") == "1"
    assert page.get_attribute("#viewer", "data-shown") == "0 2 0 weight"


def test_flicker_changes_by_itself_and_stops(visit: Visit):
    page, images = visit.page, visit.stacks["b"][0].images
    page.clock.install()  # so that a slow machine does not miss a change
    page.reload()
    visit.shown()
    page.clock.pause_at(page.evaluate("Date.now()") + 10_000)
    page.uncheck("#v-contours")
    page.focus("#v-canvas")
    page.keyboard.press("f")
    assert page.get_attribute("#v-flicker", "aria-pressed") == "true"
    for shown in ("moved", "fixed", "moved"):
        page.clock.run_for(500)
        np.testing.assert_allclose(visit.pixels(), grey((1, images[shown][..., 2])), atol=1)
    page.keyboard.press("f")
    assert page.get_attribute("#v-flicker", "aria-pressed") == "false"
    np.testing.assert_allclose(visit.pixels(), grey((1, images["fixed"][..., 2])), atol=1)


def test_contours_run_around_the_labels(visit: Visit):
    page, images = visit.page, visit.stacks["b"][0].images
    page.fill("#v-fade", "100")
    plain = grey((1, images["moved"][..., 2]))
    coloured = np.abs(visit.pixels() - plain).max(axis=-1) > 30  # the line of a contour covers no voxel's middle
    assert not coloured.any()
    shot = Picture.open(io.BytesIO(page.locator("#v-canvas").screenshot())).convert("RGB")
    picture = np.asarray(shot).transpose(1, 0, 2).astype(float)
    hue = np.array([0xF0, 0xE4, 0x42])  # of the first label
    found = np.argwhere(np.abs(picture - hue).max(axis=-1) < 12)
    where = found * np.array(images["moved"].shape[:2]) / np.array(picture.shape[:2]) - 0.5
    # all of it half a voxel from the border of one of the two discs, at (12, 10) with the radius 7 or 6
    distance = np.hypot(where[:, 0] - 12, where[:, 1] - 10)
    assert len(found) > 300
    assert distance.min() > 4.5
    assert distance.max() < 7.6
    solid, dashed = (distance > 6.4).sum(), (distance < 5.9).sum()
    assert solid > dashed > 30


def test_the_grid_shows_where_the_moving_image_is_read(visit: Visit):
    page, images = visit.page, visit.stacks["b"][0].images
    page.uncheck("#v-contours")
    page.check("#v-grid")
    shot = Picture.open(io.BytesIO(page.locator("#v-canvas").screenshot())).convert("RGB")
    picture = np.asarray(shot).transpose(1, 0, 2).astype(float)
    # 24 voxels along the longer side and 20 lines: one every 1.2 voxels of x + u(x) = x - 2
    lines = 2 + 1.2 * np.arange(-1, 18)
    # along y there is no displacement: midway between its lines at 6 and 7.2
    row = round((6.6 + 0.5) / 20 * picture.shape[1])
    for x in lines[1:-1]:
        centre = round((x + 0.5) / 24 * picture.shape[0])
        nearby = picture[centre - 2 : centre + 3, row]
        assert (nearby[:, 2] - nearby[:, 0]).max() > 60, f"no blue line at {x:.1f}"
    between = [round((x + 0.6 + 0.5) / 24 * picture.shape[0]) for x in lines[1:-2]]
    fixed = images["fixed"][..., 2]
    voxels = [fixed[int(place * 24 / picture.shape[0]), int(row * 20 / picture.shape[1])] for place in between]
    np.testing.assert_allclose(picture[between, row, 0], voxels, atol=2)


def test_the_values_under_the_pointer(visit: Visit):
    page, stack = visit.page, visit.stacks["b"][0]
    page.select_option("#v-overlay", "weight")
    visit.shown(overlay="weight")
    canvas = page.locator("#v-canvas")
    box = canvas.bounding_box()
    canvas.hover(position={"x": 12.5 / 24 * box["width"], "y": 10.5 / 20 * box["height"]})

    def value(name: str) -> float:
        low, high = stack.limits[name]
        return low + stack.images[name][12, 10, 2] / 255 * (high - low)

    place, fixed, moved, weight = page.inner_text("#v-readout").split(" · ")
    assert place == "x 12, y 10"
    assert float(fixed.split()[1]) == pytest.approx(value("fixed"), rel=5e-3)
    assert float(moved.split()[1]) == pytest.approx(value("moved"), rel=5e-3)
    assert float(weight.split()[1]) == pytest.approx(value("weight"), rel=5e-3)


def test_the_numbers_can_be_taken_away(visit: Visit):
    with visit.page.expect_download() as pairs:
        visit.page.click("#v-download")
    table = pd.read_csv(pairs.value.path())
    assert pairs.value.suggested_filename == "pairs.csv"
    assert table["dice_2 (%)"].tolist() == [75, 90, 60] * 2
    assert table["evaluation"].tolist() == ["a"] * 3 + ["b"] * 3
    with visit.page.expect_download() as plot:
        visit.page.locator("a.numbers").first.click()
    assert plot.value.suggested_filename == "dice_2.csv"
    assert pd.read_csv(plot.value.path())["value"].tolist() == [75, 90, 60] * 2


def test_on_a_phone(phone: Visit):
    page = phone.page
    assert page.evaluate("document.documentElement.scrollWidth") == 390
    page.locator("#v-table tbody button").nth(2).tap()
    phone.shown(pair=2)
    page.locator("#v-contours").tap()
    phone.stacks["b"].insert(0, phone.stacks["b"][2])
    try:
        images = phone.stacks["b"][0].images
        np.testing.assert_allclose(phone.pixels(), grey((1, images["fixed"][..., 2])), atol=1)
        # where motion is reduced nothing flickers by itself: a tap shows the other image
        page.locator("#v-flicker").tap()
        assert page.get_attribute("#v-flicker", "aria-pressed") == "false"
        page.wait_for_timeout(700)
        np.testing.assert_allclose(phone.pixels(), grey((1, images["moved"][..., 2])), atol=1)
    finally:
        phone.stacks["b"].pop(0)
    small = page.evaluate(
        "[...document.querySelectorAll('#v-stage button, #v-stage select')].filter(e => e.offsetHeight < 40).length"
    )
    assert small == 0


def test_every_control_has_a_name(visit: Visit):
    unnamed = visit.page.evaluate(
        """[...document.querySelectorAll('#viewer button, #viewer input, #viewer select, #viewer canvas')]
        .filter(one => !one.hidden && !(one.ariaLabel || one.textContent.trim() || one.labels?.length))
        .map(one => one.id)"""
    )
    assert unnamed == []


def test_without_scripts_the_page_is_what_it_was(browser: Any, report: Path):
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(report.as_uri())
    assert not page.is_visible("#viewer")
    assert page.is_visible("#table table")
    context.close()


def test_names_are_shown_as_they_are(browser: Any, lasting_evaluation: Callable[..., Path], view, tmp_path: Path):
    name = "<img src=x onerror=alert(1)></script>"
    folder = lasting_evaluation("<b>c", DICE, stacks=(Stack.of(name, view()),))
    path = write_report([folder], tmp_path / "report", figures=False)
    for visit in opened(browser, path, {}):
        assert visit.page.inner_text("#v-name") == name
        assert visit.page.locator("#viewer img").count() == 0


def test_volumes_in_three_planes(browser: Any, lasting_evaluation: Callable[..., Path], tmp_path: Path):
    x, y, z = np.indices((20, 18, 16))
    fixed = 5.0 * x + 3 * y + 2 * z
    maps = Maps(
        spacing=(1.0, 1.0, 1.0), fixed=fixed, moving=fixed, moved=fixed, displacement=np.zeros((3, 20, 18, 16)),
    )  # fmt: skip
    stack = Stack.of("P00", maps)
    path = write_report([lasting_evaluation("volumes", DICE, stacks=(stack,))], tmp_path / "report", figures=False)
    for visit in opened(browser, path, {}):
        page, codes = visit.page, stack.images["fixed"].astype(float)
        visit.shown(at=8, method="0")
        # slices run upwards in the two planes across them
        across = {"canvas": codes[..., 8], "coronal": codes[:, 9, ::-1], "sagittal": codes[10, :, ::-1]}
        for name, expected in across.items():
            visit.same(expected, f"#v-{name}", cross=True)
        coronal = page.locator("#v-coronal")
        box = coronal.bounding_box()
        coronal.click(position={"x": 4.5 / 20 * box["width"], "y": 2.5 / 16 * box["height"]})
        # the third row from the top is slice 15 - 2
        assert page.inner_text("#v-place") == "slice 13, 14 of 16"
        assert page.inner_text("#v-readout").startswith("x 4, y 9, slice 13 · ")
        visit.same(codes[..., 13], "#v-canvas", cross=True)
        visit.same(codes[4, :, ::-1], "#v-sagittal", cross=True)


def test_the_true_noise_beside_the_predicted(
    browser: Any, lasting_evaluation: Callable[..., Path], view: Callable[..., Maps], tmp_path: Path
):
    maps = view()
    stack = Stack.of("P00", replace(maps, true_noise_sd=2 * maps.noise_sd))
    path = write_report([lasting_evaluation("truth", DICE, stacks=(stack,))], tmp_path / "report", figures=False)
    for visit in opened(browser, path, {}):
        page = visit.page
        page.uncheck("#v-contours")
        assert not page.is_visible("#v-beside")
        page.select_option("#v-overlay", "noise_sd")
        visit.shown(method="0", overlay="noise_sd")
        page.fill("#v-opacity", "100")
        tops = [stack.limits[name][1] for name in ("noise_sd", "true_noise_sd")]
        for selector, name, top in zip(("canvas", "beside"), ("noise_sd", "true_noise_sd"), tops, strict=True):
            codes = np.rint(stack.images[name][..., 2] * (top / tops[1])).astype(int)
            colours = 255 * mpl.colormaps["viridis"](codes)[..., :3]
            np.testing.assert_allclose(visit.pixels(f"#v-{selector}", stack.shape), colours, atol=4)
        assert "True noise σ" in (page.get_attribute("#v-beside", "aria-label") or "")


def test_the_difference_to_the_fixed_image(visit: Visit):
    page, stack = visit.page, visit.stacks["b"][0]
    page.uncheck("#v-contours")
    page.select_option("#v-overlay", "difference")
    visit.shown(overlay="difference")
    page.fill("#v-opacity", "100")
    fixed, moving, moved = (stack.images[name].astype(float) for name in ("fixed", "moving", "moved"))
    top = np.percentile(np.abs(fixed - moving), 99.5)
    codes = np.clip(np.rint(np.abs(fixed - moved)[..., 2] * 255 / top), 0, 255).astype(int)
    np.testing.assert_allclose(visit.pixels(), 255 * mpl.colormaps["cividis"](codes)[..., :3], atol=4)
    low, high = stack.limits["fixed"]
    assert float(visit.values("#v-bar span")[1]) == pytest.approx(top / 255 * (high - low), rel=5e-3)


def test_the_scores_of_the_pair_are_beside_it(visit: Visit):
    page = visit.page
    assert visit.values("#v-numbers th") == ["a", "b"]
    assert visit.values("#v-numbers td:nth-child(2)") == ["75.00", "75.00"]
    page.locator("#v-table tbody button").nth(1).click()
    visit.shown(pair=1)
    assert visit.values("#v-numbers td:nth-child(2)") == ["90.00", "90.00"]


def test_print_shows_the_figures_and_the_screen_the_viewer(
    browser: Any,
    lasting_evaluation: Callable[..., Path],
    stacks: dict[str, list[Stack]],
    case: Callable,
    tmp_path: Path,
):
    folder = lasting_evaluation("both", DICE, stacks=tuple(stacks["b"]), cases=(case("P00"),))
    path = write_report([folder], tmp_path / "report", figures=False)
    for visit in opened(browser, path, stacks):
        page = visit.page
        assert (page.is_visible("#v-stage"), page.is_visible("#figures img")) == (True, False)
        drawn = "getComputedStyle(document.querySelector('#v-stage canvas')).imageRendering"
        assert page.evaluate(drawn) == "pixelated"  # enlarged pixels have sharp edges
        page.emulate_media(media="print")
        assert (page.is_visible("#v-stage"), page.is_visible("#figures img")) == (False, True)
        parts = "[...document.querySelectorAll('table, tr')].map(part => getComputedStyle(part).breakInside)"
        assert set(page.evaluate(parts)) == {"avoid"}  # no table is broken between two sheets
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(path.as_uri())
    assert (page.is_visible("#v-stage"), page.is_visible("#figures img")) == (False, True)
    context.close()
