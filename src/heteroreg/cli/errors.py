"""Errors of the library in the words of the command line."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import typer
from typer.core import TyperGroup

from heteroreg.cli.options import in_options, options_of
from heteroreg.system.errors import StoppedError, UserError

# Typer exports one of the errors that it raises about options, and none of their bases.
UsageError: Any = typer.BadParameter.__base__


class Commands(TyperGroup):
    """The commands; errors of the library that one of them raises name its options."""

    def invoke(self, ctx: Any) -> Any:
        """Run a command.

        Raises:
            UserError: As the command raised it, with its options in place of the library's arguments.
            StoppedError: Likewise.
        """
        try:
            return super().invoke(ctx)
        except (UserError, StoppedError) as error:
            command = self.commands.get(ctx.invoked_subcommand or "")
            if command is not None:
                error.args = (in_options(str(error), getattr(error, "argument", None), options_of(command.params)),)
            raise


@contextmanager
def usage_errors() -> Iterator[None]:
    """Turn Typer's errors about options into the error that all mistakes are.

    Raises:
        UserError: An option is unknown, missing, or out of range.
    """
    try:
        yield
    except UsageError as error:
        parameter, context = getattr(error, "param", None), getattr(error, "ctx", None)
        if parameter is None:
            text = str(error.format_message())
            text = text[:1].lower() + text[1:]
        else:
            text = f"{options_of([parameter])[parameter.name]}: {error.message or 'is missing'}"
        where = context.command_path if context else "heteroreg"
        raise UserError(f"{text.rstrip('.?')}; see {where} --help") from None
