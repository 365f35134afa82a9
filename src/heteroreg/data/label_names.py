"""Names of labels, from a text or from a file beside the cohort."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from pathlib import Path

from heteroreg.data.cohort import Cohort
from heteroreg.system.errors import UserError
from heteroreg.system.text import read_json

LABELS_FILE = "labels.json"  # beside pairs.csv


def parse_label_names(text: str | None) -> dict[str, str] | None:
    """Return names of labels by number, from text such as `1=LV,2=myocardium`; None without a text.

    >>> parse_label_names("1=LV,2=myocardium")
    {'1': 'LV', '2': 'myocardium'}

    Raises:
        UserError: The text is not of this form, or two labels have one name.
    """
    if text is None:
        return None
    parts = [tuple(piece.strip() for piece in part.partition("=")[::2]) for part in text.split(",")]
    return _checked(parts, f"label_names: '{text}'", "write 1=LV,2=myocardium, each once", argument="label_names")


def label_names_of(cohort: Cohort, given: Mapping[str, str] | None) -> dict[str, str]:
    """Return the names that are given, or those in `labels.json` beside the cohort's table.

    The file holds `{"1": "LV", "2": "myocardium"}`.

    Raises:
        UserError: The file is not of this form.
    """
    if given is not None:
        return {str(label): name for label, name in given.items()}
    path = Path(cohort.name).parent / LABELS_FILE
    if not path.is_file():
        return {}
    found = read_json(path)
    remedy = 'write {"1": "LV", "2": "myocardium"}, each once'
    if not isinstance(found, dict) or not all(isinstance(name, str) for name in found.values()):
        raise UserError(f"{path}: holds no names of labels; {remedy}")
    return _checked(found.items(), str(path), remedy)


def _checked(
    parts: Iterable[tuple[str, ...]], where: str, remedy: str, argument: str | None = None
) -> dict[str, str]:
    found: dict[str, str] = {}
    for number, name in parts:
        odd = not (number.isdecimal() and re.fullmatch(r"[\w .()-]+", name))
        if odd or number in found or name in found.values():
            raise UserError(f"{where}: '{number}={name}' names no label; {remedy}", argument=argument)
        found[number] = name
    return found
