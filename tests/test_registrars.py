from __future__ import annotations

from importlib.metadata import PackageNotFoundError
from pathlib import Path

import pytest

from heteroreg.classical import Elastix, Undeformed
from heteroreg.errors import UserError
from heteroreg.model import ModelRegistrar
from heteroreg.registrars import registrar_of
from heteroreg.training import Run


@pytest.fixture
def installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("heteroreg.elastix.engine.version", lambda _: "0.25.4")


@pytest.mark.usefixtures("installed")
def test_names() -> None:
    assert registrar_of("undeformed") == Undeformed()
    assert registrar_of("elastix") == Elastix(threads=1)
    assert registrar_of("elastix", threads=3) == Elastix(threads=3)


def test_runs(run_2d: Run) -> None:
    registrar = registrar_of(run_2d.folder, device="cpu")
    assert isinstance(registrar, ModelRegistrar)
    assert registrar.name == run_2d.folder.name
    with pytest.raises(UserError, match="--threads: is for elastix"):
        registrar_of(run_2d.folder, threads=2)


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("elastics", "did you mean elastix"),
        ("Undeformed", "did you mean undeformed"),
        ("runs/mse", "that `heteroreg train` made, or elastix or undeformed"),
    ],
)
def test_unknown_names(name: str, hint: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=hint):
        registrar_of(name)


def test_a_run_in_a_folder_of_that_name(run_2d: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("undeformed").symlink_to(run_2d.folder)
    assert registrar_of("undeformed") == Undeformed()
    assert isinstance(registrar_of("./undeformed", device="cpu"), ModelRegistrar)


def test_elastix_that_is_not_installed_is_told_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(_: str) -> str:
        raise PackageNotFoundError

    monkeypatch.setattr("heteroreg.elastix.engine.version", missing)
    with pytest.raises(UserError, match=r"pip install 'heteroreg\[elastix\]'"):
        registrar_of("elastix")
