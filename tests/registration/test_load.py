from __future__ import annotations

import subprocess
import sys
from importlib.metadata import PackageNotFoundError
from pathlib import Path

import numpy as np
import pytest

import heteroreg as hr
from heteroreg.data.cohort import Cohort
from heteroreg.data.grid import Grid
from heteroreg.data.image import Image, write_image
from heteroreg.data.phantom import make_pair
from heteroreg.data.phantom.shapes import make_shapes
from heteroreg.registration.classical import Elastix, Undeformed
from heteroreg.registration.load import as_registrar, bundled_for, load, remarks
from heteroreg.registration.model import ModelRegistrar
from heteroreg.registration.names import REGISTRARS
from heteroreg.system.errors import UserError
from heteroreg.system.run_files import BUNDLED
from heteroreg.training import Run


@pytest.fixture
def installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("heteroreg.registration.elastix.version", lambda _: "0.25.4")


@pytest.mark.usefixtures("installed")
def test_names() -> None:
    assert load("undeformed") == Undeformed()
    assert load("elastix") == Elastix(threads=1)
    assert load("elastix", threads=3) == Elastix(threads=3)


def test_runs(run_2d: Run) -> None:
    registrar = load(run_2d.folder, device="cpu")
    assert isinstance(registrar, ModelRegistrar)
    assert registrar.name == run_2d.folder.name
    assert load(str(run_2d.folder), device="cpu").name == run_2d.folder.name
    assert load(run_2d, device="cpu").name == run_2d.folder.name
    assert load(run_2d, samples=None, checkpoint="last").run.folder == run_2d.folder


@pytest.mark.usefixtures("installed")
@pytest.mark.parametrize(
    ("what", "argument", "value", "says"),
    [
        ("undeformed", "threads", 2, "threads: is for elastix, not for undeformed"),
        ("phantom", "threads", 2, "threads: is for elastix, not for phantom"),
        ("undeformed", "samples", 8, "samples: undeformed has no displacement uncertainty"),
        ("elastix", "refine", -8, "refine: -8 is negative"),
        ("undeformed", "refine", 8, "refine: undeformed has no displacement to refine"),
        ("phantom", "refine", -1, "refine: -1 is negative"),
        ("phantom", "samples", 8, "samples: .*hetero has no displacement uncertainty; train with"),
    ],
)
def test_an_argument_that_does_not_fit_is_named(what: str, argument: str, value: int, says: str) -> None:
    with pytest.raises(UserError, match=f"^{says}") as caught:
        load(what, **{argument: value})
    assert caught.value.argument == argument


def test_a_registrar_stays_and_the_rest_is_loaded(run_2d: Run) -> None:
    registrar, nothing = Undeformed(slicewise=False), Cohort(())
    assert as_registrar(registrar, nothing) is registrar
    assert as_registrar("undeformed", nothing) == Undeformed()
    for what in (run_2d, run_2d.folder, str(run_2d.folder)):
        assert as_registrar(what, nothing).name == run_2d.folder.name


@pytest.mark.parametrize(
    ("shape", "spacing", "name"),
    [
        ((40, 50, 36), (1.0, 1.0, 1.0), "phantom-3d"),
        ((40, 50, 36), (1.0, 1.0, 1.8), "phantom-3d"),
        ((128, 128, 36), (1.25, 1.25, 10.0), "phantom"),  # thick slices
        ((128, 128, 12), (1.25, 1.25, 1.25), "phantom"),  # too few slices for a 3D network
        ((128, 128), (1.0, 1.0), "phantom"),
    ],
)
def test_the_bundled_model_is_that_of_the_dimension(shape, spacing, name) -> None:
    grid = Grid.of_shape(shape, spacing)
    assert bundled_for("phantom", grid) == name
    assert bundled_for("phantom-3d", grid) == "phantom-3d"
    assert bundled_for("runs/mine", grid) == "runs/mine"


def test_a_volume_is_registered_by_the_bundled_model_of_volumes(tmp_path: Path) -> None:
    pair = make_shapes((11, 0), shape=(32, 32, 32))
    moving, fixed = tmp_path / "moving.nii.gz", tmp_path / "fixed.nii.gz"
    write_image(pair.moving, moving)
    write_image(pair.fixed, fixed)
    (tmp_path / "pairs.csv").write_text("id,moving,fixed\na,moving.nii.gz,fixed.nii.gz\n")
    found = hr.register(moving, fixed, device="cpu")
    assert Path(found.info["model"]).name == "phantom-3d"
    assert np.array_equal(hr.register(pair.moving, pair.fixed, device="cpu").displacement, found.displacement)
    table = hr.register_cohort("phantom", tmp_path, tmp_path / "registered")
    assert table["mean_displacement_mm"][0] == pytest.approx(found.summary()["displacement_mm"]["mean"], rel=1e-3)
    evaluated = hr.evaluate("phantom", tmp_path)
    assert evaluated.summary["registrar"] == "phantom-3d"


def test_a_shared_model_keeps_its_name(run_2d: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def fetched(name: str, *, revision: str | None = None) -> Path:
        asked.append((name, revision))
        return run_2d.folder

    monkeypatch.setattr("heteroreg.registration.model.fetch", fetched)
    registrar = load("me/cardiac", device="cpu")
    assert (registrar.name, registrar.run.folder, asked) == ("me/cardiac", run_2d.folder, [("me/cardiac", None)])
    with pytest.raises(UserError, match=r"^samples: ") as caught:
        load("me/cardiac", samples=4)
    assert caught.value.argument == "samples"


def test_a_mistyped_path_is_not_sent_to_a_server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fetched(*_: object, **__: object) -> Path:
        raise AssertionError("asked a server")

    monkeypatch.setattr("heteroreg.registration.model.fetch", fetched)
    monkeypatch.chdir(tmp_path)
    Path("runs").mkdir()
    for what in ("runs/mse", Path("other/mse"), "mse", "./me/cardiac"):
        with pytest.raises(UserError, match=r"is not the folder of a run \(no config.yaml\)"):
            load(what)


def test_a_model_that_cannot_be_fetched(monkeypatch: pytest.MonkeyPatch) -> None:
    def fetched(name: str, *, revision: str | None = None) -> Path:
        raise UserError(f"{name}: no connection to Hugging Face (offline); check the network")

    monkeypatch.setattr("heteroreg.registration.model.fetch", fetched)
    with pytest.raises(UserError, match=r"not the folder of a run .*, nor a model on Hugging Face .*no connection"):
        load("me/cardiac")


def test_the_names_of_registrars_need_neither_pytorch_nor_a_model() -> None:
    code = (
        "import sys; from heteroreg.registration.names import REGISTRARS; "
        "assert not {'torch', 'SimpleITK', 'pandas'} & set(sys.modules); print(*sorted(REGISTRARS))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == sorted(REGISTRARS) == ["elastix", "phantom", "phantom-3d", "undeformed"]


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("elastics", "did you mean elastix"),
        ("Undeformed", "did you mean undeformed"),
        ("phantoms", "did you mean phantom"),
        ("mse", "give a run, owner/name, or elastix or phantom or phantom-3d or undeformed"),
    ],
)
def test_unknown_names(name: str, hint: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=hint):
        load(name)


def test_a_run_in_a_folder_of_that_name(run_2d: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("undeformed").symlink_to(run_2d.folder)
    assert load("undeformed") == Undeformed()
    for what in ("./undeformed", Path("undeformed")):
        assert isinstance(load(what, device="cpu"), ModelRegistrar)


def test_elastix_that_is_not_installed_is_told_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(_: str) -> str:
        raise PackageNotFoundError

    monkeypatch.setattr("heteroreg.registration.elastix.version", missing)
    with pytest.raises(UserError, match=r"pip install 'heteroreg\[elastix\]'"):
        load("elastix")


def test_the_model_of_volumes_registers_shapes_that_it_has_not_seen() -> None:
    registrar = load("phantom-3d", device="cpu")
    before, after = [], []
    for seed in range(4):
        pair = make_shapes((2026, seed), shape=(40, 48, 36))
        found = registrar.register(pair.moving, pair.fixed).displacement
        before.append(np.linalg.norm(pair.true_displacement, axis=0).mean())
        after.append(np.linalg.norm(found - pair.true_displacement, axis=0).mean())
    assert np.mean(after) < 0.7 * np.mean(before)


def test_the_model_that_comes_along_registers_hearts_that_it_has_not_seen() -> None:
    registrar = load("phantom", device="cpu")
    before, after = [], []
    for seed in range(4):
        pair = make_pair((2026, seed), shape=(112, 96))
        found = registrar.register(pair.moving, pair.fixed).displacement
        before.append(np.linalg.norm(pair.true_displacement, axis=0)[pair.fixed_labels.array > 0].mean())
        error = np.linalg.norm(found - pair.true_displacement, axis=0)
        after.append(error[pair.fixed_labels.array > 0].mean())
    assert np.mean(after) < 0.6 * np.mean(before)


def test_the_model_that_comes_along_is_small_and_says_nothing_of_where_it_was_made() -> None:
    files = [path for folder in BUNDLED.values() for path in folder.rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in files if "calibration" not in path.parts) < 4e6
    assert sum(path.stat().st_size for path in files) < 5e6
    for folder in BUNDLED.values():
        assert Run.read(folder).config.cohort is None
        assert {path.name for path in folder.rglob("*")} >= {"README.md", "config.yaml", "state.json"}


def test_what_should_be_known_of_a_registration(rng: np.random.Generator) -> None:
    thin, thick = ((1.0, 1.0, 1.0), (1.0, 1.0, 9.0))
    for spacing, words in (
        (thin, ["trained on phantoms alone", "error bars", "3D model"]),
        (thick, ["phantoms", "error bars"]),
    ):
        moving, fixed = (Image(rng.random((32, 32, 3)), Grid.of_shape((32, 32, 3), spacing)) for _ in range(2))
        found = remarks("phantom", load("phantom", device="cpu").register(moving, fixed))
        assert len(found) == len(words)
        assert all(word in line for word, line in zip(words, found, strict=True))
    assert not remarks("undeformed", Undeformed().register(moving, fixed))
