"""A program of the package that answers questions in a process of its own."""

from __future__ import annotations

import atexit
import json
import os
import subprocess
import sys
import threading
from contextlib import suppress
from pathlib import Path
from typing import IO, Any, cast

from heteroreg.system.memory import start_thread


class ProgramError(Exception):
    """The program crashed, or took too long.

    Attributes:
        late: It took too long.
    """

    def __init__(self, *, late: bool) -> None:
        super().__init__("took too long" if late else "crashed")
        self.late = late


class Program:
    """A program that starts with the first question and serves all others.

    A question is a line of JSON. So is an answer; as many bytes follow it as its entry `length` says. The process
    has no stderr, and ends with this one.

    Attributes:
        path: The file of the program.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._process: subprocess.Popen[bytes] | None = None
        self._owner = 0  # the process that started it: after a fork the child starts its own
        self._lock = threading.Lock()
        if hasattr(os, "register_at_fork"):
            os.register_at_fork(after_in_child=self._after_fork)

    def ask(self, question: dict[str, Any], seconds: float) -> tuple[dict[str, Any], bytearray]:
        """Return the answer to a question, and the bytes that follow it.

        Raises:
            ProgramError: It crashed or took longer than `seconds`; the next question starts it again.
        """
        with self._lock:
            served = self._process is not None
            try:
                return self._answer(question, seconds)
            except ProgramError as error:
                if error.late or not served:
                    raise
                # An earlier question may have done the damage, so this one gets a fresh process.
                return self._answer(question, seconds)

    def _answer(self, question: dict[str, Any], seconds: float) -> tuple[dict[str, Any], bytearray]:
        process = self._running()
        late = threading.Event()
        timer = threading.Timer(seconds, _kill, (process, late))
        timer.daemon = True
        start_thread(timer)
        try:
            return _exchange(process, question)
        except (OSError, EOFError, ValueError):
            self.stop()
            raise ProgramError(late=late.is_set()) from None
        finally:
            timer.cancel()

    def stop(self) -> None:
        """End the process, if this one started it."""
        if self._process is not None and self._owner == os.getpid():
            self._process.kill()
            self._process.wait()
            for stream in (self._process.stdin, self._process.stdout):
                if stream is not None:
                    with suppress(OSError):  # a half-written question has no reader any more
                        stream.close()
        self._process = None

    def _running(self) -> subprocess.Popen[bytes]:
        """Return the process, started if necessary."""
        if self._process is None or self._owner != os.getpid() or self._process.poll() is not None:
            self.stop()
            self._process = subprocess.Popen(  # noqa: S603 - a file of the package
                [sys.executable, "-P", str(self.path)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
            )
            if self._owner != os.getpid():
                atexit.register(self.stop)
            self._owner = os.getpid()
        return self._process

    def _after_fork(self) -> None:
        """Give a forked child a lock that nobody holds: the thread that held its copy runs in the parent alone."""
        self._lock, self._process = threading.Lock(), None


def _exchange(process: subprocess.Popen[bytes], question: dict[str, Any]) -> tuple[dict[str, Any], bytearray]:
    """Send one line, receive one line and the bytes that follow it."""
    writer, reader = cast("IO[bytes]", process.stdin), cast("IO[bytes]", process.stdout)
    writer.write(json.dumps(question).encode() + b"\n")
    writer.flush()
    answer = json.loads(reader.readline() or b"no answer")
    content = bytearray(answer.get("length", 0))
    view, done = memoryview(content), 0
    while done < len(content):
        count = reader.readinto(view[done:])  # type: ignore[attr-defined]
        if not count:
            raise EOFError
        done += count
    return answer, content


def _kill(process: subprocess.Popen[bytes], late: threading.Event) -> None:
    late.set()
    process.kill()
