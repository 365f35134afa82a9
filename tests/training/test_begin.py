"""A training that begins with the weights of another."""

import shutil

import pytest
import torch

from heteroreg.system.errors import UserError
from heteroreg.training import checkpoint, train

# So low that the weights stay what they were.
STILL = {"steps": 1, "batch_size": 2, "learning_rate": 1e-30, "schedule": "constant"}
SHORT = {"steps": 4, "batch_size": 2, "learning_rate": 1e-2}


def tensors(run, name="last"):
    found, _ = checkpoint.read(run.checkpoint(name))
    return {name: value for name, value in found.items() if name.startswith(("network.", "objective."))}


@pytest.fixture
def first(cohort_2d, tmp_path):
    return train(cohort_2d, tmp_path / "first", method="hetero", network="pyramid", seed=1, **SHORT)


def test_weights_of_both_networks_are_taken_over(first, cohort_2d, tmp_path):
    run = train(cohort_2d, tmp_path / "second", method="hetero", init=str(first.folder), seed=2, **STILL)
    assert run.config.network == "pyramid"  # that of the weights, as none was given
    assert run.config.init == str(first.folder)
    begun, wanted = tensors(run), tensors(first, "best")
    assert begun.keys() == wanted.keys()
    assert all(torch.equal(begun[name], wanted[name]) for name in wanted)


@pytest.mark.parametrize(("before", "after"), [("mse", "hetero-z"), ("hetero-z", "mse"), ("nll", "hetero")])
def test_methods_may_differ(before, after, cohort_2d, tmp_path):
    first = train(cohort_2d, tmp_path / "first", method=before, seed=1, **SHORT)
    run = train(cohort_2d, tmp_path / "second", method=after, init=str(first.folder), seed=2, **STILL)
    begun, wanted = tensors(run), tensors(first, "best")
    network = [name for name in begun if name.startswith("network.") and "log_variance_head" not in name]
    assert all(torch.equal(begun[name], wanted[name]) for name in network)


def test_the_bundled_model(cohort_2d, tmp_path):
    run = train(cohort_2d, tmp_path / "run", init="phantom", **STILL)
    assert (run.config.init, run.config.method) == ("phantom", "hetero")


def test_a_run_that_is_resumed_before_its_first_checkpoint_begins_again(first, cohort_2d, tmp_path):
    run = train(cohort_2d, tmp_path / "second", init=str(first.folder), seed=2, **SHORT)
    expected = tensors(run)
    shutil.rmtree(run.folder / "checkpoints")
    again = train(cohort_2d, run.folder, resume=True)
    assert all(torch.equal(value, expected[name]) for name, value in tensors(again).items())


def test_weights_that_do_not_fit(first, cohort_2d, cohort_3d, tmp_path):
    for settings, words in (
        (
            {"init": str(first.folder), "network": "voxelmorph"},
            r"init: .*first has network pyramid, and the training vox",
        ),
        ({"init": str(tmp_path / "none")}, r"none: is not the folder of a run"),
    ):
        with pytest.raises(UserError, match=words):
            train(cohort_2d, tmp_path / "run", **STILL, **settings)
    with pytest.raises(UserError, match=r"init: .*first has dims 2, and the training 3; choose 2, or another run"):
        train(cohort_3d, tmp_path / "run", dims=3, init=str(first.folder), **STILL)
    assert not (tmp_path / "run").exists()
