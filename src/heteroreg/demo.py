"""The demo: from nothing to a page, against a known truth."""

from __future__ import annotations

from pathlib import Path

from heteroreg.data.cohort import Cohort
from heteroreg.data.phantom import write_phantom
from heteroreg.evaluation import evaluate
from heteroreg.report import write_report
from heteroreg.system.errors import StoppedError, UserError
from heteroreg.system.files import write_text
from heteroreg.system.outputs import growing_folder, require_growing, require_output
from heteroreg.system.progress import showing
from heteroreg.training import train

DEMO_METHODS = ("mse", "hetero")
DEMO_TITLE = "heteroreg demo: a phantom of known motion and noise"
SHORT = " (quick: trained far too little for its numbers to mean anything)"
SIZE_FILE = "size.txt"


def run_demo(out: Path, *, quick: bool = False, show: bool = True) -> Path:
    """Make a phantom cohort, train `mse` and `hetero` on it, evaluate both, and compare them.

    The phantom's hearts have one-sided artefacts and noise that depends on place and signal. Motion and noise are
    known, so that the page shows errors against the truth. Each step is also a command: `phantom`, `train`,
    `evaluate`, `compare`.

    Args:
        out: The folder to write: `cohort`, `runs`, `scores`, `report`. A demo that was stopped goes on there; a
            finished one is scored again.
        quick: Use few small pairs and few steps: the page is ready within half a minute, and its numbers mean
            nothing.
        show: Show progress.

    Returns:
        The page.

    Raises:
        UserError: `out` holds something else, or a demo of another size.
        StoppedError: SIGTERM or Ctrl-C asked for it during a training.
    """
    out = Path(out)
    pairs, steps, size = (10, 30, 64) if quick else (120, 800, 96)
    with growing_folder(out, "demo"), showing(show):
        _require_own_parts(out)
        _require_same_size(out / SIZE_FILE, "quick" if quick else "full")
        return _make(out, pairs, steps, size, DEMO_TITLE + (SHORT if quick else ""), show)


def _require_same_size(file: Path, size: str) -> None:
    if file.is_file() and file.read_text(encoding="utf-8").strip() != size:
        raise UserError(f"quick: {file.parent} holds a demo of another size; name another folder", argument="quick")
    write_text(file, size + "\n")


def _require_own_parts(out: Path) -> None:
    """Check before the work that nothing of the user's is where the demo writes."""
    require_output(out / "cohort", "cohort")
    for method in DEMO_METHODS:
        require_growing(out / "runs" / method, "run")
    for name in ("undeformed", *DEMO_METHODS):
        require_output(out / "scores" / name, "evaluation")
    require_output(out / "report", "comparison")


def _make(out: Path, pairs: int, steps: int, size: int, title: str, show: bool) -> Path:
    write_phantom(out / "cohort", pairs=pairs, size=size, artefacts=True)
    cohort = Cohort.read(out / "cohort")
    test = cohort.split("test")
    scores = [out / "scores" / "undeformed"]
    evaluate("undeformed", test, out=scores[0], show=show)
    for method in DEMO_METHODS:
        try:
            train(cohort, out / "runs" / method, method=method, steps=steps, resume=True, show=show)
        except StoppedError as stopped:
            again = f"{out}: the demo was stopped; the same command goes on with it"
            raise StoppedError(again, stopped.signal) from None
        scores.append(out / "scores" / method)
        evaluate(out / "runs" / method, test, out=scores[-1], show=show)
    return write_report(
        scores,
        out / "report",
        baseline=out / "scores" / "mse",
        title=title,
    )
