"""Names and headings in Markdown."""

from __future__ import annotations

import re

from heteroreg.evaluation.metrics import IN_VOXELS, Metric
from heteroreg.system.errors import one_line

ARROWS = {True: " ↑", False: " ↓", None: ""}
NOTHING = "–"


def heading(described: Metric, mode: str) -> str:
    """The title of a column with its direction; distances are in voxels in some modes."""
    title = described.title
    if mode in IN_VOXELS and not described.name.startswith("epe"):
        title = title.replace("(mm)", "(voxels)")
    return title + ARROWS[described.higher_is_better]


def shown(name: str) -> str:
    """A name as Markdown that shows it: on one line, and none of its characters a mark, a link or a tag."""
    return re.sub(r"[\\`*<>\[\]|&~$]", r"\\\g<0>", one_line(name))
