"""The weight of the uncertainty penalty that is found from the images."""

import numpy as np
import pytest
import torch

from heteroreg.data.image import read_image
from heteroreg.data.samples.preparation import scale_of
from heteroreg.losses import MeanSquaredError
from heteroreg.methods import Method
from heteroreg.training import Run, train

QUICK = {"steps": 1, "batch_size": 2}


def test_alpha_is_a_share_of_the_squared_error_of_the_images(cohort_2d, tmp_path):
    run = train(cohort_2d, tmp_path / "run", method="sigma-z", **QUICK)
    errors = []
    for pair in cohort_2d.split("train"):
        moving, fixed = (read_image(path) for path in (pair.moving, pair.fixed))
        unit = [scale_of(image, "percentile")(image.array) for image in (moving, fixed)]
        errors.append(np.mean((unit[0] - unit[1]) ** 2))
    assert run.config.alpha == pytest.approx(0.005 * np.mean(errors), rel=1e-3)
    assert Run.read(tmp_path / "run").config.alpha == run.config.alpha


def test_a_given_alpha_keeps_its_meaning(cohort_2d, tmp_path):
    assert train(cohort_2d, tmp_path / "run", method="sigma-z", alpha=1e-3, **QUICK).config.alpha == 1e-3


def test_methods_without_alpha_have_none(cohort_2d, tmp_path):
    assert train(cohort_2d, tmp_path / "mse", method="mse", **QUICK).config.alpha is None
    assert train(cohort_2d, tmp_path / "vxm", method="vxm-diff", **QUICK).config.alpha is None


def test_a_method_of_the_user_gets_its_alpha(cohort_2d, tmp_path):
    def penalty(log_variance, alpha):
        return alpha * (log_variance.exp() - log_variance).mean()

    method = Method("mine", "squared error", MeanSquaredError, uncertainty=penalty)
    assert train(cohort_2d, tmp_path / "run", method=method, **QUICK).config.alpha > 0


def test_finding_alpha_leaves_the_initial_weights_as_they_are(cohort_2d, tmp_path):
    def weights(name, **settings):
        run = train(cohort_2d, tmp_path / name, method="hetero-z", **QUICK, **settings)
        return run.modules()[1].state_dict()

    found, given = weights("found"), weights("given", alpha=1e-4)
    # The first update of the variance estimator does not depend on α: it sees the same first displacement.
    assert all(torch.equal(found[name], given[name]) for name in found)
