"""Options, start and end that the commands of this package share."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import torch
import yaml

from benchmarks.machine import machine
from benchmarks.tables import paste, render
from heteroreg.system.files import write_text


def add_common(parser: argparse.ArgumentParser) -> None:
    """Add the options of every command."""
    parser.add_argument("--into", type=Path, help="a Markdown page: its marked tables are replaced by the new ones")
    parser.add_argument("--threads", type=int, help="of PyTorch; by default as many as it takes")
    parser.add_argument(
        "--set", action="append", default=[], metavar="KEY=VALUE", help="a setting of the training, as in `train`"
    )


def add_quick(parser: argparse.ArgumentParser, out: Path) -> None:
    """Add the options of the commands that measure speed and memory."""
    parser.add_argument("--out", type=Path, default=out, help=f"the figures as JSON (default: {out})")
    parser.add_argument("--quick", action="store_true", help="tiny sizes, in seconds: to see that it works")


def settings_of(options: argparse.Namespace) -> dict[str, Any]:
    """Return the settings given with `--set`."""
    settings = {}
    for text in options.set:
        key, equals, value = text.partition("=")
        if not equals:
            raise SystemExit(f"--set {text}: write it as key=value")
        settings[key] = yaml.safe_load(value)
    return settings


def begin(options: argparse.Namespace) -> dict[str, Any]:
    """Sets the number of threads; returns what every result begins with: the machine and the settings."""
    if options.threads:
        torch.set_num_threads(options.threads)
    quick = bool(getattr(options, "quick", False))
    return {"machine": machine(torch.get_num_threads()), "settings": settings_of(options), "quick": quick}


def finish(results: dict[str, Any], out: Path, into: Path | None) -> None:
    """Writes the JSON, prints the tables, puts them into a page."""
    write_text(out, json.dumps(results, indent=2) + "\n")
    tables = render(results)
    print("\n\n".join(tables.values()))
    print(f"\nwritten: {out}")
    if into:
        paste(tables, into)
        print(f"tables replaced in {into}")
