"""Read a shared model: a repository of Hugging Face, or a folder that `push` wrote.

Anyone may have written these files, so none of them is trusted. Only the files of a model are read, each up to a
size; tensors come from safetensors and settings from JSON and YAML; no code is run.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

from heteroreg.system.errors import UserError
from heteroreg.system.limits import TABLE_BYTES, TEXT_BYTES, WEIGHTS_BYTES, require_small
from heteroreg.system.paths import expanded
from heteroreg.system.run_files import CONFIG, STATE
from heteroreg.system.text import read_yaml
from heteroreg.training import checkpoint
from heteroreg.training.run import Run

CARD_FILE = "README.md"
BEST_CHECKPOINT = "checkpoints/best"
TENSOR_FILES = "tensors-*.safetensors"
SHARED_SCORES = "scores"
# Every file that a shared model may have, as a pattern, and its largest size in bytes.
SHARED_FILES = {
    CARD_FILE: TEXT_BYTES,
    CONFIG: TEXT_BYTES,
    f"{BEST_CHECKPOINT}/{STATE}": TEXT_BYTES,
    f"{BEST_CHECKPOINT}/{TENSOR_FILES}": WEIGHTS_BYTES,
    f"{SHARED_SCORES}/scores.csv": TABLE_BYTES,
    f"{SHARED_SCORES}/summary.json": TEXT_BYTES,
}
_PART = r"[A-Za-z0-9](?:[A-Za-z0-9._-]{0,94}[A-Za-z0-9])?"


def fetch(name: str | Path, *, revision: str | None = None) -> Path:
    """Return the folder of a shared model as a run, downloaded if need be, with its files checked.

    A repository is downloaded into the cache of huggingface_hub, once for each commit. Without a connection the
    copy in the cache is used.

    Args:
        name: `owner/name` on Hugging Face, or a folder that `push` wrote.
        revision: A branch, a tag or a commit of the repository.

    Returns:
        The folder, which `Run.read` takes. Do not change its files: those of a repository lie in the cache.

    Raises:
        UserError: The model does not exist or cannot be reached; a file is missing, damaged, too large or a link;
            or its configuration names code outside this package.
    """
    local = names_folder(name)
    folder = _local(expanded(name), revision) if local else _download(str(name), revision)
    for file, limit in shared_files(folder):
        if local and file.is_symlink():
            raise UserError(f"{file}: is a link, which no model needs; put the file itself there")
        require_small(file, limit)
    try:
        _check_content(folder)
    except UserError as error:
        raise UserError(str(error) if local else str(error).replace(str(folder), str(name))) from error
    return folder


def _check_content(folder: Path) -> None:
    """Check that the files make up a run, and that reading it runs no code outside this package."""
    settings = read_yaml(folder / CONFIG) if (folder / CONFIG).is_file() else {}
    for key in ("method", "network"):
        # Checked before the configuration is read, which imports a name such as package.module:name.
        value = settings.get(key) if isinstance(settings, dict) else None
        if ":" in str(value):
            raise UserError(
                f"{folder / CONFIG}: {key} {value} is code outside heteroreg, which a shared model may not name; "
                "ask its author for a model with a method and a network of heteroreg"
            )
    Run.read(folder)
    best = folder / BEST_CHECKPOINT
    if not best.is_dir():
        raise UserError(f"{folder}: holds no {BEST_CHECKPOINT}; name a model that `push` wrote")
    tensors = Path(checkpoint.read_state(best)["tensors"]).name
    if not fnmatch(tensors, TENSOR_FILES):
        raise checkpoint.damaged(best, f"{tensors} is not the name of a tensor file")


def shared_files(folder: Path) -> Iterator[tuple[Path, int]]:
    """Yield every file of a shared model in a folder, with its largest size; other files are left out."""
    for pattern, limit in SHARED_FILES.items():
        for file in sorted(folder.glob(pattern)):
            yield file, limit


def names_folder(name: str | Path) -> bool:
    """Return True if a name means a folder: a path, a text that begins with `.`, `/` or `~`, or an existing folder.

    Raises:
        UserError: It is neither that nor a possible `owner/name`.
    """
    if isinstance(name, Path) or name.startswith((".", "/", "~")) or (name and Path(name).is_dir()):
        return True
    if not _is_repository_name(name):
        raise UserError(
            f"{name}: is no name of a repository; write owner/name with letters, digits, '-', '_' and '.', or a "
            "folder as ./name"
        )
    return False


def may_be_shared(name: str | Path) -> bool:
    """Return True if a name is `owner/name` and nothing here suggests that a local path is meant.

    With a folder `owner` here, `owner/name` is more likely a mistyped path, which is not sent to a server.
    """
    return isinstance(name, str) and _is_repository_name(name) and not Path(name).parent.exists()


def _is_repository_name(name: str) -> bool:
    return re.fullmatch(f"{_PART}/{_PART}", name) is not None and ".." not in name and "--" not in name


def _local(folder: Path, revision: str | None) -> Path:
    if revision is not None:
        raise UserError(f"revision: {folder} is a folder, which has no revisions", argument="revision")
    if not folder.is_dir():
        raise UserError(f"{folder}: no such folder; name one that `push` wrote")
    return folder


def _download(name: str, revision: str | None) -> Path:
    """Download the files of a model into the cache, after a look at their sizes."""
    api, patterns = hub_api(), list(SHARED_FILES)
    _require_cache(name)
    with hub_errors(name):
        info = _info(api, name, revision)
        if info is None:
            cached = api.snapshot_download(name, revision=revision, allow_patterns=patterns, local_files_only=True)
            return Path(cached)
        for file in info.siblings or []:
            limit = next((n for pattern, n in SHARED_FILES.items() if fnmatch(file.rfilename, pattern)), None)
            if limit is not None and (file.size is None or file.size > limit):
                raise UserError(
                    f"{name}: {file.rfilename} has {file.size} bytes, more than the {limit} such a file may have"
                )
        # By commit: the files whose sizes were checked, even if the branch moves meanwhile.
        return Path(api.snapshot_download(name, revision=info.sha, allow_patterns=patterns))


def _require_cache(name: str) -> None:
    """Check that huggingface_hub has a folder to download into."""
    from huggingface_hub import constants

    try:
        Path(constants.HF_HUB_CACHE).expanduser()
    except RuntimeError as error:  # no home folder, as in some containers
        raise UserError(f"{name}: there is no home folder to download into; set HF_HOME to a folder") from error


def _info(api: Any, name: str, revision: str | None) -> Any:
    """Return what the server knows of a repository; None if it cannot be reached."""
    from huggingface_hub import errors

    try:
        return api.model_info(name, revision=revision, files_metadata=True)
    except errors.HfHubHTTPError:  # an answer, if one that refuses
        raise
    except _connection_errors():
        return None


def hub_api() -> Any:
    """Return huggingface_hub's client.

    Raises:
        UserError: huggingface_hub is not installed.
    """
    try:
        from huggingface_hub import HfApi
    except ImportError as error:
        raise UserError("huggingface_hub: is not installed; pip install 'heteroreg[hub]'") from error
    return HfApi(library_name="heteroreg")


@contextmanager
def hub_errors(name: str) -> Iterator[None]:
    """Turn the errors of huggingface_hub into one line that names the repository and says what to do."""
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
    except errors.LocalEntryNotFoundError as error:  # its text speaks of a cache and of arguments of its own
        raise UserError(f"{name}: no connection to Hugging Face; check the network") from error
    except _connection_errors() as error:
        raise UserError(f"{name}: no connection to Hugging Face ({error}); check the network") from error


def _connection_errors() -> tuple[type[Exception], ...]:
    """Return the errors of a broken connection."""
    from huggingface_hub import errors

    # The base class of its HTTP errors is that of the HTTP library in use, which differs between versions.
    return ConnectionError, vars(errors)["HTTPError"]
