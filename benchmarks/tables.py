"""From figures to Markdown tables, and into a page.

python -m benchmarks.tables bench.json --into benchmarks/performance.md
"""

from __future__ import annotations

import argparse
import json
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.measure import GIB, MIB
from heteroreg.system.files import write_text

NOTHING = "–"
Row = Mapping[str, Any]
Column = tuple[str, Callable[[Row], str]]


def render(results: Mapping[str, Any]) -> dict[str, str]:
    """A table for each part that was measured, by the part's name."""
    parts = [name for name in TABLES if name in results]
    tables = {name: TABLES[name](results[name]) for name in parts}
    if any(name in results for name in ("step", "registration", "memory")):
        tables["targets"] = _targets(results)
    return {"machine": _machine(results), **tables}


def paste(tables: Mapping[str, str], page: Path) -> None:
    """Replaces what stands in the page between `<!-- begin NAME -->` and `<!-- end NAME -->`.

    Raises:
        SystemExit: The page has no such marks for any of the tables.
    """
    text = page.read_text(encoding="utf-8")
    found = 0
    for name, table in tables.items():
        pattern = re.compile(rf"(<!-- begin {re.escape(name)} -->\n).*?(<!-- end {re.escape(name)} -->)", re.DOTALL)
        text, count = pattern.subn(lambda match, t=table: f"{match[1]}{t}\n{match[2]}", text)  # type: ignore[misc]
        found += count
    if not found:
        raise SystemExit(f"{page}: has no mark such as <!-- begin {next(iter(tables))} -->")
    write_text(page, text)


def table(columns: Sequence[Column], rows: Sequence[Row], texts: int = 1) -> str:
    """A Markdown table; the first `texts` columns are aligned to the left, the others to the right."""
    sides = ["---"] * texts + ["---:"] * (len(columns) - texts)
    lines = [[title for title, _ in columns], sides, *([cell(row) for _, cell in columns] for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def number(key: str, digits: int = 0, suffix: str = "", scale: float = 1.0) -> Callable[[Row], str]:
    """Return the cell of a number: empty without one, or the reason why it could not be measured."""

    def cell(row: Row) -> str:
        if "failed" in row:
            return str(row["failed"])
        value = row.get(key)
        return NOTHING if value is None else f"{value * scale:,.{digits}f}{suffix}"

    return cell


def text(key: str) -> Callable[[Row], str]:
    """Return the cell of a text."""
    return lambda row: str(row[key])


def _precision(row: Row) -> str:
    return {"32-true": "float32", "bf16-mixed": "bf16"}.get(row["precision"], NOTHING)


def _milliseconds(row: Row) -> str:
    return number("ms", 1 if row.get("ms", 0) < 100 else 0)(row)


def _by_case(columns: Sequence[Column], rows: Sequence[Row], texts: int) -> str:
    cases = dict.fromkeys(row["case"] for row in rows)
    parts = [f"**{case}**\n\n" + table(columns, [r for r in rows if r["case"] == case], texts) for case in cases]
    return "\n\n".join(parts)


def _step(rows: Sequence[Row]) -> str:
    columns = [
        ("", text("variant")),
        ("", _precision),
        ("ms", _milliseconds),
        ("× faster than published", number("speedup", 2)),
        ("time over `mse`", number("over_mse", 2)),
        ("GFLOP as written", number("gflop", 1)),
        ("GFLOP done", number("gflop_done", 1)),
        ("of the limit", number("percent_of_limit", 0, " %")),
    ]
    limits = dict.fromkeys((r["case"][:2], _precision(r), r["limit_gflop_per_second"]) for r in rows)
    note = "; ".join(f"{dims} {precision} {rate:,.0f}" for dims, precision, rate in limits)
    return f"{_by_case(columns, rows, 2)}\n\nRate of the large convolution in GFLOP/s: {note}."


def _registration(rows: Sequence[Row]) -> str:
    columns = [
        ("", text("way")),
        ("", _precision),
        ("ms for a pair", _milliseconds),
        ("× faster than published", number("speedup", 2)),
    ]
    return _by_case(columns, rows, 2)


def _data(rows: Sequence[Row]) -> str:
    return table([("", text("task")), ("ms for a pair", _milliseconds)], rows)


def _memory(rows: Sequence[Row]) -> str:
    columns = [
        ("", text("variant")),
        ("", _precision),
        ("added by the step (MiB)", number("added_bytes", 0, scale=1 / MIB)),
        ("of the published", number("share_of_published", 0, " %", 100)),
        ("whole process (MiB)", number("peak_bytes", 0, scale=1 / MIB)),
    ]
    return _by_case(columns, rows, 2)


def _scale(rows: Sequence[Row]) -> str:
    columns = [
        ("", text("what")),
        ("", text("size")),
        ("", _precision),
        ("seconds", number("ms", 2, scale=1e-3)),
        ("added (GiB)", number("added_bytes", 2, scale=1 / GIB)),
        ("whole process (GiB)", number("peak_bytes", 2, scale=1 / GIB)),
    ]
    return table(columns, rows, 3)


def _accuracy(part: Mapping[str, Any]) -> str:
    published = part["published"]
    rows = [
        {"method": "published recipe", **published},
        {
            "method": "published recipe, until it has converged",
            "steps": published["converged_step"],
            "seconds": published["converged_seconds"],
        },
        *({**row, "method": f"`{row['method']}`"} for row in part["rows"]),
    ]
    columns = [
        ("", text("method")),
        ("steps", number("steps")),
        ("test Dice", number("test", 2, scale=100)),
        ("seconds", number("seconds")),
        ("reaches the published", lambda row: {True: "yes", False: "no"}.get(row.get("reaches"), NOTHING)),
        ("× sooner, same implementation", _times("over_same")),
        ("× sooner than as published, `mse` alone", _times("over_published_mse")),
        ("× sooner than as published, both estimators", _times("over_published")),
    ]
    lines = []
    for method, row in part["smallest"].items():
        if row is None:
            lines.append(f"`{method}` does not reach it with any of these budgets.")
        else:
            larger = "and so does every larger budget" if row["larger_too"] else "but not every larger budget does"
            lines.append(
                f"`{method}` reaches it with {row['steps']:,} steps in {row['seconds']:,.0f} s, "
                f"{row['over_same']:.1f} times sooner in the same implementation; {larger}."
            )
    return "\n\n".join([table(columns, rows), *lines])


def _times(key: str) -> Callable[[Row], str]:
    """Return the cell of how many times longer the published recipe took, if its Dice is reached."""
    return lambda row: number(key, 1)(row) if row.get("reaches") else NOTHING


TABLES: dict[str, Callable[[Any], str]] = {
    "step": _step,
    "registration": _registration,
    "data": _data,
    "memory": _memory,
    "scale": _scale,
    "accuracy": _accuracy,
}


def _machine(results: Mapping[str, Any]) -> str:
    where = results["machine"]
    versions = where["versions"]
    flags = ", ".join(where["flags"]) or "no wide vectors"
    parts = [
        f"{where['cpu']}, {where['cores']} cores ({flags}), {where['threads']} threads",
        f"PyTorch {versions['torch']}, Python {versions['python']}, heteroreg {versions['heteroreg']}",
        where["date"][:10],
        *(f"{key}={value}" for key, value in results.get("settings", {}).items()),
        *(["QUICK: these figures are worth nothing"] if results["quick"] else []),
    ]
    return "; ".join(parts) + "."


def _targets(results: Mapping[str, Any]) -> str:
    """Each aim, what was measured, and whether it is met."""
    rows: list[dict[str, str]] = []

    def aim(what: str, value: float, bound: float, sign: str, digits: int = 2, suffix: str = "") -> None:
        met = value >= bound if sign == "≥" else value <= bound
        rows.append(
            {
                "aim": f"{what} {sign} {bound:g}{suffix}",
                "measured": f"{value:.{digits}f}{suffix}",
                "met": "yes" if met else "no",
            }
        )

    for row in results.get("step", []):
        if row["variant"] == "hetero":
            name = f"{row['case'][:2]} step, `hetero`, {_precision(row)}"
            aim(f"{name}: × faster than published", row["speedup"], 5 if "bf16" in row["precision"] else 2.5, "≥")
            if row["over_mse"] is not None:
                aim(f"{name}: time over `mse`", row["over_mse"], 1.6, "≤")
            aim(f"{name}: of the limit", row["percent_of_limit"], 60, "≥", 0, " %")
    for row in results.get("registration", []):
        if row["pairs"] > 1:
            name = f"{row['case'][:2]} {row['way']}, {_precision(row)}"
            aim(f"{name}: × faster than published, per pair", row["speedup"], 4, "≥")
    for row in results.get("memory", []):
        if row["variant"] == "hetero" and "share_of_published" in row:
            name = f"{row['case'][:2]} memory of a step, `hetero`, {_precision(row)}"
            aim(f"{name}: of the published", 100 * row["share_of_published"], 50, "≤", 0, " %")
    return table([("aim", text("aim")), ("measured", text("measured")), ("met", text("met"))], rows)


def main() -> None:
    """Prints the tables of figures that were measured before, or puts them into a page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("figures", type=Path, nargs="+", help="JSON that a benchmark wrote")
    parser.add_argument("--into", type=Path, help="the page; without it the tables are printed")
    options = parser.parse_args()
    for path in options.figures:
        tables = render(json.loads(path.read_text(encoding="utf-8")))
        if options.into:
            paste(tables, options.into)
        else:
            print("\n\n".join(tables.values()) + "\n")


if __name__ == "__main__":
    main()
