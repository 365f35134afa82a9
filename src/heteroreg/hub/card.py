"""The model card. Every figure in it is read from the run, its cohort, or its evaluation."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from heteroreg._version import __version__
from heteroreg.comparison.escape import escaped
from heteroreg.comparison.numbers import mean_and_sd
from heteroreg.data.cohort import Cohort
from heteroreg.evaluation.metrics import IN_VOXELS, metric
from heteroreg.evaluation.scores import Scores, over_patients
from heteroreg.methods import METHODS
from heteroreg.system.errors import UserError, one_line
from heteroreg.system.run_files import METRICS
from heteroreg.training.config import Config
from heteroreg.training.run import Run

TEMPLATE = Path(__file__).with_name("card.md.j2")
# Identifiers of licences that Hugging Face accepts and models are shared under; others are named in `license_name`.
LICENCES = (
    *("apache-2.0", "mit", "bsd-2-clause", "bsd-3-clause", "gpl-3.0", "lgpl-3.0", "agpl-3.0", "mpl-2.0"),
    *("cc0-1.0", "cc-by-4.0", "cc-by-sa-4.0", "cc-by-nc-4.0", "cc-by-nd-4.0", "cc-by-nc-sa-4.0", "cc-by-nc-nd-4.0"),
)
SYMBOLS = {"smoothness": "λ", "gamma": "γ", "beta": "β", "alpha": "α"}
CARD_SETTINGS = (
    *("method", "network", "dims", "steps", "batch_size", "learning_rate", "seed", "smoothness", "gamma", "beta"),
    *("int_steps", "occlusions", "size", "spacing", "intensity"),
)


def card(
    run: Run,
    step: int,
    scores: Scores | None,
    repository: str,
    *,
    data: str | None = None,
    licence: str | None = None,
) -> str:
    """Return the model card in Markdown with metadata in YAML. The same input gives the same text.

    Args:
        run: The run.
        step: Step of its best checkpoint.
        scores: Its evaluation.
        repository: Name of the repository, for the example.
        data: What the images show, in the words of the author.
        licence: Licence of the model.

    Raises:
        UserError: huggingface_hub is not installed; the scores hold no metric.
    """
    try:
        from huggingface_hub import EvalResult, ModelCard, ModelCardData
    except ImportError as error:
        raise UserError("huggingface_hub: is not installed; pip install 'heteroreg[hub]'") from error
    config, figures = run.config, [] if scores is None else means(scores)
    results = [
        EvalResult(
            task_type="image-registration",
            dataset_type="own",
            dataset_name="the author's cohort",
            dataset_split=scores.summary["split"] or "all",
            metric_type=found["name"],
            metric_name=found["title"],
            metric_value=round(found["mean"], 2),
        )
        for found in figures
        if scores is not None
    ]
    metadata = ModelCardData(
        library_name="heteroreg",
        license=None if licence is None else licence.lower() if licence.lower() in LICENCES else "other",
        license_name=None if licence is None or licence.lower() in LICENCES else one_line(licence),
        tags=[
            *("image-registration", "medical-imaging", "deformable-registration", f"{config.dims}d"),
            *(config.network, config.method),
        ],
        metrics=list(dict.fromkeys(found["name"] for found in figures if found["label"] is not None)) or None,
        model_name=f"{config.method}, {config.network}, {config.dims}D" if results else None,
        eval_results=results or None,
    )
    written = ModelCard.from_template(
        metadata,
        template_path=str(TEMPLATE),
        config=config,
        method=METHODS[config.method],
        version=__version__,
        repository=repository,
        data=None if data is None else escaped(data),
        licence=None if licence is None else escaped(licence),
        splits=splits(config),
        settings=card_settings(config),
        step=step,
        hours=hours(run),
        scores=None if scores is None else scores.summary,
        patients=None if scores is None else scores.table["patient"].nunique(),
        figures=figures,
        coverage=next((found["mean"] for found in figures if found["name"] == "coverage_68"), None),
    )
    return f"{written}\n"


def splits(config: Config) -> list[tuple[str, int, int]] | None:
    """Return name, pairs and patients of each split of the cohort; None if the cohort is no longer there."""
    if config.cohort is None or not Path(config.cohort).exists():
        return None
    cohort = Cohort.read(config.cohort)
    parts = {name: cohort.split(name) for name in cohort.splits} or {"train": cohort}
    return [(name, len(part), len({pair.patient for pair in part})) for name, part in parts.items()]


def card_settings(config: Config) -> list[tuple[str, Any]]:
    """Return the settings that matter most, with their symbols."""
    names = (*CARD_SETTINGS, "alpha", "correlation") if METHODS[config.method].uncertain else CARD_SETTINGS
    known = config.model_dump(mode="json")
    return [
        (f"{name} ({SYMBOLS[name]})" if name in SYMBOLS else name, known[name])
        for name in names
        if known[name] is not None
    ]


def hours(run: Run) -> float | None:
    """Return the duration of the training; None if `metrics.csv` does not tell."""
    table = run.metrics if (run.folder / METRICS).is_file() else None
    return None if table is None or "seconds" not in table or table.empty else table["seconds"].iloc[-1] / 3600


def means(scores: Scores) -> list[dict[str, Any]]:
    """Return mean and standard deviation over patients of each metric, in the unit of its title."""
    found = []
    voxels = scores.summary["mode"] in IN_VOXELS
    for column, value in over_patients(scores.table, scores.metrics).items():
        described = metric(column, voxels=voxels, names=scores.label_names)
        if value["mean"] is not None:
            label = described.label
            found.append(
                {
                    "name": column if label is None else column.rpartition("_")[0],
                    "label": label,
                    "title": described.heading + ("" if label is None else f", {escaped(described.label_called)}"),
                    "mean": value["mean"] * described.scale,
                    "text": mean_and_sd(described, value["mean"], value["sd"]),
                    "patients": value["patients"],
                }
            )
    if not found:
        raise UserError("scores: hold no metric; evaluate again", argument="scores")
    return found
