"""What the build fetches from the npm registry is checked before it is kept."""

from __future__ import annotations

import base64
import hashlib
import io
import runpy
import tarfile
import urllib.request
from pathlib import Path
from typing import Any

import pytest

SCRIPT = Path(__file__).resolve().parents[1] / "tools" / "fetch_niivue.py"


def archive(**members: str) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as tar:
        for name, text in members.items():
            entry = tarfile.TarInfo(f"package/{name}")
            entry.size = len(text.encode())
            tar.addfile(entry, io.BytesIO(text.encode()))
    return buffer.getvalue()


@pytest.fixture
def tool(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """The script, with a registry that gives the same small package for everything and notes what was asked."""
    asked: list[str] = []
    content = archive(LICENSE="free", script="run")

    def answer(address: str, timeout: float) -> io.BytesIO:
        asked.append(address)
        return io.BytesIO(content)

    monkeypatch.setattr(urllib.request, "urlopen", answer)
    monkeypatch.delenv("NPM_CONFIG_REGISTRY", raising=False)
    digest = base64.b64encode(hashlib.sha512(content).digest()).decode()
    return runpy.run_path(str(SCRIPT)) | {"asked": asked, "digest": digest}


def test_a_file_with_the_right_digest_is_taken(tool: dict[str, Any], monkeypatch: pytest.MonkeyPatch):
    package = tool["Package"]("@some/thing", "1.2.3", tool["digest"])
    assert package.member("package/LICENSE") == b"free"
    monkeypatch.setenv("NPM_CONFIG_REGISTRY", "https://mirror.example/npm/")
    assert package.member("package/script") == b"run"
    assert tool["asked"] == [
        "https://registry.npmjs.org/@some/thing/-/thing-1.2.3.tgz",
        "https://mirror.example/npm/@some/thing/-/thing-1.2.3.tgz",
    ]


def test_another_file_is_refused_and_nothing_is_written(tool: dict[str, Any], tmp_path: Path):
    with pytest.raises(OSError, match="not the file that was expected"):
        tool["fetch"](tmp_path / "vendor")  # the digests are those of the real packages
    assert not (tmp_path / "vendor").exists()


def test_a_registry_without_encryption_is_not_asked(tool: dict[str, Any], monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("NPM_CONFIG_REGISTRY", "http://mirror.example")
    with pytest.raises(OSError, match="no https address"):
        tool["Package"]("thing", "1.0.0", tool["digest"]).member("package/LICENSE")
    assert tool["asked"] == []


def test_what_is_there_is_not_fetched_again(tool: dict[str, Any], tmp_path: Path):
    (tmp_path / "VERSION").write_text(tool["NIIVUE"].version)
    tool["fetch"](tmp_path)
    assert tool["asked"] == []
