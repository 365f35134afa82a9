"""The one exception that a user's mistake raises, so that the command can tell it from a bug of ours."""

from __future__ import annotations


class UserError(Exception):
    """Something outside the program is wrong and the user can mend it.

    The message is one line: it names the file or option, says what is wrong, and what to do. The command
    prints it without a traceback and exits with 2; a Python caller may catch it.

    Attributes:
        elsewhere: The same error is told by another process of the same work; this one ends silently.
    """

    def __init__(self, message: str, elsewhere: bool = False) -> None:
        super().__init__(" ".join(message.split()))
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
