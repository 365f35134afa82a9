"""A model from a repository or a folder, taken as what anyone may have put there."""

from __future__ import annotations

import shutil
from pathlib import Path
from tempfile import TemporaryDirectory

from heteroreg.evaluation.scores import Scores
from heteroreg.hub.place import BEST, CARD, SCORES, place_of, require_empty
from heteroreg.hub.push import stage, without_cohort
from heteroreg.system.errors import UserError
from heteroreg.system.files import atomic_folder, write_text
from heteroreg.system.run_files import CONFIG
from heteroreg.system.text import read_text
from heteroreg.training.run import Run


def pull(place: str, out: str | Path, *, revision: str | None = None) -> Run:
    """Brings a model that `push` handed on, as a run that `register` and `evaluate` take.

    The files are not trusted: those alone are taken that a model consists of, up to a size; tensors are read from
    safetensors and nothing is executed; they must load into the network that the configuration names. What is
    written is made anew from what was read.

    Args:
        place: `owner/name`, or a folder: what begins with `./` or `/`, or exists.
        out: The folder to write.
        revision: A branch, a tag or a commit of a repository.

    Returns:
        The run.

    Raises:
        UserError: There is no such model, it cannot be reached or used, or `out` is not empty.
    """
    out, source = Path(out), place_of(place)
    require_empty(out)
    with TemporaryDirectory() as temporary:
        received, staged = Path(temporary) / "received", Path(temporary) / "staged"
        received.mkdir()
        source.fetch(received, revision)
        try:
            run = Run.read(received)
            if not run.checkpoint("best").is_dir():
                raise UserError(f"{place}: holds no {BEST}; name a model that `heteroreg push` made")
            scores = Scores.read(received / SCORES) if (received / SCORES).is_dir() else None
            stage(run, staged, scores)
            if (received / CARD).exists():
                write_text(staged / CARD, read_text(received / CARD))
        except UserError as error:  # which names the files in a folder that is gone when one reads it
            raise UserError(str(error).replace(str(received), place)) from error
        with atomic_folder(out, CONFIG) as new:
            shutil.copytree(staged, new, dirs_exist_ok=True)
    return Run(out, without_cohort(run.config))
