"""Readers of tables, JSON and YAML; nothing in them is executed or followed."""

from __future__ import annotations

import csv
import json
import re
import unicodedata
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import yaml

from heteroreg.system.errors import UserError
from heteroreg.system.limits import TABLE_BYTES, TEXT_BYTES, require_small

if TYPE_CHECKING:
    import pandas as pd

# Pure Python reads some 50 kB of YAML in a second, and settings are a hundredth of this.
YAML_BYTES = 64 * 1024
# What the parsers raise beside their own errors: on digits by the thousand, brackets by the thousand, a month 99.
_ODD = (ValueError, TypeError, AttributeError, LookupError, ArithmeticError, RecursionError)

_FORMULA = re.compile(r"'*[=+\-@]")


class _Plain(yaml.SafeLoader):
    """YAML without references: a few lines of references to references unfold to more than any memory holds."""

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        if self.check_event(yaml.events.AliasEvent):
            raise yaml.YAMLError("it refers to another place (*name)")
        node: yaml.Node | None = super().compose_node(parent, index)
        return node


def parse_yaml(text: str, name: object) -> Any:
    """Return the value of a YAML text: plain data, whatever tags it holds.

    Raises:
        UserError: It is not YAML, uses references, or is too large or too deep.
    """
    if len(text) > YAML_BYTES:
        raise UserError(f"{name}: has {len(text)} characters, more than the {YAML_BYTES} that settings may have")
    try:
        return yaml.load(text, Loader=_Plain)  # noqa: S506 - a SafeLoader
    except (yaml.YAMLError, *_ODD) as error:
        raise UserError(f"{name}: not readable as YAML ({_reason(error)})") from error


def parse_json(text: str, name: object) -> Any:
    """Return the value of a JSON text; NaN and Infinity are refused.

    Raises:
        UserError: It is not JSON, or too deep.
    """
    try:
        return json.loads(text, parse_constant=_no_number)
    except _ODD as error:
        raise UserError(f"{name}: not readable as JSON ({_reason(error)})") from error


def read_text(path: Path, limit: int = TEXT_BYTES) -> str:
    """Read a text file in UTF-8.

    Raises:
        UserError: It is missing, too large, or not UTF-8.
    """
    require_small(path, limit)
    try:
        return path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: not readable as text ({error}); save it in UTF-8") from error


def read_yaml(path: Path) -> Any:
    """Read the value of a YAML file; see `parse_yaml`."""
    return parse_yaml(read_text(path), path)


def read_json(path: Path) -> Any:
    """Read the value of a JSON file; see `parse_json`."""
    return parse_json(read_text(path), path)


def read_table(path: Path, required: Sequence[str]) -> tuple[list[str], list[tuple[int, dict[str, str]]]]:
    """Read the rows of a CSV file, every cell as it is written, without the apostrophe of `csv_text`.

    Cells may also be parted by semicolons or tabs.

    Args:
        path: The file.
        required: Columns that must be there.

    Returns:
        The columns, and for each row the number of its line and its cells; lines without any are left out.

    Raises:
        UserError: It is no table, lacks a column, names one twice, or a row has more cells than there are columns.
    """
    require_small(path, TABLE_BYTES)
    try:
        with path.open(encoding="utf-8-sig", newline="") as handle:
            reader = csv.reader(handle, delimiter=_separator(path, required))
            columns = _columns(path, next(filter(any, reader), []), required)
            return columns, [_row(path, columns, reader.line_num, cells) for cells in reader if any(cells)]
    except (csv.Error, UnicodeDecodeError) as error:
        raise UserError(f"{path}: not a readable CSV table ({error}); save it as CSV in UTF-8") from error


def _separator(path: Path, required: Sequence[str]) -> str:
    """Return what parts the cells of a table: a comma, or in tables of some spreadsheets a semicolon or a tab."""
    with path.open(encoding="utf-8-sig", errors="replace", newline="") as handle:
        first = next((line for line in handle if line.strip()), "")
    for separator in ";\t":
        cells = [cell.strip().strip('"') for cell in first.split(separator)]
        if len(cells) > 1 and set(required) <= set(cells):
            return separator
    return ","


def csv_text(table: pd.DataFrame, **options: Any) -> str:
    """Return a table as CSV, in which no text is a formula to a spreadsheet; `read_table` gives the text back.

    Args:
        table: The table.
        options: Further arguments of `DataFrame.to_csv`.
    """
    texts = table.select_dtypes(["object", "string"])
    safe = table.assign(**{str(name): column.map(as_cell) for name, column in texts.items()}).rename(
        columns=as_cell
    )
    return str(safe.to_csv(index=False, lineterminator="\n", **options))


def as_cell(value: Any) -> Any:
    """Return a text that begins as a formula does with an apostrophe before it, anything else as it is.

    A spreadsheet would execute `=HYPERLINK(…)`, which may be the id of a pair from somebody else.
    """
    if isinstance(value, str) and _FORMULA.match(value) and not _is_number(value):
        return f"'{value}"
    return value


def _of_cell(text: str) -> str:
    return text[1:] if text.startswith("'") and _FORMULA.match(text) else text


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _columns(path: Path, cells: list[str], required: Sequence[str]) -> list[str]:
    columns = [_of_cell(cell.strip()) for cell in cells]
    while columns and not columns[-1]:  # spreadsheets add empty ones
        columns.pop()
    missing = [column for column in required if column not in columns]
    if missing:
        raise UserError(
            f"{path}: the column {', '.join(map(repr, missing))} is missing; it needs {', '.join(required)}"
        )
    seen: set[str] = set()
    for column in columns:
        if column in seen:
            raise UserError(f"{path}: has the column '{column}' more than once; rename one")
        seen.add(column)
    return columns


def _row(path: Path, columns: list[str], number: int, cells: list[str]) -> tuple[int, dict[str, str]]:
    if any(cells[len(columns) :]):
        raise UserError(
            f"{path}: line {number} has {len(cells)} cells where the table has {len(columns)} columns; "
            "put what holds a comma in quotes"
        )
    filled = [_of_cell(cell.strip()) for cell in cells[: len(columns)]]
    filled += [""] * (len(columns) - len(filled))
    return number, dict(zip(columns, filled, strict=True))


def has_controls(text: str) -> bool:
    """Return True if a name holds characters that end a line or steer a terminal."""
    return any(unicodedata.category(character) in ("Cc", "Zl", "Zp") for character in text)


def _no_number(text: str) -> NoReturn:
    raise ValueError(f"{text} is no number")


def _reason(error: Exception) -> str:
    return "it is nested too deeply" if isinstance(error, RecursionError) else " ".join(str(error).split())
