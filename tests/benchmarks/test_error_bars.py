"""The comparison of maps that foretell the error: simulated errors of known coverage, and the spread of models."""

from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from benchmarks.error_bars import ENSEMBLE
from scipy.stats import spearmanr

from benchmarks import error_bars
from heteroreg.data.cohort import Cohort, Pair
from heteroreg.registration.classical import Classical
from heteroreg.registration.scaling import ScoredPoints
from heteroreg.system.errors import UserError
from heteroreg.uncertainty.calibration import LEARNED
from heteroreg.uncertainty.features import LENGTH


@dataclass(frozen=True)
class Shift(Classical):
    """Moves everything along the first axis by so many voxels."""

    voxels: float = 0.0
    name: str = "shift"

    def _align(self, moving, fixed, spacing):
        found = np.zeros((fixed.ndim, *fixed.shape))
        found[0] = self.voxels
        return found


def simulated(patients, seed, factor=1.0):
    """Return errors of a known SD between 0.5 and 4 mm, which the first map tells and the second does not."""
    random = np.random.default_rng(seed)
    count = 200 * patients
    sd = np.exp(random.uniform(np.log(0.5), np.log(4.0), count))
    maps = np.stack([np.log(factor * sd), random.normal(size=count)], axis=1)
    return ScoredPoints(
        maps, sd * random.normal(size=count), np.repeat(np.arange(patients), 200), np.ones(count, int)
    )


def test_intervals_hold_and_the_map_that_knows_the_error_is_narrower():
    found = error_bars._scored(simulated(400, 0), simulated(40, 1), (LEARNED, "residual"), ensemble=False)
    for judged in found.values():
        assert judged.inside[95].mean() == pytest.approx(0.95, abs=0.02)
        assert judged.inside[68].mean() == pytest.approx(0.68, abs=0.03)
    assert found[1, LEARNED].raw.mean() == pytest.approx(0.95, abs=0.01)  # the map is the true SD
    assert found[1, "residual"].raw is None  # it is not in mm
    constant = found[1, "a constant"]
    assert found[1, LEARNED].width < 0.85 * constant.width
    assert found[1, "all combined"].width == pytest.approx(found[1, LEARNED].width, rel=0.05)
    assert np.isnan(constant.order)
    assert found[1, LEARNED].order > 0.3 > 0.05 > abs(found[1, "residual"].order)


def test_the_map_as_it_is_may_be_too_small():
    found = error_bars._scored(simulated(400, 0, 0.1), simulated(40, 1, 0.1), (LEARNED, "residual"), ensemble=False)
    assert found[1, LEARNED].raw.mean() < 0.2
    assert found[1, LEARNED].inside[95].mean() == pytest.approx(0.95, abs=0.02)


def test_the_spread_of_several_models_is_their_sd_in_mm(cohort_2d):
    work = SimpleNamespace(pairs=[cohort_2d[0]], dims=2, spacing=(2.0, 2.0))
    (found,) = error_bars._ensemble(work, [Shift(1.0), Shift(3.0), Shift(5.0)])
    np.testing.assert_allclose(np.exp(found), 2 * np.std([1, 3, 5]) + LENGTH, rtol=1e-5)


def pairs_of(**rows):
    return Cohort(
        tuple(
            Pair(name, Path("m"), Path("f"), split=split, patient=name[0], extra={"vendor": vendor})
            for name, (split, vendor) in rows.items()
        )
    )


def test_the_pairs_to_calibrate_on_and_to_score_on_share_no_patient():
    cohort = pairs_of(a1=("train", "A"), b1=("val", "B"), c1=("test", "A"), d1=("test", "B"), a2=("test", "B"))
    names = [[pair.id for pair in part] for part in error_bars.parts_of(cohort, cohort)]
    assert names == [["a1", "b1"], ["c1", "d1"]]
    names = [[pair.id for pair in part] for part in error_bars.parts_of(cohort, cohort, "vendor=A", "vendor=B")]
    assert names == [["a1"], ["d1"]]
    other = pairs_of(b2=(None, "B"), e1=(None, "B"))
    assert [pair.id for pair in error_bars.parts_of(cohort, other)[1]] == ["e1"]
    with pytest.raises(UserError, match="no patients to score on"):
        error_bars.parts_of(cohort, other, score_on="vendor=A")
    with pytest.raises(UserError, match="no patients to calibrate on"):
        error_bars.parts_of(cohort, other, calibrate_on="vendor=C")


def test_the_order_by_slice_is_that_of_the_means():
    sd = np.array([1.0, 3.0, 2.0, 2.0, 5.0, 1.0])
    error = np.array([9.0, 1.0, 1.0, 1.0, 7.0, 3.0])
    slices = np.array([0, 0, 1, 1, 2, 2])
    patients = np.array(["a"] * 4 + ["b"] * 2)
    assert error_bars._order_of_slices(sd, error, slices, patients) == pytest.approx(
        spearmanr([2, 2, 3], [5, 1, 5])[0]
    )
    assert np.isnan(error_bars._order_of_slices(sd, error, np.zeros(6, int), patients))


def test_the_interval_over_patients_counts_patients_and_not_points():
    patients = np.array([0] * 900 + [1] * 100)
    mean, low, high = error_bars.bootstrap((patients == 0).astype(float), patients, seed=0)
    assert (mean, low, high) == (0.5, 0.0, 1.0)


def test_the_table_has_a_row_for_each_map_and_leaves_unknown_cells_empty():
    row = {"label": 1, "coverage_68": 0.68, "coverage_95": 0.95, "low_95": 0.9, "high_95": 0.99, "width": 6.0}
    unknown = {"raw_95": np.nan, "order": np.nan, "order_slices": np.nan, "gain": np.nan}
    table = pd.DataFrame(
        [
            {**row, "map": "a constant", **unknown},
            {**row, "map": ENSEMBLE, "raw_95": 0.2, "order": 0.3, "order_slices": 0.5, "gain": 0.4},
        ]
    )
    assert error_bars.in_markdown(table).splitlines()[2:] == [
        "| a constant |  | 68 | 95 (90–99) | 6.0 |  |  |  |",
        "| ensemble | 20 | 68 | 95 (90–99) | 6.0 | 0.30 | 0.50 | 40 |",
    ]
