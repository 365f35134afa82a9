"""The comparison with other programs: chosen on the validation pairs, scored on the test pairs, each once."""

from argparse import Namespace
from dataclasses import dataclass

import numpy as np
import pandas as pd
import pytest
from benchmarks.peers import Greedy

import heteroreg as hr
from benchmarks import others
from heteroreg.registration.classical import Classical


@dataclass(frozen=True)
class Shift(Classical):
    """Moves everything by so many voxels; counts its calls."""

    voxels: float = 0.0
    name: str = "shift"

    def _align(self, moving, fixed, spacing):
        Shift.calls += 1
        found = np.zeros((fixed.ndim, *fixed.shape))
        found[0] = self.voxels
        return found


Shift.calls = 0
SETTINGS = {"far": Shift(12.0), "near": Shift(0.0)}


@pytest.fixture
def options(cohort_2d, tmp_path):
    return Namespace(cohort=cohort_2d.name, out=tmp_path, initial=None)


def test_the_setting_that_is_best_on_validation_pairs_is_scored_on_test_pairs(options, cohort_2d):
    found = others.row("shift", SETTINGS, options)
    assert found["setting"] == "near"
    expected = hr.evaluate("undeformed", cohort_2d.split("test")).summary["metrics"]
    dice = [expected[f"dice_{label}"]["mean"] for label in (1, 2, 3)]
    # Of labels that are warped linearly; undeformed ones take the nearest voxel, which is the same without a shift.
    assert found["dice"] == pytest.approx(np.mean(dice))
    assert found["cpu_seconds"] > 0


def test_what_is_there_is_not_done_again(options):
    first, calls = others.row("shift", SETTINGS, options), Shift.calls
    assert others.row("shift", SETTINGS, options) == first
    assert Shift.calls == calls


def test_the_table(options, cohort_2d, capsys):
    others.main([cohort_2d.name, str(options.out), "--rows", "undeformed", "--model", "phantom"])
    table = pd.read_csv(options.out / "table.csv")
    assert table["row"].tolist() == ["undeformed", "phantom"]
    assert table["dice"].between(0, 1).all()
    assert "phantom" in capsys.readouterr().out


def test_greedy_where_it_is_installed(options):
    pytest.importorskip("picsl_greedy")
    fixed = hr.read_image(hr.Cohort.read(options.cohort)[0].fixed)
    found = Greedy(smoothing="1.7vox 0.7vox").register(fixed.with_array(np.roll(fixed.array, 2, 0)), fixed)
    before = np.abs(np.roll(fixed.array, 2, 0) - fixed.array).mean()
    assert np.abs(found.moved.array - fixed.array).mean() < before / 2
