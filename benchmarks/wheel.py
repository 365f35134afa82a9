"""Check the built packages as a user gets them: `python -m benchmarks.wheel`.

Builds the sdist, and from it the wheel; installs the wheel into an empty environment; asks pip whether all fits;
runs `heteroreg demo --quick` there. It ends with an error where a step fails, else with the seconds of each.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import subprocess
import sys
import sysconfig
import tarfile
import tempfile
import time
import zipfile
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).parents[1]
DEMO = ("report/index.html", "report/table.csv", "runs/hetero/checkpoints/last/state.json", "scores/mse/scores.csv")


def main(arguments: Sequence[str] | None = None) -> None:
    """Builds, installs and tries the packages."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.wheel", description=__doc__)
    parser.add_argument("--python", default=sys.executable, help="the interpreter of the empty environment")
    parser.add_argument("--constraints", default=str(ROOT / "constraints.txt"), help="for pip; '' for none")
    parser.add_argument(
        "--lean", action="store_true", help="take the dependencies of this interpreter in place of fresh ones"
    )
    chosen = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as name:
        for what, seconds in try_out(Path(name), chosen.python, chosen.constraints, lean=chosen.lean):
            print(f"{what:48} {seconds:6.0f} s", flush=True)


def try_out(folder: Path, python: str, constraints: str, *, lean: bool) -> list[tuple[str, float]]:
    """The completed steps with their seconds.

    Args:
        folder: An empty one to work in.
        python: The interpreter of the empty environment.
        constraints: A file of pinned versions for pip, or nothing.
        lean: Let the environment see the packages of this interpreter, which saves installing PyTorch, and build
            one wheel alone. What the metadata lacks is then not noticed.

    Raises:
        subprocess.CalledProcessError: A step failed.
        SystemExit: A package is not what it should be.
    """
    clock = _Clock()
    # Without --wheel and --sdist the wheel is made from the sdist, as those who build from PyPI do.
    build = [sys.executable, "-m", "build", str(ROOT), "--outdir"]
    run([*build, str(folder / "dist")])
    (wheel,), (sdist,) = (list((folder / "dist").glob(pattern)) for pattern in ("*.whl", "*.tar.gz"))
    clock.done("sdist, and the wheel from it")

    if not lean:
        run([*build, str(folder / "direct"), "--wheel"])
        (direct,) = (folder / "direct").glob("*.whl")
        if contents(wheel) != contents(direct):
            raise SystemExit("the wheel from the sdist is not that from the checkout")
        clock.done(f"the same wheel from the checkout, {len(contents(wheel))} files")

    with tarfile.open(sdist) as archive:
        names = {Path(name).parts[1] for name in archive.getnames() if len(Path(name).parts) > 1}
    missing = {"src", "tests", "docs", "README.md", "LICENSE", "CITATION.cff", "constraints.txt"} - names
    if missing:
        raise SystemExit(f"the sdist lacks {', '.join(sorted(missing))}")

    run([python, "-m", "venv", str(folder / "venv")])
    place = folder / "venv" / ("Scripts" if os.name == "nt" else "bin")
    pins = ["-c", constraints] if constraints else []
    pip = [str(place / "python"), "-m", "pip", "--disable-pip-version-check"]
    run([*pip, "install", "--quiet", *(["--no-deps"] if lean else pins), str(wheel)])
    if lean:
        ours, packages = "import sysconfig; print(sysconfig.get_path('purelib'))", sysconfig.get_path("purelib")
        site = subprocess.run([str(place / "python"), "-c", ours], check=True, capture_output=True, text=True)  # noqa: S603
        (Path(site.stdout.strip()) / "lean.pth").write_text(packages + "\n", encoding="utf-8")
    clock.done(f"installed {'beside our dependencies' if lean else 'into an empty environment'}")

    if not lean:
        run([*pip, "check"])
    # From a folder of its own: nothing of the checkout may be found.
    run([str(place / "heteroreg"), "demo", "--quick", "--quiet", "--out", "demo"], folder)
    lacking = [name for name in DEMO if not (folder / "demo" / name).is_file()]
    if lacking:
        raise SystemExit(f"the demo has left no {', '.join(lacking)}")
    clock.done("heteroreg demo --quick" if lean else "pip check, heteroreg demo --quick")
    return clock.steps


def contents(wheel: Path) -> dict[str, str]:
    """Return the files of a wheel with digests of their content."""
    with zipfile.ZipFile(wheel) as archive:
        return {name: hashlib.sha256(archive.read(name)).hexdigest() for name in archive.namelist()}


class _Clock:
    """Stopwatch of consecutive steps."""

    def __init__(self) -> None:
        self.steps: list[tuple[str, float]] = []
        self._began = time.monotonic()

    def done(self, what: str) -> None:
        """A step is over, and the next begins."""
        now = time.monotonic()
        self.steps.append((what, now - self._began))
        self._began = now


def run(command: list[str], folder: Path | None = None) -> None:
    """Run a command without the modules of PYTHONPATH; what it prints goes to stderr.

    Raises:
        subprocess.CalledProcessError: It failed.
    """
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    subprocess.run(command, check=True, cwd=folder, env=environment, stdout=sys.stderr)  # noqa: S603


if __name__ == "__main__":
    main()
