"""From the names of arguments to those of options."""

from __future__ import annotations

import pytest
import typer.main

from heteroreg.cli.app import app
from heteroreg.cli.options import in_options, options_of

OPTIONS = {"samples": "--samples", "resume": "--resume", "refine": "--refine", "model": "--model", "out": "OUT"}


@pytest.mark.parametrize(
    ("message", "argument", "shown"),
    [
        ("samples: must be 2 or more", "samples", "--samples: must be 2 or more"),
        ("samples 1: must be 2 or more", "samples", "--samples 1: must be 2 or more"),
        ("samples_of_mine.csv: is damaged", "samples", "samples_of_mine.csv: is damaged"),
        ("samples.csv: is damaged", None, "samples.csv: is damaged"),
        ("a: exists; give `resume=True`", None, "a: exists; give --resume"),
        ("a: needs `refine=0` and `samples`", None, "a: needs --refine 0 and --samples"),
        ("a: `unknown` and `train` stay", None, "a: `unknown` and `train` stay"),
        ("width: must be 1", "width", "width: must be 1"),
    ],
)
def test_arguments_become_options(message: str, argument: str | None, shown: str) -> None:
    assert in_options(message, argument, OPTIONS) == shown


def test_each_command_has_its_own_options() -> None:
    commands = typer.main.get_command(app).commands  # type: ignore[attr-defined]
    train, push, study = (options_of(commands[name].params) for name in ("train", "push", "study"))
    assert train["cohort"] == "COHORT"
    assert push["licence"] == "--license"
    assert study["cohorts"] == study["cohort"] == "--cohort"
    assert options_of(commands["evaluate"].params)["registrar"] == "--model"
    assert all("--quiet" in options_of(one.params).values() for one in commands.values())
