"""The demo: from nothing to a page, against a known truth."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

from heteroreg._version import __version__
from heteroreg.data.cohort import Cohort
from heteroreg.data.phantom import write_phantom
from heteroreg.evaluation import evaluate
from heteroreg.report import write_report
from heteroreg.system.errors import StoppedError
from heteroreg.system.files import require_free, write_text
from heteroreg.system.progress import showing
from heteroreg.training import train

DEMO_METHODS = ("mse", "hetero")
DEMO_PARTS = ("cohort", "runs", "scores", "report")
DEMO_TITLE = "heteroreg demo: a phantom of known motion and noise"
SHORT = " (quick: trained far too little for its numbers to mean anything)"
DEMO_MARKER = "demo.json"  # says that the folder is ours to replace


def run_demo(out: Path, *, quick: bool = False, show: bool = True) -> Path:
    """Make a phantom cohort, trains `mse` and `hetero` on it, evaluates both, and compares them.

    The phantom's hearts have noise that depends on place and signal, and one-sided artefacts; its motion and
    its noise are known, so that the page shows errors against the truth. Everything is a step that the
    commands do too: `phantom`, `train`, `evaluate`, `compare`.

    Args:
        out: The folder to write: `cohort`, `runs`, `scores`, `report`. An earlier demo in it is replaced.
        quick: A few small pairs and steps: the page comes within half a minute, and says that its figures mean
            nothing.
        show: Show progress.

    Returns:
        The page.

    Raises:
        UserError: `out` exists and holds something else.
        StoppedError: SIGTERM or Ctrl-C asked for it while a training went on.
    """
    out = Path(out)
    require_free(out, DEMO_MARKER)
    for part in DEMO_PARTS:
        shutil.rmtree(out / part, ignore_errors=True)
    write_text(out / DEMO_MARKER, json.dumps({"kind": "demo", "version": __version__}) + "\n")
    pairs, steps, size = (10, 30, 64) if quick else (120, 800, 96)
    with showing(show):
        return _make(out, pairs, steps, size, DEMO_TITLE + (SHORT if quick else ""), show)


def _make(out: Path, pairs: int, steps: int, size: int, title: str, show: bool) -> Path:
    write_phantom(out / "cohort", pairs=pairs, size=size, artefacts=True)
    cohort = Cohort.read(out / "cohort")
    test = cohort.split("test")
    scores = [out / "scores" / "undeformed"]
    evaluate("undeformed", test, out=scores[0], show=show)
    for method in DEMO_METHODS:
        try:
            train(cohort, out / "runs" / method, method=method, steps=steps, show=show)
        except StoppedError as stopped:
            again = f"{out}: the demo was stopped; the same command begins it anew"
            raise StoppedError(again, stopped.signal) from None
        scores.append(out / "scores" / method)
        evaluate(out / "runs" / method, test, out=scores[-1], show=show)
    return write_report(
        scores,
        out / "report",
        baseline=out / "scores" / "mse",
        title=title,
    )
