"""Where models are handed on: a folder, or a repository of Hugging Face. The same files lie in both."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

from heteroreg.evaluation.scores import MARKER
from heteroreg.system.errors import UserError
from heteroreg.system.files import atomic_folder
from heteroreg.system.limits import TABLE_BYTES, TEXT_BYTES, WEIGHTS_BYTES, require_small
from heteroreg.system.run_files import CONFIG
from heteroreg.training import checkpoint

CARD = "README.md"
BEST = "checkpoints/best"
TENSORS = "tensors-*.safetensors"
SCORES = "scores"
# All that a model consists of, and the bytes that each may have.
FILES = {
    CARD: TEXT_BYTES,
    CONFIG: TEXT_BYTES,
    f"{BEST}/{checkpoint.STATE}": TEXT_BYTES,
    f"{BEST}/{TENSORS}": WEIGHTS_BYTES,
    f"{SCORES}/{MARKER}": TABLE_BYTES,
    f"{SCORES}/summary.json": TEXT_BYTES,
}
_NAME = r"[A-Za-z0-9](?:[A-Za-z0-9._-]{0,94}[A-Za-z0-9])?"


@dataclass(frozen=True)
class LocalFolder:
    """A folder.

    Attributes:
        path: Where it is.
    """

    path: Path

    def send(self, staged: Path) -> None:
        """Copies the files of a model there, all or none.

        Raises:
            UserError: The folder holds something.
        """
        require_empty(self.path)
        with atomic_folder(self.path, CONFIG) as temporary:
            shutil.copytree(staged, temporary, dirs_exist_ok=True)

    def fetch(self, into: Path, revision: str | None) -> None:
        """Copies from there what belongs to a model.

        Raises:
            UserError: It is no folder, a file is too large or a link, or a revision is asked of it.
        """
        if revision is not None:
            raise UserError(f"--revision: {self.path} is a folder, which has none")
        if not self.path.is_dir():
            raise UserError(f"{self.path}: no such folder; name one that `heteroreg push` wrote")
        for pattern, limit in FILES.items():
            for file in sorted(self.path.glob(pattern)):
                if file.is_symlink():
                    raise UserError(f"{file}: is a link, which no model needs; put the file itself there")
                require_small(file, limit)
                target = into / file.relative_to(self.path)
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(file, target)


@dataclass(frozen=True)
class Repository:
    """A repository of Hugging Face.

    Attributes:
        name: `owner/name`.
    """

    name: str

    def send(self, staged: Path, private: bool, message: str) -> str:
        """Makes the repository, if there is none, and uploads the files of a model as one commit.

        Returns:
            Its address.

        Raises:
            UserError: huggingface_hub is not installed, there is no connection, or one may not.
        """
        api = _api()
        with _asked(self.name):
            url = api.create_repo(self.name, repo_type="model", private=private, exist_ok=True)
            # What an earlier push left and this one does not have goes: the weights' name holds the step.
            old = [f"{BEST}/{TENSORS}", f"{SCORES}/*"]
            api.upload_folder(
                repo_id=self.name,
                repo_type="model",
                folder_path=str(staged),
                commit_message=message,
                delete_patterns=old,
            )
        return str(url)

    def fetch(self, into: Path, revision: str | None) -> None:
        """Downloads what belongs to a model, and nothing else.

        Raises:
            UserError: As in `send`; there is no such repository or revision; a file is too large.
        """
        api = _api()
        with _asked(self.name):
            info = api.model_info(self.name, revision=revision, files_metadata=True)
        found = {file.rfilename: file.size for file in info.siblings or []}
        for name, size in found.items():
            limit = next((limit for pattern, limit in FILES.items() if fnmatch(name, pattern)), None)
            if limit is not None and (size is None or size > limit):
                raise UserError(
                    f"{self.name}: {name} has {size} bytes, more than the {limit} that such a file may have"
                )
        with _asked(self.name):
            # The commit whose sizes were looked at, whatever happens to the branch.
            api.snapshot_download(
                self.name, repo_type="model", revision=info.sha, local_dir=str(into), allow_patterns=list(FILES)
            )
        for pattern, limit in FILES.items():
            for file in into.glob(pattern):
                require_small(file, limit)


def place_of(text: str) -> LocalFolder | Repository:
    """The place that a text names: a folder where it begins with `.`, `/` or `~` or exists, else a repository.

    Raises:
        UserError: It is neither.
    """
    if text.startswith((".", "/", "~")) or (text and Path(text).is_dir()):
        return LocalFolder(Path(text).expanduser())
    if re.fullmatch(f"{_NAME}/{_NAME}", text) is None or ".." in text or "--" in text:
        raise UserError(
            f"{text}: is no name of a repository; write owner/name with letters, digits, '-', '_' and '.', or a "
            "folder as ./name"
        )
    return Repository(text)


def require_empty(path: Path) -> None:
    """Checks that a folder may be written to.

    Raises:
        UserError: It is a file, or holds something.
    """
    if path.is_file() or (path.is_dir() and any(path.iterdir())):
        raise UserError(f"{path}: exists and is not an empty folder; choose another")


def _api() -> Any:
    try:
        from huggingface_hub import HfApi
    except ImportError as error:
        raise UserError("huggingface_hub: is not installed; pip install 'heteroreg[hub]'") from error
    return HfApi(library_name="heteroreg")


@contextmanager
def _asked(name: str) -> Iterator[None]:
    """Makes one line of what can go wrong on the way to a repository."""
    from huggingface_hub import errors

    try:
        yield
    except errors.RevisionNotFoundError as error:
        raise UserError(f"{name}: has no such revision; name a branch, a tag or a commit") from error
    except errors.GatedRepoError as error:
        raise UserError(f"{name}: asks for consent; give it on its page and log in, `hf auth login`") from error
    except errors.RepositoryNotFoundError as error:
        raise UserError(
            f"{name}: there is no such repository, or it is not shown to you; check the name, or log in with "
            "`hf auth login`"
        ) from error
    except errors.HfHubHTTPError as error:
        status = error.response.status_code
        if status in (401, 403):
            raise UserError(
                f"{name}: you may not do that ({status}); log in with `hf auth login`, or set HF_TOKEN to a token "
                "that may write"
            ) from error
        raise UserError(f"{name}: the server refused it ({error}); try again later") from error
    except errors.LocalTokenNotFoundError as error:
        raise UserError(f"{name}: nobody is logged in; use `hf auth login`, or set HF_TOKEN") from error
    except (errors.HTTPError, errors.LocalEntryNotFoundError, ConnectionError) as error:  # type: ignore[attr-defined]
        raise UserError(f"{name}: no connection to Hugging Face ({error}); check the network") from error


def names(folder: Path) -> Sequence[str]:
    """The files below a folder."""
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())
