from __future__ import annotations

from importlib.metadata import PackageNotFoundError
from pathlib import Path

import numpy as np
import pytest

from heteroreg.data.grid import Grid
from heteroreg.data.image import Image
from heteroreg.data.phantom import make_pair
from heteroreg.registration.classical import Elastix, Undeformed
from heteroreg.registration.load import PHANTOM, registrar_of, remarks
from heteroreg.registration.model import ModelRegistrar
from heteroreg.system.errors import UserError
from heteroreg.training import Run


@pytest.fixture
def installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("heteroreg.registration.elastix.version", lambda _: "0.25.4")


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
        ("phantoms", "did you mean phantom"),
        ("runs/mse", "that `heteroreg train` made, or elastix, undeformed or phantom"),
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

    monkeypatch.setattr("heteroreg.registration.elastix.version", missing)
    with pytest.raises(UserError, match=r"pip install 'heteroreg\[elastix\]'"):
        registrar_of("elastix")


def test_the_model_that_comes_along_registers_hearts_that_it_has_not_seen() -> None:
    registrar = registrar_of("phantom", device="cpu")
    before, after = [], []
    for seed in range(4):
        pair = make_pair((2026, seed), shape=(112, 96))
        found = registrar.register(pair.moving, pair.fixed).displacement
        before.append(np.linalg.norm(pair.true_displacement, axis=0)[pair.fixed_labels.array > 0].mean())
        error = np.linalg.norm(found - pair.true_displacement, axis=0)
        after.append(error[pair.fixed_labels.array > 0].mean())
    assert np.mean(after) < 0.6 * np.mean(before)


def test_the_model_that_comes_along_is_small_and_says_nothing_of_where_it_was_made() -> None:
    files = [path for path in PHANTOM.rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in files) < 2e6
    assert Run.read(PHANTOM).config.cohort is None
    assert {path.name for path in files} >= {"README.md", "config.yaml", "state.json"}


def test_what_should_be_known_of_a_registration(rng: np.random.Generator) -> None:
    thin, thick = ((1.0, 1.0, 1.0), (1.0, 1.0, 9.0))
    for spacing, words in ((thin, ["trained on phantoms alone", "model of volumes"]), (thick, ["phantoms"])):
        moving, fixed = (Image(rng.random((32, 32, 3)), Grid.of_shape((32, 32, 3), spacing)) for _ in range(2))
        found = remarks("phantom", registrar_of("phantom", device="cpu").register(moving, fixed))
        assert len(found) == len(words)
        assert all(word in line for word, line in zip(words, found, strict=True))
    assert not remarks("undeformed", Undeformed().register(moving, fixed))
