"""Order of the error bars over points, slices and patients."""

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from heteroreg.evaluation.orders import orders_of


def table(width, error, order, patient, slices=None):
    number = len(width)
    return pd.DataFrame(
        {
            "patient": patient,
            "slice": pd.array(slices or [None] * number, dtype="Int64"),
            "contour_mean_2": error,
            "contour_width_2": width,
            "contour_order_2": order,
        }
    )


def test_by_slice_and_by_patient():
    random = np.random.default_rng(0)
    width, error, order = random.random((3, 12))
    patient = [f"p{k // 3}" for k in range(12)]
    found = orders_of(table(width, error, order, patient, list(range(12))))["contour_2"]
    by_patient = [values.reshape(4, 3).mean(axis=1) for values in (width, error, order)]
    assert found["slices"] == pytest.approx(stats.spearmanr(width, error)[0])
    assert found["patients"] == pytest.approx(stats.spearmanr(by_patient[0], by_patient[1])[0])
    assert found["points"] == pytest.approx(by_patient[2].mean())


def test_rows_without_a_contour_and_whole_images():
    # Widths 1, 2, 3 with errors 3, 2, 1 in opposite order; the fourth has no contour.
    found = orders_of(table([1.0, 2, 3, np.nan], [3.0, 2, 1, np.nan], [0.5, 0.5, 0.5, np.nan], list("abcd")))
    assert found["contour_2"] == {"points": 0.5, "slices": None, "patients": pytest.approx(-1)}
    assert orders_of(pd.DataFrame({"patient": ["a"], "slice": [None], "dice_1": [0.5]})) == {}


def test_too_few_have_no_order():
    found = orders_of(table([1.0, 2], [1.0, 2], [np.nan, np.nan], list("ab")))
    assert found["contour_2"] == {"points": None, "slices": None, "patients": None}
