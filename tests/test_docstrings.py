"""The examples in docstrings run, and every public name has one."""

from __future__ import annotations

import doctest
import importlib
import inspect
from pathlib import Path

import pytest

import heteroreg

SOURCE = Path(__file__).parents[1] / "src"
WITH_EXAMPLES = [path for path in sorted((SOURCE / "heteroreg").rglob("*.py")) if ">>> " in path.read_text("utf-8")]
# Protocols, errors and containers that a user receives rather than makes.
WITHOUT_EXAMPLE: set[str] = set()


def module_of(path: Path) -> str:
    return ".".join(path.relative_to(SOURCE).with_suffix("").parts).removesuffix(".__init__")


SLOW = {"heteroreg.study.study"}  # trains and evaluates in processes of their own


@pytest.mark.parametrize(
    "path",
    [
        pytest.param(path, id=module_of(path), marks=[pytest.mark.slow] * (module_of(path) in SLOW))
        for path in WITH_EXAMPLES
    ],
)
def test_the_examples_of_a_module_run(path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MPLBACKEND", "Agg")
    module = importlib.import_module(module_of(path))
    found = [test for test in doctest.DocTestFinder(exclude_empty=True).find(module) if test.examples]
    assert found, "the examples are where doctest does not find them"
    output: list[str] = []
    runner = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE)
    for test in found:
        runner.run(test, out=output.append)
    assert runner.failures == 0, "".join(output)


def test_every_public_name_has_an_example() -> None:
    public = {name: getattr(heteroreg, name) for name in heteroreg.__all__ if not name.startswith("__")}
    lacking = {
        name
        for name, value in public.items()
        if not inspect.ismodule(value) and not any(t.examples for t in doctest.DocTestFinder().find(value, name))
    }
    assert lacking <= WITHOUT_EXAMPLE
