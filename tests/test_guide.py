"""The readme and the guide: their commands, settings and code are those of the program."""

from __future__ import annotations

import importlib.util
import re
import shlex
from pathlib import Path
from types import ModuleType

import pytest
import typer
import yaml

import heteroreg
from heteroreg import losses, networks
from heteroreg.cli.app import app
from heteroreg.evaluation.metrics import is_metric
from heteroreg.methods import METHODS
from heteroreg.training import Config

ROOT = Path(__file__).parents[1]
PAGES = [
    ROOT / "README.md",
    ROOT / "CONTRIBUTING.md",
    *sorted((ROOT / "docs").glob("*.md")),
    *sorted((ROOT / "benchmarks").glob("*.md")),
]
COMMANDS = typer.main.get_command(app).commands


def blocks(page: Path, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", page.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)


def command_lines() -> list[tuple[str, str]]:
    """Every line of a shell block that calls heteroreg, with the page that it is on.

    What extend.md calls exists only after its changes; test_extend.py runs all of it.
    """
    found = []
    for page in PAGES:
        if page.name == "extend.md":
            continue
        for block in blocks(page, "bash"):
            lines = block.replace("\\\n", " ").splitlines()
            found += [(page.name, line.strip()) for line in lines if line.strip().startswith("heteroreg ")]
    return found


@pytest.mark.parametrize(("page", "line"), command_lines())
def test_a_command_of_the_guide_is_understood(page: str, line: str) -> None:
    name, *arguments = shlex.split(line, comments=True)[1:]
    context = COMMANDS[name].make_context(name, arguments)  # parses, and complains of what it does not know
    method = context.params.get("method")
    assert method is None or method in METHODS or method.startswith("$"), page
    for setting in context.params.get("set_") or []:
        key, _, value = setting.partition("=")
        assert key in Config.model_fields, page
        if "$" not in value:
            Config.build({key: yaml.safe_load(value)})


def test_the_guide_has_commands() -> None:
    assert len(command_lines()) > 20


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_the_code_of_the_guide_compiles(page: Path) -> None:
    for number, block in enumerate(blocks(page, "python")):
        compile(block, f"{page.name}[{number}]", "exec")


def test_the_settings_as_published_are_settings() -> None:
    (text,) = blocks(ROOT / "docs" / "settings.md", "yaml")
    config = Config.build(yaml.safe_load(text))
    assert config.method == "hetero-paper"
    assert config.learning_rate == 1e-4
    assert (config.steps, config.warm_start) == (150 * 100, pytest.approx(10 / 150, abs=1e-4))


def test_the_table_of_settings_is_that_of_the_configuration() -> None:
    spec = importlib.util.spec_from_file_location("settings_table", ROOT / "docs" / "settings_table.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    written = module.PAGE.read_text(encoding="utf-8")
    assert written == module.page(), "run: python docs/settings_table.py"
    assert "| `smoothness` | 0.01 |" in written


def test_every_method_is_in_the_readme() -> None:
    table = re.findall(r"^\| `([\w-]+)` \|", (ROOT / "README.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert table == list(METHODS)


@pytest.mark.parametrize("module", [heteroreg, losses, networks], ids=lambda module: module.__name__)
def test_every_public_name_is_in_the_reference(module: ModuleType) -> None:
    text = (ROOT / "docs" / "reference.md").read_text(encoding="utf-8")
    listed = set(re.findall(r"::\s+([\w.]+)$", text, re.MULTILINE))
    names = {f"{module.__name__}.{name}" for name in module.__all__ if not name.startswith("__")}
    assert names - listed - {"heteroreg.losses", "heteroreg.networks"} == set()


def test_the_metrics_of_the_guide_exist() -> None:
    text = (ROOT / "docs" / "evaluation.md").read_text(encoding="utf-8")
    cells = re.findall(r"^\| (`[^|]+`) \|", text, re.MULTILINE)
    names = {name.replace("<label>", "2") for cell in cells for name in re.findall(r"`(\w[\w<>]*)`", cell)}
    assert {"dice_2", "coverage_50", "epe_2", "noise_ratio"} <= names
    assert {name for name in names if not is_metric(name)} == set()
