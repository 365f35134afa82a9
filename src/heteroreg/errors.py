"""The one exception that a user's mistake raises, so that the command can tell it from a bug of ours."""

from __future__ import annotations


class UserError(Exception):
    """Something outside the program is wrong and the user can mend it.

    The message is one line: it names the file or option, says what is wrong, and what to do. The command
    prints it without a traceback and exits with 2; a Python caller may catch it.
    """

    def __init__(self, message: str) -> None:
        super().__init__(" ".join(message.split()))
