"""The whole calibration of a registrar, on small phantoms."""

import json
import shutil
from dataclasses import replace
from statistics import NormalDist

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

import heteroreg as hr
from heteroreg.data.image import write_image
from heteroreg.registration.alignment import Aligned
from heteroreg.registration.calibrated import Calibrated, with_calibration
from heteroreg.registration.features import displacements, features_of, flips
from heteroreg.system.errors import UserError
from heteroreg.uncertainty.calibration_file import ESTIMATOR, FILE, NOISE_FILE, read_calibration, save_calibration
from heteroreg.uncertainty.known_warps import known_pair, random_displacement

STEPS = 40


@pytest.fixture(scope="module", autouse=True)
def few_known_warps():
    """Make one known warp of each pair, in place of six."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("heteroreg.registration.calibration_work.MOST_DRAWS", 1)
        yield


@pytest.fixture(scope="module")
def cohort(tmp_path_factory):
    return hr.phantom(tmp_path_factory.mktemp("cohort") / "hearts", pairs=26, size=48, seed=3)


@pytest.fixture(scope="module")
def folder(cohort, tmp_path_factory):
    """A calibration of the bundled model on all pairs but the last two."""
    out = tmp_path_factory.mktemp("calibration") / "calibration"
    known = hr.Cohort(cohort.pairs[:-2], cohort.name)
    hr.calibrate(hr.load("phantom", device="cpu"), known, out=out, split=("all",), steps=STEPS)
    return out


@pytest.fixture(scope="module")
def registrar(folder):
    return hr.load("phantom", device="cpu", calibration=folder)


@pytest.fixture(scope="module")
def registration(registrar, cohort):
    pair = cohort[-1]
    return registrar.register(pair.moving, pair.fixed, pair.moving_labels)


def estimator_of(folder):
    """Return the one file of the estimator."""
    (path,) = (path for path in folder.iterdir() if ESTIMATOR.fullmatch(path.name))
    return path


def test_it_gives_the_levels_of_24_patients_and_leaves_no_work_behind(folder):
    calibration, *_ = read_calibration(folder)
    assert calibration.levels == (50, 68, 90, 95)
    assert (calibration.patients, calibration.labelled) == (24, 24)
    assert set(calibration.scales) == {"all", "1", "2", "3"} == set(calibration.held)
    names = {path.name for path in folder.iterdir()}
    assert names == {FILE, estimator_of(folder).name, "calibration.png", "heteroreg.json"}
    assert not (folder / "pairs").exists()
    assert (folder / "calibration.png").read_bytes()[:4] == b"\x89PNG"


def test_what_held_on_patients_left_out_is_near_the_level(folder):
    calibration, *_ = read_calibration(folder)
    for held in calibration.held.values():
        for level, share in held.coverage.items():
            assert level / 100 - 0.05 < share < level / 100 + 0.08
    assert calibration.held["all"].order > 0.05  # a constant has none


def test_a_registration_has_its_error_and_the_sizes_of_its_labels(registration, cohort):
    assert registration.error_95.grid.same_as(registration.grid)
    assert (registration.error_95.array > 0).all()
    assert np.array_equal(registration.error.half_width(95), registration.error_95.array)
    assert (registration.error.half_width(50) < registration.error.half_width(90)).all()
    for label, found in registration.label_sizes.items():
        low, high = found.interval
        assert found.level == 95
        assert 0 < low < found.calibrated < high
        assert found.value == pytest.approx((registration.moved_labels.array == label).sum() * 1.5**2)


def test_samples_are_spread_as_the_intervals_say_and_alike_in_neighbours(registration):
    drawn = np.stack(list(registration.sample(150, seed=1))) - registration.displacement
    sd_mm = drawn.std(axis=0) * 1.5
    expected = registration.error_95.array / 1.96
    assert np.median(sd_mm / expected) == pytest.approx(1, abs=0.03)
    neighbours = [np.corrcoef(drawn[:, 0, x, 20], drawn[:, 0, x + 1, 20])[0, 1] for x in range(10, 40)]
    assert np.mean(neighbours) > 0.5
    again = np.stack(list(registration.sample(2, seed=1)))
    np.testing.assert_array_equal(again - registration.displacement, drawn[:2])


def test_what_is_saved(registration, tmp_path):
    registration.save(tmp_path / "registered")
    half = hr.read_image(tmp_path / "registered" / "error_95.nii.gz")
    np.testing.assert_allclose(half.array, registration.error_95.array, rtol=1e-6)
    summary = json.loads((tmp_path / "registered" / "summary.json").read_text())
    assert summary["calibration"] == {
        "patients": 24, "labelled_patients": 24, "level": 95, "p_value": registration.error.p_value.__round__(4),
        "unusual": False,
    }  # fmt: skip
    entry = summary["labels"]["1"]
    assert entry["interval_95"] == list(registration.label_sizes[1].interval)
    ejected = 100 * (1 - entry["area_mm2_calibrated"] / entry["moving_area_mm2"])
    assert entry["ejection_fraction"] == pytest.approx(ejected)
    low, high = entry["ejection_fraction_interval_95"]
    assert low < ejected < high
    assert (tmp_path / "registered" / "label_probability_1.nii.gz").is_file()


def test_noise_that_it_never_saw_is_unusual(registrar, cohort):
    pair = cohort[-2]
    moving, fixed = hr.read_image(pair.moving), hr.read_image(pair.fixed)
    assert not registrar.register(moving, fixed).error.unusual
    random = np.random.default_rng(0)
    noisy = fixed.with_array(fixed.array + random.normal(0, 3 * fixed.array.std(), fixed.array.shape))
    found = registrar.register(moving, noisy).error
    assert found.unusual
    assert found.unlike
    assert "unusual" in found.remarks()[0]


def test_evaluation_counts_the_unusual_pairs(registrar, cohort, tmp_path):
    pairs = []
    for number, pair in enumerate(cohort.pairs[-2:]):
        fixed = hr.read_image(pair.fixed)
        noise = np.random.default_rng(0).normal(0, 3 * number * fixed.array.std(), fixed.array.shape)
        path = tmp_path / f"{number}.nii.gz"
        write_image(fixed.with_array(fixed.array + noise), path)
        pairs.append(replace(pair, fixed=path, extra={}))
    scores = hr.evaluate(registrar, hr.Cohort(tuple(pairs), "pairs.csv"), gallery=0, stacks=0)
    assert scores.table["unusual"].tolist() == [0, 1]
    assert scores.summary["metrics"]["unusual"]["mean"] == 0.5
    assert "unusual" not in hr.evaluate("undeformed", hr.Cohort(tuple(pairs), "pairs.csv")).table


def test_scores_of_an_evaluation(registrar, cohort, tmp_path):
    scores = hr.evaluate(registrar, hr.Cohort(cohort.pairs[-2:], cohort.name), gallery=1, stacks=1)
    row = scores.table.iloc[0]
    assert 0 <= row["contour_coverage_50_1"] <= row["contour_coverage_95_1"] <= 1
    assert 0 <= row["error_coverage_50"] <= row["error_coverage_95"] <= 1  # against the known displacement
    assert row["contour_width_1"] > 0
    assert set(scores.sizes["label"]) == {1, 2, 3}
    assert scores.sizes["inside"].isin([0, 1]).all()
    assert scores.summary["sizes"]["1"]["level"] == 95
    widths = {label: levels[95] for label, levels in registrar.calibration.relative_scales.items()}
    assert scores.error_widths == widths != dict.fromkeys(widths, 1.0)
    scores.save(tmp_path / "scores")
    page = hr.write_report([tmp_path / "scores"], tmp_path / "report").read_text(encoding="utf-8")
    assert f'"widths":{json.dumps(widths, separators=(",", ":"))}' in page


def test_the_table_of_a_cohort(registrar, cohort, tmp_path):
    pairs = hr.Cohort(cohort.pairs[-2:], cohort.name)
    table = hr.register_cohort(registrar, pairs, tmp_path / "registered", label_names={"1": "LV"})
    assert {
        "mean_noise_sd", "mean_error_95_mm", "unusual", "area_mm2_LV", "area_mm2_LV_moving", "area_mm2_LV_low_95",
        "area_mm2_LV_high_95", "area_mm2_LV_calibrated", "ejection_fraction_LV", "ejection_fraction_LV_low_95",
        "area_mm2_2",
    } <= set(table.columns)  # fmt: skip
    assert (table["area_mm2_LV_low_95"] < table["area_mm2_LV_calibrated"]).all()
    again = hr.register_cohort(registrar, pairs, tmp_path / "registered", label_names={"1": "LV"})
    assert list(again.columns) == list(table.columns)


def test_it_belongs_to_one_model(folder):
    with pytest.raises(UserError, match="of another model or of another version"):
        hr.load("undeformed", calibration=folder)
    with pytest.raises(UserError, match="of another model or of another version"):
        hr.load("phantom", device="cpu", refine=5, calibration=folder)
    with pytest.raises(UserError, match="holds no calibration"):
        hr.load("phantom", device="cpu", calibration=folder.parent)


@pytest.mark.parametrize(
    "spoil",
    [
        lambda folder: (folder / FILE).write_text("{}"),
        lambda folder: (folder / FILE).write_text((folder / FILE).read_text().replace('"50"', '"51"')),
        lambda folder: estimator_of(folder).unlink(),
        lambda folder: estimator_of(folder).write_bytes(estimator_of(folder).read_bytes()[:-8]),
        lambda folder: save_file(
            {name: np.full_like(array, np.nan) for name, array in load_file(estimator_of(folder)).items()},
            estimator_of(folder),
        ),
        lambda folder: (folder / FILE).write_text(
            (folder / FILE).read_text().replace('"estimator-', '"../estimator-')
        ),
    ],
    ids=["empty", "level", "no estimator", "cut", "nan", "out of the folder"],
)
def test_a_damaged_calibration_is_one_line(folder, tmp_path, spoil):
    import shutil

    copy = tmp_path / "calibration"
    shutil.copytree(folder, copy)
    spoil(copy)
    with pytest.raises(UserError, match=r"the calibration is damaged .*; calibrate again"):
        hr.load("phantom", device="cpu", calibration=copy)


def test_an_estimator_without_a_digest_in_its_name_is_read(folder, tmp_path):
    """As the first calibrations were written."""
    found = json.loads((folder / FILE).read_text())
    (tmp_path / FILE).write_text(json.dumps({key: value for key, value in found.items() if key != "estimator"}))
    (tmp_path / "estimator.safetensors").write_bytes(estimator_of(folder).read_bytes())
    calibration, estimator, _ = read_calibration(tmp_path)
    assert calibration == read_calibration(folder)[0]
    save_calibration(tmp_path, calibration, estimator)
    assert {path.name for path in tmp_path.iterdir()} == {FILE, estimator_of(folder).name}


@pytest.fixture(scope="module")
def with_noise(cohort, tmp_path_factory):
    """A calibration with a noise map, of a registrar that has none."""
    out = tmp_path_factory.mktemp("noise") / "calibration"
    pairs = hr.Cohort(cohort.pairs[:20], cohort.name)
    hr.calibrate("undeformed", pairs, out=out, split=("all",), steps=2, noise=True)
    return out


def test_a_calibration_gives_a_noise_map_whose_intervals_hold(with_noise, cohort):
    registrar = hr.load("undeformed", calibration=with_noise)
    inside = {68: [], 95: []}
    for pair in cohort.pairs[20:]:
        found = registrar.register(pair.moving, pair.fixed)
        assert found.noise_sd.grid.same_as(found.fixed.grid)
        residual = np.abs(found.fixed.array - found.moved.array)
        for level, shares in inside.items():
            shares.append(np.mean(residual <= NormalDist().inv_cdf(0.5 + level / 200) * found.noise_sd.array))
    assert np.mean(inside[68]) == pytest.approx(0.68, abs=0.03)
    assert np.mean(inside[95]) == pytest.approx(0.95, abs=0.03)


def test_its_noise_map_replaces_the_models(with_noise, registrar, cohort):
    pair = cohort[-1]
    plain = registrar.register(pair.moving, pair.fixed)
    noise = read_calibration(with_noise)[2]
    fine = replace(registrar, noise=noise).register(pair.moving, pair.fixed)
    assert not np.allclose(fine.noise_sd.array, plain.noise_sd.array, rtol=0.1)
    np.testing.assert_array_equal(fine.weight.array, plain.weight.array)
    np.testing.assert_array_equal(fine.error_95.array, plain.error_95.array)


def test_a_calibration_without_a_noise_map_leaves_none_behind(with_noise, cohort, tmp_path):
    out = shutil.copytree(with_noise, tmp_path / "calibration")
    assert [path for path in out.iterdir() if NOISE_FILE.fullmatch(path.name)]
    pairs = hr.Cohort(cohort.pairs[:6], cohort.name)
    hr.calibrate("undeformed", pairs, out=out, split=("all",), steps=2)
    assert not [path for path in out.iterdir() if NOISE_FILE.fullmatch(path.name)]
    assert hr.load("undeformed", calibration=out).register(pairs[0].moving, pairs[0].fixed).noise_sd is None


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda path: path.write_bytes(b"x"), "damaged"),
        (lambda path: path.unlink(), "damaged"),
        (
            lambda path: save_file({**load_file(path), "scale": np.array(np.nan, np.float32)}, path),
            "NaN or infinite",
        ),
        (lambda path: save_file({"scale": np.ones((), np.float32)}, path), "damaged"),
    ],
)
def test_a_damaged_noise_map_is_refused(with_noise, tmp_path, damage, message):
    out = shutil.copytree(with_noise, tmp_path / "calibration")
    (path,) = (path for path in out.iterdir() if NOISE_FILE.fullmatch(path.name))
    damage(path)
    with pytest.raises(UserError, match=message):
        read_calibration(out)


def test_a_noise_map_elsewhere_is_refused(with_noise, tmp_path):
    found = json.loads((with_noise / FILE).read_text()) | {"noise": "../noise-0123456789abcdef.safetensors"}
    out = shutil.copytree(with_noise, tmp_path / "calibration")
    (out / FILE).write_text(json.dumps(found))
    with pytest.raises(UserError, match="damaged"):
        read_calibration(out)


def test_a_stopped_one_leaves_the_earlier_one_and_the_users_files(cohort, tmp_path, monkeypatch):
    pairs = hr.Cohort(cohort.pairs[:6], cohort.name)
    options = {"out": tmp_path / "out", "split": ("all",), "steps": 2}
    first = hr.calibrate("undeformed", pairs, seed=1, **options)
    (tmp_path / "out" / "pairs").mkdir()
    (tmp_path / "out" / "pairs" / "thesis.txt").write_text("mine")

    def stop(*_, **__):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("heteroreg.registration.calibrate.save_calibration", stop)
        with pytest.raises(KeyboardInterrupt):
            hr.calibrate("undeformed", pairs, seed=2, **options)
    assert read_calibration(tmp_path / "out")[0] == first
    second = hr.calibrate("undeformed", pairs, seed=2, **options)
    assert read_calibration(tmp_path / "out")[0] == second != first
    assert [path.name for path in (tmp_path / "out" / "pairs").iterdir()] == ["thesis.txt"]


@pytest.mark.parametrize(("version", "which"), [(99, "newer"), (1, "earlier")])
def test_a_calibration_of_another_version_is_refused(folder, tmp_path, version, which):
    found = json.loads((folder / FILE).read_text()) | {"schema_version": version}
    (tmp_path / FILE).write_text(json.dumps(found))
    with pytest.raises(UserError, match=f"{which} heteroreg"):
        read_calibration(tmp_path)


def test_an_interrupted_one_goes_on_and_ends_the_same(cohort, tmp_path, monkeypatch):
    pairs = hr.Cohort(cohort.pairs[:6], cohort.name)
    options = {"split": ("all",), "steps": 3, "seed": 5}
    hr.calibrate("undeformed", pairs, out=tmp_path / "whole", **options)

    def stop(*_, **__):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("heteroreg.registration.calibrate.learn", stop)
        with pytest.raises(KeyboardInterrupt):
            hr.calibrate("undeformed", pairs, out=tmp_path / "stopped", **options)
    assert not (tmp_path / "stopped" / FILE).exists()
    kept = sorted((tmp_path / "stopped" / "pairs").glob("known-*"))
    before = [path.stat().st_mtime_ns for path in kept]
    with monkeypatch.context() as patch:
        patch.setattr("heteroreg.registration.calibrate.learn", stop)
        with pytest.raises(KeyboardInterrupt):
            hr.calibrate("undeformed", pairs, out=tmp_path / "stopped", **options)
    assert [path.stat().st_mtime_ns for path in kept] == before  # nothing was done again
    hr.calibrate("undeformed", pairs, out=tmp_path / "stopped", **options)
    one, other = (json.loads((tmp_path / name / FILE).read_text()) for name in ("whole", "stopped"))
    assert one == other


def test_without_labels_the_known_warps_give_the_scale(cohort, tmp_path):
    bare = [replace(pair, moving_labels=None, fixed_labels=None) for pair in cohort.pairs[:22]]
    found = hr.calibrate(
        hr.load("phantom", device="cpu"), hr.Cohort(tuple(bare), cohort.name), out=tmp_path / "c", split=("all",),
        steps=STEPS,
    )  # fmt: skip
    assert found.labelled == 0
    assert found.combination is None
    assert set(found.scales) == {"all"}
    assert "known warps alone" in found.in_words()
    pair = cohort[-1]
    registrar = hr.load("phantom", device="cpu", calibration=tmp_path / "c")
    registration = registrar.register(pair.moving, pair.fixed, pair.moving_labels)
    assert registration.error_95 is not None
    assert registration.label_sizes[1].interval[0] < registration.label_sizes[1].value


def test_the_object_that_was_calibrated_uses_it_from_then_on(cohort, tmp_path):
    registrar, few = hr.load("undeformed"), hr.Cohort(cohort.pairs[:4], cohort.name)
    pair = cohort[-1]
    assert registrar.register(pair.moving, pair.fixed).error is None
    hr.calibrate(registrar, few, out=tmp_path / "c", split=("all",), steps=2)
    found = registrar.register(pair.moving, pair.fixed, pair.moving_labels)
    assert found.error.calibration.level == 68
    assert set(found.label_sizes) == {1, 2, 3}
    again = hr.calibrate(registrar, few, out=tmp_path / "c", split=("all",), steps=2)  # of the bare registrar
    assert again.scales == found.error.calibration.scales


def test_calibrated_with_an_alignment(cohort, tmp_path):
    from heteroreg.registration.alignment import aligned

    few = hr.Cohort(cohort.pairs[:4], cohort.name)
    hr.calibrate(aligned(hr.load("undeformed"), "centre"), few, out=tmp_path / "c", split=("all",), steps=2)
    pair = cohort[-1]
    found = hr.register(pair.moving, pair.fixed, "undeformed", calibration=tmp_path / "c", initial="centre")
    assert found.error is not None


def test_volumes(tmp_path):
    volumes = hr.phantom(tmp_path / "volumes", pairs=4, dims=3, size=32, seed=1)
    found = hr.calibrate("undeformed", volumes, out=tmp_path / "c", split=("all",), steps=2)
    assert found.dims == 3
    pair = volumes[0]
    registration = hr.register(
        pair.moving, pair.fixed, "undeformed", calibration=tmp_path / "c", moving_labels=pair.moving_labels
    )
    assert registration.error.half_width(68).shape == registration.grid.shape
    assert next(iter(registration.sample(1))).shape == (3, *registration.grid.shape)
    for label, size in registration.label_sizes.items():
        voxels = (registration.moved_labels.array == label).sum()
        assert size.value == pytest.approx(voxels * np.prod(registration.grid.spacing) / 1000)
        assert size.interval[0] < size.interval[1]


def test_a_run_that_has_changed_is_loaded_without_its_calibration(cohort, tmp_path):
    few = hr.Cohort(cohort.pairs[:4], cohort.name)
    run = hr.train(few, tmp_path / "run", method="mse", network="voxelmorph-half", steps=1)
    hr.calibrate(run.folder, few, split=("all",), steps=2)
    pair = cohort[0]
    assert hr.load(run.folder).register(pair.moving, pair.fixed).error is not None
    with pytest.warns(UserWarning, match=r"is not used: .*; calibrate again"):
        refined = hr.load(run.folder, refine=1)
    assert refined.register(pair.moving, pair.fixed).error is None
    assert hr.load(run.folder, calibration=False).register(pair.moving, pair.fixed).error is None


def test_too_few_patients_say_what_they_give(cohort, tmp_path):
    few = hr.Cohort(cohort.pairs[:5], cohort.name)
    found = hr.calibrate("undeformed", few, out=tmp_path / "few", split=("all",), steps=2)
    assert found.level == 68
    assert "give at most 83 %: the largest level is 68 %" in found.in_words()
    registration = hr.register(few[0].moving, few[0].fixed, "undeformed", calibration=tmp_path / "few")
    assert registration.error_95 is None
    registration.save(tmp_path / "registered")
    assert (tmp_path / "registered" / "error_68.nii.gz").is_file()
    with pytest.raises(UserError, match="one patient"):
        hr.calibrate("undeformed", hr.Cohort(cohort.pairs[:1], cohort.name), out=tmp_path / "one", split=("all",))


def test_one_patient_under_two_ids_is_warned_of(cohort, tmp_path):
    pairs = (*cohort.pairs[:3], replace(cohort[0], id="again", patient="again"))
    with pytest.warns(UserWarning, match="pair again: has the same images as phantom001, of another patient"):
        hr.calibrate("undeformed", hr.Cohort(pairs, cohort.name), out=tmp_path / "c", split=("all",), steps=2)


def test_labels_that_miss_slices_are_no_obstacle(tmp_path):
    volumes = hr.phantom(tmp_path / "volumes", pairs=4, dims=3, size=32, seed=1)
    pairs = []
    for pair in volumes:
        for name in ("moving", "fixed"):  # as stacks of slices
            image = hr.read_image(getattr(pair, name))
            hr.write_image(replace(image, grid=replace(image.grid, spacing=(1.5, 1.5, 10.0))), getattr(pair, name))
            path = getattr(pair, f"{name}_labels")
            labels = hr.read_labels(path).array
            labels[..., : 4 if name == "fixed" else 2] = 0
            hr.write_image(hr.Image(labels, replace(image.grid, spacing=(1.5, 1.5, 10.0))), path)
        pairs.append(replace(pair, truth={}))
    found = hr.calibrate("undeformed", hr.Cohort(tuple(pairs), "c"), out=tmp_path / "c", split=("all",), steps=2)
    assert (found.dims, found.labelled, found.level) == (2, 4, 68)
    assert all(np.isfinite(list(scales.values())).all() for scales in found.scales.values())


def test_what_cannot_be_calibrated(cohort, tmp_path):
    with pytest.raises(UserError, match="out: name a folder"):
        hr.calibrate("undeformed", cohort)
    with pytest.raises(UserError, match="has no pairs in nowhere"):
        hr.calibrate("undeformed", cohort, out=tmp_path / "c", split=("nowhere",))
    with pytest.raises(UserError, match="cannot be calibrated"):
        hr.calibrate(object(), cohort, out=tmp_path / "c")
    assert not (tmp_path / "c").exists()


def test_a_registrar_with_an_alignment_begins_with_it(folder, cohort):
    model = hr.load("phantom", device="cpu")
    model.initial = "centre"
    calibrated = with_calibration(model, folder)
    assert isinstance(calibrated, Aligned)
    assert isinstance(calibrated.registrar, Calibrated)
    moving, fixed = hr.read_image(cohort[0].moving), hr.read_image(cohort[0].fixed)
    plain = with_calibration(hr.load("phantom", device="cpu"), folder).register(moving, fixed)
    away = replace(moving, grid=replace(moving.grid, origin=(30.0, -20.0)))
    found = calibrated.register(away, fixed)
    np.testing.assert_allclose(found.error_95.array, plain.error_95.array, rtol=1e-3)
    sample = next(iter(found.sample(1)))
    assert np.abs(sample - found.displacement).max() < 30  # around the whole displacement, the alignment included


def test_features_under_flips_are_those_of_the_flipped_pair(cohort):
    # A registrar that knows no direction gives no spread; the undeformed one is the simplest.
    moving, fixed = hr.read_image(cohort[0].moving), hr.read_image(cohort[0].fixed)
    found, u = features_of(hr.load("undeformed"), moving, fixed, 2, "percentile", again=True)
    assert not u.any()
    assert not found.spread.any()
    assert not found.disagreement.any()
    model = hr.load("phantom", device="cpu")
    found, u = features_of(model, moving, fixed, 2, "percentile", again=True)
    # By hand: the RMS distance of the displacements of four views from their mean, in mm.
    views = [u]
    for axes in flips(2):
        a, b = (image.with_array(np.flip(image.array, axes).copy()) for image in (moving, fixed))
        turned = np.flip(model.register(a, b).displacement, [axis + 1 for axis in axes]).copy()
        for axis in axes:
            turned[axis] *= -1
        views.append(turned[None])
    stacked = np.stack(views)
    spread = np.sqrt(((stacked - stacked.mean(0)) ** 2).sum(2).mean(0)) * 1.5
    np.testing.assert_allclose(found.spread, spread, rtol=1e-4, atol=1e-5)
    assert len(found.scalars()) == 6  # residual, gradient, motion, noise, disagreement, spread
    assert found.channels().shape == (1, 3 + 2 + 6, *moving.array.shape)


def test_a_known_pair_is_warped_as_it_says():
    random = np.random.default_rng(0)
    moving = random.random((3, 32, 32)).astype(np.float32)
    nothing = np.zeros((2, 32, 32), dtype=np.float32)
    made = known_pair(moving, np.zeros((3, 2, 32, 32), np.float32), nothing, np.random.default_rng(4), strength=0)
    assert np.abs(made.displacement).max() < 1e-6
    warps = random_displacement((48, 48), 4, random).numpy()
    assert 0.3 < np.abs(warps).mean() < 6
    assert np.corrcoef(warps[0].ravel(), warps[1].ravel())[0, 1] > 0.3  # neighbouring slices move alike
    volume = random_displacement((20, 24, 16), 1, random).numpy()
    assert volume.shape == (1, 3, 20, 24, 16)
    assert displacements(np.ones((3, 5, 4, 2), np.float32), 2).shape == (2, 2, 5, 4)


def test_pairs_that_do_not_move_and_have_no_labels(tmp_path):
    cohort = hr.phantom(tmp_path / "hearts", pairs=8, size=32)
    still = [replace(pair, fixed=pair.moving, moving_labels=None, fixed_labels=None, truth={}) for pair in cohort]
    cohort = hr.Cohort(tuple(still), cohort.name)
    with pytest.warns(UserWarning, match="hardly differ"):
        found = hr.calibrate("undeformed", cohort, out=tmp_path / "out", split=("all",), steps=2)
    assert found.labelled == 0
