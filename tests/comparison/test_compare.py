"""Comparisons of evaluations written by hand, against arithmetic and SciPy."""

import json
import math
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from heteroreg.comparison import Comparison, compare
from heteroreg.comparison.groups import by_seed, parse_groups, row_names
from heteroreg.comparison.markdown import to_markdown
from heteroreg.evaluation import Scores
from heteroreg.report.tables import Results
from heteroreg.system.errors import UserError

FIVE = ["p0", "p1", "p2", "p3", "p4"]


@pytest.fixture
def write(tmp_path):
    """Writes an evaluation: metrics as lists, one number for each row; rows are pairs unless slices are given."""

    def save(name, patients=FIVE, slices=None, mode="standard", missed=0, ids=None, **metrics):
        rows = len(patients)
        table = pd.DataFrame(
            {
                "id": ids or [f"{p}-{k}" for k, p in enumerate(patients)],
                "patient": patients,
                "slice": pd.array(slices or [None] * rows, dtype="Int64"),
                **{key: np.array(value, dtype=float) for key, value in metrics.items()},
            }
        )
        counts = {"pairs": rows, "patients": len(set(patients)), "rows": rows}
        labels = {"1": {"rows": rows, "missed": missed, "one_sided": 0}}
        summary = {"kind": "evaluation", "registrar": name, "mode": mode, "counts": counts, "labels": labels}
        Scores(table, summary).save(tmp_path / name)
        return tmp_path / name

    return save


def line(comparison: Comparison, row: str, metric: str):
    table = comparison.table
    return table[(table["row"] == row) & (table["metric"] == metric)].iloc[0]


BASE, OTHER, THIRD = [0.5, 0.6, 0.7, 0.8, 0.6], [0.55, 0.64, 0.76, 0.83, 0.66], [0.5, 0.61, 0.68, 0.82, 0.59]


def test_names_of_labels(write):
    text = to_markdown(compare([write("base", dice_1=BASE, dice_2=BASE)], label_names={"1": "LV"}))
    assert "## LV\n" in text
    assert "## Label 2\n" in text


def test_the_orders_and_the_sizes_are_tables_of_their_own(write):
    error = {"contour_mean_1": BASE, "contour_width_1": BASE, "contour_order_1": [0.3] * 5}
    folder = write("base", dice_1=BASE, **error)
    summary = json.loads((folder / "summary.json").read_text())
    summary["sizes"] = {"1": {"whole_dice": 0.625, "ratio": 1.25, "error": 3.0}}
    (folder / "summary.json").write_text(json.dumps(summary))
    text = to_markdown(compare([folder], label_names={"1": "LV"}))
    # The width is the error itself: its order over patients is 1.
    assert "| base | contour of LV | 0.30 | – | 1.00 |" in text
    assert "| base | LV | 62.50 | 1.25 | 3.0 |" in text


def test_numbers_against_scipy(write):
    folders = [write("base", dice_1=BASE), write("other", dice_1=OTHER), write("third", dice_1=THIRD)]
    comparison = compare(folders)
    base, other, third = (line(comparison, name, "dice_1") for name in ("base", "other", "third"))
    assert comparison.baseline == "base"  # the first
    assert base["n"] == 5
    assert base["mean"] == pytest.approx(0.64)
    # Deviations -0.14, -0.04, 0.06, 0.16, -0.04: squares sum to 0.052, over N - 1 = 4.
    assert base["sd"] == pytest.approx(math.sqrt(0.052 / 4))
    assert base["low"] < 0.64 < base["high"]
    assert other["difference"] == pytest.approx(0.048)
    assert other["difference_low"] < 0.048 < other["difference_high"]
    assert other["p_t"] == pytest.approx(stats.ttest_rel(OTHER, BASE).pvalue)
    assert other["p_wilcoxon"] == pytest.approx(2 / 32)  # five of five are positive
    # Two tests: the smaller p counts double, and the larger p once.
    assert other["p_holm"] == pytest.approx(2 * other["p_t"])
    assert third["p_holm"] == pytest.approx(third["p_t"])
    assert other["better"] is True
    assert third["better"] is None
    assert base["better"] is None
    assert np.isnan(base["difference"])


@pytest.mark.parametrize(("metric", "better"), [("dice_1", True), ("hd_1", False), ("noise_ratio", None)])
def test_which_way_is_better(write, metric, better):
    folders = [write("base", **{metric: BASE}), write("other", **{metric: OTHER})]
    assert line(compare(folders), "other", metric)["better"] is better
    # With the baseline exchanged the sign turns.
    turned = line(compare(folders, baseline=folders[1]), "base", metric)
    assert turned["difference"] == pytest.approx(-0.048)
    assert turned["better"] is (None if better is None else not better)


def test_rows_are_averaged_within_the_patient(write):
    # Patient a has three rows, b one: a = 0.2, b = 0.8. The mean over patients is 0.5, over rows 0.35.
    folder = write("one", patients=["a", "a", "a", "b"], dice_1=[0.1, 0.2, 0.3, 0.8])
    found = line(compare([folder]), "one", "dice_1")
    assert found["n"] == 2
    assert found["mean"] == pytest.approx(0.5)


def test_pairing_is_by_id_and_slice_not_by_position(write):
    patients, slices, ids = ["a", "a", "b", "b"], [0, 1, 0, 1], ["a", "a", "b", "b"]
    one = write("one", patients, slices, ids=ids, dice_1=[0.1, 0.2, 0.6, math.nan])
    two = write("two", patients[::-1], slices[::-1], ids=ids[::-1], dice_1=[0.9, 0.6, 0.2, 0.1])
    found = line(compare([one, two]), "two", "dice_1")
    assert found["difference"] == pytest.approx(0)
    assert found["p_t"] == 1


def test_a_metric_is_compared_on_the_rows_that_all_have(write):
    # `two` lost the label in the second row of a, where the distance is large.
    patients = ["a", "a", "b"]
    one = write("one", patients, hd_1=[2, 10, 4], dice_1=[0.8, 0.4, 0.8])
    two = write("two", patients, hd_1=[2, math.nan, 4], dice_1=[0.8, 0.0, 0.8], missed=1)
    comparison = compare([one, two])
    assert line(comparison, "one", "hd_1")["mean"] == 3  # 2 and 4, not (2 + 10)/2 and 4
    assert line(comparison, "two", "hd_1")["difference"] == 0
    assert line(comparison, "two", "dice_1")["difference"] == pytest.approx((0.4 - 0.6 + 0) / 2)
    assert comparison.left_out == {"dice_1": 0, "hd_1": 1}
    text = comparison.to_markdown()
    assert "two lost label 1 in 1 of 3 rows" in text
    assert "hd_1 1" in text


def test_an_evaluation_without_a_metric_does_not_stop_the_others(write):
    # The baseline predicts no noise: no difference, and no cell for it.
    folders = [write("base", dice_1=BASE, ause=[math.nan] * 5), write("other", dice_1=OTHER, ause=BASE)]
    comparison = compare(folders)
    found = line(comparison, "other", "ause")
    assert found["mean"] == pytest.approx(0.64)
    assert np.isnan(found["p_t"])
    assert np.isnan(found["p_holm"])
    assert not ((comparison.table["row"] == "base") & (comparison.table["metric"] == "ause")).any()


def test_a_metric_that_nobody_has_is_left_out(write):
    comparison = compare([write("one", dice_1=BASE, ause=[math.nan] * 5)])
    assert comparison.metrics == ["dice_1"]


def test_a_metric_without_a_common_row_is_left_out_and_said(write):
    one = write("one", ["a", "b"], dice_1=[0, 0.5], hd_1=[math.nan, 3])
    two = write("two", ["a", "b"], dice_1=[0.5, 0], hd_1=[4, math.nan])
    comparison = compare([one, two])
    assert comparison.metrics == ["dice_1"]
    assert comparison.left_out == {"dice_1": 0, "hd_1": 2}
    assert "hd_1 2" in comparison.to_markdown()


def test_the_noise_map_of_a_collapsed_displacement_is_never_the_best(write):
    """It leaves the whole motion in the residual, which is easy to predict."""
    moving = write("moving", dice_1=BASE, aurg=[0.1] * 5, sd_log_jacobian=[0.2] * 5)
    other = write("other", dice_1=BASE, aurg=[0.2] * 5, sd_log_jacobian=[0.1] * 5)
    still = write("still", dice_1=OTHER, aurg=[0.9] * 5, sd_log_jacobian=[0.001] * 5)
    comparison = compare([moving, other, still])
    assert [comparison.moves(row) for row in comparison.rows] == [True, True, False]
    text = to_markdown(comparison)
    noise = text.split("## Noise")[1].split("##")[0]
    assert "| other | **" in noise
    assert noise.count("**") == 2
    assert "Hardly deforms, and is never the best by its noise map: still." in text
    assert Results(comparison).best("aurg") == "other"
    assert Results(comparison).best("dice_1") == "still"


def test_equal_evaluations(write):
    found = line(compare([write("one", dice_1=BASE), write("two", dice_1=BASE)]), "two", "dice_1")
    assert (found["difference"], found["p_t"], found["p_wilcoxon"], found["p_holm"]) == (0, 1, 1, 1)
    assert (found["difference_low"], found["difference_high"]) == (0, 0)
    assert found["better"] is None


def test_one_patient_has_a_mean_and_no_test(write):
    folders = [write("one", ["a"], dice_1=[0.5]), write("two", ["a"], dice_1=[0.6])]
    found = line(compare(folders), "two", "dice_1")
    assert found["mean"] == 0.6
    assert found["difference"] == pytest.approx(0.1)
    assert found[["sd", "low", "p_t", "p_wilcoxon", "p_holm"]].isna().all()


def test_a_baseline_beside_the_folders_becomes_the_first_row(write):
    base, other = write("base", dice_1=BASE), write("other", dice_1=OTHER)
    comparison = compare([other], baseline=base)
    assert comparison.rows == ["base", "other"]
    assert comparison.baseline == "base"


def test_files(write, tmp_path):
    folders = [
        write("base", dice_1=BASE, hd_1=[5] * 5, seconds=[0.1] * 5),
        write("other", dice_1=OTHER, hd_1=[5, 4, 5, 4, 5], seconds=[0.1] * 5),
    ]
    comparison = compare(folders, out=tmp_path / "report")
    written = sorted(path.name for path in (tmp_path / "report").iterdir())
    assert written == ["heteroreg.json", "table.csv", "table.md"]
    table = pd.read_csv(tmp_path / "report" / "table.csv")
    pd.testing.assert_frame_equal(table.drop(columns="better"), comparison.table.drop(columns="better"))
    lines = (tmp_path / "report" / "table.md").read_text().splitlines()
    assert "| | Dice (%) ↑ | HD (mm) ↓ |" in lines
    # 100 · 0.64 ± 100 · √(0.052/4); the better mean bold, the significant one starred.
    assert "| base | 64.00 ± 11.40 | 5.00 ± 0.00 |" in lines
    assert any(text.startswith("| other | **68.80** ± ") and r"\* | **4.60** ± 0.55 |" in text for text in lines)


def test_values_hold_each_patient(write):
    comparison = compare([write("base", dice_1=BASE), write("other", dice_1=OTHER)])
    values = comparison.values
    assert values[values["row"] == "other"]["value"].tolist() == pytest.approx(OTHER)
    assert values["patient"].tolist() == FIVE * 2


def test_reference_distances_are_in_voxels(write):
    text = compare([write("one", mode="reference", hd_1=[5] * 5, epe_1=[1] * 5)]).to_markdown()
    assert "HD (voxels) ↓ | EPE (mm) ↓" in text


def test_a_folder_that_holds_something_else_stays(write, tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.tex").write_text("x")
    with pytest.raises(UserError, match="did not write"):
        compare([write("one", dice_1=BASE)], out=tmp_path / "mine")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"ids": list("abcde")}, r"not of the same pairs \(10 differ"),
        ({"mode": "reference"}, r"scored in different modes \(`metrics`\)"),
        (
            {"slices": [0, 1, 2, 3, 4]},
            "^rows of two kinds: scored by slices are other, by whole images base; compare those of one kind, or",
        ),
    ],
)
def test_evaluations_that_cannot_be_compared(write, changes, message):
    folders = [write("base", dice_1=BASE), write("other", dice_1=OTHER, **changes)]
    with pytest.raises(UserError, match=message):
        compare(folders)


def test_what_is_no_evaluation_is_named(write, tmp_path):
    with pytest.raises(UserError, match="nowhere: no evaluation"):
        compare([write("base", dice_1=BASE), tmp_path / "nowhere"])
    with pytest.raises(UserError, match="at least one folder"):
        compare([])


def test_names_are_as_short_as_they_can_be(tmp_path):
    paths = [tmp_path / "a" / "scores", tmp_path / "b" / "scores", tmp_path / "mse"]
    assert row_names(paths) == ["a/scores", "b/scores", "mse"]
    with pytest.raises(UserError, match="named twice"):
        row_names([tmp_path / "mse", tmp_path / "a" / ".." / "mse"])


# Seeds: two of `ours`, one of `base`. Patients' means over the seeds of ours: those of OTHER, by construction.
FIRST, SECOND = [0.56, 0.62, 0.77, 0.85, 0.66], [0.54, 0.66, 0.75, 0.81, 0.66]


def test_a_row_of_several_seeds_against_arithmetic_and_scipy(write):
    base, first, second = write("base", dice_1=BASE), write("a", dice_1=FIRST), write("b", dice_1=SECOND)
    comparison = compare({"base": [base], "ours": [first, second]})
    ours = line(comparison, "ours", "dice_1")
    assert comparison.rows == ["base", "ours"]
    assert (ours["n"], ours["seeds"], line(comparison, "base", "dice_1")["seeds"]) == (5, 2, 1)
    assert ours["mean"] == pytest.approx(0.688)
    assert ours["sd"] == pytest.approx(np.std(OTHER, ddof=1))
    # Means over patients: 3.46/5 = 0.692 and 3.42/5 = 0.684; their sample sd is 0.008/√2.
    assert ours["sd_seeds"] == pytest.approx(0.008 / math.sqrt(2))
    assert np.isnan(line(comparison, "base", "dice_1")["sd_seeds"])
    # Tested on the patients' means over seeds: ten numbers would be no ten patients.
    assert ours["difference"] == pytest.approx(0.048)
    assert ours["p_t"] == pytest.approx(stats.ttest_rel(OTHER, BASE).pvalue)
    assert ours["p_wilcoxon"] == pytest.approx(2 / 32)
    values = comparison.values
    assert values[values["row"] == "ours"]["value"].tolist() == pytest.approx(OTHER)
    assert comparison.scores["ours"].summary["registrar"] == "a"  # the first seed is the one to look at


def test_seeds_are_compared_on_the_rows_that_all_of_them_have(write):
    one = write("one", ["a", "a", "b"], hd_1=[2, 10, 4])
    two = write("two", ["a", "a", "b"], hd_1=[4, math.nan, 6], missed=1)
    comparison = compare({"both": [one, two]})
    found = line(comparison, "both", "hd_1")
    assert found["mean"] == pytest.approx((3 + 5) / 2)  # patient a: (2 + 4)/2, b: (4 + 6)/2
    assert comparison.left_out["hd_1"] == 1
    assert comparison.misses() == [("both", 1, 1, 6)]  # one of twice three


def test_the_lines_say_what_the_tests_can_tell(write):
    folders = {"base": [write("base", dice_1=BASE)], "ours": [write("a", dice_1=FIRST), write("b", dice_1=SECOND)]}
    folders["same"] = [write("same", dice_1=[0.51, 0.59, 0.71, 0.79, 0.6])]
    text = compare(folders).to_markdown()
    p = stats.ttest_rel(OTHER, BASE).pvalue
    ours = next(one for one in text.splitlines() if one.startswith("- ours − base: "))
    # Two rows are tested, and this is the smaller p: Holm's is twice as large. The interval holds 4.8.
    assert re.fullmatch(
        rf"- ours − base: \+4\.80 points \[\+[34]\.\d\d, \+5\.\d\d\], p = {p:.3f} "
        rf"\(Wilcoxon 0\.062, Holm {2 * p:.3f}\): better",
        ours,
    )
    same = next(one for one in text.splitlines() if one.startswith("- same − base: "))
    # Differences 1, -1, 1, -1, 0 points: their mean is 0.
    assert same.startswith("- same − base: 0.00 points [−")
    assert same.endswith("(Wilcoxon 1.00, Holm 1.00): no difference shown")
    assert "| same | 64.00 |" in text
    assert any(one.startswith("| ours | 68.80 |") and one.endswith(r"| \* better |") for one in text.splitlines())
    assert "| base | 64.00 | 11.40 | 1 | – | – | – | – | – | – | baseline |" in text
    assert "the mean of its seeds, up to 2" in text
    turned = compare(folders, baseline="ours").to_markdown()
    assert any(
        one.startswith("- base − ours: −4.80 points") and one.endswith(": worse") for one in turned.splitlines()
    )


def test_one_patient_is_too_few_and_said(write):
    text = compare([write("one", ["a"], dice_2=[0.5]), write("two", ["a"], dice_2=[0.6])]).to_markdown()
    assert "- two − one: +10.00 points: too few patients to test" in text
    assert text.rstrip().splitlines()[0] == "# Comparison"
    assert "| no test |" in text


def test_folders_that_differ_in_the_seed_alone_are_one_row(tmp_path):
    paths = [tmp_path / name for name in ("mse-seed0", "nll-seed3", "mse-seed1", "mse", "x/mse-seed7")]
    assert by_seed(paths) == {
        "mse-seeds": [paths[0], paths[2]],  # `mse` itself is a row of its own
        "nll-seed3": [paths[1]],
        "mse": [paths[3]],
        "mse-seed7": [paths[4]],
    }
    assert list(by_seed([paths[0], paths[2], tmp_path / "nll"])) == ["mse", "nll"]


def test_rows_on_the_command_line(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a=b").mkdir()
    assert parse_groups(["one", "a=b"]) == ["one", "a=b"]  # a folder that exists
    assert parse_groups(["late-seed0", "ours=x,y", "late-seed1", "a=b"]) == {
        "late": [Path("late-seed0"), Path("late-seed1")],
        "ours": [Path("x"), Path("y")],
        "a=b": [Path("a=b")],
    }
    for wrong in ("=x", "ours=", "ours=,"):
        with pytest.raises(UserError, match="write NAME=DIR"):
            parse_groups([wrong])
    with pytest.raises(UserError, match="the name of two rows"):
        parse_groups(["ours=x", "ours=y"])


def test_what_cannot_be_one_row(write, tmp_path):
    def informed(name, **info):
        path = write(name, dice_1=BASE)
        summary = path / "summary.json"
        summary.write_text(json.dumps({**json.loads(summary.read_text()), "info": info}))
        return path

    one = informed("r-seed0", method="mse", network="voxelmorph", seed=0)
    other = informed("r-seed1", method="nll", network="voxelmorph", seed=1)
    again = informed("r-seed2", method="mse", network="voxelmorph", seed=0)
    with pytest.raises(UserError, match=r"r-seed1: is of the method nll, and .*r-seed0 of mse"):
        compare([one, other])
    with pytest.raises(UserError, match="not of different seeds"):
        compare([one, again])
    assert compare({"mse": [one], "nll": other}).rows == ["mse", "nll"]
    with pytest.raises(UserError, match="folders: the row mse has no folder"):
        compare({"mse": []})
    with pytest.raises(UserError, match="named twice"):
        compare({"mse": [one], "nll": [one]})


def test_the_baseline_by_name_by_folder_of_any_seed_or_beside(write):
    paths = {name: write(name, dice_1=BASE) for name in ("a-seed0", "a-seed1", "b", "c")}
    folders = [paths["b"], paths["a-seed0"], paths["a-seed1"]]
    assert compare(folders).baseline == "b"
    assert compare(folders, baseline="a").baseline == "a"
    assert compare(folders, baseline=paths["a-seed1"]).baseline == "a"
    beside = compare(folders, baseline=paths["c"])
    assert (beside.baseline, beside.rows) == ("c", ["c", "b", "a"])
