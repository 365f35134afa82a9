"""Try the lowest versions that heteroreg allows: `python -m benchmarks.lowest`.

Installs heteroreg into an empty environment with the lower bound of each dependency in pyproject.toml, asks pip
whether all fit, and runs the demo, a registration, a conversion and a check. PyTorch is an exception: its old
wheels hold gigabytes of CUDA, so `--torch` names its version, by default the tested one.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import tomllib
from collections.abc import Sequence
from pathlib import Path

from packaging.requirements import Requirement

from benchmarks.wheel import ROOT, run

EXTRAS = ("dicom", "hub")  # those that the main path uses


def main(arguments: Sequence[str] | None = None) -> None:
    """Install and try."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.lowest", description=__doc__)
    parser.add_argument("--python", default=sys.executable, help="the interpreter of the environment")
    parser.add_argument("--torch", default=tested("torch"), help="version of PyTorch")
    chosen = parser.parse_args(arguments)
    pins = [*lowest(), f"torch=={chosen.torch}"]
    print(" ".join(pins), flush=True)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        run([chosen.python, "-m", "venv", str(folder / "venv")])
        python = str(folder / "venv" / "bin" / "python")
        pip = [python, "-m", "pip", "--disable-pip-version-check"]
        run([*pip, "install", "--quiet", f"{ROOT}[{','.join(EXTRAS)}]", *pins])
        run([*pip, "check"])
        for command in main_path():
            print(f"heteroreg {' '.join(command)}", flush=True)
            run([python, "-P", "-m", "heteroreg", *command, "--quiet"], folder)
    print("all is well with the lowest versions")


def lowest() -> list[str]:
    """Return a pin for the lower bound of each dependency, but for PyTorch's."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    wanted = [
        *project["dependencies"],
        *(line for extra in EXTRAS for line in project["optional-dependencies"][extra]),
    ]
    pins = []
    for requirement in map(Requirement, wanted):
        (bound,) = [specifier.version for specifier in requirement.specifier if specifier.operator == ">="]
        if requirement.name != "torch":
            pins.append(f"{requirement.name}=={bound}")
    return pins


def tested(name: str) -> str:
    """Return the version of a package in constraints.txt."""
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    return next(line.split("==")[1] for line in lines if line.startswith(f"{name}=="))


def main_path() -> list[list[str]]:
    """Return the commands, of which later ones use what earlier ones wrote."""
    pair = ["demo/cohort/phantom001_moving.nii.gz", "demo/cohort/phantom001_fixed.nii.gz"]
    return [
        ["demo", "--quick", "--out", "demo"],
        ["check", "demo/cohort"],
        ["register", *pair, "--out", "registered"],
        ["register", "demo/cohort", "--model", "demo/runs/hetero", "--out", "all"],
        ["convert", "registered/displacement.nii.gz", "--out", "displacement.h5"],
        ["push", "demo/runs/hetero", "./shared"],
    ]


if __name__ == "__main__":
    main()
