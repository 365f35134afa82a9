"""Names inside Markdown."""

from __future__ import annotations

import re

from heteroreg.system.errors import one_line


def escaped(name: str) -> str:
    """Return a name as one line of Markdown, with the characters escaped that would be marks, links or tags."""
    return re.sub(r"[\\`*<>\[\]|&~$]", r"\\\g<0>", one_line(name))
