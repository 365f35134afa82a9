"""Runs handed on through a folder: what is published, what is not, and what is taken from others."""

from __future__ import annotations

import json
import pickle
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml
from safetensors import safe_open

import heteroreg as hr
from heteroreg.data.cohort import Cohort
from heteroreg.evaluation import Scores
from heteroreg.hub import pull, push
from heteroreg.registration import shared
from heteroreg.registration.model import ModelRegistrar
from heteroreg.system import limits
from heteroreg.system.errors import UserError
from heteroreg.training import Run, train


@pytest.fixture(scope="module")
def pushed(run_2d: Run, scores_2d: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("hub") / "pushed"
    assert push(run_2d.folder, str(folder), scores=scores_2d, data="phantom") == str(folder)
    return folder


@pytest.fixture
def spoiled(pushed: Path, tmp_path: Path) -> Path:
    """A copy to spoil."""
    shutil.copytree(pushed, tmp_path / "spoiled")
    return tmp_path / "spoiled"


def names(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


def tensors_of(folder: Path) -> Path:
    (file,) = (folder / "checkpoints" / "best").glob("*.safetensors")
    return file


def test_what_is_published(pushed: Path) -> None:
    step = json.loads((pushed / "checkpoints/best/state.json").read_text())["step"]
    assert names(pushed) == [
        "README.md",
        "checkpoints/best/state.json",
        f"checkpoints/best/tensors-{step:07d}.safetensors",
        "config.yaml",
        "heteroreg.json",
        "scores/scores.csv",
        "scores/summary.json",
    ]
    with safe_open(tensors_of(pushed), "pt") as tensors:
        assert {name.split(".")[0] for name in tensors.keys()} == {"network", "objective"}  # noqa: SIM118


def test_no_path_and_no_patient_is_published(pushed: Path, run_2d: Run, scores_2d: Path, cohort_2d: Cohort) -> None:
    secrets = ["Doe", "Roe", "/home/jane", "ward_name", str(run_2d.folder), cohort_2d.name, str(scores_2d)]
    secrets += [pair.id for pair in cohort_2d]
    for secret in secrets[:5]:  # they are in what it was made of
        assert any(secret in path.read_text() for path in [scores_2d / "scores.csv", scores_2d / "summary.json"])
    assert cohort_2d.name in (run_2d.folder / "config.yaml").read_text()
    for name in names(pushed):
        content = (pushed / name).read_bytes()
        for secret in secrets:
            assert secret.encode() not in content, (name, secret)
    config = yaml.safe_load((pushed / "config.yaml").read_text())
    assert config == {**yaml.safe_load((run_2d.folder / "config.yaml").read_text()), "cohort": None}


def test_published_scores_are_the_scores(pushed: Path, scores_2d: Path) -> None:
    ours, theirs = Scores.read(scores_2d), Scores.read(pushed / "scores")
    assert theirs.table["patient"].tolist() == ["1", "2"]
    pd.testing.assert_frame_equal(ours.table[ours.metrics], theirs.table[theirs.metrics])
    assert theirs.summary["metrics"] == ours.summary["metrics"]
    assert theirs.summary["counts"] == ours.summary["counts"]


def test_a_pulled_model_registers_as_the_run_does(
    pushed: Path, run_2d: Run, cohort_2d: Cohort, tmp_path: Path
) -> None:
    run = pull(str(pushed), tmp_path / "model")
    assert names(run.folder) == names(pushed)
    for name in set(names(pushed)) - {"heteroreg.json"}:  # each says what its folder is
        assert (run.folder / name).read_bytes() == (pushed / name).read_bytes(), name
    pair = cohort_2d.split("test")[0]
    ours, theirs = (hr.load(it.folder, device="cpu").register(pair.moving, pair.fixed) for it in (run_2d, run))
    np.testing.assert_array_equal(ours.displacement, theirs.displacement)
    push(run.folder, str(tmp_path / "again"))  # what was pulled can be handed on


def test_a_shared_model_registers_without_a_copy(pushed: Path, run_2d: Run, cohort_2d: Cohort) -> None:
    pair = cohort_2d.split("test")[0]
    shared_model = ModelRegistrar.from_pretrained(pushed, device="cpu")
    for registrar in (shared_model, hr.load(run_2d.folder, device="cpu")):
        found = registrar.register(pair.moving, pair.fixed).displacement
        np.testing.assert_array_equal(found, shared_model.register(pair.moving, pair.fixed).displacement)


def test_the_same_run_gives_the_same_files(pushed: Path, run_2d: Run, scores_2d: Path, tmp_path: Path) -> None:
    push(run_2d.folder, str(tmp_path / "again"), scores=scores_2d, data="phantom")
    for name in names(pushed):
        assert (tmp_path / "again" / name).read_bytes() == (pushed / name).read_bytes()


def test_only_what_belongs_to_a_model_is_taken(spoiled: Path, tmp_path: Path) -> None:
    before = names(spoiled)
    (spoiled / "setup.py").write_text("raise SystemExit")
    (spoiled / "checkpoints/best/optimizer.pt").write_bytes(pickle.dumps([1]))
    (spoiled / "checkpoints/best/tensors-9999999.safetensors").write_bytes(b"x")
    (spoiled / "checkpoints/last").mkdir()
    (spoiled / "checkpoints/last/state.json").write_text("{}")
    config = yaml.safe_load((spoiled / "config.yaml").read_text())
    (spoiled / "config.yaml").write_text(yaml.safe_dump({**config, "cohort": "/etc"}, sort_keys=False))
    run = pull(str(spoiled), tmp_path / "model")
    assert names(run.folder) == before
    assert Run.read(run.folder).config.cohort is None


def pickled(folder: Path) -> str:
    tensors_of(folder).write_bytes(pickle.dumps({"network": 1}))
    return "the checkpoint is damaged"


def another_network(folder: Path) -> str:
    path = folder / "config.yaml"
    path.write_text(path.read_text().replace("network: pyramid", "network: transmorph-small"))
    return "does not fit its config.yaml"


def no_checkpoint(folder: Path) -> str:
    shutil.rmtree(folder / "checkpoints")
    return "holds no checkpoints/best"


def no_config(folder: Path) -> str:
    (folder / "config.yaml").unlink()
    return "is not the folder of a run"


def no_tensors(folder: Path) -> str:
    tensors_of(folder).unlink()
    return "the checkpoint is damaged"


def elsewhere(folder: Path) -> str:
    path = folder / "checkpoints/best/state.json"
    outside = folder.parent / "tensors-0000001.safetensors"
    shutil.move(tensors_of(folder), outside)
    path.write_text(json.dumps({**json.loads(path.read_text()), "tensors": str(outside)}))
    return "the checkpoint is damaged"


def code_of_its_own(folder: Path) -> str:
    path = folder / "config.yaml"
    path.write_text(path.read_text().replace("method: hetero\n", "method: os.path:join\n"))
    return "method os.path:join is code outside heteroreg"


def another_file_of_tensors(folder: Path) -> str:
    path = folder / "checkpoints/best/state.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "tensors": "other.safetensors"}))
    return "other.safetensors is not the name of a tensor file"


def a_link(folder: Path) -> str:
    (folder / "README.md").unlink()
    (folder / "README.md").symlink_to("/etc/hostname")
    return "README.md: is a link"


def a_large_card(folder: Path) -> str:
    (folder / "README.md").write_bytes(b"x" * (limits.TEXT_BYTES + 1))
    return "more than the 1048576 that such a file may have"


def damaged_scores(folder: Path) -> str:
    (folder / "scores/summary.json").write_text('{"kind": "evaluation"}')
    return "not that of an evaluation"


@pytest.mark.parametrize(
    "spoil",
    [
        pickled,
        another_network,
        no_checkpoint,
        no_config,
        no_tensors,
        elsewhere,
        code_of_its_own,
        another_file_of_tensors,
        a_link,
        a_large_card,
        damaged_scores,
    ],
)
def test_what_cannot_be_used_is_not_taken(spoil, spoiled: Path, tmp_path: Path) -> None:
    message = spoil(spoiled)
    with pytest.raises(UserError, match=message) as caught:
        pull(str(spoiled), tmp_path / "model")
    assert str(spoiled) in str(caught.value)
    assert not (tmp_path / "model").exists()


def test_large_weights_are_not_taken(pushed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(shared.SHARED_FILES, f"{shared.BEST_CHECKPOINT}/{shared.TENSOR_FILES}", 1000)
    with pytest.raises(UserError, match="more than the 1000"):
        pull(str(pushed), tmp_path / "model")


def test_a_folder_that_holds_something_stays(pushed: Path, run_2d: Run, tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    for call in (lambda: push(run_2d.folder, str(tmp_path)), lambda: pull(str(pushed), tmp_path)):
        with pytest.raises(UserError, match="exists and is not an empty folder"):
            call()
    with pytest.raises(UserError, match="exists and is not an empty folder"):
        push(run_2d.folder, str(run_2d.folder))
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]


def test_a_run_without_a_best_checkpoint_or_with_the_scores_of_another(
    cohort_2d: Cohort, scores_2d: Path, tmp_path: Path
) -> None:
    without = Cohort(tuple(pair for pair in cohort_2d if pair.split == "train"), cohort_2d.name)
    train(without, tmp_path / "run", method="mse", steps=1, batch_size=2)
    with pytest.raises(UserError, match=r"has no best checkpoint, .*'val'"):
        push(tmp_path / "run", str(tmp_path / "out"))
    train(cohort_2d, tmp_path / "other", method="mse", steps=1, batch_size=2)
    with pytest.raises(UserError, match=r"scores: .* is not of this run \(method hetero, not mse\)"):
        push(tmp_path / "other", str(tmp_path / "out"), scores=scores_2d)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    "text", ["hearts", "a/b/c", "me/na me", "me/..", "-me/x", "me/x--y", "me/", "hf://me/x", ""]
)
def test_names_of_no_repository(text: str) -> None:
    with pytest.raises(UserError, match="is no name of a repository; write owner/name"):
        shared.fetch(text)


def test_names_of_places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "me" / "here").mkdir(parents=True)
    assert not shared.names_folder("me/there")
    for name in ("me/here", "./me/there", "/x", "~/x", Path("me/there")):
        assert shared.names_folder(name)
    with pytest.raises(UserError, match="revision: me/here is a folder"):
        pull("me/here", tmp_path / "model", revision="main")
    with pytest.raises(UserError, match="no such folder"):
        pull("./nowhere", tmp_path / "model")


def test_a_mistyped_path_is_no_shared_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "runs").mkdir()
    assert shared.may_be_shared("me/hearts")
    for name in ("runs/heetro", "hetero", "./me/hearts", "a/b/c", Path("me/hearts")):
        assert not shared.may_be_shared(name)


def test_a_run_or_its_registrar_is_pushed_as_its_folder(pushed: Path, run_2d: Run, tmp_path: Path) -> None:
    push(run_2d, str(tmp_path / "run"), data="phantom")
    push(hr.load(run_2d.folder, device="cpu"), str(tmp_path / "registrar"), data="phantom")
    push(run_2d.folder, str(tmp_path / "folder"), data="phantom")
    for name in names(tmp_path / "folder"):
        for other in ("run", "registrar"):
            assert (tmp_path / other / name).read_bytes() == (tmp_path / "folder" / name).read_bytes(), name
