"""Exceptions that the command line prints as one line."""

from __future__ import annotations

LONGEST_MESSAGE = 1500  # characters: a longer message quotes a damaged file


def one_line(text: str) -> str:
    """Return a text as one printable line; control characters, which could steer a terminal, become escapes."""
    line = " ".join(text.split())
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in line)


class UserError(Exception):
    """A mistake outside the program that the user can correct.

    The message is one line: it names the file or argument, says what is wrong, and what to do. The command line
    prints it without a traceback and exits with 2; Python callers may catch it.

    A message about an argument begins with its name, and names others in backticks:
    ``UserError("samples: needs `refine=0`", argument="samples")``. The command line shows its options in their
    place.

    Messages quote names and cells from files, so control characters are escaped and the middle of a very long
    message is left out.

    Attributes:
        argument: Name of the Python argument that is wrong; None if the message is about something else.
        elsewhere: True if another process of the same work reports this error; this one then ends silently.

    Examples:
        >>> import heteroreg as hr
        >>> try:
        ...     hr.load("elastics")
        ... except hr.UserError as error:
        ...     print(error)
        elastics: is not the folder of a run (no config.yaml); did you mean elastix?
    """

    def __init__(self, message: str, *, elsewhere: bool = False, argument: str | None = None) -> None:
        if len(message) > 20 * LONGEST_MESSAGE:  # a quoted cell may have megabytes
            message = message[: 10 * LONGEST_MESSAGE] + message[-10 * LONGEST_MESSAGE :]
        line = one_line(message)
        if len(line) > LONGEST_MESSAGE:
            line = f"{line[: LONGEST_MESSAGE * 2 // 3]} … {line[-LONGEST_MESSAGE // 3 :]}"
        super().__init__(line)
        self.argument = argument
        self.elsewhere = elsewhere


class StoppedError(Exception):
    """A training was asked to stop by a signal, and has saved itself.

    The command line prints the message and exits with 128 + the signal's number, as usual after a signal.

    Attributes:
        signal: Number of the signal.
        elsewhere: As in `UserError`.
    """

    def __init__(self, message: str, signal: int, *, elsewhere: bool = False) -> None:
        super().__init__(message)
        self.signal = signal
        self.elsewhere = elsewhere
