"""Conformal prediction over patients: exact levels."""

import math

import crepes
import numpy as np
import pytest

from heteroreg.uncertainty.conformal import (
    conformal_p_value,
    largest_level,
    patient_weights,
    patients_for,
    quantile,
)


@pytest.mark.parametrize(
    ("level", "bound"),
    [(0.5, 5), (0.68, 7), (0.89, 9), (0.9, 9), (0.95, math.inf)],
    # ⌈10·level⌉-th of nine scores: 5th, 7th, 9th, 9th, 10th
)
def test_nine_patients_by_hand(level, bound):
    scores = np.random.default_rng(0).permutation(np.arange(1.0, 10))
    assert quantile(scores, np.arange(9), level) == bound


@pytest.mark.parametrize("level", [0.5, 0.68, 0.9, 0.95])
@pytest.mark.parametrize("patients", [20, 33, 60])  # where (n + 1)·level is no whole number
def test_one_score_a_patient_is_split_conformal_as_crepes_has_it(level, patients):
    scores = np.random.default_rng(patients).random(patients)
    model = crepes.ConformalRegressor().fit(residuals=scores)
    low, high = model.predict_int(np.zeros(1), confidence=level)[0]
    assert (high - low) / 2 == pytest.approx(quantile(scores, np.arange(patients), level))


def test_points_of_a_patient_share_its_weight():
    # Two patients: three points at 1, 2, 3 (1/9 each), one at 10 (1/3), and 1/3 at infinity.
    scores, patients = np.array([3.0, 1.0, 10.0, 2.0]), np.array(["a", "a", "b", "a"])
    assert quantile(scores, patients, 0.1) == 1
    assert quantile(scores, patients, 0.2) == 2
    assert quantile(scores, patients, 0.3) == 3
    assert quantile(scores, patients, 0.34) == 10
    assert quantile(scores, patients, 0.67) == math.inf


def test_a_patient_with_many_points_counts_as_one_with_few():
    scores = np.array([1.0, 2.0, 3.0])
    many = np.concatenate([np.full(1000, 1.0), scores[1:]])
    patients = np.concatenate([np.zeros(1000, int), [1, 2]])
    for level in (0.2, 0.4, 0.6):
        assert quantile(many, patients, level) == quantile(scores, np.arange(3), level)


def test_the_level_holds_on_new_patients_whose_points_go_together():
    # Each patient has its own scale, so points are far from independent. 200 calibrations on 30 patients.
    random = np.random.default_rng(1)

    def patients(count):
        return random.gamma(2, size=(count, 1)) * np.abs(random.standard_normal((count, 20)))

    inside = []
    for _ in range(200):
        known, new = patients(30), patients(30)
        bound = quantile(known.ravel(), np.repeat(np.arange(30), 20), 0.9)
        inside.append(np.mean(new <= bound))
    assert 0.89 < np.mean(inside) < 0.93  # at least 0.9, and at most 1/31 more


def test_the_largest_level_and_the_patients_that_it_needs():
    assert largest_level(60) == pytest.approx(60 / 61)
    assert [patients_for(level) for level in (0.5, 0.9, 0.95)] == [1, 9, 19]
    assert math.isinf(quantile(np.ones(18), np.arange(18), 0.95))
    assert quantile(np.ones(19), np.arange(19), 0.95) == 1


def test_p_values_of_exchangeable_scores_are_uniform():
    random = np.random.default_rng(2)
    values = [conformal_p_value(random.standard_normal(), random.standard_normal(39)) for _ in range(4000)]
    for share in (0.05, 0.25, 0.5):
        assert np.mean(np.array(values) <= share) == pytest.approx(share, abs=0.02)


def test_weights_of_no_scores():
    assert patient_weights(np.empty(0)).size == 0
    assert math.isinf(quantile(np.empty(0), [], 0.5))
