"""A job of a study in a process of its own: `python -m heteroreg.study.child JOB [--held]`.

JOB is JSON. With `--held`, the study holds the other end of the child's stdin. When that is closed, because the
study has ended however abruptly, the child asks itself to stop, as a scheduler would: a training saves itself and
ends.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
from typing import Any

from heteroreg.system.exits import one_line_errors
from heteroreg.system.memory import start_thread
from heteroreg.system.signals import handled, interrupt
from heteroreg.system.streams import open_closed_streams


def run_job(kind: str, arguments: dict[str, Any]) -> None:
    """Run a job.

    Args:
        kind: `train` or `evaluate`.
        arguments: `cohort`, `confine`, `out` and `parts`, a user's own method and network; `config` for `train`,
            `model` and `split` for `evaluate`.
    """
    from heteroreg.data.cohort import Cohort

    cohort = Cohort.read(arguments["cohort"], confine=arguments.get("confine", False))
    if kind == "train":
        from heteroreg.training.loop import train

        train(
            cohort,
            arguments["out"],
            config=arguments["config"],
            resume=True,
            **arguments.get("parts", {}),
        )
    else:
        from heteroreg.evaluation import evaluate
        from heteroreg.registration.load import load

        registrar = load(arguments["model"], **arguments.get("parts", {}))
        evaluate(registrar, cohort.split(arguments["split"]), out=arguments["out"])


def main() -> None:
    """Run the job of the command line."""
    open_closed_streams()
    with one_line_errors(), handled(interrupt):
        if "--held" in sys.argv[2:]:
            start_thread(threading.Thread(target=_stop_with_the_study, daemon=True))
        run_job(**json.loads(sys.argv[1]))


def _stop_with_the_study() -> None:
    while os.read(sys.stdin.fileno(), 1024):
        pass
    os.kill(os.getpid(), signal.SIGTERM)


if __name__ == "__main__":
    main()
