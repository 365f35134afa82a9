"""The commands at tiny sizes: every figure is there and is a number."""

from __future__ import annotations

import json
import math
import sys
from functools import partial
from pathlib import Path

import pytest
from benchmarks.case import Case, Plan

from benchmarks import __main__ as command
from benchmarks import memory, scale, tables


def run(monkeypatch: pytest.MonkeyPatch, out: Path, *arguments: str) -> dict:
    monkeypatch.setattr(sys, "argv", ["benchmarks", "--quick", "--out", str(out), *arguments])
    command.main()
    return json.loads(out.read_text())


@pytest.mark.slow
@pytest.mark.parametrize("dims", [{"2D"}, pytest.param({"2D", "3D"}, marks=pytest.mark.long)], ids=str)
def test_steps(
    dims: set[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    if "3D" not in dims:  # a volume takes minutes where the processor has no bf16
        monkeypatch.setattr(Plan, "quick", partial(Plan.quick, cases=(Case((32, 32), 2),)))
    results = run(monkeypatch, tmp_path / "bench.json", "--only", "step", "--set", "clip=null")
    assert results["settings"] == {"clip": None}
    assert results["machine"]["threads"] >= 1
    plane = {(row["variant"], row["precision"]): row for row in results["step"] if row["case"].startswith("2D")}
    published = plane["as published", "32-true"]
    # See test_limit: 2 · 349,200 operations a pixel, for 2 images of 32×32.
    assert published["gflop"] == pytest.approx(2 * 349_200 * 2 * 32 * 32 / 1e9)
    assert published["speedup"] == 1
    for name in ("mse", "hetero"):
        for precision in ("32-true", "bf16-mixed"):
            row = plane[name, precision]
            assert row["speedup"] == pytest.approx(published["ms"] / row["ms"])
            assert row["over_mse"] == pytest.approx(row["ms"] / plane["mse", precision]["ms"])
            share = row["gflop"] / row["limit_gflop_per_second"] / (row["ms"] / 1000)
            assert row["percent_of_limit"] == pytest.approx(100 * share)
    assert {row["case"][:2] for row in results["step"]} == dims
    assert all(row["ms"] > 0 for row in results["step"])
    assert "| hetero | bf16 |" in capsys.readouterr().out


@pytest.mark.long
@pytest.mark.slow
def test_registration_and_data(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    results = run(monkeypatch, tmp_path / "bench.json", "--only", "registration", "data")
    ways = {(row["case"], row["way"]): row for row in results["registration"]}
    stack = ways["2D 32×32", "register, stack of 2"]
    published = ways["2D 32×32", "as published, networks, one pair"]
    assert stack["speedup"] == pytest.approx(published["ms"] / stack["ms"])
    times = [row["ms"] for row in results["data"]]
    assert len(times) == 5
    assert all(time > 0 and math.isfinite(time) for time in times)


@pytest.mark.long
@pytest.mark.slow
def test_memory() -> None:
    rows = memory.measure(Plan(1, cases=(Case((128, 128), 2),), methods=("mse",)))
    assert [row["variant"] for row in rows] == ["as published", "mse", "mse"]
    # Inputs of convolutions at full resolution, 16 + 48 + 32 + 16 + 16 channels, that the published variance
    # estimator keeps for its backward pass in each direction: 2 · 2 · 128² · 128 · 4 bytes = 32 MiB.
    assert rows[0]["added_bytes"] > 32 * 2**20
    assert all(row["peak_bytes"] > row["added_bytes"] > 0 for row in rows)
    assert rows[1]["share_of_published"] < 1


@pytest.mark.long
@pytest.mark.slow
def test_scale() -> None:
    rows = scale.measure(scale.Curve.quick(1, {"smoothness": 0.02}))
    assert [row["what"] for row in rows] == ["training step", "registration", "evaluation", "evaluation"]
    assert all(row["ms"] > 0 and row["peak_bytes"] > 0 for row in rows)
    assert "| evaluation | 3 pairs |" in tables.render({**RESULTS, "scale": rows})["scale"]


RESULTS = {
    "machine": {
        "cpu": "CPU",
        "cores": 2,
        "flags": [],
        "threads": 2,
        "date": "2026-01-02T03:04:05+00:00",
        "versions": {"python": "3", "torch": "2", "heteroreg": "0"},
    },
    "settings": {},
    "quick": False,
}


def test_aims_are_judged() -> None:
    common = {"variant": "hetero", "case": "2D 128×128, batch 8", "ms": 10.0, "limit_gflop_per_second": 1.0}
    figures = {
        "32-true": {"speedup": 2.5, "over_mse": 1.7, "percent_of_limit": 59.0},
        "bf16-mixed": {"speedup": 4.9, "over_mse": 1.6, "percent_of_limit": 60.0},
    }
    step = [{**common, "gflop": 1.0, "precision": precision, **values} for precision, values in figures.items()]
    lines = tables.render({**RESULTS, "step": step})["targets"].splitlines()[2:]
    assert [line.rsplit("|", 2)[1].strip() for line in lines] == ["yes", "no", "no", "no", "yes", "yes"]


def test_tables_are_put_into_a_page(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("before\n<!-- begin data -->\nold\n<!-- end data -->\nafter \\1\n")
    table = tables.render({**RESULTS, "data": [{"task": "read \\1", "ms": 1234.5}]})
    for _ in range(2):
        tables.paste(table, page)
        text = page.read_text()
        assert text.startswith("before\n<!-- begin data -->\n|")
        assert text.endswith("| read \\1 | 1,234 |\n<!-- end data -->\nafter \\1\n")
        assert "old" not in text
    page.write_text("nothing")
    with pytest.raises(SystemExit, match="has no mark"):
        tables.paste(table, page)


def test_the_guide_has_a_place_for_every_table() -> None:
    text = (Path(__file__).parents[2] / "benchmarks" / "performance.md").read_text(encoding="utf-8")
    for name in ("machine", "targets", *tables.TABLES):
        assert text.count(f"<!-- begin {name} -->\n") == text.count(f"<!-- end {name} -->\n") == 1
