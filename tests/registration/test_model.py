"""A trained model as a registrar: on any grid, of any size, in the units of the images."""

import json
from copy import copy
from dataclasses import replace

import numpy as np
import pytest
import SimpleITK as sitk
import torch
from scipy import ndimage
from scipy.spatial.transform import Rotation

import heteroreg as hr
from heteroreg.data.grid import Grid
from heteroreg.data.image import Image, read_image, read_labels, write_image
from heteroreg.data.samples.preparation import scale_of
from heteroreg.registration.model import ModelRegistrar, at_least
from heteroreg.spatial import compose, warp
from heteroreg.spatial.field import Field
from heteroreg.system.errors import UserError
from heteroreg.training import train

TURN = tuple(Rotation.from_euler("xyz", (25, -40, 10), degrees=True).as_matrix().ravel().tolist())
EYE = tuple(np.eye(3).ravel().tolist())
STACKS = {
    "identity": (Grid((40, 36, 6), (1.5, 1.5, 8.0), (0.0, 0.0, 0.0), EYE),) * 2,
    "flipped": (Grid((40, 36, 6), (1.5, 1.5, 8.0), (30.0, 20.0, -9.0), (-1.0, 0, 0, 0, -1.0, 0, 0, 0, 1.0)),) * 2,
    "oblique": (Grid((60, 64, 6), (0.7, 0.7, 8.0), (-20.0, 11.0, 4.0), TURN),) * 2,
    "permuted": (Grid((40, 36, 6), (1.5, 1.5, 8.0), (1.0, 2.0, 3.0), (0, 0, 1.0, 1.0, 0, 0, 0, 1.0, 0)),) * 2,
    # The moving image lies on another grid than the fixed one, turned by some degrees within it.
    "two grids": (
        Grid((44, 40, 20), (1.4, 1.3, 3.0), (-4.0, -2.0, -5.0), EYE),
        Grid((40, 36, 6), (1.5, 1.5, 8.0), (0.0, 0.0, 0.0),
             tuple(Rotation.from_euler("z", 5, degrees=True).as_matrix().ravel().tolist())),
    ),
}  # fmt: skip


@pytest.fixture(scope="module")
def flat(run_2d):
    return hr.load(run_2d.folder, precision="32-true")


@pytest.fixture(scope="module")
def solid(run_3d):
    return hr.load(run_3d.folder, precision="32-true")


def picture(grid, seed=0, shift=0.0):
    """Smooth blobs in space, the same wherever the grid lies, moved by `shift` mm."""
    rng = np.random.default_rng(seed)
    index = np.stack(np.meshgrid(*[np.arange(n) for n in grid.shape], indexing="ij"), -1).astype(float)
    point = grid.physical(index) + shift
    centres = grid.physical(rng.uniform(0.25, 0.75, size=(6, grid.dims)) * (np.array(grid.shape) - 1))
    values = 100 + sum(
        (150 + 50 * k) * np.exp(-((point - c) ** 2).sum(-1) / (2 * 7.0**2)) for k, c in enumerate(centres)
    )
    return Image(values.astype(np.float32), grid, f"picture {seed}")


def inner(array, margin=1):
    margins = [margin if n > 2 * margin + 1 else 0 for n in array.shape]
    return array[tuple(slice(m, n - m) for m, n in zip(margins, array.shape, strict=True))]


def moved_by_itk(folder, moving):
    field = sitk.ReadImage(str(folder / "displacement.nii.gz"), sitk.sitkVectorFloat64)
    reference = sitk.ReadImage(str(folder / "moved.nii.gz"))
    result = sitk.Resample(
        moving.to_sitk(), reference, sitk.DisplacementFieldTransform(field), sitk.sitkLinear, 0.0
    )
    return sitk.GetArrayFromImage(result).T, sitk.GetArrayFromImage(reference).T


def assert_itk_agrees(registration, moving, folder, least=0.3):
    registration.save(folder)
    by_itk, moved = moved_by_itk(folder, moving)
    assert np.abs(registration.displacement).max() > least  # voxels do move
    known = inner(by_itk != 0)
    assert known.mean() > 0.5
    difference = np.abs(inner(by_itk) - inner(moved))[known]
    assert difference.max() <= 0.01 * np.ptp(moving.array)
    assert np.abs(inner(moved)[~known]).max(initial=0) <= moving.array.max()


@pytest.mark.parametrize("model", ["flat", "solid"])
@pytest.mark.parametrize("case", sorted(STACKS))
def test_itk_reproduces_the_moved_image(case, model, request, tmp_path):
    registrar = request.getfixturevalue(model)
    moving_grid, fixed_grid = STACKS[case]
    base = picture(moving_grid, shift=1.5)
    # The fixed picture is that of the moving grid's blobs, unshifted, sampled on the fixed grid.
    still = picture(moving_grid)
    fixed = still if moving_grid is fixed_grid else Image(
        sitk.GetArrayFromImage(
            sitk.Resample(
                still.to_sitk(), fixed_grid.shape, sitk.Transform(3, sitk.sitkIdentity), sitk.sitkLinear,
                fixed_grid.origin, fixed_grid.spacing, fixed_grid.direction, float(still.array.min()),
            )
        ).T.copy(),
        fixed_grid,
    )  # fmt: skip
    registration = registrar.register(base, fixed)
    assert registration.grid.same_as(fixed_grid)
    assert registration.slicewise == (model == "flat")
    assert registration.displacement.shape == (3, *fixed_grid.shape)
    if model == "flat":
        assert np.abs(registration.displacement[2]).max() < 1e-6  # nothing moves through the plane
    assert_itk_agrees(registration, base, tmp_path / "out")


@pytest.mark.parametrize(
    "grid",
    [
        Grid((48, 40), (1.5, 1.5), (0.0, 0.0), (1.0, 0.0, 0.0, 1.0)),
        Grid((90, 70), (0.8, 1.1), (3.0, -5.0), (np.cos(0.4), -np.sin(0.4), np.sin(0.4), np.cos(0.4))),
        Grid((33, 47), (1.5, 1.5), (3.0, -5.0), (-1.0, 0.0, 0.0, 1.0)),
    ],
)
def test_a_2d_image(grid, flat, tmp_path):
    moving, fixed = picture(grid, shift=1.5), picture(grid)
    registration = flat.register(moving, fixed)
    assert not registration.slicewise
    assert_itk_agrees(registration, moving, tmp_path / "out")


def test_a_stack_is_its_slices(flat):
    grid = STACKS["identity"][0]
    moving, fixed = picture(grid, shift=1.5), picture(grid)
    registration = flat.register(moving, fixed)
    # Scaled with their stack, then each on its own.
    first, second = (scale_of(image, "percentile")(image.array) for image in (moving, fixed))
    for k in (0, 3, 5):
        with torch.no_grad():
            field = flat.network(*(torch.from_numpy(a[:, :, k].copy())[None, None] for a in (first, second)))
        np.testing.assert_allclose(registration.displacement[:2, :, :, k], field.forward[0].numpy(), atol=1e-4)
        np.testing.assert_allclose(
            registration.inverse_displacement[:2, :, :, k], field.backward[0].numpy(), atol=1e-4
        )


@pytest.mark.parametrize("model", ["flat", "solid"])
def test_the_inverse_undoes(model, request):
    registrar = request.getfixturevalue(model)
    grid = STACKS["identity"][0] if model == "flat" else Grid.of_shape((40, 36, 24), (1.5, 1.5, 3.0))
    registration = registrar.register(picture(grid, shift=1.5), picture(grid))
    forward, backward = (
        torch.from_numpy(np.ascontiguousarray(u))[None]
        for u in (registration.displacement, registration.inverse_displacement)
    )
    length = np.abs(registration.displacement).mean()
    for first, second in ((forward, backward), (backward, forward)):
        left = inner(compose(first, second)[0, 0].numpy(), 4)
        assert np.abs(left).mean() < 0.1 * length
        assert np.abs(left).max() < 0.25


def test_moved_is_the_moving_image_sampled_once(flat):
    grid = STACKS["identity"][0]
    moving = picture(grid, shift=1.5)
    registration = flat.register(moving, picture(grid))
    index = np.stack(np.meshgrid(*[np.arange(n) for n in grid.shape], indexing="ij"))
    expected = ndimage.map_coordinates(moving.array, index + registration.displacement, order=1, mode="nearest")
    np.testing.assert_allclose(inner(registration.moved.array), inner(expected), atol=0.05)


@pytest.mark.parametrize("model", ["flat", "solid"])
def test_noise_is_in_the_units_of_the_fixed_image(model, request):
    registrar = request.getfixturevalue(model)
    grid = STACKS["identity"][0]
    moving, fixed = picture(grid, shift=1.5), picture(grid)
    plain = registrar.register(moving, fixed)
    scaled = registrar.register(moving, fixed.with_array(10 * fixed.array))
    brighter = registrar.register(moving.with_array(3 * moving.array + 50), fixed.with_array(fixed.array + 77))
    np.testing.assert_allclose(scaled.noise_sd.array, 10 * plain.noise_sd.array, rtol=2e-3)
    np.testing.assert_allclose(brighter.noise_sd.array, plain.noise_sd.array, rtol=2e-3)
    np.testing.assert_allclose(scaled.displacement, plain.displacement, atol=2e-3)
    np.testing.assert_allclose(scaled.weight.array, plain.weight.array, rtol=2e-3)
    assert plain.noise_sd.grid.same_as(grid)
    # σ̂ lies within the bounds of the estimator, e^-7 to e^2 of the range.
    span = np.subtract(*np.percentile(fixed.array, (99.5, 0.5)))
    assert (plain.noise_sd.array > 0.0009 * span).all()
    assert (plain.noise_sd.array < 7.4 * span).all()


def test_arrays_itk_images_paths_and_images_are_registered_alike(flat, tmp_path):
    grid = Grid.of_shape((40, 36, 5), (1.5, 1.5, 8.0))
    moving, fixed = picture(grid, shift=1.5), picture(grid)
    expected = flat.register(moving, fixed)
    write_image(moving, tmp_path / "ED.nii.gz")
    write_image(fixed, tmp_path / "ES.nii.gz")
    others = (
        flat.register(moving.array, fixed.array, spacing=(1.5, 1.5, 8.0)),
        flat.register(moving.to_sitk(), fixed.to_sitk()),
        flat.register(tmp_path / "ED.nii.gz", str(tmp_path / "ES.nii.gz")),
    )
    for other in others:
        np.testing.assert_allclose(other.displacement, expected.displacement, atol=1e-5)
        np.testing.assert_allclose(other.moved.array, expected.moved.array, atol=1e-2)
        assert other.grid.same_as(grid)
    assert others[2].summary()["moving"] == str(tmp_path / "ED.nii.gz")


@pytest.mark.parametrize(
    ("model", "shape"),
    [("flat", (12, 9)), ("flat", (16, 15)), ("flat", (14, 40, 2)), ("flat", (30, 30, 2)), ("solid", (20, 12, 5)),
     ("solid", (9, 9, 9)), ("flat", (17, 61))],
)  # fmt: skip
def test_any_size(model, shape, request, tmp_path):
    registrar = request.getfixturevalue(model)
    spacing = (1.5, 1.5, 3.0)[: len(shape)]
    grid = Grid.of_shape(shape, spacing)
    rng = np.random.default_rng(0)
    moving, fixed = (
        Image(ndimage.gaussian_filter(rng.normal(size=shape), 1).astype(np.float32), grid) for _ in range(2)
    )
    registration = registrar.register(moving, fixed)
    assert registration.displacement.shape == (len(shape), *shape)
    for image in (registration.moved, registration.noise_sd, registration.weight):
        assert image.array.shape == shape
        assert np.isfinite(image.array).all()
    assert_itk_agrees(registration, moving, tmp_path / "out", least=0.0)


def test_another_spacing_than_in_training_is_brought_to_it(flat):
    # The same field of view at half the spacing: the same displacement in mm.
    coarse, fine = (
        Grid.of_shape((40, 36), (1.5, 1.5)),
        Grid.of_shape((40, 36), (1.5, 1.5)).with_spacing((0.75, 0.75)),
    )
    mm = [flat.register(picture_at(grid, 1.5), picture_at(grid, 0.0)).displacement_mm for grid in (coarse, fine)]
    averaged = mm[1].reshape(2, 40, 2, 36, 2).mean((2, 4))
    assert np.abs(averaged - mm[0]).mean() < 0.15 * np.abs(mm[0]).mean()


def picture_at(grid, shift):
    """A picture whose blobs do not depend on the grid."""
    index = np.stack(np.meshgrid(*[np.arange(n) for n in grid.shape], indexing="ij"), -1).astype(float)
    point = grid.physical(index) + shift
    centres = np.array([[20.0, 18.0], [35.0, 30.0], [40.0, 15.0]])
    return Image(sum(np.exp(-((point - c) ** 2).sum(-1) / 72) for c in centres).astype(np.float32), grid, "picture")


def test_labels_are_carried_along(flat, cohort_2d):
    pair = cohort_2d.split("test")[0]
    registration = flat.register(pair.moving, pair.fixed, pair.moving_labels)
    labels = read_labels(pair.moving_labels)
    assert set(np.unique(registration.moved_labels.array)) <= set(np.unique(labels.array))
    assert registration.moved_labels.array.dtype == np.int32
    assert registration.moved_labels.grid.same_as(registration.grid)
    moved = warp(
        torch.from_numpy((labels.array == 2).astype(np.float32))[None, None],
        torch.from_numpy(registration.displacement)[None].float(),
    )[0, 0].numpy()
    assert ((registration.moved_labels.array == 2) == (moved > 0.5)).mean() > 0.97


def test_unfit_images_are_named(flat, solid, tmp_path):
    image = picture(STACKS["identity"][0])
    plane = picture(Grid.of_shape((32, 32)))
    with pytest.raises(UserError, match="picture 0: has 3 dimensions but picture 0 has 2"):
        flat.register(image, plane)
    with pytest.raises(UserError, match="has 2 dimensions; a 3D network needs 3"):
        solid.register(plane, plane)
    with pytest.raises(UserError, match="every voxel has the value 7"):
        flat.register(plane, plane.with_array(np.full((32, 32), 7.0, dtype=np.float32)))
    with pytest.raises(UserError, match="every voxel has the value 7"):
        flat.register(plane.with_array(np.full((32, 32), 7.0, dtype=np.float32)), plane)
    with pytest.raises(UserError, match="lies on another grid"):
        flat.register(plane, plane, np.zeros((32, 31), dtype=np.int32))
    with pytest.raises(UserError, match="no such file"):
        flat.register(tmp_path / "none.nii.gz", plane)


def test_what_made_it_is_written_down(flat, run_2d):
    image = picture(Grid.of_shape((32, 32), 1.5))
    info = flat.register(image, image).info
    assert info["method"] == "hetero"
    assert info["network"] == "pyramid"
    assert info["model"] == str(run_2d.folder)
    assert info["seconds"] > 0
    assert flat.name == run_2d.folder.name


def test_a_method_without_a_noise_estimate(cohort_2d, tmp_path):
    run = train(cohort_2d, tmp_path / "run", method="mse", steps=1, batch_size=2)
    image = picture(Grid.of_shape((32, 32), 1.5))
    registration = hr.load(run.folder).register(image, image)
    assert registration.noise_sd is None
    assert registration.weight is None
    registration.save(tmp_path / "out")
    assert not (tmp_path / "out" / "noise_sd.nii.gz").exists()


def test_a_method_that_weighs_without_a_noise_estimate(cohort_2d, tmp_path):
    settings = {"steps": 2, "batch_size": 2, "warm_start": 0.0}
    run = train(cohort_2d, tmp_path / "run", method="adacs", **settings)
    pair = cohort_2d.split("test")[0]
    registration = hr.load(run.folder).register(pair.moving, pair.fixed)
    assert registration.noise_sd is None
    assert registration.weight.array.shape == registration.fixed.array.shape
    assert ((registration.weight.array > 0) & (registration.weight.array < 1)).all()
    table = hr.evaluate(hr.load(run.folder), cohort_2d.split("test")).table
    assert table["dice_2"].notna().all()
    assert "ause" not in table or table["ause"].isna().all()


def test_registering_twice_gives_the_same(flat):
    grid = Grid.of_shape((32, 32), 1.5)
    first, second = (flat.register(picture(grid, shift=1.5), picture(grid)) for _ in range(2))
    np.testing.assert_array_equal(first.displacement, second.displacement)
    np.testing.assert_array_equal(first.noise_sd.array, second.noise_sd.array)


def test_best_and_last(run_2d):
    best, last = (ModelRegistrar(run_2d, checkpoint=name) for name in ("best", "last"))
    image, other = picture(Grid.of_shape((32, 32), 1.5), shift=1.5), picture(Grid.of_shape((32, 32), 1.5))
    assert np.isfinite(best.register(image, other).displacement).all()
    assert np.isfinite(last.register(image, other).displacement).all()


def test_what_is_no_run_is_named(tmp_path):
    with pytest.raises(UserError, match="is not the folder of a run"):
        hr.load(tmp_path)


def test_it_runs_through_a_whole_cohort(flat, cohort_2d):
    for pair in cohort_2d.split("test"):
        assert flat.register(pair.moving, pair.fixed).moved.array.shape == (32, 32)


def test_grids_are_lengthened_at_the_far_end():
    grid = Grid.of_shape((20, 9, 4), (1.0, 2.0, 3.0))
    assert at_least(grid, 16, 2) == replace(grid, shape=(20, 16, 4))
    assert at_least(grid, 16, 3) == replace(grid, shape=(20, 16, 16))


@pytest.fixture(scope="module")
def uncertain(cohort_2d, tmp_path_factory):
    settings = {"steps": 30, "batch_size": 4, "head_sd": 0.2, "validate_every": 30, "learning_rate": 1e-2}
    run = train(cohort_2d, tmp_path_factory.mktemp("runs") / "uncertain", method="hetero-z", **settings)
    return hr.load(run.folder, precision="32-true", samples=8)


def test_the_uncertainty_is_that_of_the_samples(uncertain):
    grid = Grid.of_shape((40, 36), (1.5, 2.0))
    registration = uncertain.register(picture(grid, shift=1.5), picture(grid))
    samples = np.stack(list(registration.sample(8)))
    assert samples.shape == (8, 2, 40, 36)
    variance = samples.astype(float).var(0, ddof=1) * np.array([1.5**2, 2.0**2]).reshape(2, 1, 1)
    np.testing.assert_allclose(registration.displacement_sd.array, np.sqrt(variance.sum(0)), rtol=1e-3, atol=1e-5)
    assert registration.displacement_sd.grid.same_as(grid)
    assert float(registration.displacement_sd.array.min()) > 0
    # The mean of many is the displacement, which is that of the mean velocity.
    many = np.mean(list(registration.sample(300, seed=3)), axis=0)
    sd = registration.displacement_sd.array.mean()
    assert np.abs(many - registration.displacement).mean() < 0.2 * sd
    # Samples of a displacement are not of the images: the same again.
    again = uncertain.register(picture(grid, shift=1.5), picture(grid))
    np.testing.assert_array_equal(again.displacement_sd.array, registration.displacement_sd.array)


def test_a_stack_has_an_uncertainty_in_its_planes(uncertain):
    grid = STACKS["oblique"][0]
    registration = uncertain.register(picture(grid, shift=1.5), picture(grid))
    assert registration.displacement_sd.array.shape == grid.shape
    (sample,) = registration.sample(1)
    assert sample.shape == (3, *grid.shape)
    assert registration.displacement_sd.array.min() > 0


def test_labels_with_intervals(uncertain, cohort_2d, tmp_path):
    pair = cohort_2d.split("test")[0]
    registration = uncertain.register(pair.moving, pair.fixed, pair.moving_labels)
    registration.save(tmp_path / "out")
    summary = json.loads((tmp_path / "out" / "summary.json").read_text())
    assert summary["samples"] == 8
    assert summary["displacement_sd_mm"]["mean"] == pytest.approx(registration.displacement_sd.array.mean())
    pixel = np.prod(registration.grid.spacing)
    warped = [
        Field(sample, registration.grid).warp(pair.moving_labels, labels=True).array
        for sample in registration.sample(8)
    ]
    for label in (1, 2, 3):
        areas = [np.sum(array == label) * pixel for array in warped]
        entry = summary["labels"][str(label)]
        assert entry["area_mm2"] == pytest.approx(np.sum(registration.moved_labels.array == label) * pixel)
        assert entry["interval_95"] == pytest.approx(np.percentile(areas, [2.5, 97.5]))
        share = read_image(tmp_path / "out" / f"label_probability_{label}.nii.gz")
        np.testing.assert_allclose(share.array, np.mean([array == label for array in warped], axis=0))
    assert read_image(tmp_path / "out" / "displacement_sd.nii.gz").grid.same_as(registration.grid)


def test_a_volume_model_can_be_uncertain(cohort_3d, tmp_path):
    settings = {"steps": 2, "batch_size": 1, "validate_every": 2}
    run = train(cohort_3d, tmp_path / "run", method="vxm-diff", dims=3, **settings)
    pair = cohort_3d.split("test")[0]
    registration = hr.load(run.folder, samples=2).register(pair.moving, pair.fixed, pair.moving_labels)
    assert registration.displacement_sd.array.shape == registration.grid.shape
    entry = registration.summary()["labels"]["1"]
    volume = np.sum(registration.moved_labels.array == 1) * np.prod(registration.grid.spacing) / 1000
    assert entry["volume_ml"] == pytest.approx(volume)
    assert hr.load(run.folder).samples == 16


def test_who_knows_no_uncertainty_says_who_does(flat, run_2d, cohort_2d):
    image = picture(Grid.of_shape((32, 32), 1.5))
    registration = flat.register(image, image)
    assert registration.displacement_sd is None
    able = "has no displacement uncertainty; train with hetero-z or sigma-z or vxm-diff"
    with pytest.raises(UserError, match=f"hetero {able}"):
        registration.sample(3)
    with pytest.raises(UserError, match=f"hetero {able}"):
        hr.load(run_2d.folder, samples=4)
    pair = cohort_2d.split("test")[0]
    labelled = flat.register(pair.moving, pair.fixed, pair.moving_labels)
    assert labelled.label_samples is None
    assert set(labelled.summary()["labels"]["1"]) == {"area_mm2", "moving_area_mm2"}


def test_too_few_samples_are_refused(uncertain):
    with pytest.raises(UserError, match="samples: 1 is too few; give at least 2"):
        hr.load(uncertain.run.folder, samples=1)
    image = picture(Grid.of_shape((32, 32), 1.5))
    with pytest.raises(UserError, match="n: 0 is too few samples; draw at least 1"):
        uncertain.register(image, image).sample(0)


def test_far_from_the_models_voxels_is_refused(flat):
    """Mouse hearts: 96 pixels of 0.1 mm are 6 of the model's 1.5 mm or so."""
    image = Image.from_array(np.random.default_rng(0).random((96, 96)).astype(np.float32), 0.1, "mouse")
    with pytest.raises(UserError, match=r"mouse: at the model's spacing of .* voxels are left of \(96, 96\)"):
        flat.register(image, image)


@pytest.mark.parametrize("side", ["moving", "fixed"])
def test_a_slice_that_shows_nothing_stays_in_place(flat, side):
    grid = Grid((40, 36, 6), (1.5, 1.5, 8.0), (0.0, 0.0, 0.0), EYE)
    images = {"moving": picture(grid), "fixed": picture(grid, shift=2.0)}
    images[side].array[:, :, 3] = images[side].array.min()
    found = flat.register(images["moving"], images["fixed"]).displacement
    assert np.abs(found[..., 3]).max() == 0
    assert np.abs(found[..., 2]).max() > 0


def test_the_fingerprint_changes_with_the_settings_of_the_displacement():
    registrar = hr.load("phantom", device="cpu", calibration=False)
    plain = registrar.fingerprint()

    def changed(**settings):
        other = copy(registrar)
        other.run = replace(registrar.run, config=registrar.run.config.model_copy(update=settings))
        return other.fingerprint()

    assert changed(kernel=0.0, passes=1, int_steps=7, steps=1) == plain
    assert len({plain, changed(kernel=1.0), changed(passes=2), changed(int_steps=5)}) == 4
