import pytest

from heteroreg.errors import UserError
from heteroreg.losses import CollaborativeLoss, JointLikelihood, MeanSquaredError
from heteroreg.methods import METHODS, NETWORKS, find_method, find_network
from heteroreg.networks import CoarseVariance, UNetVariance

EXPECTED = {
    "mse": (MeanSquaredError, None),
    "nll": (JointLikelihood, UNetVariance),
    "beta-nll": (JointLikelihood, UNetVariance),
    "hetero-paper": (CollaborativeLoss, UNetVariance),
    "hetero": (CollaborativeLoss, CoarseVariance),
}


@pytest.mark.parametrize("name", sorted(EXPECTED))
@pytest.mark.parametrize("dims", [2, 3])
def test_each_method_is_made_of_what_it_says(name, dims):
    objective = find_method(name).objective(dims, 0.25, 0.75)
    loss, estimator = EXPECTED[name]
    assert type(objective) is loss
    assert (
        objective.variance_estimator is None
        if estimator is None
        else type(objective.variance_estimator) is estimator
    )
    if loss is CollaborativeLoss:
        assert (objective.gamma, objective.beta) == (0.25, 0.75)
    if loss is JointLikelihood:
        assert objective.beta == (0.75 if name == "beta-nll" else 0)


def test_the_paper_is_taken_at_its_word():
    objective = find_method("hetero-paper").objective(2, 0.5, 0.5)
    assert (objective.normalisation, objective.signal) == ("reference", "fixed")


def test_ours_does_not_change_what_smoothness_means():
    objective = find_method("hetero").objective(2, 0.5, 0.5)
    assert objective.normalisation in ("relative", "balanced")


@pytest.mark.parametrize("name", sorted(METHODS))
def test_a_method_has_its_name_and_one_line(name):
    assert METHODS[name].name == name
    assert METHODS[name].summary
    assert "\n" not in METHODS[name].summary


def test_near_names_are_offered():
    with pytest.raises(UserError, match=r"no method is called 'beta_nll'; did you mean beta-nll"):
        find_method("beta_nll")
    with pytest.raises(UserError, match=r"no method is called 'zzz'; did you mean beta-nll or hetero or "):
        find_method("zzz")
    with pytest.raises(UserError, match="no network is called 'unet'"):
        find_network("unet")
    assert find_network("voxelmorph") is NETWORKS["voxelmorph"]
