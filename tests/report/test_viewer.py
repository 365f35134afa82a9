"""What the page carries for its viewer, without a browser."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import zlib
from collections.abc import Callable
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote

import numpy as np
import pandas as pd
import pytest

from heteroreg.comparison import compare
from heteroreg.evaluation.stack import Stack
from heteroreg.registration.maps import Maps
from heteroreg.report import write_report
from heteroreg.report.page import PAGE_BYTES, render_page
from heteroreg.report.viewer import packed, within_budget

Evaluate = Callable[..., Path]
MakeMaps = Callable[..., Maps]


class Scripts(HTMLParser):
    """Collects the scripts, the content security policy and the notes of a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.scripts: list[tuple[dict[str, str | None], str]] = []
        self.policy, self.text, self.inside = "", "", ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = dict(attrs)
        self.inside = tag
        if tag == "script":
            self.scripts.append((found, ""))
        if found.get("http-equiv") == "Content-Security-Policy":
            self.policy = found["content"] or ""

    def handle_data(self, data: str) -> None:
        if self.inside == "script":
            self.scripts[-1] = (self.scripts[-1][0], self.scripts[-1][1] + data)
        else:
            self.text += data

    def handle_endtag(self, tag: str) -> None:
        self.inside = ""


def unpack(text: str, *shape: int) -> np.ndarray:
    """The inverse of `packed`: (…, slices, y, x)."""
    differences = np.frombuffer(zlib.decompress(base64.b64decode(text)), np.uint8).reshape(shape)
    return np.cumsum(differences, axis=-1, dtype=np.uint64).astype(np.uint8)


def big(count: int, slices: int) -> list[Stack]:
    """Stacks of noise, which no compression makes smaller."""
    random = np.random.default_rng(0)
    shape = (64, 64, slices)
    images = {name: random.integers(0, 256, shape, np.uint8) for name in ("fixed", "moving", "moved", "noise_sd")}
    images["displacement"] = random.integers(0, 256, (2, *shape), np.uint8)
    one = Stack(
        "",
        slices=np.arange(slices),
        spacing=np.array([1.0, 1.0, 8.0]),
        origin=np.zeros(3, int),
        step=np.ones(3, int),
        full=np.array(shape),
        labels=np.zeros(0, int),
        images=images,
        limits=dict.fromkeys(images, (0.0, 1.0)),
    )
    return [replace(one, id=f"P{index:02d}") for index in range(count)]


def test_codes_are_packed_without_loss():
    codes = np.random.default_rng(0).integers(0, 256, (2, 5, 4, 3), np.uint8)
    np.testing.assert_array_equal(unpack(packed(codes), 2, 3, 4, 5), codes.transpose(0, 3, 2, 1))


def test_the_page_carries_each_pair_with_its_scores(evaluation: Evaluate, view: MakeMaps, tmp_path: Path):
    stacks = tuple(Stack.of(f"P{k:02d}", view(k)) for k in range(2))
    folders = [evaluation("a", [0.7, 0.8], stacks=stacks[:1]), evaluation("b", [0.9, 0.6], stacks=stacks)]
    page = Scripts(write_report(folders, tmp_path / "report", figures=False).read_text(encoding="utf-8"))
    head, *pairs, _ = (content for _, content in page.scripts)
    found = json.loads(head)
    assert found["pairs"] == ["P00", "P01"]
    dice = next(index for index, one in enumerate(found["metrics"]) if one["key"] == "dice_2")
    assert [scores[dice] for scores in found["scores"]] == [[70, 80], [90, 60]]
    assert found["metrics"][dice]["unit"] == "%"
    assert len(pairs) == 2
    first, second = map(json.loads, pairs)
    assert list(first["methods"]) == ["0", "1"]
    assert list(second["methods"]) == ["1"]
    assert first["shape"] == [24, 20, 5]
    assert first["labels"][0][0] == 2
    moved = unpack(second["methods"]["1"]["moved"]["data"], 5, 20, 24)
    np.testing.assert_array_equal(moved, stacks[1].images["moved"].transpose(2, 1, 0))


def test_only_the_page_s_own_script_may_run(evaluation: Evaluate, view: MakeMaps, tmp_path: Path):
    name = "</script><script>alert(1)</script><!--"
    # "<!--" and "<script" would open another state of the parser: neither may be left inside the data
    folder = evaluation(name[:20].replace("/", "|"), [0.7, 0.8], stacks=(Stack.of(name, view()),))
    path = write_report([folder], tmp_path / "report", figures=False)
    text = path.read_text(encoding="utf-8")
    page = Scripts(text)
    assert [attributes.get("type") for attributes, _ in page.scripts] == ["application/json"] * 2 + [None]
    assert json.loads(page.scripts[0][1])["pairs"] == [name]
    assert text.count("<script") == 3
    digest = base64.b64encode(hashlib.sha256(page.scripts[-1][1].encode()).digest()).decode()
    assert re.findall(r"script-src ([^;]*)", page.policy) == [f"'sha256-{digest}'"]
    assert page.policy.startswith("default-src 'none';")
    assert "connect-src" not in page.policy


def test_without_stacks_no_script_may_run(evaluation: Evaluate, tmp_path: Path):
    page = Scripts(write_report([evaluation("a", [0.7])], tmp_path / "report", figures=False).read_text("utf-8"))
    assert page.scripts == []
    assert "script-src 'none'" in page.policy


def test_a_page_of_a_hundred_pairs_is_below_25_mb(evaluation: Evaluate):
    stacks = big(100, 10)
    # fixed and moving once; moved, noise and two components of the displacement for both methods; base64
    assert 100 * stacks[0].voxels * (2 + 2 * 4) * 4 / 3 > 2 * PAGE_BYTES
    dice = [0.7 + 0.001 * k for k in range(100)]
    comparison = compare([evaluation("a", dice), evaluation("b", dice)])
    repeats = {name: [replace(one[0], stacks=stacks)] for name, one in comparison.repeats.items()}
    text = render_page(replace(comparison, repeats=repeats), "Many")
    assert 0.4 * PAGE_BYTES < len(text.encode()) <= PAGE_BYTES == 25_000_000
    page = Scripts(text)
    assert sum(attributes.get("class") == "v-pair" for attributes, _ in page.scripts) == 100
    assert re.search(r"a voxel here is the mean of \d × \d × 1 voxels of the image", page.text)


def test_pairs_are_left_out_where_even_single_voxels_are_too_many():
    pairs = [{"a": stack} for stack in big(8, 2)]
    shown, texts = within_budget(pairs, ["a"], 3000)
    ids = [pair["a"].id for pair in shown]
    assert 1 < len(ids) < 8
    assert (ids[0], ids[-1]) == ("P00", "P07")
    assert sum(len(pair["a"].images["fixed"].tobytes()) for pair in shown) < 3000
    assert sum(map(len, texts)) <= 3000
    fixed = json.loads(texts[-1])["images"]["fixed"]["data"]
    assert fixed == packed(shown[-1]["a"].images["fixed"])
    # a single pair is shown however small the budget
    assert [len(part) for part in within_budget(pairs, ["a"], 1)] == [1, 1]


def test_what_is_left_out_is_said(evaluation: Evaluate, view: MakeMaps, tmp_path: Path):
    stack = Stack.of("P00", view(), voxels=22 * 20 * 5)
    # x: the discs reach from 4 to 17, that is 14 voxels, and 4 more on each side: 0 to 21 of 24; y: all
    assert stack.shape == (22, 20, 5)
    folder = evaluation("a", [0.7, 0.8, 0.9], stacks=(stack,))
    page = Scripts(write_report([folder], tmp_path / "report", figures=False).read_text(encoding="utf-8"))
    assert "1 of 3 pairs are kept here" in page.text
    assert "cropped to a region around the labels" in page.text
    assert "To keep this page small" not in page.text


def test_a_pair_is_a_volume_where_three_planes_are_worth_having(evaluation: Evaluate, tmp_path: Path):
    for slices, volume in ((3, False), (16, True)):
        folder = evaluation(f"run{slices}", [0.7], stacks=tuple(big(1, slices)))
        text = write_report([folder], tmp_path / f"report{slices}", figures=False).read_text(encoding="utf-8")
        assert json.loads(Scripts(text).scripts[1][1])["volume"] is volume


def test_the_colours_of_the_difference_hold_that_before_registration(evaluation: Evaluate, tmp_path: Path):
    (stack,) = big(1, 2)
    flat = np.full(stack.shape, 100, np.uint8)
    stack = replace(stack, images={**stack.images, "fixed": flat, "moving": flat + 51})
    folder = evaluation("run", [0.7], stacks=(replace(stack, limits=dict.fromkeys(stack.images, (0.0, 10.0))),))
    text = write_report([folder], tmp_path / "report", figures=False).read_text(encoding="utf-8")
    # 51 of 255 codes that reach from 0 to 10
    assert json.loads(Scripts(text).scripts[1][1])["ranges"]["difference"] == [0, 2]


def test_every_plot_gives_its_numbers(evaluation: Evaluate, tmp_path: Path):
    folders = [evaluation("a, b", [0.7, 0.8]), evaluation("c", [0.9, 0.6])]
    text = write_report(folders, tmp_path / "report", figures=False).read_text(encoding="utf-8")
    links = dict(re.findall(r'download="([^"]*)" href="data:text/csv;charset=utf-8,([^"]*)"', text))
    assert len(links) == text.count("<svg")
    dice = pd.read_csv(pd.io.common.StringIO(unquote(links["dice_2.csv"])))
    assert dice["row"].tolist() == ["a, b", "a, b", "c", "c"]
    assert dice["value"].tolist() == pytest.approx([70, 80, 90, 60])
    assert set(dice["unit"]) == {"%"}
    curve = pd.read_csv(pd.io.common.StringIO(unquote(links["sparsification.csv"])))
    fraction = np.linspace(0, 0.99, 12)  # as the evaluation was written
    np.testing.assert_allclose(curve.loc[curve["row"] == "c", "oracle"], 2e-3 * (1 - fraction) ** 2, rtol=1e-5)
