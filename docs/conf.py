"""Settings of the guide: sphinx-build -W docs docs/_build/html."""

from __future__ import annotations

import re
from importlib.metadata import version as version_of
from typing import Any

project = "heteroreg"
author = "The heteroreg developers"
copyright = "The heteroreg developers"
version = release = version_of("heteroreg")

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
exclude_patterns = ["_build"]
myst_heading_anchors = 3

# Docstrings put names between single backticks, as Markdown does.
default_role = "code"
autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_class_signature = "mixed"
napoleon_google_docstring = True
napoleon_numpy_docstring = False
napoleon_use_ivar = True

html_theme = "furo"
html_title = "heteroreg"
# Nothing is fetched from elsewhere: furo's fonts are those of the reader's system, formulas are plain text.
html_copy_source = False


def as_rst(_app: Any, _what: str, _name: str, _object: Any, _options: Any, lines: list[str]) -> None:
    """Lets docstrings be plain text: (N, *shape) is no emphasis, |x| no substitution, indented code is code."""
    for index, line in enumerate(lines):
        following = lines[index + 1 : index + 3]
        indent = len(line) - len(line.lstrip())
        if (
            line.endswith(":")
            and len(following) == 2
            and not following[0]
            and following[1][indent:].startswith(" ")
        ):
            lines[index] = line + ":"
        else:
            parts = re.split("(`[^`]*`)", line)
            lines[index] = "".join(p if p.startswith("`") else re.sub(r"([*|])", r"\\\1", p) for p in parts)


def setup(app: Any) -> None:
    app.connect("autodoc-process-docstring", as_rst, priority=400)  # before napoleon
