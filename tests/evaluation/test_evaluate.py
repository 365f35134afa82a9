"""`evaluate` on cohorts of small files, with registrars whose outcome is known."""

import json
import sys
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
import pytest
from scipy import ndimage

from heteroreg.data.cohort import Cohort, Pair
from heteroreg.data.grid import Grid
from heteroreg.data.image import Image, read_image, read_labels, write_image
from heteroreg.data.io.affine import Affine
from heteroreg.data.io.displacement import write_displacement
from heteroreg.evaluation import Scores, evaluate
from heteroreg.registration.classical import Undeformed
from heteroreg.registration.intensities import intensity_map
from heteroreg.registration.load import load
from heteroreg.registration.result import Registration
from heteroreg.system.errors import UserError

SHIFT = 2


@dataclass(frozen=True)
class Shift:
    """Moves everything along x by a known number of voxels, and predicts a constant noise."""

    voxels: int = SHIFT
    name: str = "shift"
    slicewise: bool = False
    lose: bool = False

    def register(self, moving, fixed, moving_labels=None):
        u = np.zeros((fixed.grid.dims, *fixed.grid.shape))
        u[0] = -self.voxels
        labels = None if moving_labels is None else np.roll(moving_labels.array, self.voxels, 0) * (not self.lose)
        return Registration(
            fixed=fixed,
            moving=moving,
            moved=fixed.with_array(np.roll(moving.array, self.voxels, 0)),
            displacement=u,
            inverse_displacement=-u,
            noise_sd=fixed.with_array(np.full(fixed.grid.shape, 0.5)),
            moved_labels=None if labels is None else fixed.with_array(labels),
            slicewise=self.slicewise,
            info={"method": "shift", "model": "none", "seconds": 1.0},
        )


def blob(shape, seed):
    """A smooth random texture and two labels: 1 a block, 2 a smaller one beside it in y."""
    texture = ndimage.gaussian_filter(np.random.default_rng(seed).random(shape), 1.0).astype(np.float32) + 0.1
    labels = np.zeros(shape, dtype=np.int32)
    labels[4:9, 3:8] = 1
    labels[4:7, 9:11] = 2
    return texture, labels


@pytest.fixture
def make(tmp_path):
    """Writes pairs whose fixed image is the moving one, shifted by SHIFT voxels along x."""

    def write(count=3, shape=(16, 14), spacing=(1.5, 1.0), truth=True, **columns):
        grid = Grid.of_shape(shape, spacing[: len(shape)])
        pairs = []
        for k in range(count):
            texture, labels = blob(shape, k)
            files = {}
            for side, by in (("moving", 0), ("fixed", SHIFT)):
                files[side] = tmp_path / f"{k}_{side}.nii.gz"
                files[f"{side}_labels"] = tmp_path / f"{k}_{side}_gt.nii.gz"
                write_image(Image(np.roll(texture, by, 0), grid), files[side])
                write_image(Image(np.roll(labels, by, 0), grid), files[f"{side}_labels"])
            known = {}
            if truth:
                u = np.zeros((len(shape), *shape))
                u[0] = -SHIFT
                known = {name: tmp_path / f"{k}_{name}.nii.gz" for name in ("true_displacement",)}
                write_displacement(u, grid, known["true_displacement"])
            pairs.append(
                Pair(
                    id=f"pair{k}",
                    patient=f"patient{k // 2}",
                    split="test",
                    truth=known,
                    extra={"vendor": "AB"[k % 2], **columns},
                    **files,
                )
            )
        return Cohort(tuple(pairs), "pairs.csv")

    return write


def test_a_perfect_registration_scores_perfectly(make):
    scores = evaluate(Shift(), make())
    table = scores.table
    assert list(table.columns[:5]) == ["id", "patient", "slice", "split", "vendor"]
    assert table["slice"].isna().all()
    for label in (1, 2):
        assert (table[f"dice_{label}"] == 1).all()
        assert (table[f"hd95_{label}"] == 0).all()
    assert table["epe"].max() == pytest.approx(0, abs=1e-6)
    assert (table["folding_percent"] == 0).all()
    assert scores.summary["counts"] == {"pairs": 3, "labelled_pairs": 3, "patients": 2, "rows": 3}
    assert scores.summary["split"] == "test"
    assert scores.summary["method"] == "shift"
    assert "seconds" not in scores.summary["info"]


def test_the_summary_has_the_dice_of_no_registration(make):
    scores = evaluate(Shift(), make())
    # As below: 3/5 and 1/3 overlap before the registration.
    before = {name: entry["mean"] for name, entry in scores.summary["undeformed"].items()}
    assert before == pytest.approx({"dice_1": 3 / 5, "dice_2": 1 / 3})
    assert scores.dice_in_words() == "dice_1 1.0000 (undeformed 0.6000), dice_2 1.0000 (undeformed 0.3333)"


def test_an_initial_alignment_counts_as_no_registration(make):
    # What is brought into place by the alignment alone is not what the registrar gained.
    cohort = make(count=1)
    pair = cohort[0]
    for path, read in ((pair.moving, read_image), (pair.moving_labels, read_labels)):
        image = read(path)
        write_image(replace(image, grid=replace(image.grid, origin=(100.0, 0.0))), path)
    back = Affine((1.0, 0.0, 0.0, 1.0), (100.0 - SHIFT * 1.5, 0.0))
    scores = evaluate(Undeformed(), cohort, initial=back)
    before = {name: entry["mean"] for name, entry in scores.summary["undeformed"].items()}
    assert before == pytest.approx({"dice_1": 1, "dice_2": 1})
    assert scores.summary["metrics"]["dice_1"]["mean"] == pytest.approx(1)


@pytest.mark.parametrize("mode", ["standard", "reference"])
def test_a_registrar_that_does_not_beat_the_identity_is_warned_of(make, mode):
    # Moved the wrong way: label 1 overlaps in 1 of 5 columns, label 2 not at all.
    with pytest.warns(UserWarning, match=r"shift does not beat no registration.*undeformed 0\.467"):
        evaluate(Shift(-SHIFT), make(), metrics=mode)


def test_the_identity_itself_is_not_warned_of(make, recwarn):
    evaluate(Undeformed(), make(count=1))
    evaluate(Shift(), make(count=1))
    assert not [one for one in recwarn if "does not beat" in str(one.message)]


def test_pairs_without_labels_have_no_dice_of_no_registration(make):
    pairs = tuple(replace(pair, moving_labels=None, fixed_labels=None) for pair in make(count=1))
    scores = evaluate(Shift(), Cohort(pairs, "pairs.csv"))
    assert scores.summary["undeformed"] == {}
    assert scores.dice_in_words() == ""


def test_the_identity_scores_what_the_shift_leaves(make):
    table = evaluate(Undeformed(), make(count=1)).table
    # Label 1 is 5 × 5 and shifted by 2 along x: 3 of 5 columns overlap. Label 2 is 3 × 2: 1 of 3.
    assert table["dice_1"][0] == pytest.approx(3 / 5)
    assert table["dice_2"][0] == pytest.approx(1 / 3)
    # 2 voxels of 1.5 mm.
    assert table["hd_1"][0] == pytest.approx(3.0)
    assert table["epe"][0] == pytest.approx(3.0)
    assert table["epe_2"][0] == pytest.approx(3.0)
    assert np.isnan(table["ause"][0])  # the identity predicts no noise


def test_slices_are_scored_in_their_plane(make):
    cohort = make(count=1, shape=(16, 14, 3), spacing=(1.5, 1.0, 9.0))
    scores = evaluate(Shift(slicewise=True), cohort)
    assert scores.table["slice"].tolist() == [0, 1, 2]
    assert scores.slicewise
    assert (scores.table["dice_1"] == 1).all()
    assert scores.table["seconds"].nunique() == 1
    whole = evaluate(Shift(slicewise=True), cohort, slicewise=False)
    assert len(whole.table) == 1


def test_a_slice_with_a_label_in_one_map_alone_is_counted_and_not_scored(make):
    cohort = make(count=1, shape=(16, 14, 3), spacing=(1.5, 1.0, 9.0))
    pair = cohort[0]
    labels = np.roll(blob((16, 14, 3), 0)[1], SHIFT, 0)
    labels[..., 2][labels[..., 2] == 2] = 0
    write_image(Image(labels, Grid.of_shape((16, 14, 3), (1.5, 1.0, 9.0))), pair.fixed_labels)
    scores = evaluate(Shift(slicewise=True), cohort)
    assert scores.table["dice_2"].isna().tolist() == [False, False, True]
    assert scores.summary["labels"]["2"] == {"rows": 2, "missed": 0, "one_sided": 1}


def test_thick_stacks_are_scored_by_slices_when_undeformed(make):
    thick = make(count=1, shape=(16, 14, 3), spacing=(1.5, 1.0, 9.0))
    assert evaluate(Undeformed(), thick).slicewise
    assert not evaluate(Undeformed(slicewise=False), thick).slicewise
    thin = make(count=1, shape=(16, 14, 3), spacing=(1.5, 1.0, 4.5))  # 3 times, not more
    assert not evaluate(Undeformed(), thin).slicewise


def test_means_are_over_patients_not_over_rows(make):
    # Patients 0 (two pairs, Dice 1 and 0.6) and 1 (one pair, Dice 1): ((1 + 0.6)/2 + 1)/2 = 0.9.
    cohort = make()

    class Fickle(Shift):
        def register(self, moving, fixed, moving_labels=None):
            registrar = Undeformed() if "1_moving" in moving.name else Shift()
            return registrar.register(moving, fixed, moving_labels)

    scores = evaluate(Fickle(), cohort)
    dice = scores.summary["metrics"]["dice_1"]
    assert dice["mean"] == pytest.approx(0.9)
    # Patients 0.8 and 1: sample sd √(2 · 0.1² / 1).
    assert dice["sd"] == pytest.approx(np.sqrt(0.02))
    assert dice["patients"] == 2
    assert scores.per_patient()["dice_1"].tolist() == pytest.approx([0.8, 1.0])


def stack(tmp_path):
    """A stack of three slices: label 1 in slices 0 and 1 of moving, and in 1 and 2 of fixed."""
    grid = Grid.of_shape((20, 20, 3), (1, 1, 10))
    random = np.random.default_rng(0)
    files = {}
    for side, slices in (("moving", (0, 1)), ("fixed", (1, 2))):
        labels = np.zeros((20, 20, 3), np.int32)
        for k in slices:
            labels[4:8, 4:9, k] = 1
        for name, values in ((side, random.random((20, 20, 3)).astype(np.float32)), (f"{side}_labels", labels)):
            files[name] = tmp_path / f"{name}.nii.gz"
            write_image(Image(values, grid), files[name])
    return Cohort((Pair("p", **files),), "pairs.csv")


def test_the_dice_of_the_whole_stack_stands_beside_that_of_the_slices(tmp_path):
    table = evaluate("undeformed", stack(tmp_path)).table
    assert table["dice_1"].tolist()[1] == 1  # the slice that has it in both
    assert table["dice_1"].isna().tolist() == [True, False, True]
    # 20 of 40 + 40 pixels overlap, counted twice: 40/80.
    assert table["whole_dice_1"].tolist() == [0.5] * 3


def test_sizes_over_the_slices_that_have_the_label_in_both(tmp_path):
    whole, both = (evaluate("undeformed", stack(tmp_path), sizes=which).sizes for which in ("whole", "both"))
    # 4 x 5 pixels of 10 mm³ in each slice: 0.2 ml.
    assert whole[["moving", "warped", "true"]].to_numpy().tolist() == [[0.4, 0.4, 0.4]]
    assert both[["moving", "warped", "true"]].to_numpy().tolist() == [[0.2, 0.2, 0.2]]
    with pytest.raises(UserError, match="sizes: 'some'"):
        evaluate("undeformed", stack(tmp_path), sizes="some")


def test_labels_are_called_by_their_names(make, tmp_path):
    scores = evaluate(Shift(), make(), label_names={"1": "LV"}, out=tmp_path / "scores")
    assert scores.dice_in_words().startswith("Dice of LV 1.0000 (undeformed 0.6000), dice_2 ")
    assert Scores.read(tmp_path / "scores").label_names == {1: "LV"}


def test_lost_labels_are_counted(make):
    scores = evaluate(Shift(lose=True), make())
    assert (scores.table["dice_1"] == 0).all()
    assert scores.table["hd_1"].isna().all()
    assert scores.summary["labels"]["1"] == {"rows": 3, "missed": 3, "one_sided": 0}
    assert scores.summary["metrics"]["hd_1"] == {"mean": None, "sd": None, "patients": 0}


def test_the_mean_curve_has_the_mean_area(make):
    scores = evaluate(replace(Shift(), voxels=1), make())
    curve = scores.sparsification
    area = np.trapezoid(curve["mse"] - curve["oracle"], curve["fraction"])
    assert area == pytest.approx(scores.summary["metrics"]["ause"]["mean"])
    assert area > 0
    # A constant sd removes at random.
    np.testing.assert_allclose(curve["mse"], curve["random"])
    assert len(curve) == 100


def test_scores_come_back_from_their_folder(make, tmp_path):
    scores = evaluate(Shift(), make(count=4), out=tmp_path / "scores", gallery=2, stacks=3, metrics="reference")
    again = Scores.read(tmp_path / "scores")
    pd.testing.assert_frame_equal(again.table, scores.table, check_dtype=False)
    pd.testing.assert_frame_equal(again.sparsification, scores.sparsification)
    assert again.summary == json.loads(json.dumps(scores.summary))
    assert [case.id for case in again.cases] == ["pair0", "pair3"]
    assert [stack.id for stack in again.stacks] == ["pair0", "pair2", "pair3"]
    for stack, before in zip(again.stacks, scores.stacks, strict=True):
        np.testing.assert_array_equal(stack.images["moved"], before.images["moved"])
    assert again.summary["mode"] == "reference"
    # An earlier evaluation is replaced, and nothing of it stays.
    evaluate(Undeformed(), make(count=1), out=tmp_path / "scores", gallery=0, stacks=0)
    assert Scores.read(tmp_path / "scores").cases == ()
    assert len(Scores.read(tmp_path / "scores").stacks) == 0


def test_all_stacks_together_are_within_a_number_of_voxels(make, monkeypatch):
    monkeypatch.setattr(
        sys.modules["heteroreg.evaluation.evaluate"], "STACK_VOXELS", 300
    )  # 100 for each of three pairs of 224 or more
    stacks = evaluate(Undeformed(), make(count=3)).stacks
    assert all(stack.voxels <= 100 for stack in stacks)
    assert any(stack.voxels > 20 for stack in stacks)


def test_a_cohort_without_labels_or_truth(make):
    cohort = Cohort(tuple(replace(p, fixed_labels=None, moving_labels=None) for p in make(truth=False)))
    table = evaluate(Shift(), cohort).table
    assert not [column for column in table.columns if column.startswith(("dice", "epe"))]
    assert table["ause"].notna().all()


def test_true_noise_is_compared_with_the_predicted(make, tmp_path):
    cohort = make(count=1, truth=False)
    grid = Grid.of_shape((16, 14), (1.5, 1.0))
    truth = {}
    for side, value in (("fixed", 0.3), ("moving", 0.4)):
        truth[f"{side}_noise_sd"] = tmp_path / f"{side}_sd.nii.gz"
        write_image(Image(np.full((16, 14), value, np.float32), grid), truth[f"{side}_noise_sd"])
    # √(0.3² + 0.4²) = 0.5, which is what the registrar predicts.
    table = evaluate(Shift(), Cohort((replace(cohort[0], truth=truth),))).table
    assert table["noise_ratio"][0] == pytest.approx(1)
    assert np.isnan(table["noise_correlation"][0])  # a constant map


def test_grids_that_differ_are_brought_together(make, tmp_path):
    cohort = make(count=1, truth=False)
    # The fixed image on a grid that begins SHIFT voxels further on along x: in space it is unmoved.
    texture, labels = blob((16, 14), 0)
    grid = Grid.of_shape((16, 14), (1.5, 1.0)).crop((SHIFT, 0), (12, 14))
    write_image(Image(texture[SHIFT : SHIFT + 12], grid), tmp_path / "cut.nii.gz")
    write_image(Image(labels[SHIFT : SHIFT + 12], grid), tmp_path / "cut_gt.nii.gz")
    pair = replace(cohort[0], fixed=tmp_path / "cut.nii.gz", fixed_labels=tmp_path / "cut_gt.nii.gz")
    for mode in ("standard", "reference"):
        assert evaluate(Undeformed(), Cohort((pair,)), metrics=mode).table["dice_1"][0] == 1


@pytest.mark.parametrize("which", ["fixed_labels", "moving_labels", "true_displacement", "fixed_noise_sd"])
def test_what_lies_on_another_grid_is_named(make, tmp_path, which):
    cohort, grid = make(count=1), Grid.of_shape((8, 8))
    path = tmp_path / "elsewhere.nii.gz"
    if which == "true_displacement":
        write_displacement(np.zeros((2, 8, 8)), grid, path)
    else:
        write_image(Image(np.zeros((8, 8), np.int32), grid), path)
    pair = cohort[0]
    changed = {which: path} if which.endswith("labels") else {"truth": {which: path}}
    with pytest.raises(UserError, match=r"elsewhere\.nii\.gz.*another grid"):
        evaluate(Shift(), Cohort((replace(pair, **changed),)))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"metrics": "paper"}, "metrics: 'paper'"),
        ({"labels": [0]}, "labels: must be"),
        ({"labels": []}, "labels: must be"),
        ({"labels": [1, 7]}, r"labels: 7 occurs in no label map of pairs\.csv"),
    ],
)
def test_options_that_make_no_sense(make, options, message):
    with pytest.raises(UserError, match=message):
        evaluate(Shift(), make(count=1), **options)


def test_a_column_named_like_a_score_is_refused(make):
    with pytest.raises(UserError, match="dice_1"):
        evaluate(Shift(), make(count=1, dice_1="0.5"))


def test_names_and_paths_are_loaded(cohort_2d):
    pd.testing.assert_frame_equal(
        evaluate("undeformed", cohort_2d.name).table.drop(columns="seconds"),
        evaluate(Undeformed(), cohort_2d).table.drop(columns="seconds"),
    )


def test_an_empty_cohort_is_refused():
    with pytest.raises(UserError, match="no pairs"):
        evaluate(Shift(), Cohort(()))


def test_a_folder_that_holds_something_else_is_noticed_before_the_work(make, tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.tex").write_text("x")

    class Never:
        name = "never"

        def register(self, moving, fixed, moving_labels=None):
            raise AssertionError("the work was begun")

    with pytest.raises(UserError, match="did not write"):
        evaluate(Never(), make(count=1), out=tmp_path / "mine")


def test_a_registrar_that_forgets_the_labels_is_a_bug(make):
    class Forgetful(Shift):
        def register(self, moving, fixed, moving_labels=None):
            return super().register(moving, fixed)

    with pytest.raises(ValueError, match="returned none"):
        evaluate(Forgetful(), make(count=1))


@pytest.mark.parametrize("damage", ["absent", "no summary", "no json", "other kind", "no id", "text for numbers"])
def test_folders_that_are_no_evaluation(make, tmp_path, damage):
    folder = tmp_path / "scores"
    if damage != "absent":
        evaluate(Shift(), make(count=1), out=folder)
    if damage == "no summary":
        (folder / "summary.json").unlink()
    elif damage == "no json":
        (folder / "summary.json").write_text("{")
    elif damage == "other kind":
        (folder / "summary.json").write_text('{"kind": "registration"}')
    elif damage == "no id":
        (folder / "scores.csv").write_text("slice,dice_1\n,0.5\n")
    elif damage == "text for numbers":
        (folder / "scores.csv").write_text("id,patient,slice,dice_1\na,a,,high\n")
    with pytest.raises(UserError, match=r"scores(/\w+\.\w+)?: "):
        Scores.read(folder)


SOUND = {
    "kind": "evaluation",
    "mode": "standard",
    "counts": {"pairs": 1, "patients": 1, "rows": 1},
    "labels": {"1": {"rows": 1, "missed": 0}},
}


@pytest.mark.parametrize(
    ("file", "text", "message"),
    [
        (
            "summary.json",
            json.dumps(SOUND | {"mode": "other"}),
            "mode: Input should be 'standard', 'reference' or 'l",
        ),
        ("summary.json", json.dumps(SOUND | {"counts": {"pairs": -1}}), "counts.pairs"),
        ("summary.json", json.dumps(SOUND | {"labels": {"1": {"rows": 1}}}), "labels.1.missed"),
        ("summary.json", json.dumps(SOUND | {"labels": {"x": {}}}), "labels"),
        ("summary.json", "[1]", "not that of an evaluation"),
        ("scores.csv", "id,patient,slice,dice_1\na,a,,inf\n", "holds inf, which is no score"),
        ("scores.csv", "id,patient,slice,dice_1\na,a,1.5,1\n", "must hold the numbers of slices"),
        ("scores.csv", "id,patient,slice,dice_1\na,a,-1,1\n", "must hold the numbers of slices"),
        ("scores.csv", "id,patient,slice,dice_1\na,a,,1\na,a,,1\n", "two rows for one pair or slice"),
        ("scores.csv", "id,patient,slice,dice_1\na,,,1\n", "without id or patient"),
        ("scores.csv", "id,patient,slice,dice_1\n", "holds no rows"),
        ("scores.csv", "id,patient,slice,dice_1,dice_1\na,a,,1,1\n", "more than once"),
        ("sparsification.csv", "fraction,mse\n0,1\n", "no sparsification curves"),
        ("sparsification.csv", "fraction,mse,oracle,random\n0,1,,1\n", "a curve has a gap"),
        ("sparsification.csv", "fraction,mse,oracle,random\n0,1,x,1\n", "holds cells that are not numbers"),
    ],
)
def test_what_others_rely_on_is_checked(make, tmp_path, file, text, message):
    evaluate(Shift(), make(count=1), out=tmp_path / "scores")
    (tmp_path / "scores" / file).write_text(text)
    with pytest.raises(UserError, match=message) as error:
        Scores.read(tmp_path / "scores")
    assert file in str(error.value)


def test_an_added_constant_changes_no_score_of_the_noise_map(cohort_2d, run_2d, tmp_path):
    """Neither what is foreground nor what lies outside the moving image depends on where 0 is."""
    tables = []
    for constant in (0, 500):
        pairs = []
        for pair in cohort_2d.split("test"):
            files = {}
            for side in ("moving", "fixed"):
                image = read_image(getattr(pair, side))
                # A shift by 6 mm, so that a part of fixed lies outside moving.
                origin = tuple(x + 6 * (side == "moving") for x in image.grid.origin)
                image = Image(np.round(image.array) + constant, replace(image.grid, origin=origin))
                files[side] = tmp_path / f"{pair.id}_{side}_{constant}.nii.gz"
                write_image(image, files[side])
            pairs.append(replace(pair, **files, moving_labels=None, fixed_labels=None, truth={}))
        tables.append(evaluate(load(run_2d, precision="32-true"), Cohort(tuple(pairs), "c")).table)
    for metric in ("ause", "aurg", "ause_foreground", "aurg_foreground", "ece"):
        if metric in tables[0]:
            np.testing.assert_allclose(tables[0][metric], tables[1][metric], rtol=1e-3, err_msg=metric)
    assert "ause_foreground" in tables[0]


def rescaled(cohort, folder, factor, offset):
    """The cohort with moving images of another intensity scale."""
    pairs = []
    for pair in cohort:
        image = read_image(pair.moving)
        path = folder / f"{pair.id}_other.nii.gz"
        write_image(image.with_array(image.array * np.float32(factor) + np.float32(offset)), path)
        pairs.append(replace(pair, moving=path))
    return Cohort(tuple(pairs), "pairs.csv")


def test_another_intensity_scale_of_moving_changes_no_score_of_the_noise_map(cohort_2d, run_2d, tmp_path):
    registrar, pairs = load(run_2d.folder, device="cpu"), Cohort(cohort_2d.split("test").pairs[:1], "pairs.csv")
    # Moving first with exactly the percentiles of fixed, so that only the scale differs between the two.
    image, other = (read_image(path) for path in (pairs[0].moving, pairs[0].fixed))
    low, high = np.percentile(image.array, (0.5, 99.5))
    factor = np.ptp(np.percentile(other.array, (0.5, 99.5))) / (high - low)
    same = rescaled(pairs, tmp_path, factor, np.percentile(other.array, 0.5) - factor * low)
    before = evaluate(registrar, same).table
    after = evaluate(registrar, rescaled(same, tmp_path, 7000.0, -50.0)).table
    for name in ("ause", "aurg", "ause_foreground", "ece", "nll", "coverage_95"):
        np.testing.assert_allclose(after[name], before[name], rtol=1e-3, err_msg=name)


def test_images_of_one_scale_are_compared_as_they_are():
    random = np.random.default_rng(0)
    moving = Image(random.random((20, 20)).astype(np.float32), Grid.of_shape((20, 20)))
    assert intensity_map(moving, moving.with_array(moving.array * np.float32(1.9))) is None
    # Both percentiles of 3·m + 1 are three times those of m, plus 1.
    found = intensity_map(moving, moving.with_array(moving.array * np.float32(3) + 1))
    assert (found.factor, found.offset) == pytest.approx((3, 1), abs=1e-5)
    assert intensity_map(moving, moving.with_array(np.zeros((20, 20), np.float32))) is None
