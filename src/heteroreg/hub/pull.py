"""Write a shared model to a folder of its own."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory

from heteroreg.evaluation.scores import Scores
from heteroreg.hub.files import require_empty, stage
from heteroreg.registration.shared import CARD_FILE, SHARED_SCORES, fetch
from heteroreg.system.errors import UserError
from heteroreg.system.files import copy_files, write_text
from heteroreg.system.outputs import output_folder
from heteroreg.system.text import read_text
from heteroreg.training.run import Run


def pull(name: str, out: str | Path, *, revision: str | None = None) -> Run:
    """Copy a model that `push` shared to a folder, as a run for `register` and `evaluate`.

    The files are not trusted: `fetch` checks them, the tensors must load into the network that the configuration
    names, and every file is written anew from what was read.

    Args:
        name: `owner/name` on Hugging Face, or a folder: a path that begins with `./` or `/`, or exists.
        out: The folder to write.
        revision: A branch, a tag or a commit of the repository.

    Raises:
        UserError: The model does not exist, cannot be reached or used, or `out` is not empty.

    Examples:
        >>> import heteroreg as hr
        >>> shared = hr.push(hr.load("phantom", device="cpu"), "./shared", licence="cc-by-4.0")
        >>> hr.pull("./shared", "runs/theirs").config.method  # or "owner/name"
        'hetero'
    """
    out = Path(out)
    require_empty(out)
    folder = fetch(name, revision=revision)
    with TemporaryDirectory() as temporary:
        staged = Path(temporary)
        try:
            scores = Scores.read(folder / SHARED_SCORES) if (folder / SHARED_SCORES).is_dir() else None
            stage(Run.read(folder), staged, scores)
            if (folder / CARD_FILE).exists():
                write_text(staged / CARD_FILE, read_text(folder / CARD_FILE))
        except UserError as error:  # the name says more than a path in the cache
            raise UserError(str(error).replace(str(folder), name)) from error
        with output_folder(out, "run") as new:
            copy_files(staged, new)
    return Run.read(out)
