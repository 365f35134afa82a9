"""Share a run: its best checkpoint, its settings, its scores and a model card."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory

from heteroreg.evaluation.scores import Scores
from heteroreg.hub.card import card
from heteroreg.hub.files import require_empty, stage
from heteroreg.methods import METHODS, NETWORKS
from heteroreg.registration.model import ModelRegistrar
from heteroreg.registration.shared import (
    BEST_CHECKPOINT,
    CARD_FILE,
    SHARED_SCORES,
    TENSOR_FILES,
    hub_api,
    hub_errors,
    names_folder,
)
from heteroreg.system.errors import UserError
from heteroreg.system.files import copy_files, write_text
from heteroreg.system.outputs import output_folder
from heteroreg.system.paths import expanded
from heteroreg.training import checkpoint
from heteroreg.training.run import Run


def push(
    run: Run | ModelRegistrar | str | Path,
    name: str,
    *,
    scores: str | Path | None = None,
    data: str | None = None,
    licence: str | None = None,
    private: bool = False,
    message: str | None = None,
) -> str:
    """Share a run in a repository of Hugging Face, or in a folder that then holds the same files.

    These are the best checkpoint, `config.yaml` without the path of the cohort, the scores without the ids of pairs
    and patients and without further columns of the cohort, and a model card. Nothing else of the run is shared.

    Args:
        run: The run, its folder, or its registrar.
        name: `owner/name` on Hugging Face, or a folder: a path that begins with `./` or `/`, or exists.
        scores: Folder that `evaluate` wrote for this run.
        data: What the images show, for the card: modality, organ, where they come from.
        licence: Licence of the model, such as `cc-by-4.0`; by default the card states that no licence is given.
        private: Make a new repository private.
        message: Message of the commit.

    Returns:
        The address of the repository, or the folder.

    Raises:
        UserError: The run has no best checkpoint, or was trained with code outside heteroreg; the scores are of
            another run; the folder is not empty; the repository's name is wrong or it cannot be reached.

    Examples:
        >>> import tempfile
        >>> import heteroreg as hr
        >>> shared = hr.push(hr.load("phantom", device="cpu"), tempfile.mkdtemp(), licence="cc-by-4.0")
        >>> hr.load(shared, device="cpu").run.config.method
        'hetero'
    """
    run = run.run if isinstance(run, ModelRegistrar) else run if isinstance(run, Run) else Run.read(run)
    local = names_folder(name)
    if local:
        require_empty(expanded(name))
    best = run.checkpoint("best")
    if not best.is_dir():
        raise UserError(
            f"{run.folder}: has no best checkpoint, which only a training with validation pairs leaves; train with "
            "a cohort that has the split 'val'"
        )
    if run.config.method not in METHODS or run.config.network not in NETWORKS:
        raise UserError(
            f"{run.folder}: was trained with a method or a network of your own, whose code a shared model does not "
            "hold; share that code and the run's folder instead"
        )
    own = None if scores is None else _of_run(Scores.read(scores), run, scores)
    with TemporaryDirectory() as temporary:
        staged = Path(temporary)
        stage(run, staged, own)
        step = checkpoint.read_state(best)["step"]
        text = card(run, step, own, "OWNER/NAME" if local else name, data=data, licence=licence)
        write_text(staged / CARD_FILE, text)
        if not local:
            return _upload(staged, name, private, message or f"Add a {run.config.method} model of heteroreg")
        folder = expanded(name)
        with output_folder(folder, "model") as new:
            copy_files(staged, new)
        return str(folder)


def _upload(folder: Path, name: str, private: bool, message: str) -> str:
    """Upload a folder as one commit, to a new repository if need be, and return the address."""
    api = hub_api()
    with hub_errors(name):
        url = api.create_repo(name, private=private, exist_ok=True)
        # An earlier push may have left weights of another step, and scores.
        old = [f"{BEST_CHECKPOINT}/{TENSOR_FILES}", f"{SHARED_SCORES}/*"]
        api.upload_folder(repo_id=name, folder_path=folder, commit_message=message, delete_patterns=old)
    return str(url)


def _of_run(scores: Scores, run: Run, where: str | Path) -> Scores:
    """Return the scores if they can be those of the run."""
    info = scores.summary.get("info")
    for key in ("method", "network", "seed"):
        found, expected = info.get(key) if isinstance(info, dict) else None, getattr(run.config, key)
        if found != expected:
            raise UserError(
                f"scores: {where} is not of this run ({key} {found}, not {expected}); name the folder that "
                f"`evaluate` wrote for {run.folder}",
                argument="scores",
            )
    return scores
