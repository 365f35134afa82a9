"""A command of heteroreg as the child of a study: `python -m heteroreg.study.child train …`.

The study holds the other end of the child's stdin. When that is closed, because the study has ended however
abruptly, the child asks itself to stop, as a scheduler would: a training saves itself and leaves.
"""

from __future__ import annotations

import os
import signal
import sys
import threading


def _watch() -> None:
    while os.read(sys.stdin.fileno(), 1024):
        pass
    os.kill(os.getpid(), signal.SIGTERM)


if __name__ == "__main__":
    threading.Thread(target=_watch, daemon=True).start()
    from heteroreg.cli.app import main

    main()
