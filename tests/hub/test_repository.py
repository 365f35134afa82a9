"""Repositories: what is asked of huggingface_hub, and what becomes of its errors. Nothing leaves this machine."""

from __future__ import annotations

import shutil
import socket
import sys
import threading
from collections.abc import Callable, Iterator
from functools import partial
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import huggingface_hub
import pytest
from huggingface_hub import constants

from heteroreg.cli.app import main
from heteroreg.hub import pull, push
from heteroreg.registration import shared
from heteroreg.system.errors import UserError
from heteroreg.training import Run


def names(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


class Stub:
    """Stands for HfApi: a folder is the repository, and calls are kept."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.calls: list[tuple[str, dict[str, Any]]] = []

    def create_repo(self, name: str, **options: Any) -> str:
        self.calls.append(("create_repo", {"name": name, **options}))
        return f"https://huggingface.co/{name}"

    def upload_folder(self, *, folder_path: str, **options: Any) -> None:
        self.calls.append(("upload_folder", options))
        shutil.copytree(folder_path, self.folder)

    def model_info(self, name: str, **options: Any) -> Any:
        self.calls.append(("model_info", {"name": name, **options}))
        files = [path for path in self.folder.rglob("*") if path.is_file()]
        siblings = [
            SimpleNamespace(rfilename=path.relative_to(self.folder).as_posix(), size=path.stat().st_size)
            for path in files
        ]
        return SimpleNamespace(sha="c0ffee", siblings=siblings)

    def snapshot_download(self, name: str, **options: Any) -> str:
        self.calls.append(("snapshot_download", {"name": name, **options}))
        return str(self.folder)


@pytest.fixture
def stub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Stub:
    made = Stub(tmp_path / "remote")
    monkeypatch.setattr(huggingface_hub, "HfApi", lambda **_options: made)
    return made


def test_what_is_sent(stub: Stub, run_2d: Run, scores_2d: Path, tmp_path: Path) -> None:
    where = push(run_2d.folder, "me/hearts", scores=scores_2d, private=True, message="first")
    assert where == "https://huggingface.co/me/hearts"
    assert stub.calls == [
        ("create_repo", {"name": "me/hearts", "private": True, "exist_ok": True}),
        (
            "upload_folder",
            {
                "repo_id": "me/hearts",
                "commit_message": "first",
                "delete_patterns": ["checkpoints/best/tensors-*.safetensors", "scores/*"],
            },
        ),
    ]
    push(run_2d.folder, str(tmp_path / "local"), scores=scores_2d)
    assert names(stub.folder) == [name for name in names(tmp_path / "local") if name != "heteroreg.json"]
    for name in names(stub.folder):  # the same files, but for the name in the card
        ours, theirs = ((folder / name).read_bytes() for folder in (tmp_path / "local", stub.folder))
        assert ours.replace(b"OWNER/NAME", b"me/hearts") == theirs


def test_what_is_asked_for(stub: Stub, run_2d: Run, tmp_path: Path) -> None:
    push(run_2d.folder, "me/hearts")
    (stub.folder / "other.bin").write_bytes(b"x" * 100)
    stub.calls.clear()
    run = pull("me/hearts", tmp_path / "model", revision="v1")
    assert stub.calls == [
        ("model_info", {"name": "me/hearts", "revision": "v1", "files_metadata": True}),
        (
            "snapshot_download",
            {"name": "me/hearts", "revision": "c0ffee", "allow_patterns": list(shared.SHARED_FILES)},
        ),
    ]
    shared_files = {name for name in names(stub.folder) if name != "other.bin"}
    assert set(names(run.folder)) == shared_files | {"heteroreg.json"}


def test_a_large_file_is_not_downloaded(
    stub: Stub, run_2d: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    push(run_2d.folder, "me/hearts")
    monkeypatch.setitem(shared.SHARED_FILES, "config.yaml", 10)
    with pytest.raises(UserError, match=r"me/hearts: config\.yaml has \d+ bytes, more than the 10"):
        pull("me/hearts", tmp_path / "model")
    assert stub.calls[-1][0] == "model_info"
    assert not (tmp_path / "model").exists()


def test_without_huggingface_hub_the_extra_is_named(
    run_2d: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    push(run_2d.folder, str(tmp_path / "folder"))
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    for call in (
        lambda: push(run_2d.folder, "me/hearts"),
        lambda: push(run_2d.folder, str(tmp_path / "other")),  # its classes write the card
        lambda: pull("me/hearts", tmp_path / "other"),
    ):
        with pytest.raises(UserError, match=r"huggingface_hub: is not installed; pip install 'heteroreg\[hub\]'"):
            call()
    assert not (tmp_path / "other").exists()
    pull(str(tmp_path / "folder"), tmp_path / "model")  # reading a folder needs nothing


class Refusing(BaseHTTPRequestHandler):
    """Answers every question with the status and the code that the name in it asks for."""

    def _answer(self) -> None:
        length = int(self.headers.get("Content-Length") or 0)
        asked = self.path + self.rfile.read(length).decode()
        status, code = 500, ""
        if "missing" in asked:
            status, code = 404, "RepoNotFound"
        elif "revision" in asked:
            status, code = 404, "RevisionNotFound"
        elif "gated" in asked:
            status, code = 403, "GatedRepo"
        elif "create" in asked:
            status = 401
        self.send_response(status)
        if code:
            self.send_header("X-Error-Code", code)
        self.send_header("Content-Length", "0")
        self.end_headers()

    do_GET = do_POST = do_HEAD = _answer

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    made = HTTPServer(("127.0.0.1", 0), Refusing)
    thread = threading.Thread(target=made.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{made.server_port}"
    made.shutdown()
    made.server_close()


Command = Callable[..., str]


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Command:
    """Runs `heteroreg …` against another server, without a token, and gives the line of its error."""
    known = huggingface_hub.HfApi

    def run(endpoint: str, *arguments: str | Path) -> str:
        monkeypatch.setattr(huggingface_hub, "HfApi", partial(known, endpoint=endpoint, token=False))
        monkeypatch.setattr("sys.argv", ["heteroreg", *map(str, arguments)])
        with pytest.raises(SystemExit) as stop:
            main()
        error = capsys.readouterr().err
        assert stop.value.code == 2, error
        (line,) = error.splitlines()
        return line.removeprefix("heteroreg: ")

    return run


@pytest.mark.parametrize(
    ("owner", "arguments", "message"),
    [
        ("missing", (), "missing/x: there is no such repository, or it is not shown to you"),
        ("revision", ("--revision", "v9"), "revision/x: has no such revision"),
        ("gated", (), "gated/x: asks for consent"),
        ("broken", (), "broken/x: the server refused it"),
    ],
)
def test_a_refused_pull_is_one_line(
    command: Command, server: str, owner: str, arguments: tuple[str, ...], message: str, tmp_path: Path
) -> None:
    assert command(server, "pull", f"{owner}/x", tmp_path / "model", *arguments).startswith(message)
    assert not (tmp_path / "model").exists()


def test_a_push_without_a_token_is_one_line(command: Command, server: str, run_2d: Run) -> None:
    line = command(server, "push", run_2d.folder, "me/x")
    assert line.startswith("me/x: you may not do that (401); log in with `hf auth login`")


def test_no_connection_is_one_line(command: Command, tmp_path: Path) -> None:
    with socket.socket() as free:  # a port that nobody listens at
        free.bind(("127.0.0.1", 0))
        line = command(f"http://127.0.0.1:{free.getsockname()[1]}", "pull", "me/x", tmp_path / "model")
    assert line.startswith("me/x: no connection to Hugging Face")
    assert "cache" not in line  # a word of huggingface_hub, whose remedies are arguments of its own


def test_without_a_home_folder_a_download_is_refused_in_one_line(
    command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As in a container, for a user id without an entry."""
    monkeypatch.delenv("HOME", raising=False)
    monkeypatch.setattr("pwd.getpwuid", {}.__getitem__)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", "~/.cache/huggingface/hub")
    with socket.socket() as free:  # a port that nobody listens at: the copy in the cache is looked for
        free.bind(("127.0.0.1", 0))
        line = command(f"http://127.0.0.1:{free.getsockname()[1]}", "pull", "me/x", tmp_path / "model")
    assert line == "me/x: there is no home folder to download into; set HF_HOME to a folder"
