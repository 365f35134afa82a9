"""From an exception to one line on stderr and an exit code."""

from __future__ import annotations

import sys
import traceback
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import typer
from typer.core import TyperGroup

from heteroreg.cli.options import Session, in_options, options_of
from heteroreg.system.errors import StoppedError, UserError, one_line
from heteroreg.system.signals import Interruption

# Typer exports one of the errors that it raises about options, and none of their bases.
UsageError: Any = typer.BadParameter.__base__
MISTAKE = 2  # exit code of a user's mistake


class Commands(TyperGroup):
    """The commands; errors of the library that one of them raises name its options."""

    def invoke(self, ctx: Any) -> Any:
        """Run a command.

        Raises:
            UserError: As the command raised it, with its options in place of the library's arguments.
        """
        try:
            return super().invoke(ctx)
        except UserError as error:
            command = self.commands.get(ctx.invoked_subcommand or "")
            if command is not None:
                error.args = (in_options(str(error), error.argument, options_of(command.params)),)
            raise


@contextmanager
def one_line_errors(session: Session) -> Iterator[None]:
    """Print what ends the command as one line, and exit: with 2 for a mistake, with 128 + number for a signal.

    Raises:
        SystemExit: Where the block raised an error that the user can correct, or a signal ended it.
    """
    try:
        with _one_line_warnings():
            yield
    except UsageError as error:
        _exit(_usage(error), MISTAKE)
    except (UserError, OSError) as error:
        if getattr(error, "elsewhere", False):  # another process of the same work reports it
            raise SystemExit(0) from None
        if session.verbose:
            traceback.print_exc()
            raise SystemExit(MISTAKE) from None
        _exit(_line(error), MISTAKE)
    except StoppedError as stopped:
        if stopped.elsewhere:
            raise SystemExit(0) from None
        _exit(str(stopped), 128 + stopped.signal)
    except Interruption as interruption:
        _exit("interrupted", 128 + interruption.signal)


def _exit(line: str, code: int) -> None:
    print(f"heteroreg: {line}", file=sys.stderr)
    raise SystemExit(code) from None


def _line(error: Exception) -> str:
    if isinstance(error, OSError) and error.strerror:
        where = f"{error.filename}: " if error.filename else ""
        return f"{where}{error.strerror}; check the path, its permissions and the room on the disk"
    return str(error)


def _usage(error: Any) -> str:
    """Return what is wrong with the options, and where to look them up."""
    parameter, context = getattr(error, "param", None), getattr(error, "ctx", None)
    if parameter is None:
        text = str(error.format_message())
        text = text[:1].lower() + text[1:]
    else:
        name = options_of([parameter])[parameter.name]
        text = f"{name}: {error.message or 'is missing'}"
    return one_line(f"{text.rstrip('.?')}; see {context.command_path if context else 'heteroreg'} --help")


@contextmanager
def _one_line_warnings() -> Iterator[None]:
    before, warnings.showwarning = warnings.showwarning, _show_warning
    try:
        yield
    finally:
        warnings.showwarning = before


def _show_warning(message: Any, category: type[Warning], *_args: Any, **_kwargs: Any) -> None:
    if issubclass(category, UserWarning):
        print(f"heteroreg: warning: {message}", file=sys.stderr)
