"""Settings of the guide: sphinx-build -W docs docs/_build/html."""

from __future__ import annotations

import inspect
import re
from importlib import import_module
from importlib.metadata import version as version_of
from typing import Any

from docutils import nodes
from docutils.statemachine import StringList
from sphinx.util.docutils import SphinxDirective

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
    """Read docstrings as plain text: (N, *shape) is not emphasis, |x| not a substitution, indented code is code."""
    for index, line in enumerate(lines):
        if line.lstrip().startswith((">>>", "...")):
            continue
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


# Methods and properties to document; for modules of PyTorch `forward`, for other classes all with a docstring.
MEMBERS = {
    "Config": "build",
    "Displacement": None,
    "Losses": None,
    "Run": "read, metrics, modules",
    "UserError": None,
}


class PublicNames(SphinxDirective):
    """The public names of a module, `__all__`, each documented by autodoc."""

    required_arguments = 1

    def run(self) -> list[nodes.Node]:
        module = import_module(self.arguments[0])
        lines: list[str] = []
        for name in sorted(module.__all__, key=str.lower):
            value = getattr(module, name)
            if inspect.ismodule(value) or name.startswith("__"):
                continue
            kind = "autoclass" if inspect.isclass(value) else "autofunction" if callable(value) else "autodata"
            lines += [f".. {kind}:: {module.__name__}.{name}"]
            if kind == "autoclass":
                network = any(base.__module__.startswith("torch.") for base in value.__mro__)
                members = MEMBERS.get(name, "forward" if network else "")
                lines += [] if members is None else [f"   :members: {members}"]
            lines += [""]
        node = nodes.section()
        node.document = self.state.document
        self.state.nested_parse(StringList(lines, source="heteroreg"), self.content_offset, node)
        return node.children


def setup(app: Any) -> None:
    app.add_directive("public-names", PublicNames)
    app.connect("autodoc-process-docstring", as_rst, priority=400)  # before napoleon
