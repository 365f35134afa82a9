"""The command line: each command is a few lines over the public functions."""

from __future__ import annotations

import json
import os
import signal
import sys
import warnings
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from heteroreg import __version__
from heteroreg.cli import completion
from heteroreg.system.errors import StoppedError, UserError
from heteroreg.system.progress import progress, showing
from heteroreg.system.signals import Interruption, handled, interrupt
from heteroreg.system.text import parse_yaml

app = typer.Typer(
    help="Deep registration of noisy medical images that says where it may be wrong.",
    epilog="Begin with `heteroreg demo`: it needs no data.",
    rich_markup_mode="markdown",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


class Noise(StrEnum):
    """Kinds of noise."""

    gaussian = "gaussian"
    rician = "rician"
    speckle = "speckle"


class Layout(StrEnum):
    """Layouts that the phantom is written in."""

    pairs = "pairs"
    acdc = "acdc"
    camus = "camus"
    mnms = "mnms"
    learn2reg = "learn2reg"


class Source(StrEnum):
    """Data sets that can be imported."""

    acdc = "acdc"
    camus = "camus"
    mnms = "mnms"
    learn2reg = "learn2reg"
    folder = "folder"
    dicom = "dicom"


class Format(StrEnum):
    """Formats that a model is exported in."""

    onnx = "onnx"


class Mode(StrEnum):
    """How to score."""

    standard = "standard"
    reference = "reference"
    learn2reg = "learn2reg"


Out = Annotated[Path, typer.Option("--out", help="Folder to write.")]
Quiet = Annotated[bool, typer.Option("--quiet", help="Say nothing but errors.")]
Verbose = Annotated[bool, typer.Option("--verbose", "-v", help="Show the traceback of an error.")]
Confine = Annotated[bool, typer.Option("--confine", help="COHORT is not trusted: it may name its own folder only.")]
Devices = Annotated[int, typer.Option(min=1, help="Processes on each machine.")]
Nodes = Annotated[int, typer.Option(min=1, help="Machines.")]
Strategy = Annotated[str, typer.Option(help="How processes work together: auto or ddp.")]
Threads = Annotated[int | None, typer.Option(min=1, help="Of elastix, for one pair; 1 by default.")]
Refine = Annotated[int, typer.Option(min=0, help="Steps by which each pair is improved on its own.")]
CohortPath = Annotated[Path, typer.Argument(metavar="COHORT", help="pairs.csv, or the folder that holds it.")]


@app.callback(invoke_without_command=True)
def _root(
    context: typer.Context,
    version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False,
) -> None:
    if version:
        print(__version__)
    elif context.invoked_subcommand is None:
        print(context.get_help())


@app.command()
def demo(
    out: Out = Path("demo"),
    quick: Annotated[bool, typer.Option(help="A look in half a minute, whose numbers mean nothing.")] = False,
    quiet: Quiet = False,
    verbose: Verbose = False,  # noqa: ARG001
) -> None:
    """Make a phantom with known motion and noise, train `mse` and `hetero` on it, and compare them.

    Example: `heteroreg demo --out demo`, then open `demo/report/index.html`.
    """
    from heteroreg.demo import run_demo

    page = run_demo(out, quick=quick, show=not quiet)
    if quick:
        _say(quiet, "this was a quick one: do not judge the methods by its numbers")
    _say(quiet, f"look at {page}")


@app.command()
def phantom(
    context: typer.Context,
    out: Annotated[Path, typer.Argument(metavar="OUT", help="Folder to write.")],
    pairs: Annotated[int, typer.Option(min=1, help="Pairs to make.")] = 24,
    dims: Annotated[int, typer.Option(min=2, max=3, help="2 or 3.")] = 2,
    size: Annotated[int, typer.Option(min=32, help="Voxels along an axis.")] = 96,
    noise: Annotated[Noise, typer.Option(help="Kind of noise.")] = Noise.gaussian,
    artefacts: Annotated[bool, typer.Option(help="Add a shadow, drop-out and clutter.")] = False,
    strength: Annotated[float, typer.Option(min=0, help="Strength of noise and artefacts.")] = 1.0,
    noise_strength: Annotated[float | None, typer.Option(min=0, help="Of the noise, where it differs.")] = None,
    seed: Annotated[int, typer.Option(min=0)] = 0,
    layout: Annotated[Layout, typer.Option(help="A cohort, or the layout of a public data set.")] = Layout.pairs,
    varied: Annotated[bool, typer.Option("--varied", help="Shapes, contrasts, motion beyond hearts'.")] = False,
    on: Annotated[Path | None, typer.Option(metavar="COHORT", help="Lay them over its images instead.")] = None,
    quiet: Quiet = False,
    verbose: Verbose = False,  # noqa: ARG001
) -> None:
    """Write a cohort of beating hearts with known motion and noise.

    Example: `heteroreg phantom hearts --pairs 40 --noise rician --artefacts`

    With `--on`, the same noise and artefacts are laid over the images of a real cohort:
    `heteroreg phantom acdc-artefacts --on cohorts/acdc --artefacts --noise-strength 0.2`
    """
    from heteroreg.data.phantom import write_overlay, write_phantom

    if on is not None:
        for name in ("pairs", "dims", "size", "layout", "varied"):
            if (source := context.get_parameter_source(name)) and source.name == "COMMANDLINE":
                raise UserError(f"--{name}: is that of the cohort with --on; leave it out")
        cohort = write_overlay(
            out, on, noise=noise.value, artefacts=artefacts, strength=strength, noise_strength=noise_strength,
            seed=seed, show=not quiet,
        )  # fmt: skip
        _say(quiet, f"wrote {len(cohort)} pairs to {out}")
        return
    write_phantom(
        out, pairs=pairs, dims=dims, size=size, noise=noise.value, artefacts=artefacts, strength=strength,
        noise_strength=noise_strength, seed=seed, layout=layout.value, varied=varied,
    )  # fmt: skip
    _say(quiet, f"wrote {pairs} pairs to {out}")


@app.command(name="import")
def import_(
    kind: Annotated[Source, typer.Argument(metavar="KIND", help="acdc, camus, mnms, learn2reg, folder or dicom.")],
    source: Annotated[Path, typer.Argument(metavar="SOURCE", help="The data set as it was downloaded.")],
    out: Annotated[Path, typer.Argument(metavar="OUT", help="Folder for the cohort.")],
    split: Annotated[str | None, typer.Option(help="Percent of the patients: train,val or train,val,test.")] = None,
    seed: Annotated[int, typer.Option(min=0, help="Of the split.")] = 0,
    frames: Annotated[
        str | None, typer.Option(metavar="ED,ES", help="Of dicom: two frames from 0, or a CSV with id, ED and ES.")
    ] = None,
    label: Annotated[
        int | None, typer.Option(min=1, help="Of dicom: the label whose size tells ED and ES; all by default.")
    ] = None,
    quiet: Quiet = False,
    verbose: Verbose = False,  # noqa: ARG001
) -> None:
    """Make a cohort from a public data set, from a folder of ED and ES files, or from DICOM series.

    Example: `heteroreg import acdc ~/ACDC/database cohorts/acdc --split 80,20`

    Of DICOM cine series and echo clips two frames are a pair: `heteroreg import dicom exams cohorts/mine
    --frames 0,9`
    """
    from heteroreg.data.readers import import_cohort

    try:
        parts = tuple(int(part) for part in split.split(",")) if split else None
    except ValueError:
        raise UserError(f"--split {split}: write whole percentages, such as 80,20 or 70,10,20") from None
    cohort = import_cohort(
        kind.value, source, out, split=parts, seed=seed, frames=frames, label=label, show=not quiet
    )
    counts = ", ".join(f"{len(cohort.split(name))} {name}" for name in cohort.splits) or "no split"
    _say(quiet, f"wrote {len(cohort)} pairs to {out / 'pairs.csv'} ({counts})")


@app.command()
def check(
    cohort: CohortPath,
    confine: Confine = False,
    quiet: Quiet = False,
    verbose: Verbose = False,  # noqa: ARG001
) -> None:
    """Find what would go wrong with a cohort; exits with 1 if anything would.

    Example: `heteroreg check cohorts/acdc/pairs.csv`
    """
    from heteroreg.data.check import check as find
    from heteroreg.data.cohort import Cohort

    pairs = Cohort.read(cohort, confine=confine)
    with progress("checking", len(pairs), show=not quiet) as report:
        findings = find(pairs, report)
    for finding in findings:
        if not quiet or finding.level == "problem":
            print(f"{finding.level}: {finding.pair + ': ' if finding.pair else ''}{finding.text}")
    problems = sum(finding.level == "problem" for finding in findings)
    _say(quiet, f"{len(pairs)} pairs, {problems} problems, {len(findings) - problems} notes")
    raise typer.Exit(1 if problems else 0)


@app.command()
def train(
    cohort: CohortPath,
    out: Out,
    method: Annotated[
        str | None,
        typer.Option(help="What to minimise; `heteroreg methods` lists all.", autocompletion=completion.method),
    ] = None,
    network: Annotated[
        str | None, typer.Option(help="The displacement estimator.", autocompletion=completion.network)
    ] = None,
    dims: Annotated[int | None, typer.Option(min=2, max=3, help="2: slices, 3: volumes.")] = None,
    steps: Annotated[int | None, typer.Option(min=1, help="Updates.")] = None,
    seed: Annotated[int | None, typer.Option(min=0)] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on from the last checkpoint.")] = False,
    config: Annotated[Path | None, typer.Option(help="A YAML file of settings.")] = None,
    set_: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="A setting.", autocompletion=completion.setting),
    ] = None,
    devices: Devices = 1,
    nodes: Nodes = 1,
    strategy: Strategy = "auto",
    precision: Annotated[
        str | None, typer.Option(help="32-true, bf16-mixed, …", autocompletion=completion.precision)
    ] = None,
    confine: Confine = False,
    quiet: Quiet = False,
    verbose: Verbose = False,  # noqa: ARG001
) -> None:
    """Train on a cohort.

    Example: `heteroreg train cohorts/acdc --out runs/hetero --steps 1500 --set smoothness=0.01`
    """
    from heteroreg.data.cohort import Cohort
    from heteroreg.training import train as run
    from heteroreg.training.config import read_settings

    named = {
        "method": method, "network": network, "dims": dims, "steps": steps, "seed": seed, "precision": precision,
    }  # fmt: skip
    settings = {**(read_settings(config) if config else {}), **_settings(set_ or [])}
    settings |= {key: value for key, value in named.items() if value is not None}
    run(
        Cohort.read(cohort, confine=confine), out, config=settings, resume=resume, devices=devices, nodes=nodes,
        strategy=strategy, show=not quiet,
    )  # fmt: skip
    _say(quiet, f"trained; the run is in {out}")


@app.command()
def register(
    moving: Annotated[Path, typer.Argument(metavar="MOVING", help="The image to move, or a cohort.")],
    out: Out,
    fixed: Annotated[
        Path | None, typer.Argument(metavar="FIXED", help="The image to move it onto; not with a cohort.")
    ] = None,
    model: Annotated[
        str,
        typer.Option(help="A run, `elastix`, or the model that comes along.", autocompletion=completion.model),
    ] = "phantom",
    moving_labels: Annotated[
        Path | None, typer.Option(help="Label map of the moving image, to carry along.")
    ] = None,
    initial: Annotated[
        Path | None, typer.Option(help="An affine alignment to begin from: an ITK transform of fixed to moving.")
    ] = None,
    samples: Annotated[
        int | None, typer.Option(min=2, help="Of the displacement, where the method has its uncertainty.")
    ] = None,
    refine: Refine = 0,
    split: Annotated[
        str, typer.Option(help="Of a cohort: train, val, test, or all.", autocompletion=completion.split)
    ] = "all",
    threads: Threads = None,
    quiet: Quiet = False,
    verbose: Verbose = False,  # noqa: ARG001
) -> None:
    """Register one pair, of any size and spacing, or every pair of a cohort.

    Example: `heteroreg register ED.nii.gz ES.nii.gz --model runs/hetero --out registered`

    Without `--model` it is the one that comes with heteroreg: 2D, trained on phantoms alone.

    Of a cohort, each pair gets a folder of its own in `--out`, and what is there already is left as it is:
    `heteroreg register cohorts/acdc --model runs/hetero --out registered --split test`
    """
    from heteroreg.data.inputs import as_image
    from heteroreg.data.io.affine import read_affine
    from heteroreg.registration.alignment import Aligned
    from heteroreg.registration.load import load, remarks
    from heteroreg.system.files import require_free
    from heteroreg.uncertainty.label_sizes import in_words

    if fixed is None:
        if initial is not None:
            raise UserError("--initial: is for a single pair; each pair of a cohort has an alignment of its own")
        _register_cohort(moving, model, out, moving_labels, samples, refine, split, threads, quiet)
        return
    if split != "all":
        raise UserError("--split: is for cohorts, and this is a single pair")
    require_free(out, "summary.json")
    registrar = load(model, threads=threads, samples=samples, refine=refine)
    if initial is not None:
        registrar = Aligned(registrar, read_affine(initial))
    labels = None if moving_labels is None else as_image(moving_labels, labels=True)
    registration = registrar.register(as_image(moving), as_image(fixed), labels)
    registration.save(out)
    summary = registration.summary()
    moved = summary["displacement_mm"]
    _say(quiet, f"wrote {out}: displacement {moved['mean']:.1f} mm on average, {moved['max']:.1f} mm at most")
    for line in (*in_words(summary.get("labels", {}), registration.grid.dims), *remarks(model, registration)):
        _say(quiet, line)


def _register_cohort(
    path: Path,
    model: str,
    out: Path,
    labels: Path | None,
    samples: int | None,
    refine: int,
    split: str,
    threads: int | None,
    quiet: bool,
) -> None:
    from heteroreg.data.cohort import Cohort
    from heteroreg.registration.cohort import TABLE, register_cohort
    from heteroreg.registration.load import load

    if labels is not None:
        raise UserError("--moving-labels: is for a single pair; a cohort names its label maps itself")
    try:
        pairs = Cohort.read(path)
    except UserError as error:
        if path.suffix.lower() == ".csv" or (path / "pairs.csv").is_file():
            raise
        raise UserError(
            f"{path}: is no cohort; name two images, MOVING and FIXED, or a pairs.csv or its folder"
        ) from error
    pairs = pairs.split(split)
    registrar = load(model, threads=threads, samples=samples, refine=refine)
    table = register_cohort(registrar, pairs, out, show=not quiet)
    failed = table["error"][table["error"] != ""]
    for text in failed:
        print(f"heteroreg: {text}", file=sys.stderr)
    if len(failed):
        raise UserError(
            f"{out / TABLE}: {len(failed)} of {len(table)} pairs failed, the others are registered; mend or take "
            "out the failed ones and give the same command again"
        )
    _say(quiet, f"wrote {out}: {len(table)} pairs, listed in {out / TABLE}")


@app.command()
def warp(
    image: Annotated[Path, typer.Argument(metavar="IMAGE", help="An image, a label map, or points.")],
    transform: Annotated[
        Path, typer.Option(help="A displacement field as `register` writes it, an ITK transform, or Learn2Reg's.")
    ],
    out: Annotated[Path, typer.Option("--out", help="File to write.")],
    like: Annotated[
        Path | None, typer.Option(help="The image whose grid to warp onto; that of the field by default.")
    ] = None,
    labels: Annotated[bool, typer.Option("--labels", help="IMAGE is a label map.")] = False,
    quiet: Quiet = False,
    verbose: Verbose = False,  # noqa: ARG001
) -> None:
    """Apply a saved displacement to an image, a label map, or points (.csv, .fcsv, .mrk.json).

    Example: `heteroreg warp ED_gt.nii.gz --transform registered/displacement.nii.gz --like ES.nii.gz --labels
    --out moved_gt.nii.gz`

    Points go with the image that they were set in: `heteroreg warp ED.fcsv --transform
    registered/displacement.nii.gz --out moved.fcsv`
    """
    from heteroreg.data.image import read_grid, read_image, read_labels, write_image
    from heteroreg.data.io.points import is_points
    from heteroreg.spatial.field import Field

    onto = None if like is None else read_grid(like)
    with progress("warping", None):
        field = Field.read(transform, like=onto)
        if is_points(image):
            if labels:
                raise UserError("--labels: is for label maps, and IMAGE holds points")
            _warp_points(image, field, out)
        else:
            source = read_labels(image) if labels else read_image(image)
            write_image(field.warp(source, like=onto, labels=labels), out)
    _say(quiet, f"wrote {out}")


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


@app.command()
def convert(
    transform: Annotated[
        Path, typer.Argument(metavar="TRANSFORM", help="Of any kind that `warp` takes, or a registered cohort.")
    ],
    out: Annotated[Path, typer.Option("--out", help="File to write; its name chooses the format. Or a folder.")],
    like: Annotated[
        Path | None, typer.Option(help="The fixed image, where the transform does not say where it lies.")
    ] = None,
    quiet: Quiet = False,
    verbose: Verbose = False,  # noqa: ARG001
) -> None:
    """Write a transform in another format: NIfTI, NRRD, an ITK transform (.h5, .tfm), or Learn2Reg's.

    Example: `heteroreg convert registered/displacement.nii.gz --out displacement.h5`

    A name such as disp_0001_0002.nii.gz asks for Learn2Reg's format. Of a folder that `register COHORT` wrote, all
    fields become a submission: `heteroreg convert registered --out submission`
    """
    from heteroreg.data.image import read_grid
    from heteroreg.data.io.transforms import read_transform, write_transform

    if transform.is_dir():
        from heteroreg.registration.submission import write_submission

        count = write_submission(transform, out)
        _say(quiet, f"wrote {out}: {count} fields for Learn2Reg")
        return
    with progress("converting", None):
        write_transform(*read_transform(transform, None if like is None else read_grid(like)), out)
    _say(quiet, f"wrote {out}")


@app.command()
def evaluate(
    cohort: CohortPath,
    model: Annotated[
        str, typer.Option(help="A run, `elastix`, `undeformed`, `phantom`.", autocompletion=completion.model)
    ],
    out: Out,
    split: Annotated[str, typer.Option(help="train, val, test, or all.", autocompletion=completion.split)] = "test",
    metrics: Annotated[
        Mode, typer.Option(help="Sound metrics, those of the paper's own figures, or the challenges'.")
    ] = Mode.standard,
    refine: Refine = 0,
    confine: Confine = False,
    threads: Threads = None,
    devices: Devices = 1,
    nodes: Nodes = 1,
    strategy: Strategy = "auto",
    quiet: Quiet = False,
    verbose: Verbose = False,  # noqa: ARG001
) -> None:
    """Register every pair of a split and score it.

    Example: `heteroreg evaluate cohorts/acdc --model runs/hetero --out scores/hetero`
    """
    from heteroreg.data.cohort import Cohort
    from heteroreg.evaluation import evaluate as run
    from heteroreg.registration.load import load
    from heteroreg.system.processes import require_places

    require_places(devices, nodes)
    pairs = Cohort.read(cohort, confine=confine).split(split)
    # With several processes each goes to its own device later.
    device = "cpu" if devices * nodes > 1 else None
    registrar = load(model, device=device, threads=threads, refine=refine)
    scores = run(
        registrar, pairs, metrics=metrics.value, out=out, devices=devices, nodes=nodes, strategy=strategy,
        show=not quiet,
    )  # fmt: skip
    means = {name: value["mean"] for name, value in scores.summary["metrics"].items()}
    dice = [f"{name} {mean:.4f}" for name, mean in means.items() if name.startswith("dice_") and mean is not None]
    _say(quiet, f"wrote {out}: {', '.join(dice) or 'no labels to score'}")


@app.command()
def compare(
    folders: Annotated[
        list[str],
        typer.Argument(metavar="DIR…", help="Folders that `evaluate` wrote, or a row as NAME=DIR,DIR,…"),
    ],
    out: Out,
    baseline: Annotated[
        str | None, typer.Option(help="Compare with this row or folder; the first by default.")
    ] = None,
    quiet: Quiet = False,
    verbose: Verbose = False,  # noqa: ARG001
) -> None:
    """Put evaluations side by side: the paper's table with paired tests, and a page.

    Example: `heteroreg compare scores/mse scores/hetero --out report --baseline scores/mse`

    Folders that differ in their ending `-seed0`, `-seed1`, … alone are the seeds of one row:
    `heteroreg compare scores/mse-seed* scores/hetero-seed* --out report --baseline mse`.
    NAME=DIR,DIR,… says it for folders of any name.
    """
    from heteroreg.comparison.groups import parse_groups
    from heteroreg.report import write_report

    page = write_report(parse_groups(folders), out, baseline=baseline)
    _say(quiet, (out / "table.md").read_text(encoding="utf-8"))
    _say(quiet, f"look at {page}")


@app.command()
def study(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="Describes the study, such as those in `studies/`.")],
    out: Out,
    cohort: Annotated[
        list[str] | None,
        typer.Option(metavar="PATH", help="The cohort instead of the file's; NAME=PATH where it has several."),
    ] = None,
    jobs: Annotated[int, typer.Option(min=1, help="Trainings at once on this machine.")] = 1,
    slurm: Annotated[
        str | None, typer.Option(metavar="KEY=VALUE,…", help="Train as SLURM jobs: partition=gpu,time=120,…")
    ] = None,
    quiet: Quiet = False,
    verbose: Verbose = False,  # noqa: ARG001
) -> None:
    """Train methods × networks × seeds × settings, choose on validation pairs, score on test pairs, compare.

    Example: `heteroreg study studies/accuracy.yaml --cohort cohorts/acdc --out studies/acdc --jobs 2`

    The same command goes on where it was stopped.
    """
    from functools import partial

    from heteroreg.study import run_study
    from heteroreg.study.jobs import Local
    from heteroreg.study.jobs import slurm as queue

    if slurm is not None and jobs > 1:
        raise UserError("--jobs: is for this machine; with --slurm the queue decides how many run at once")
    parameters = _settings([part for part in slurm.split(",") if part.strip()], "--slurm") if slurm else {}
    runner = Local(jobs, out / "logs") if slurm is None else queue(parameters, out / "slurm")
    run_study(file, out, cohorts=cohort or (), runner=runner, say=partial(_say, quiet))


@app.command()
def export(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="Folder that `train` made.")],
    out: Annotated[Path, typer.Option("--out", help="File to write, .onnx.")],
    format_: Annotated[Format, typer.Option("--format", help="onnx.")] = Format.onnx,  # noqa: ARG001
    quiet: Quiet = False,
    verbose: Verbose = False,  # noqa: ARG001
) -> None:
    """Write a run's model as one ONNX file, for use without this package and without PyTorch.

    Example: `heteroreg export runs/hetero --format onnx --out hetero.onnx`
    """
    from heteroreg.export import export as write

    written = write(run, out)
    _say(quiet, f"wrote {out}: {', '.join(written.inputs)} to {', '.join(written.outputs)}")
    if written.difference is None:
        _say(quiet, "not checked: onnxruntime is not installed; pip install 'heteroreg[onnx]'")
    else:
        _say(quiet, f"checked: onnxruntime agrees with PyTorch to {written.difference:.0e} on two sizes")


@app.command()
def push(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="Folder that `train` made.")],
    repo: Annotated[str, typer.Argument(metavar="REPO", help="owner/name on Hugging Face, or a folder as ./name.")],
    scores: Annotated[Path | None, typer.Option(metavar="DIR", help="What `evaluate` wrote of this run.")] = None,
    data: Annotated[str | None, typer.Option(help="What the images are, for the card.")] = None,
    licence: Annotated[str | None, typer.Option("--license", help="Of the model, such as cc-by-4.0.")] = None,
    private: Annotated[bool, typer.Option("--private", help="Make a new repository private.")] = False,
    message: Annotated[str | None, typer.Option(help="Of the commit.")] = None,
    quiet: Quiet = False,
    verbose: Verbose = False,  # noqa: ARG001
) -> None:
    """Publish a run with a model card: the best checkpoint and its settings, no paths and no names of patients.

    Example: `heteroreg push runs/hetero me/cardiac-registration --scores scores/hetero --data "cine MRI"
    --license cc-by-4.0`
    """
    from heteroreg.hub import push as send

    where = send(run, repo, scores=scores, data=data, licence=licence, private=private, message=message)
    _say(quiet, f"published {where}; look at its README.md")


@app.command()
def pull(
    repo: Annotated[str, typer.Argument(metavar="REPO", help="owner/name on Hugging Face, or a folder as ./name.")],
    out: Annotated[Path, typer.Argument(metavar="OUT", help="Folder to write.")],
    revision: Annotated[str | None, typer.Option(help="A branch, a tag or a commit.")] = None,
    quiet: Quiet = False,
    verbose: Verbose = False,  # noqa: ARG001
) -> None:
    """Bring a published model; the folder is then a run for `register` and `evaluate`.

    Example: `heteroreg pull me/cardiac-registration model`, and then
    `heteroreg register ED.nii.gz ES.nii.gz --model model --out registered`
    """
    from heteroreg.hub import pull as fetch

    run = fetch(repo, out, revision=revision)
    _say(quiet, f"wrote {out}: method {run.config.method}, network {run.config.network}, {run.config.dims}D")


@app.command()
def watch(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="Folder of a run, a study, or of several runs.")],
    once: Annotated[bool, typer.Option("--once", help="Show what there is and end.")] = False,
    every: Annotated[float, typer.Option(min=0.1, help="Seconds between looks.")] = 2.0,
    verbose: Verbose = False,  # noqa: ARG001
) -> None:
    """Follow a training or a study from another terminal, or another machine, until it is finished.

    Example: `heteroreg watch runs/hetero`

    It reads the files of the run and writes nothing; Ctrl-C ends it, and not the training.
    """
    from heteroreg.watch import follow

    try:
        follow(run, once=once, every=every)
    except Interruption as interruption:
        if interruption.signal != signal.SIGINT:
            raise


@app.command()
def methods(
    json_: Annotated[bool, typer.Option("--json", help="As JSON.")] = False,
) -> None:
    """List the methods and networks.

    Example: `heteroreg methods`
    """
    from heteroreg.methods import METHODS, NETWORKS

    table = {
        "methods": {name: method.summary for name, method in METHODS.items()},
        "networks": {name: network.summary for name, network in NETWORKS.items()},
    }
    if json_:
        print(json.dumps(table, indent=2, ensure_ascii=False))
        return
    for title, rows in table.items():
        print(f"{title}:")
        for name, summary in rows.items():
            print(f"  {name:16} {summary}")


def main() -> None:
    """The entry point: the one place where a mistake of the user's becomes one line and exit code 2."""
    completion.join_settings()
    warnings.showwarning = _warn
    # PyTorch, loaded later, then says nothing but errors: a process that is lost gets our one line, not its stack.
    os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")
    try:
        with handled(interrupt), showing("--quiet" not in sys.argv and not _follows()):
            app()
    except (UserError, OSError) as error:
        if getattr(error, "elsewhere", False):  # another process of the same work says it
            raise SystemExit(0) from None
        if {"-v", "--verbose"} & set(sys.argv):
            raise
        print(f"heteroreg: {_line(error)}", file=sys.stderr)
        raise SystemExit(2) from None
    except StoppedError as stopped:
        if stopped.elsewhere:
            raise SystemExit(0) from None
        print(f"heteroreg: {stopped}", file=sys.stderr)
        raise SystemExit(128 + stopped.signal) from None
    except Interruption as interruption:
        print("heteroreg: interrupted", file=sys.stderr)
        raise SystemExit(128 + interruption.signal) from None


def _follows() -> bool:
    """Whether another process has started this one to work beside it."""
    return any(os.environ.get(name, "0") not in ("", "0") for name in ("LOCAL_RANK", "NODE_RANK", "SLURM_PROCID"))


def _line(error: Exception) -> str:
    if isinstance(error, OSError) and error.strerror:
        where = f"{error.filename}: " if error.filename else ""
        return f"{where}{error.strerror}; check the path, its permissions and the room on the disk"
    return str(error)


def _warn(message: Any, category: type[Warning], *_args: Any, **_kwargs: Any) -> None:
    if issubclass(category, UserWarning):
        print(f"heteroreg: warning: {message}", file=sys.stderr)


def _settings(pairs: list[str], option: str = "--set") -> dict[str, Any]:
    settings = {}
    for pair in pairs:
        key, equals, value = pair.partition("=")
        if not equals or not key:
            raise UserError(f"{option} {pair}: write KEY=VALUE")
        settings[key.strip()] = parse_yaml(value, f"{option} {key}")
    return settings


def _say(quiet: bool, text: str) -> None:
    if not quiet and _first_process():
        print(text, flush=True)


def _first_process() -> bool:
    """Whether this process is the one of several that speaks."""
    processes = sys.modules.get("heteroreg.system.processes")  # commands that start no others do not load it
    return processes is None or bool(processes.is_first())


if __name__ == "__main__":
    main()
