import subprocess
import sys

import pytest
import torch

from heteroreg.losses import (
    AdaCS,
    AdaFrame,
    AdaReg,
    Charbonnier,
    CollaborativeLoss,
    JointLikelihood,
    LocalCorrelation,
    MeanSquaredError,
    MutualInformation,
    kullback_leibler,
)
from heteroreg.methods import METHODS, NETWORKS, find_method, find_network
from heteroreg.networks import CoarseVariance, UNetScore, UNetVariance
from heteroreg.system.errors import UserError
from heteroreg.training.config import Config

EXPECTED = {
    "mse": (MeanSquaredError, None),
    "charbonnier": (Charbonnier, None),
    "ncc": (LocalCorrelation, None),
    "mi": (MutualInformation, None),
    "nll": (JointLikelihood, UNetVariance),
    "beta-nll": (JointLikelihood, UNetVariance),
    "adaframe": (AdaFrame, None),
    "adareg": (AdaReg, None),
    "adacs": (AdaCS, None),
    "hetero-paper": (CollaborativeLoss, UNetVariance),
    "hetero": (CollaborativeLoss, CoarseVariance),
    "vxm-diff": (MeanSquaredError, None),
    "sigma-z": (MeanSquaredError, None),
    "hetero-z": (CollaborativeLoss, CoarseVariance),
}


@pytest.mark.parametrize("name", sorted(EXPECTED))
@pytest.mark.parametrize("dims", [2, 3])
def test_each_method_is_made_of_what_it_says(name, dims):
    objective = find_method(name).make(dims, gamma=0.25, beta=0.75)
    loss, estimator = EXPECTED[name]
    assert type(objective) is loss
    assert type(getattr(objective, "variance_estimator", None)) is (estimator or type(None))
    if loss is CollaborativeLoss:
        assert (objective.gamma, objective.beta) == (0.25, 0.75)
    if loss is JointLikelihood:
        assert objective.beta == (0.75 if name == "beta-nll" else 0)


def test_the_baselines_have_the_constants_of_the_paper():
    ncc, mi = (find_method(name).make(2, gamma=0.5, beta=0.5) for name in ("ncc", "mi"))
    assert (ncc.window, ncc.epsilon) == (9, 1e-5)
    assert (mi.bins, mi.ratio) == (32, 1)
    adaframe, adareg = (find_method(name).make(3, gamma=0.5, beta=0.5) for name in ("adaframe", "adareg"))
    assert (adaframe.a0, adaframe.b0, adareg.c) == (0.1, 10, 50)


@pytest.mark.parametrize("dims", [2, 3])
def test_adacs_has_a_scorer(dims):
    scorer = find_method("adacs").make(dims, gamma=0.5, beta=0.5).scorer
    assert type(scorer) is UNetScore
    assert scorer.dims == dims


def test_where_the_data_term_has_another_scale_so_has_the_smoothness():
    smoothness = {name: Config.build({"method": name}).smoothness for name in METHODS}
    assert smoothness["mse"] == smoothness["hetero"] == smoothness["adareg"] == 0.01
    # Divided by the variance, by its root; by a range of about 1; weighted below 1.
    assert (smoothness["nll"], smoothness["beta-nll"]) == (1, 0.1)
    assert min(smoothness["ncc"], smoothness["mi"]) > 10 * smoothness["mse"]
    assert max(smoothness["adaframe"], smoothness["adacs"]) < smoothness["mse"]
    assert Config.build({"method": "ncc", "smoothness": 0.02}).smoothness == 0.02


def test_the_paper_is_taken_at_its_word():
    objective = find_method("hetero-paper").make(2, gamma=0.5, beta=0.5)
    assert (objective.normalisation, objective.signal) == ("reference", "fixed")


def test_ours_does_not_change_what_smoothness_means():
    objective = find_method("hetero").make(2, gamma=0.5, beta=0.5)
    assert objective.normalisation in ("relative", "balanced")


@pytest.mark.parametrize("name", sorted(METHODS))
def test_a_method_has_its_name_and_one_line(name):
    assert METHODS[name].name == name
    assert METHODS[name].summary
    assert "\n" not in METHODS[name].summary


def test_near_names_are_offered():
    with pytest.raises(UserError, match=r"no method is called 'beta_nll'; did you mean beta-nll"):
        find_method("beta_nll")
    with pytest.raises(UserError, match=r"no method is called 'zzz'; did you mean adacs or adaframe or "):
        find_method("zzz")
    with pytest.raises(UserError, match="no network is called 'unet'"):
        find_network("unet")
    assert find_network("voxelmorph") is find_network(NETWORKS["voxelmorph"]) is NETWORKS["voxelmorph"]


def test_these_know_how_uncertain_they_are():
    assert {name for name, method in METHODS.items() if method.uncertain} == {"vxm-diff", "sigma-z", "hetero-z"}


@pytest.mark.parametrize("name", sorted(NETWORKS))
def test_every_network_can_be_uncertain(name):
    images = torch.rand(2, 1, 1, 32, 32)
    assert NETWORKS[name].make(2)(*images).velocity_log_variance is None
    uncertain = NETWORKS[name].make(2, uncertain=True)(*images)
    assert uncertain.velocity_log_variance.shape == uncertain.velocity.shape


def test_the_likelihood_of_vxm_diff_as_a_whole():
    # In 2D: σ_I²·(MSE/σ_I² + KL) = MSE + what smoothness and uncertainty add.
    torch.manual_seed(0)
    moved, fixed = torch.rand(2, 1, 1, 8, 8)
    mean, log_variance = torch.randn(2, 1, 2, 4, 4)
    method = METHODS["vxm-diff"]
    losses = method.make(2)(moved, fixed)
    found = method.total_loss(2, 15.0).terms(losses, mean, log_variance)["loss"]
    published = (fixed - moved).square().mean() / 0.02**2 + kullback_leibler(mean, log_variance, 15.0)
    torch.testing.assert_close(found, 0.02**2 * published)


def test_the_tables_need_no_torch():
    code = "import sys, heteroreg.methods as m; assert m.METHODS and m.NETWORKS; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_the_loss_alone_is_that_of_hetero():
    alone = CollaborativeLoss(CoarseVariance(2))
    config = Config.build({"method": "hetero"})
    row = find_method("hetero").make(2, gamma=config.gamma, beta=config.beta)
    names = ("gamma", "beta", "normalisation", "signal")
    assert [getattr(alone, name) for name in names] == [getattr(row, name) for name in names]
    assert [getattr(alone, name) for name in names] == [0.25, 0.5, "balanced", "none"]
    assert alone.extra_repr() == "gamma=0.25, beta=0.5, normalisation='balanced', signal='none'"
