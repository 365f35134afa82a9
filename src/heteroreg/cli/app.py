"""The command line: each command is a few lines over the public functions."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast

import typer

from heteroreg._version import __version__
from heteroreg.cli import completion
from heteroreg.cli.errors import Commands, usage_errors
from heteroreg.cli.options import (
    CalibrationFolder,
    CohortPath,
    Confine,
    Initial,
    LabelNames,
    Model,
    Out,
    OwnMethod,
    OwnNetwork,
    Refine,
    Session,
    Threads,
    command,
)
from heteroreg.data.readers import reader_names
from heteroreg.data.samples.intensity import ALIGNMENTS
from heteroreg.system.errors import UserError, one_line
from heteroreg.system.exits import one_line_errors
from heteroreg.system.progress import is_shown, progress, showing
from heteroreg.system.signals import handled, interrupt
from heteroreg.system.streams import open_closed_streams, print_anything
from heteroreg.system.text import parse_yaml

if TYPE_CHECKING:
    from heteroreg.data.cohort import Cohort

DATA_SETS = tuple(reader_names())
LAYOUT_NAMES = ("pairs", "acdc", "camus", "mnms")
NOISE_NAMES = ("gaussian", "rician", "speckle")

app = typer.Typer(
    cls=Commands,
    help="Deformable registration of medical images in 2D and 3D, with a map of the noise.",
    epilog="Begin with `heteroreg demo`: it needs no data.",
    rich_markup_mode="markdown",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


@app.callback(invoke_without_command=True)
def _root(
    context: typer.Context,
    version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False,
) -> None:
    if version:
        print(__version__)
    elif context.invoked_subcommand is None:
        print(context.get_help())


@command(app)
def demo(
    out: Out = Path("demo"),
    quick: Annotated[
        bool, typer.Option("--quick", help="Take half a minute; the numbers then mean nothing.")
    ] = False,
) -> None:
    """Make a phantom with known motion and noise, train `mse` and `hetero` on it, and compare them.

    Example: `heteroreg demo --out demo`, then open `demo/report/index.html`.
    """
    from heteroreg.demo import run_demo

    page = run_demo(out, quick=quick, show=is_shown())
    if quick:
        say("this was a quick one: do not judge the methods by its numbers")
    say(f"look at {page}")


@command(app)
def phantom(
    context: typer.Context,
    out: Annotated[Path, typer.Argument(metavar="OUT", help="Folder to write.")],
    pairs: Annotated[int, typer.Option(min=1, help="Number of pairs.")] = 24,
    dims: Annotated[int, typer.Option(min=2, max=3, help="2 or 3.")] = 2,
    size: Annotated[int, typer.Option(min=32, help="Voxels along each axis.")] = 96,
    noise: Annotated[
        str,
        typer.Option(help="gaussian, rician or speckle.", autocompletion=completion.choice(*NOISE_NAMES)),
    ] = "gaussian",
    artefacts: Annotated[bool, typer.Option("--artefacts", help="Add a shadow, drop-out and clutter.")] = False,
    strength: Annotated[float, typer.Option(min=0, help="Strength of noise and artefacts.")] = 1.0,
    noise_strength: Annotated[
        float | None, typer.Option(min=0, help="Strength of the noise, if it differs from --strength.")
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Random seed.")] = 0,
    layout: Annotated[
        str,
        typer.Option(
            help="pairs (a cohort), or the layout of a data set: acdc, camus, mnms.",
            autocompletion=completion.choice(*LAYOUT_NAMES),
        ),
    ] = "pairs",
    varied: Annotated[
        bool, typer.Option("--varied", help="Vary shape, contrast and motion beyond those of hearts.")
    ] = False,
    shapes: Annotated[
        bool, typer.Option("--shapes", help="Draw random shapes in place of hearts, to train for any organ.")
    ] = False,
    on: Annotated[
        Path | None, typer.Option(metavar="COHORT", help="Add noise and artefacts to the images of this cohort.")
    ] = None,
) -> None:
    """Write a cohort of beating hearts with known motion and noise.

    Example: `heteroreg phantom hearts --pairs 40 --noise rician --artefacts`

    With `--on`, the same noise and artefacts are added to the images of a real cohort:
    `heteroreg phantom acdc-artefacts --on cohorts/acdc --artefacts --noise-strength 0.2`
    """
    from heteroreg.data.phantom import write_overlay, write_phantom

    noisy: dict[str, Any] = {
        "noise": noise,
        "artefacts": artefacts,
        "strength": strength,
        "noise_strength": noise_strength,
    }
    if shapes and (source := context.get_parameter_source("noise")) and source.name == "COMMANDLINE":
        raise UserError("noise: each pair of shapes draws its own kind; leave it out", argument="noise")
    if on is None:
        drawn: dict[str, Any] = {"layout": layout, "varied": varied, "shapes": shapes}
        write_phantom(out, pairs=pairs, dims=dims, size=size, seed=seed, **drawn, **noisy)
        say(f"wrote {pairs} pairs to {out}")
        return
    for name in ("pairs", "dims", "size", "layout", "varied", "shapes"):
        if (source := context.get_parameter_source(name)) and source.name == "COMMANDLINE":
            raise UserError(f"{name}: is given by the cohort of `on`; leave it out", argument=name)
    cohort = write_overlay(out, on, seed=seed, show=is_shown(), **noisy)
    say(f"wrote {len(cohort)} pairs to {out}")


@command(app, "import")
def import_(
    kind: Annotated[
        str,
        typer.Argument(
            metavar="KIND", help=f"{', '.join(DATA_SETS)}.", autocompletion=completion.choice(*DATA_SETS)
        ),
    ],
    source: Annotated[Path, typer.Argument(metavar="SOURCE", help="Folder of the data set as downloaded.")],
    out: Annotated[Path, typer.Argument(metavar="OUT", help="Folder for the cohort.")],
    split: Annotated[
        str | None, typer.Option(help="Percentages of the patients: train,val or train,val,test.")
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Random seed of the split.")] = 0,
    frames: Annotated[
        str | None,
        typer.Option(metavar="ED,ES", help="For dicom: indices of two frames, or a CSV with id, ED and ES."),
    ] = None,
    label: Annotated[
        int | None,
        typer.Option(min=1, help="For dicom: find ED and ES by the size of this label; of all labels by default."),
    ] = None,
    pairs: Annotated[
        str | None,
        typer.Option(
            help="For series in time: ed-es, or first-each.",
            autocompletion=completion.choice("ed-es", "first-each"),
        ),
    ] = None,
    patient: Annotated[
        str | None,
        typer.Option(
            metavar="REGEX", help="Where a path names the patient, such as 'patient\\d+'; guessed if left out."
        ),
    ] = None,
) -> None:
    """Make a cohort from a public data set, from a folder of ED and ES files, or from DICOM series.

    Example: `heteroreg import acdc ~/ACDC/database cohorts/acdc --split 80,20`

    Two frames of a DICOM cine series or echo clip become a pair: `heteroreg import dicom exams cohorts/mine
    --frames 0,9`
    """
    from heteroreg.data.importing import import_cohort
    from heteroreg.data.patients import grouping_in_words
    from heteroreg.data.readers._left_out import LeftOut

    try:
        parts = tuple(int(part) for part in split.split(",")) if split else None
    except ValueError:
        raise UserError(
            f"split {split}: write whole percentages, such as 80,20 or 70,10,20", argument="split"
        ) from None
    left_out = LeftOut()
    cohort = import_cohort(
        kind, source, out, split=parts, seed=seed, frames=frames, label=label, pairs=pairs, patient=patient,
        left_out=left_out, show=is_shown(),
    )  # fmt: skip
    counts = ", ".join(f"{len(cohort.split(name))} {name}" for name in cohort.splits) or "no split"
    say(f"wrote {len(cohort)} pairs to {out / 'pairs.csv'} ({counts})")
    if patient is None and (grouping := grouping_in_words(list(cohort))):
        say(grouping.replace("`patient`", "--patient"))
    for line in left_out.lines():
        say(line)


@command(app, reads=True)
def check(cohort: CohortPath, confine: Confine = False) -> None:
    """Find problems of a cohort before training does; exits with 1 if there are any.

    Example: `heteroreg check cohorts/acdc/pairs.csv`
    """
    from heteroreg.data.check import check as find
    from heteroreg.data.cohort import Cohort
    from heteroreg.data.findings import lines

    pairs = Cohort.read(cohort, confine=confine)
    with progress("checking", len(pairs)) as report:
        findings = find(pairs, report)
    for level, line in lines(findings):
        if is_shown() or level == "problem":
            print(one_line(line))
    problems = sum(finding.level == "problem" for finding in findings)
    say(f"{len(pairs)} pairs, {problems} problems, {len(findings) - problems} notes")
    raise typer.Exit(1 if problems else 0)


@command(app, reads=True)
def train(
    cohort: CohortPath,
    out: Out,
    method: Annotated[
        str | None,
        typer.Option(
            help="What training minimises, see `heteroreg methods`; your own as `package.module:name`.",
            autocompletion=completion.method,
        ),
    ] = None,
    network: Annotated[
        str | None,
        typer.Option(
            help="The displacement network; your own as `package.module:name`.", autocompletion=completion.network
        ),
    ] = None,
    dims: Annotated[int | None, typer.Option(min=2, max=3, help="2: slices, 3: volumes.")] = None,
    steps: Annotated[int | None, typer.Option(min=1, help="Number of updates.")] = None,
    seed: Annotated[int | None, typer.Option(min=0, help="Random seed.")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on from the last checkpoint.")] = False,
    config: Annotated[Path | None, typer.Option(metavar="FILE", help="A YAML file of settings.")] = None,
    set_: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="A setting.", autocompletion=completion.setting),
    ] = None,
    devices: Annotated[int, typer.Option(min=1, help="Processes on each machine.")] = 1,
    nodes: Annotated[int, typer.Option(min=1, help="Machines.")] = 1,
    strategy: Annotated[str, typer.Option(help="How processes share the work: auto or ddp.")] = "auto",
    precision: Annotated[
        str | None, typer.Option(help="32-true, bf16-mixed, …", autocompletion=completion.precision)
    ] = None,
    init: Annotated[
        str | None,
        typer.Option(
            metavar="RUN",
            help="Begin with the weights of a run, or of `phantom`, the bundled model.",
            autocompletion=completion.model,
        ),
    ] = None,
    initial: Annotated[
        str | None,
        typer.Option(
            help=f"Initial alignment: {', '.join(ALIGNMENTS)}.", autocompletion=completion.choice(*ALIGNMENTS)
        ),
    ] = None,
    confine: Confine = False,
) -> None:
    """Train on a cohort.

    Example: `heteroreg train cohorts/acdc --out runs/hetero --steps 1500 --set smoothness=0.01`
    """
    from heteroreg.data.cohort import Cohort
    from heteroreg.system.processes import is_first
    from heteroreg.training import train as run
    from heteroreg.training.config import read_settings

    named = {
        "dims": dims, "steps": steps, "seed": seed, "precision": precision, "initial": initial,
        "init": init,
    }  # fmt: skip
    settings = {**(read_settings(config) if config else {}), **_settings(set_ or [])}
    settings |= {key: value for key, value in named.items() if value is not None}
    with showing(is_shown() and not _is_follower()):
        trained = run(
            Cohort.read(cohort, confine=confine), out, method=method, network=network, config=settings,
            resume=resume, devices=devices, nodes=nodes, strategy=strategy, show=is_shown(),
        )  # fmt: skip
    if is_first():
        say(f"trained{trained.validation_in_words()}; the run is in {out}")


@command(app, reads=True)
def register(
    moving: Annotated[Path, typer.Argument(metavar="MOVING", help="The image to warp, or a cohort.")],
    out: Out,
    fixed: Annotated[
        Path | None, typer.Argument(metavar="FIXED", help="The image to align it with; leave it out for a cohort.")
    ] = None,
    model: Model = "phantom",
    moving_labels: Annotated[Path | None, typer.Option(help="Label map of the moving image, warped too.")] = None,
    initial: Initial = None,
    samples: Annotated[
        int | None,
        typer.Option(min=2, help="Number of displacement samples (methods with uncertainty only)."),
    ] = None,
    refine: Refine = 0,
    calibration: CalibrationFolder = None,
    label_names: LabelNames = None,
    split: Annotated[
        str, typer.Option(help="For a cohort: train, val, test, or all.", autocompletion=completion.split_name)
    ] = "all",
    confine: Confine = False,
    threads: Threads = None,
    method: OwnMethod = None,
    network: OwnNetwork = None,
) -> None:
    """Register one pair, of any size and spacing, or every pair of a cohort.

    Example: `heteroreg register ED.nii.gz ES.nii.gz --model runs/hetero --out registered`

    Without `--model`, a bundled model registers, in 2D or 3D as the images are; they were trained on phantoms only.

    With a cohort, each pair gets its own folder in `--out`, and pairs that are there already are skipped:
    `heteroreg register cohorts/acdc --model runs/hetero --out registered --split test`
    """
    from heteroreg.data.label_names import parse_label_names
    from heteroreg.registration.load import bundled_for, load
    from heteroreg.system.processes import require_one_process

    require_one_process("register")
    options: dict[str, Any] = {
        "threads": threads,
        "samples": samples,
        "refine": refine,
        "method": method,
        "network": network,
        "calibration": _calibration(calibration),
    }
    names = parse_label_names(label_names)
    if fixed is None:
        if moving_labels is not None:
            raise UserError(
                "moving_labels: is for a single pair; a cohort's table has a column for it",
                argument="moving_labels",
            )
        _register_cohort(
            moving, lambda pairs: load(bundled_for(model, pairs), **options), out, split, confine, initial, names
        )
        return
    for name, named in (("split", split != "all"), ("confine", confine)):
        if named:
            raise UserError(f"{name}: is for a cohort; leave it out for a single pair", argument=name)
    _register_pair(moving, fixed, model, options, out, moving_labels, initial, names)


def _calibration(named: str | None) -> str | bool:
    """Return what `load` takes: True for the calibration that comes with a model, False for none."""
    return named is None if named in (None, "none") else named


def _register_pair(
    moving: Path,
    fixed: Path,
    model: str,
    options: dict[str, Any],
    out: Path,
    moving_labels: Path | None,
    initial: str | None,
    label_names: dict[str, str] | None,
) -> None:
    from heteroreg.registration.load import remarks
    from heteroreg.registration.register import register as run
    from heteroreg.system.outputs import require_output
    from heteroreg.uncertainty.displacement_error import sizes_in_words
    from heteroreg.uncertainty.label_sizes import in_words

    start = Path(initial) if initial is not None and initial not in ALIGNMENTS else None
    inputs = [path for path in (moving, fixed, moving_labels, start) if path is not None]
    require_output(out, "registration", inputs)
    registration = run(moving, fixed, model, moving_labels=moving_labels, initial=initial, **options)
    registration.save(out)
    summary = registration.summary()
    moved = summary["displacement_mm"]
    say(f"wrote {out}: displacement {moved['mean']:.1f} mm on average, {moved['max']:.1f} mm at most")
    error = registration.error
    names = label_names or (dict(error.calibration.label_names) if error else {})
    sizes = {names.get(label, label): entry for label, entry in summary.get("labels", {}).items()}
    dims = registration.grid.dims
    calibrated = error is not None and error.calibration.gives_sizes
    lines = sizes_in_words(sizes, dims, summary["calibration"]) if calibrated else in_words(sizes, dims)
    for line in (*lines, *(error.remarks() if error else ()), *remarks(model, registration)):
        say(line)


def _register_cohort(
    path: Path,
    load: Callable[[Cohort], Any],
    out: Path,
    split: str,
    confine: bool,
    initial: str | None,
    label_names: dict[str, str] | None,
) -> None:
    from heteroreg.data.cohort import Cohort
    from heteroreg.registration.cohort import TABLE, register_cohort

    try:
        pairs = Cohort.read(path, confine=confine).split(split)
    except UserError as error:
        if path.suffix.lower() == ".csv" or (path / "pairs.csv").is_file():
            raise
        raise UserError(
            f"{path}: is no cohort; name two images, MOVING and FIXED, or a pairs.csv or its folder"
        ) from error
    table = register_cohort(load(pairs), pairs, out, initial=initial, label_names=label_names, show=is_shown())
    failed = table["error"][table["error"] != ""]
    for text in failed:
        print(f"heteroreg: {one_line(text)}", file=sys.stderr)
    if len(failed):
        raise UserError(
            f"{out / TABLE}: {len(failed)} of {len(table)} pairs failed, the others are registered; correct or "
            "remove the failed ones and give the same command again"
        )
    kept = table.attrs.get("kept", 0)
    already = f", {kept} of them left as they were" if kept else ""
    say(f"wrote {out}: {len(table)} pairs{already}, listed in {out / TABLE}")


@command(app, reads=True)
def calibrate(
    cohort: CohortPath,
    model: Model,
    out: Annotated[
        Path | None, typer.Option("--out", help="Folder to write; by default calibration/ in the run's folder.")
    ] = None,
    split: Annotated[
        str,
        typer.Option(help="Splits to calibrate on, or all. Keep those out on which the intervals are judged."),
    ] = "train,val",
    initial: Initial = None,
    steps: Annotated[
        int | None, typer.Option(min=1, help="Updates of the error estimator; 800 in 2D, 500 in 3D.")
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Random seed.")] = 0,
    any_label: Annotated[
        bool, typer.Option("--any-label", help="One width for all labels, no sizes: for images with other labels.")
    ] = False,
    noise: Annotated[
        bool, typer.Option("--noise", help="Also learn a noise map at full resolution; it replaces the model's.")
    ] = False,
    refine: Refine = 0,
    label_names: LabelNames = None,
    confine: Confine = False,
    threads: Threads = None,
    method: OwnMethod = None,
    network: OwnNetwork = None,
) -> None:
    """Learn how wrong the displacement may be, in mm; `register` then writes error bars.

    Example: `heteroreg calibrate cohorts/acdc --model runs/hetero`

    It learns from known warps of the cohort's images, and from label maps where there are any. A call that was
    interrupted goes on where it was.
    """
    from heteroreg.data.cohort import Cohort
    from heteroreg.data.label_names import parse_label_names
    from heteroreg.registration.alignment import aligned
    from heteroreg.registration.calibrate import calibrate as run
    from heteroreg.registration.load import bundled_for, load
    from heteroreg.system.processes import require_one_process

    require_one_process("calibrate")
    pairs = Cohort.read(cohort, confine=confine)
    registrar = load(
        bundled_for(model, pairs), threads=threads, refine=refine, method=method, network=network, calibration=False
    )
    found = run(
        cast(Any, aligned(registrar, initial)), pairs, out=out, split=split.split(","), steps=steps, seed=seed,
        label_names=parse_label_names(label_names), any_label=any_label, noise=noise, show=is_shown(),
    )  # fmt: skip
    say(found.in_words())


@command(app, reads=True)
def warp(
    image: Annotated[Path, typer.Argument(metavar="IMAGE", help="An image, a label map, or points.")],
    transform: Annotated[
        Path, typer.Option(help="A displacement field as `register` writes it, an ITK transform, or Learn2Reg's.")
    ],
    out: Annotated[Path, typer.Option("--out", help="File to write.")],
    like: Annotated[
        Path | None, typer.Option(help="Warp onto the grid of this image; onto the field's grid by default.")
    ] = None,
    labels: Annotated[bool, typer.Option("--labels", help="IMAGE is a label map.")] = False,
    outside: Annotated[
        str, typer.Option(metavar="VALUE", help="The value beyond the image: a number, or minimum, its smallest.")
    ] = "0",
) -> None:
    """Apply a saved displacement to an image, a label map, or points (.csv, .fcsv, .mrk.json).

    Example: `heteroreg warp ED_gt.nii.gz --transform registered/displacement.nii.gz --like ES.nii.gz --labels
    --out moved_gt.nii.gz`

    Points move with the image in which they were set: `heteroreg warp ED.fcsv --transform
    registered/displacement.nii.gz --out moved.fcsv`
    """
    from heteroreg.data.image import read_grid, read_image, read_labels, write_image
    from heteroreg.data.io.points import is_points
    from heteroreg.spatial.field import Field
    from heteroreg.system.outputs import require_file

    require_file(out, [image, transform, like])
    onto = None if like is None else read_grid(like)
    with progress("warping", None):
        field = Field.read(transform, like=onto)
        if is_points(image):
            if labels:
                raise UserError("labels: is for label maps, and IMAGE holds points", argument="labels")
            _warp_points(image, field, out)
        else:
            source = read_labels(image) if labels else read_image(image)
            write_image(field.warp(source, like=onto, labels=labels, outside=outside), out)
    say(f"wrote {out}")


def _warp_points(path: Path, field: Any, out: Path) -> None:
    import numpy as np

    from heteroreg.data.io.points import read_points, write_points

    points = read_points(path)
    dims = points.positions.shape[1]
    needed = field.grid.dims
    if dims < needed:
        raise UserError(f"{path}: its points have {dims} coordinates, and the transform {needed}")
    moved = points.positions.copy()
    moved[:, :needed] = field.warp_points(moved[:, :needed])
    lost = [name for name, place in zip(points.names, moved, strict=True) if not np.isfinite(place).all()]
    if lost:
        raise UserError(
            f"{path}: {', '.join(lost)}: the transform folds or ends where they lie, so that they have no place; "
            "take them out"
        )
    write_points(points, moved, out)


@command(app, reads=True)
def convert(
    transform: Annotated[
        Path, typer.Argument(metavar="TRANSFORM", help="A transform that `warp` takes, or a registered cohort.")
    ],
    out: Annotated[Path, typer.Option("--out", help="File to write; its name chooses the format. Or a folder.")],
    like: Annotated[
        Path | None, typer.Option(help="The fixed image, if the transform does not give a grid.")
    ] = None,
    moving: Annotated[
        Path | None,
        typer.Option(help="The moving image, for Learn2Reg; by default from the registration's summary.json."),
    ] = None,
) -> None:
    """Write a transform in another format: NIfTI, NRRD, an ITK transform (.h5, .tfm), or Learn2Reg's.

    Example: `heteroreg convert registered/displacement.nii.gz --out displacement.h5`

    A name such as disp_0001_0002.nii.gz asks for Learn2Reg's format. The fields in a folder that `register COHORT`
    wrote become a submission: `heteroreg convert registered --out submission`
    """
    from heteroreg.data.image import read_grid
    from heteroreg.data.io.learn2reg import is_learn2reg_name
    from heteroreg.data.io.transforms import read_transform, write_transform
    from heteroreg.registration.submission import moving_grid, write_submission
    from heteroreg.system.outputs import require_file

    if transform.is_dir():
        count = write_submission(transform, out)
        say(f"wrote {out}: {count} fields for Learn2Reg")
        return
    require_file(out, [transform, like, moving])
    with progress("converting", None):
        summary = transform.parent / "summary.json"
        start = None if moving is None else read_grid(moving)
        if start is None and is_learn2reg_name(out) and summary.is_file():
            start = moving_grid(summary)
        write_transform(*read_transform(transform, None if like is None else read_grid(like)), out, start)
    say(f"wrote {out}")


@command(app, reads=True)
def evaluate(
    cohort: CohortPath,
    model: Model,
    out: Out,
    split: Annotated[
        str, typer.Option(help="train, val, test, or all.", autocompletion=completion.split_name)
    ] = "test",
    metrics: Annotated[
        str,
        typer.Option(
            help="standard, reference (as in the paper's figures), or learn2reg (as in its challenges).",
            autocompletion=completion.choice("standard", "reference", "learn2reg"),
        ),
    ] = "standard",
    initial: Initial = None,
    refine: Refine = 0,
    slicewise: Annotated[
        bool | None,
        typer.Option(
            "--slicewise/--whole", help="Score slices or whole images; as the model registers by default."
        ),
    ] = None,
    sizes: Annotated[
        str,
        typer.Option(
            help="Slices that sizes of labels count: whole, or both, those with the label in both images.",
            autocompletion=completion.choice("whole", "both"),
        ),
    ] = "whole",
    label_names: LabelNames = None,
    calibration: CalibrationFolder = None,
    confine: Confine = False,
    threads: Threads = None,
    method: OwnMethod = None,
    network: OwnNetwork = None,
) -> None:
    """Register every pair of a split and score it.

    Example: `heteroreg evaluate cohorts/acdc --model runs/hetero --out scores/hetero`
    """
    from heteroreg.data.cohort import Cohort
    from heteroreg.data.label_names import parse_label_names
    from heteroreg.evaluation import evaluate as run
    from heteroreg.registration.load import bundled_for, load
    from heteroreg.system.processes import require_one_process

    require_one_process("evaluate")
    pairs = Cohort.read(cohort, confine=confine).split(split)
    registrar = load(
        bundled_for(model, pairs), threads=threads, refine=refine, method=method, network=network,
        calibration=_calibration(calibration),
    )  # fmt: skip
    scores = run(
        registrar, pairs, metrics=cast(Any, metrics), out=out, slicewise=slicewise, initial=initial,
        sizes=cast(Any, sizes), label_names=parse_label_names(label_names), show=is_shown(),
    )  # fmt: skip
    say(f"wrote {out}: {scores.dice_in_words() or 'no labels to score'}")


@command(app)
def compare(
    folders: Annotated[
        list[str],
        typer.Argument(metavar="DIR…", help="Folders that `evaluate` wrote, or a row as NAME=DIR,DIR,…"),
    ],
    out: Out,
    baseline: Annotated[
        str | None, typer.Option(help="Row or folder to compare with; the first by default.")
    ] = None,
    label_names: LabelNames = None,
) -> None:
    """Put evaluations side by side: the paper's table with paired tests, and a page.

    Example: `heteroreg compare scores/mse scores/hetero --out report --baseline scores/mse`

    Folders whose names differ only in their ending `-seed0`, `-seed1`, … are the seeds of one row:
    `heteroreg compare scores/mse-seed* scores/hetero-seed* --out report --baseline mse`.
    For folders with other names write NAME=DIR,DIR,…
    """
    from heteroreg.comparison.groups import parse_groups
    from heteroreg.data.label_names import parse_label_names
    from heteroreg.report import write_report

    page = write_report(parse_groups(folders), out, baseline=baseline, label_names=parse_label_names(label_names))
    for line in (out / "table.md").read_text(encoding="utf-8").splitlines():
        say(line)
    say(f"look at {page}")


@command(app)
def study(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="Describes the study, such as those in `studies/`.")],
    out: Out,
    cohort: Annotated[
        list[str] | None,
        typer.Option(metavar="PATH", help="Cohort to use instead of the file's; NAME=PATH if it has several."),
    ] = None,
    confine: Confine = False,
    jobs: Annotated[int, typer.Option(min=1, help="Trainings at once on this machine.")] = 1,
    slurm: Annotated[
        str | None, typer.Option(metavar="KEY=VALUE,…", help="Train as SLURM jobs: partition=gpu,time=120,…")
    ] = None,
) -> None:
    """Train methods × networks × seeds × settings, choose on validation pairs, score on test pairs, compare.

    Example: `heteroreg study studies/accuracy.yaml --cohort cohorts/acdc --out studies/acdc --jobs 2`

    The same command continues a study that was stopped.
    """
    from heteroreg.study import run_study
    from heteroreg.study.jobs import Local
    from heteroreg.study.jobs import slurm as queue

    if slurm is not None and jobs > 1:
        raise UserError(
            "jobs: is for this machine; with `slurm` the queue decides how many run at once", argument="jobs"
        )
    parameters = _settings([part for part in slurm.split(",") if part.strip()], "--slurm") if slurm else {}
    runner = Local(jobs, out / "logs") if slurm is None else queue(parameters, out / "slurm")
    # Not `say`, which is silent within work that shows its progress.
    run_study(file, out, cohorts=cohort or (), confine=confine, runner=runner, say=_print if is_shown() else None)


@command(app)
def export(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="Folder that `train` wrote.")],
    out: Annotated[Path, typer.Option("--out", help="File to write, .onnx.")],
    format_: Annotated[str, typer.Option("--format", help="onnx.")] = "onnx",
    method: OwnMethod = None,
    network: OwnNetwork = None,
) -> None:
    """Write a run's model as one ONNX file, for use without this package and without PyTorch.

    Example: `heteroreg export runs/hetero --format onnx --out hetero.onnx`
    """
    from heteroreg.export import export as write

    if format_ != "onnx":
        raise UserError(f"format_ {format_}: unknown; use onnx", argument="format_")
    written = write(run, out, method=method, network=network)
    say(f"wrote {out}: {', '.join(written.inputs)} to {', '.join(written.outputs)}")
    if written.difference is None:
        say("not checked: onnxruntime is not installed; pip install 'heteroreg[onnx]'")
    else:
        say(f"checked: onnxruntime agrees with PyTorch to {written.difference:.0e} on two sizes")


@command(app)
def push(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="Folder that `train` wrote.")],
    repo: Annotated[str, typer.Argument(metavar="REPO", help="owner/name on Hugging Face, or a folder as ./name.")],
    scores: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Folder that `evaluate` wrote for this run.")
    ] = None,
    data: Annotated[str | None, typer.Option(help="Description of the images, for the card.")] = None,
    licence: Annotated[
        str | None, typer.Option("--license", help="Licence of the model, such as cc-by-4.0.")
    ] = None,
    private: Annotated[bool, typer.Option("--private", help="Make a new repository private.")] = False,
    message: Annotated[str | None, typer.Option(help="Message of the commit.")] = None,
) -> None:
    """Publish a run with a model card: the best checkpoint and its settings, without paths or names of patients.

    Example: `heteroreg push runs/hetero me/cardiac-registration --scores scores/hetero --data "cine MRI"
    --license cc-by-4.0`
    """
    from heteroreg.hub import push as send

    where = send(run, repo, scores=scores, data=data, licence=licence, private=private, message=message)
    say(f"published {where}; look at its README.md")


@command(app)
def pull(
    repo: Annotated[str, typer.Argument(metavar="REPO", help="owner/name on Hugging Face, or a folder as ./name.")],
    out: Annotated[Path, typer.Argument(metavar="OUT", help="Folder to write.")],
    revision: Annotated[str | None, typer.Option(help="A branch, a tag or a commit.")] = None,
) -> None:
    """Download a published model; the folder is then a run for `register` and `evaluate`.

    Example: `heteroreg pull me/cardiac-registration model`, and then
    `heteroreg register ED.nii.gz ES.nii.gz --model model --out registered`
    """
    from heteroreg.hub import pull as fetch

    run = fetch(repo, out, revision=revision)
    say(f"wrote {out}: method {run.config.method}, network {run.config.network}, {run.config.dims}D")


@command(app)
def methods(json_: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False) -> None:
    """List the methods, networks and registrars.

    Example: `heteroreg methods`
    """
    table = completion.tables()
    if json_:
        print(json.dumps(table, indent=2, ensure_ascii=False))
        return
    for title, rows in table.items():
        print(f"{title}:")
        for name, summary in rows.items():
            print(f"  {name:16} {summary}")


def main() -> None:
    """Run the command line."""
    open_closed_streams()
    print_anything()
    os.environ["MPLBACKEND"] = "agg"  # no command opens a window, and an unknown backend would end the program
    completion.join_settings()
    os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")  # for a lost process our one line, not PyTorch's stack
    session = Session()
    with one_line_errors(lambda: session.verbose), handled(interrupt), showing(True), usage_errors():
        code = app(prog_name="heteroreg", standalone_mode=False, obj=session)
    raise SystemExit(code)


def say(text: str) -> None:
    """Print a line, unless `--quiet` is given."""
    if is_shown():
        _print(text)


def _print(text: str) -> None:
    print(one_line(text), flush=True)


def _is_follower() -> bool:
    """Return True if another process started this one to train together."""
    return any(os.environ.get(name, "0") not in ("", "0") for name in ("LOCAL_RANK", "NODE_RANK", "SLURM_PROCID"))


def _settings(pairs: list[str], option: str = "--set") -> dict[str, Any]:
    settings = {}
    for pair in pairs:
        key, equals, value = pair.partition("=")
        if not equals or not key:
            raise UserError(f"{option} {pair}: write KEY=VALUE")
        settings[key.strip()] = parse_yaml(value, f"{option} {key}")
    return settings


if __name__ == "__main__":
    main()
