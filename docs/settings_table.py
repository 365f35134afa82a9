"""Write the table of settings into settings.md, from the fields of `Config`: python docs/settings_table.py."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic.fields import FieldInfo

from heteroreg.methods import LEARNING_RATES, METHODS, NETWORKS
from heteroreg.training import Config

PAGE = Path(__file__).parent / "settings.md"
MARKS = ("<!-- begin settings, written by docs/settings_table.py -->\n", "<!-- end settings -->")
# Part of config.yaml, but not set by users.
OMITTED = {"schema_version", "cohort"}


def table() -> str:
    """Return the settings as a Markdown table: name, default, description and defaults of single methods."""
    lines = ["| setting | default | description |", "|---|---|---|"]
    for name, field in Config.model_fields.items():
        if name not in OMITTED:
            lines.append(f"| `{name}` | {_value(_default(field))} | {_description(name, field)} |")
    return "\n".join(lines) + "\n"


def page() -> str:
    """Return settings.md with the current table."""
    before, _, rest = PAGE.read_text(encoding="utf-8").partition(MARKS[0])
    _, _, after = rest.partition(MARKS[1])
    return f"{before}{MARKS[0]}{table()}{MARKS[1]}{after}"


def _default(field: FieldInfo) -> Any:
    return field.get_default(call_default_factory=True)


def _description(name: str, field: FieldInfo) -> str:
    text = re.sub(r"\|", r"\\|", field.description or "")
    other: dict[Any, list[str]] = {}
    for method in METHODS.values():
        wanted = method.settings()
        if name in wanted and wanted[name] != _default(field):
            other.setdefault(wanted[name], []).append(f"`{method.name}`")
    parts = [f"{_value(value)} for {', '.join(methods)}" for value, methods in other.items()]
    if name == "learning_rate":
        parts += [_rates("2D and 3D: ", LEARNING_RATES)]
        parts += [
            _rates(f"`{network.name}`: ", network.learning_rates)
            for network in NETWORKS.values()
            if network.learning_rates != LEARNING_RATES
        ]
    return "; ".join([text, *parts])


def _rates(name: str, rates: Mapping[int, float]) -> str:
    return name + " and ".join(f"{rate:g}" for _, rate in sorted(rates.items()))


def _value(value: Any) -> str:
    if value is None or value == {}:
        return ""
    if isinstance(value, bool):
        return f"`{str(value).lower()}`"
    return f"{value:.4g}" if isinstance(value, float) else f"`{value}`" if isinstance(value, str) else str(value)


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
