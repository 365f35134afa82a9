"""The one exception that a user's mistake raises, so that the command can tell it from a bug of ours."""

from __future__ import annotations

LONGEST = 1500  # characters: what is longer is a damaged file quoted at length


def one_line(text: str) -> str:
    """A text on one line that can be printed: what would steer a terminal is written as escapes."""
    line = " ".join(text.split())
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in line)


class UserError(Exception):
    """Something outside the program is wrong and the user can mend it.

    The message is one line: it names the file or option, says what is wrong, and what to do. The command
    prints it without a traceback and exits with 2; a Python caller may catch it.

    Messages quote names and cells from files. Whatever those hold, the line can be printed: characters that
    would steer a terminal are written as escapes, and the middle of a very long message is left out.

    Attributes:
        elsewhere: The same error is told by another process of the same work; this one ends silently.
    """

    def __init__(self, message: str, elsewhere: bool = False) -> None:
        if len(message) > 20 * LONGEST:  # what is quoted may be megabytes
            message = message[: 10 * LONGEST] + message[-10 * LONGEST :]
        line = one_line(message)
        if len(line) > LONGEST:
            line = f"{line[: LONGEST * 2 // 3]} … {line[-LONGEST // 3 :]}"
        super().__init__(line)
        self.elsewhere = elsewhere


class StoppedError(Exception):
    """A training was asked to stop by a signal, and has saved itself.

    The command prints the message and exits with 128 + the signal's number, as a program that a signal ends
    does.

    Attributes:
        signal: The number of the signal.
        elsewhere: As in `UserError`.
    """

    def __init__(self, message: str, signal: int, elsewhere: bool = False) -> None:
        super().__init__(message)
        self.signal = signal
        self.elsewhere = elsewhere
