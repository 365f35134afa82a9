"""Options that several commands share, and the names that the library's arguments have on the command line."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import wraps
from inspect import Parameter, signature
from pathlib import Path
from typing import Annotated, Any

import typer

from heteroreg.cli import completion
from heteroreg.data.io.reading import NIFTI_FRAMES, parse_spacing, reading
from heteroreg.data.samples.intensity import ALIGNMENTS
from heteroreg.system.paths import require_utf8
from heteroreg.system.progress import showing

# Arguments of the library that a command calls otherwise. All others have the option's own name.
RENAMED = {"what": "model", "registrar": "model", "cohorts": "cohort"}

Out = Annotated[Path, typer.Option("--out", help="Folder to write.")]
CohortPath = Annotated[Path, typer.Argument(metavar="COHORT", help="pairs.csv, or the folder that holds it.")]
Confine = Annotated[
    bool, typer.Option("--confine", help="Do not trust COHORT: it may only name files in its own folder.")
]
Model = Annotated[
    str,
    typer.Option(
        help="Folder of a run, `phantom` (the bundled model of the dimension), `elastix` or `undeformed`.",
        autocompletion=completion.model,
    ),
]
Threads = Annotated[int | None, typer.Option(min=1, help="Threads of elastix for one pair; 1 by default.")]
OwnMethod = Annotated[
    str | None,
    typer.Option("--method", help="package.module:name, if the run was trained with a method of your own."),
]
OwnNetwork = Annotated[
    str | None,
    typer.Option("--network", help="package.module:name, if the run was trained with a network of your own."),
]
Initial = Annotated[
    str | None,
    typer.Option(
        metavar="FILE|HOW",
        help=f"Initial alignment: an affine ITK transform, or {', '.join(ALIGNMENTS)}.",
        autocompletion=completion.choice(*ALIGNMENTS),
    ),
]
CalibrationFolder = Annotated[
    str | None,
    typer.Option(
        "--calibration",
        metavar="DIR",
        help="A calibration of the model, by default the one that comes with it; `none` is faster.",
    ),
]
LabelNames = Annotated[
    str | None,
    typer.Option(
        metavar="1=LV,…", help="Names of labels, for tables and screen; by default labels.json beside the cohort."
    ),
]
Refine = Annotated[int, typer.Option(min=0, help="Steps of instance optimisation for each pair.")]


@dataclass
class Session:
    """State of one call of the command line.

    Attributes:
        verbose: Show the traceback of an error.
    """

    verbose: bool = False


def _be_quiet(context: typer.Context, value: bool) -> None:
    if value:
        context.with_resource(showing(False))


def _be_verbose(context: typer.Context, value: bool) -> None:
    session = context.find_object(Session)
    if session is not None:
        session.verbose |= value


FOR_ALL = {
    "quiet": typer.Option("--quiet", help="Print errors only.", callback=_be_quiet),
    "verbose": typer.Option("--verbose", "-v", help="Show the traceback of an error.", callback=_be_verbose),
}


def _read_frame(context: typer.Context, value: str | None) -> str | None:
    if value is not None:
        _read(context, nifti_frame=value)
    return value


def _read_labels_like(context: typer.Context, value: bool) -> bool:
    if value:
        _read(context, labels_like_image=True)
    return value


def _read_spacing(context: typer.Context, value: str | None) -> str | None:
    if value is not None:
        _read(context, spacing=parse_spacing(value))
    return value


def _read(context: typer.Context, **choice: Any) -> None:
    context.with_resource(reading(**choice))


# Options of the commands that read images, see `heteroreg.data.io.reading`.
FOR_READING: dict[str, tuple[Any, Any]] = {
    "nifti_frame": (
        str | None,
        typer.Option(
            "--nifti-frame",
            help="Where a NIfTI file has two positions: qform or sform.",
            callback=_read_frame,
            autocompletion=completion.choice(*NIFTI_FRAMES),
        ),
    ),
    "labels_like_image": (
        bool,
        typer.Option(
            "--labels-like-image",
            help="Label maps of their image's size get its place in space.",
            callback=_read_labels_like,
        ),
    ),
    "spacing": (
        str | None,
        typer.Option(
            "--spacing", metavar="MM", help="Voxel size of files that declare none: 0.3, or 1.5,1.5,8.",
            callback=_read_spacing,
        ),
    ),
}  # fmt: skip


def command(
    app: typer.Typer, name: str | None = None, *, reads: bool = False
) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Return a decorator that makes a function a command of `app`, with the options that all commands have.

    Args:
        app: The program.
        name: Name of the command; that of the function by default.
        reads: True for a command that reads images, which gets the options for that.
    """

    def add(function: Callable[..., None]) -> Callable[..., None]:
        @wraps(function)
        def run(**given: Any) -> None:
            for value in given.values():
                require_utf8(*(value if isinstance(value, list) else [value]))
            function(**{key: value for key, value in given.items() if key not in {*FOR_ALL, *FOR_READING}})

        own = signature(function, eval_str=True)
        added = [
            Parameter(key, Parameter.KEYWORD_ONLY, default=False, annotation=Annotated[bool, option])
            for key, option in FOR_ALL.items()
        ]
        for key, (kind, option) in FOR_READING.items() if reads else ():
            default = False if kind is bool else None
            added.insert(
                0, Parameter(key, Parameter.KEYWORD_ONLY, default=default, annotation=Annotated[kind, option])
            )
        parameters = [*own.parameters.values(), *added]
        vars(run)["__signature__"] = own.replace(parameters=parameters)  # Typer reads it
        app.command(name=name)(run)
        return function

    return add


def options_of(parameters: list[Any]) -> dict[str, str]:
    """Return what a user types for each argument of a command: the option, or the name of a positional argument.

    Args:
        parameters: Parameters of the command, as Typer has them.
    """
    found = {}
    for one in parameters:
        positional = one.param_type_name == "argument"
        found[one.name] = (one.metavar or one.name.upper()) if positional else max(one.opts, key=len)
    return found | {name: found[other] for name, other in RENAMED.items() if other in found}


def in_options(message: str, argument: str | None, options: Mapping[str, str]) -> str:
    """Return an error message of the library with the command's options in place of arguments.

    The argument that begins the message is replaced (`samples: …` becomes `--samples: …`), and so is each argument
    in backticks (`resume=True` becomes --resume, `refine=0` becomes --refine 0).

    Args:
        message: The message.
        argument: The argument that it begins with, if it is about one.
        options: What to write for each argument; names that are not in it stay.
    """
    if argument is not None and argument in options and re.match(rf"{argument}\b", message):
        message = options[argument] + message[len(argument) :]

    def replace(found: re.Match[str]) -> str:
        name, value = found["name"], found["value"]
        if name not in options:
            return found[0]
        return options[name] if value in (None, "True") else f"{options[name]} {value}"

    return re.sub(r"`(?P<name>\w+)(=(?P<value>[^`]*))?`", replace, message)
