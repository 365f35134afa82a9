"""The rules of the house: rooms, imports, names and docstrings; see CONTRIBUTING.md."""

from __future__ import annotations

import ast
import re
from collections import defaultdict
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

SOURCE = Path(__file__).parents[1] / "src"
# From the top to the bottom: a room may import those to the right of it.
ROOMS = [
    *("cli", "demo", "study", "report", "hub", "export", "comparison", "evaluation", "registration", "uncertainty"),
    *("training", "methods", "losses", "networks", "spatial", "data", "system"),
]
FRAGMENT = re.compile(r"(Of|What|Whether|How|Where|Whose|Nothing|Not|Whoever)\b")
# Names with one role in several files.
SHARED_NAMES = {"main", "__all__"}

FILES = {
    ".".join(path.relative_to(SOURCE).with_suffix("").parts).removesuffix(".__init__"): path
    for path in sorted((SOURCE / "heteroreg").rglob("*.py"))
}
TREES = {name: ast.parse(path.read_text(encoding="utf-8")) for name, path in FILES.items()}


def room(module: str) -> str:
    """Return the folder or file below `heteroreg` that a module belongs to."""
    return module.split(".")[1] if "." in module else ""


def imported(module: str) -> Iterator[str]:
    """Yield the modules of the package that a module imports, in functions and for types too."""
    for node in ast.walk(TREES[module]):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{module}: has a relative import"
            names = [f"{node.module}.{alias.name}" for alias in node.names]
            names = [name if name in FILES else str(node.module) for name in names]
        else:
            continue
        yield from (name for name in names if name in FILES and name != module)


IMPORTS = {module: set(imported(module)) for module in FILES}
ARROWS = {(room(a), room(b)) for a, targets in IMPORTS.items() for b in targets if room(a) != room(b)}


def public_names() -> dict[str, set[str]]:
    """Return for each public name at the top of a module the modules that define it."""
    found = defaultdict(set)
    for module, tree in TREES.items():
        for node in tree.body:
            if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
                names = [node.name]
            elif isinstance(node, ast.Assign | ast.AnnAssign):
                targets = node.targets if isinstance(node, ast.Assign) else [node.target]
                names = [target.id for target in targets if isinstance(target, ast.Name)]
            else:
                continue
            for name in names:
                if not name.startswith("_"):
                    found[name].add(module)
    return found


def test_every_room_has_a_name() -> None:
    loose = [path.stem for path in (SOURCE / "heteroreg").glob("*.py") if not path.stem.startswith("__")]
    assert len(loose) <= 12
    assert {room(module) for module in FILES} - {"", "__main__", "_version"} <= set(ROOMS)


def test_nothing_imports_upwards() -> None:
    upwards = {
        f"{a} -> {b}"
        for a, targets in IMPORTS.items()
        for b in targets
        if room(a) in ROOMS and room(b) in ROOMS and ROOMS.index(room(b)) < ROOMS.index(room(a))
    }
    assert upwards == set()


def test_no_two_modules_import_each_other() -> None:
    try:
        TopologicalSorter(IMPORTS).prepare()
    except CycleError as error:
        pytest.fail(" -> ".join(error.args[1]))


def test_few_rooms_know_each_other() -> None:
    assert len({arrow for arrow in ARROWS if all(arrow)}) <= 120


def test_a_name_is_defined_once() -> None:
    commands = {name for name, modules in public_names().items() if any(room(m) == "cli" for m in modules)}
    twice = {
        name: sorted(modules)
        for name, modules in public_names().items()
        if len(modules - {m for m in modules if name in commands and room(m) == "cli"}) > 1
        and name not in SHARED_NAMES
    }
    assert twice == {}


def test_docstrings_begin_with_a_verb_or_a_noun() -> None:
    fragments = [
        f"{module}: {text.splitlines()[0]}"
        for module, tree in TREES.items()
        for node in ast.walk(tree)
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef)
        and (text := ast.get_docstring(node) or "")
        and FRAGMENT.match(text)
    ]
    assert len(fragments) <= 40, fragments
