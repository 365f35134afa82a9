"""Text for the page."""

from __future__ import annotations

NBSP = "\N{NO-BREAK SPACE}"


def unbroken(text: str) -> str:
    """Return a text that is never broken into lines: its spaces become no-break spaces."""
    return text.replace(" ", NBSP)


def joined(names: list[str]) -> str:
    """Return `a`, `a and b`, or `a, b and c`."""
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
