from __future__ import annotations

import csv
import io
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest

from heteroreg.data.cohort import Cohort
from heteroreg.system.errors import UserError
from heteroreg.system.text import csv_text, parse_json, parse_yaml, read_table


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("a: 1\nb: [1.5, x]\n", {"a": 1, "b": [1.5, "x"]}),
        ("", None),
        ("null", None),
        ("{a: {b: true}}", {"a": {"b": True}}),
    ],
)
def test_yaml_is_plain_data(text: str, value: object) -> None:
    assert parse_yaml(text, "s.yaml") == value


@pytest.mark.parametrize(
    "text",
    [
        "a: &x [1]\nb: *x\n",
        "a: &x {b: 1}\nc: {<<: *x}\n",
        "[" * 5000,
        "- " * 5000,
        "a: " + "9" * 5000,
        "a: 2020-99-99",
        "a: !!timestamp x",
        "a: !!int x",
        "? [a]\n: b\n",
        "a: !!python/name:os.system",
        "a: [1",
        "a: \x00",
        "a: " + "x" * 70_000,
    ],
    ids=lambda text: repr(text[:20]),
)
def test_yaml_that_is_refused(text: str) -> None:
    with pytest.raises(UserError, match=r"s\.yaml: ") as error:
        parse_yaml(text, "s.yaml")
    assert len(str(error.value)) < 1600


@pytest.mark.parametrize("text", ["", "{", "[" * 100_000, "NaN", "[Infinity]", "9" * 5000, "{'a': 1}", "\x00"])
def test_json_that_is_refused(text: str) -> None:
    with pytest.raises(UserError, match=r"s\.json: not readable as JSON"):
        parse_json(text, "s.json")


def test_a_table_keeps_cells_as_they_are(tmp_path) -> None:
    path = tmp_path / "t.csv"
    path.write_bytes('\ufeffid, b ,c\r\n007,"x, ""y""",\r\n\r\n8,"two\nlines",a\u2028b\x85c\r\n'.encode())
    columns, rows = read_table(path, ("id",))
    assert columns == ["id", "b", "c"]
    assert rows == [
        (2, {"id": "007", "b": 'x, "y"', "c": ""}),
        (5, {"id": "8", "b": "two\nlines", "c": "a\u2028b\x85c"}),
    ]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("id,a,a\n", "has the column 'a' more than once"),
        ("a\n1\n", "the column 'id' is missing"),
        ("id\n1,2\n", "line 2 has 2 cells where the table has 1 columns"),
        ("id\n" + "x" * 200_000 + "\n", "not a readable CSV table"),
    ],
)
def test_tables_that_are_refused(text: str, message: str, tmp_path) -> None:
    (tmp_path / "t.csv").write_text(text)
    with pytest.raises(UserError, match=message):
        read_table(tmp_path / "t.csv", ("id",))


FORMULAS = ["=1+1", "+SUM(A1)", "-cmd", "@x", "'=1+1", "''=1", '=HYPERLINK("http://a","b")']
PLAIN = ["a", "'a", "-1.5", "+3e2", "-inf", "", "a=b", "../x"]


def test_no_cell_is_a_formula_to_a_spreadsheet(tmp_path: Path) -> None:
    table = pd.DataFrame({"id": [*FORMULAS, *PLAIN], "=value": range(len(FORMULAS + PLAIN))})
    path = tmp_path / "a.csv"
    path.write_text(csv_text(table), encoding="utf-8")
    head, *rows = csv.reader(io.StringIO(path.read_text(encoding="utf-8")))
    assert head == ["id", "'=value"]
    assert [row[0] for row in rows] == [*(f"'{text}" for text in FORMULAS), *PLAIN]
    columns, back = read_table(path, ["id"])
    assert columns == ["id", "=value"]
    assert [row["id"] for _, row in back] == [*FORMULAS, *PLAIN]


def test_a_cohort_keeps_such_ids(cohort_2d: Cohort, tmp_path: Path) -> None:
    pairs = tuple(replace(pair, id=name, split=None) for pair, name in zip(cohort_2d, FORMULAS, strict=False))
    Cohort(pairs).write(tmp_path / "pairs.csv")
    assert [pair.id for pair in Cohort.read(tmp_path)] == FORMULAS[: len(pairs)]
    assert "\n'=1+1," in (tmp_path / "pairs.csv").read_text()
