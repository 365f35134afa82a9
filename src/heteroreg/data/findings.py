"""Problems and notes about a cohort, and how they are printed."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Literal

# What differs between equal notes about different pairs: names of files, numbers.
_OWN = re.compile(r"\S*[/\\.#]\S*|\(?\d[\d.,×]*\)?")
SHOWN = 3  # pairs that a line for many names


@dataclass(frozen=True)
class Finding:
    """A problem or a note about a cohort.

    Attributes:
        level: `problem` if training or evaluation would stop or be wrong, otherwise `note`.
        pair: The id of the pair; empty if it concerns the cohort.
        text: The problem, its file, and what to do.
    """

    level: Literal["problem", "note"]
    pair: str
    text: str


def lines(findings: Iterable[Finding]) -> Iterator[tuple[str, str]]:
    """Return the level and the line of each finding; equal notes about several pairs become one line.

    The line has the number of pairs, the first of them, and the text of the first.
    """
    groups: dict[tuple[str, ...], list[Finding]] = {}
    for number, finding in enumerate(findings):
        alike = finding.level == "note" and bool(finding.pair)
        key = (_OWN.sub("", finding.text),) if alike else (str(number), "alone")
        groups.setdefault(key, []).append(finding)
    for found in groups.values():
        first = found[0]
        pairs = list(dict.fromkeys(one.pair for one in found))
        who = f"{first.pair}: " if first.pair else ""
        if len(pairs) > 1:
            who = f"{len(pairs)} pairs ({', '.join(pairs[:SHOWN])}{', …' if len(pairs) > SHOWN else ''}): "
        yield first.level, f"{first.level}: {who}{first.text}"
