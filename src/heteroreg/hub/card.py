"""The model card: every figure in it is read from the run, its cohort, or its evaluation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any

import yaml
from jinja2 import Environment, StrictUndefined

from heteroreg import __version__
from heteroreg.comparison.marks import heading, shown
from heteroreg.data.cohort import Cohort
from heteroreg.evaluation.metrics import metric
from heteroreg.evaluation.scores import Scores, over_patients
from heteroreg.methods import METHODS
from heteroreg.system.errors import UserError, one_line
from heteroreg.system.run_files import METRICS
from heteroreg.training.config import Config
from heteroreg.training.run import Run

# Those that Hugging Face knows and models are given under; any other is `other` there, with its name.
LICENCES = {
    "apache-2.0",
    "mit",
    "bsd-2-clause",
    "bsd-3-clause",
    "cc0-1.0",
    "cc-by-4.0",
    "cc-by-sa-4.0",
    "cc-by-nc-4.0",
    "cc-by-nd-4.0",
    "cc-by-nc-sa-4.0",
    "cc-by-nc-nd-4.0",
    "gpl-3.0",
    "lgpl-3.0",
    "agpl-3.0",
    "mpl-2.0",
}
SETTINGS = (
    "method",
    "network",
    "dims",
    "steps",
    "batch_size",
    "learning_rate",
    "seed",
    "smoothness",
    "gamma",
    "beta",
    "int_steps",
    "occlusions",
    "size",
    "spacing",
    "intensity",
)
SYMBOLS = {"smoothness": "λ", "gamma": "γ", "beta": "β", "alpha": "α"}


def card(
    run: Run,
    step: int,
    scores: Scores | None,
    repository: str,
    data: str | None = None,
    licence: str | None = None,
) -> str:
    """The card as Markdown with a head in YAML. The same input gives the same text.

    Args:
        run: The run.
        step: That of its best checkpoint.
        scores: Its evaluation.
        repository: Where it can be pulled from.
        data: What the images are, in the words of whoever trained on them.
        licence: Of the model.
    """
    config = run.config
    environment = Environment(
        autoescape=False,  # noqa: S701 - the text is Markdown
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    template = environment.from_string((files("heteroreg.hub") / "card.md.j2").read_text(encoding="utf-8"))
    return template.render(
        head=yaml.safe_dump(head(config, scores, licence), sort_keys=False, allow_unicode=True),
        config=config,
        method=METHODS[config.method],
        version=__version__,
        repository=repository,
        data=None if data is None else shown(data),
        licence=None if licence is None else shown(licence),
        splits=splits(config),
        settings=settings(config),
        step=step,
        hours=hours(run),
        scores=None if scores is None else scores.summary,
        rows=[] if scores is None else rows(scores),
        patients=None if scores is None else scores.table["patient"].nunique(),
        coverage=None if scores is None else _mean(scores, "coverage_68"),
    )


def head(config: Config, scores: Scores | None, licence: str | None) -> Mapping[str, Any]:
    """What Hugging Face reads."""
    result: dict[str, Any] = {"library_name": "heteroreg"}
    if licence is not None:
        known = licence.lower() in LICENCES
        result |= {"license": licence.lower()} if known else {"license": "other", "license_name": one_line(licence)}
    result["tags"] = [
        *("image-registration", "medical-imaging", "deformable-registration", f"{config.dims}d"),
        *(config.network, config.method),
    ]
    measured = [] if scores is None else scores.metrics
    names = list(dict.fromkeys(name.rpartition("_")[0] for name in measured if _about_label(name)))
    return result | ({"metrics": names} if names else {})


def splits(config: Config) -> list[tuple[str, int, int]] | None:
    """Name, pairs and patients of each split of the cohort; None where it does not lie where it was trained on."""
    if config.cohort is None or not Path(config.cohort).exists():
        return None
    cohort = Cohort.read(config.cohort)
    parts = {name: cohort.split(name) for name in cohort.splits} or {"train": cohort}
    return [(name, len(part), len({pair.patient for pair in part})) for name, part in parts.items()]


def settings(config: Config) -> list[tuple[str, str]]:
    """The settings that matter, with their symbols."""
    names: Sequence[str] = SETTINGS
    if METHODS[config.method].uncertain:
        names = (*SETTINGS, "alpha", "correlation")
    known = config.model_dump(mode="json")
    return [(f"{name} ({SYMBOLS[name]})" if name in SYMBOLS else name, str(known[name])) for name in names]


def hours(run: Run) -> float | None:
    """How long the training took; None where `metrics.csv` does not say."""
    if not (run.folder / METRICS).is_file():
        return None
    table = run.metrics
    if "seconds" not in table or not len(table):
        return None
    return float(table["seconds"].iloc[-1]) / 3600


def rows(scores: Scores) -> list[tuple[str, str, int]]:
    """For each metric its title, mean ± sd over patients, and how many of these have it."""
    mode, found = scores.summary["mode"], []
    for name, value in over_patients(scores.table, scores.metrics).items():
        described = metric(name)
        assert described is not None
        if value["mean"] is None:
            continue
        text = f"{value['mean'] * described.scale:.2f}"
        text += "" if value["sd"] is None else f" ± {value['sd'] * described.scale:.2f}"
        label = "" if described.label is None else f", label {described.label}"
        found.append((f"{heading(described, mode)}{label}", text, int(value["patients"] or 0)))
    if not found:
        raise UserError("--scores: hold no metric; evaluate again")
    return found


def _mean(scores: Scores, name: str) -> float | None:
    value = over_patients(scores.table, [name])[name]["mean"] if name in scores.metrics else None
    return None if value is None else float(value)


def _about_label(name: str) -> bool:
    described = metric(name)
    return described is not None and described.label is not None
