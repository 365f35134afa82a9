"""Attempts at a training, through the command, in this process or in one of its own."""

from __future__ import annotations

import io
import multiprocessing
import os
import sys
import warnings
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from unittest.mock import patch

import torch
from moments import Fault, Seen, injected

from heteroreg.cli.app import main
from heteroreg.losses import MeanSquaredError
from heteroreg.methods import METHODS, Method

# A server forks the processes that are to be killed, so that PyTorch is imported once.
PROCESSES = multiprocessing.get_context("forkserver")
PROCESSES.set_forkserver_preload(["heteroreg.cli.app", "heteroreg.training.loop"])


class Drawing(MeanSquaredError):
    """Draws random numbers in every step, as dropout does."""

    def forward(self, moved, fixed, weighted=True):
        noise = 0.1 * torch.randn(fixed.shape) if self.training else 0
        return super().forward(moved, fixed + noise)


METHODS_TOO = {"drawing": Method("drawing", "", Drawing)}


@dataclass(frozen=True)
class Outcome:
    """How an attempt ended.

    Attributes:
        code: The exit code; the negative number of the signal that killed it.
        text: What it wrote to the standard error.
        seen: What it went through; empty for a process of its own.
    """

    code: int
    text: str
    seen: Seen


def command(cohort: str, out: Path, settings: dict[str, object], *more: str) -> list[str]:
    """The command that begins a run and goes on with it."""
    options = [f"--set={name}={value}" for name, value in settings.items()]
    return ["heteroreg", "train", cohort, "--out", str(out), "--resume", *options, *more]


def attempt(arguments: list[str], fault: Fault | None = None, *, cache: Path | None = None) -> Outcome:
    """Runs the command in this process, where a fault may hit it. The cache is beside the run by default."""
    cache = cache or Path(arguments[arguments.index("--out") + 1]).with_name("cache")
    output, errors, code = io.StringIO(), io.StringIO(), 0
    seen = Seen()
    with (
        patch.object(sys, "argv", arguments),
        patch.dict(os.environ, {"HETEROREG_CACHE": str(cache)}),
        warnings.catch_warnings(),
        patch.dict(METHODS, METHODS_TOO),
        redirect_stdout(output),
        redirect_stderr(errors),
    ):
        warnings.simplefilter("default")  # as for a user: shown, no errors
        try:
            with injected(fault) as seen:
                main()
        except SystemExit as stop:
            code = int(stop.code or 0)
    assert output.getvalue() == "" or "--quiet" not in arguments
    return Outcome(code, errors.getvalue(), seen)


def start_apart(arguments: list[str], errors: Path, fault: Fault | None = None):
    """Starts the command in a process of its own."""
    process = PROCESSES.Process(target=_apart, args=(arguments, errors, fault), daemon=True)
    process.start()
    return process


def end_apart(process, errors: Path) -> Outcome:
    """Waits for such a process."""
    process.join(120)
    assert process.exitcode is not None, "it hangs"
    return Outcome(process.exitcode, errors.read_text() if errors.exists() else "", Seen())


def _apart(arguments: list[str], errors: Path, fault: Fault | None) -> None:
    torch.set_num_threads(1)
    outcome = attempt(arguments, fault)
    errors.write_text(outcome.text)
    raise SystemExit(outcome.code)
