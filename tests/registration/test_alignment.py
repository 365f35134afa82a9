"""Registration behind an affine alignment: the whole way is in the displacement, and ITK agrees."""

import json
from dataclasses import replace

import numpy as np
import pytest
import SimpleITK as sitk
import torch
from scipy.spatial.transform import Rotation

import heteroreg as hr
from heteroreg.data.cohort import Cohort
from heteroreg.data.grid import Grid
from heteroreg.data.image import Image, read_image, read_labels
from heteroreg.data.io.affine import Affine
from heteroreg.data.samples.preparation import require_overlap
from heteroreg.registration.alignment import Aligned, aligned
from heteroreg.registration.classical import Undeformed
from heteroreg.spatial import compose
from heteroreg.system.errors import UserError

# A turn by 8°, a stretch and a shear, and some millimetres.
LINEAR = {
    2: Rotation.from_euler("z", 8, degrees=True).as_matrix()[:2, :2] @ np.array([[1.05, 0.1], [0.0, 0.95]]),
    3: Rotation.from_euler("z", 8, degrees=True).as_matrix() @ np.diag([1.05, 0.95, 1.0]),
}
ALIGNMENTS = {d: Affine(tuple(m.ravel().tolist()), (3.0, -2.0, 1.0)[:d]) for d, m in LINEAR.items()}


@pytest.fixture(scope="module")
def flat(run_2d):
    return hr.load(run_2d.folder, precision="32-true")


@pytest.fixture
def pair(cohort_2d):
    pair = cohort_2d.split("test")[0]
    return read_image(pair.moving), read_image(pair.fixed), pair


def farther(image, affine):
    """The image where it would have to lie for `affine` to bring it to where it lies."""
    linear = np.linalg.inv(affine.linear)
    return Affine(tuple(linear.ravel().tolist()), tuple((-linear @ np.asarray(affine.offset)).tolist())).place(
        image
    )


def test_the_column_of_a_cohort_comes_before_the_option(cohort_2d, tmp_path):
    pair = cohort_2d.split("test")[0]
    sitk.WriteTransform(sitk.TranslationTransform(2, (2.0, 0.0)), str(tmp_path / "shift.tfm"))
    named = replace(pair, id="named", initial=tmp_path / "shift.tfm")
    Cohort((pair, named)).write(tmp_path / "pairs.csv")
    cohort = Cohort.read(tmp_path / "pairs.csv")
    assert [one.initial for one in cohort] == [None, tmp_path / "shift.tfm"]
    table = hr.register_cohort("undeformed", cohort, tmp_path / "out", initial="centre")
    assert table["error"].tolist() == ["", ""]
    assert table["mean_displacement_mm"].tolist() == pytest.approx([0.0, 2.0])  # the grids are the same
    scores = hr.evaluate("undeformed", cohort, initial="centre").table.set_index("id")
    shifted = hr.register(
        pair.moving, pair.fixed, "undeformed", moving_labels=pair.moving_labels, initial=named.initial
    )
    for id_, moved in (("named", shifted.moved_labels), (pair.id, read_labels(pair.moving_labels))):
        for label in (1, 2, 3):
            expected = hr.dice(moved, read_labels(pair.fixed_labels), label)
            assert scores.loc[id_, f"dice_{label}"] == pytest.approx(expected)
    twice = aligned(aligned(hr.load("undeformed"), named.initial), "mass")
    assert twice.registrar == hr.load("undeformed")  # in place of the other, not after it
    with pytest.raises(UserError, match="registered by undeformed, initial centre"):
        hr.register_cohort("undeformed", cohort, tmp_path / "out")


def test_what_was_turned_away_and_is_aligned_is_registered_as_if_it_had_stayed(flat, pair):
    moving, fixed, _ = pair
    plain = flat.register(moving, fixed)
    away = farther(moving, ALIGNMENTS[2])
    assert not away.grid.orthogonal
    found = Aligned(flat, ALIGNMENTS[2]).register(away, fixed)
    np.testing.assert_allclose(found.moved.array, plain.moved.array, atol=1e-3 * np.ptp(moving.array))
    # The whole way: where the voxel of fixed lies in the image that was turned away.
    index = np.stack(np.meshgrid(*[np.arange(n) for n in fixed.grid.shape], indexing="ij"), -1).astype(float)
    aligned = fixed.grid.physical(index + np.moveaxis(plain.displacement, 0, -1))
    expected = aligned @ ALIGNMENTS[2].linear.T + ALIGNMENTS[2].offset
    whole = fixed.grid.physical(index + np.moveaxis(found.displacement, 0, -1))
    np.testing.assert_allclose(whole, expected, atol=1e-3)


def test_the_displacement_gives_moved_and_has_its_inverse(flat, pair):
    moving, fixed, _ = pair
    found = Aligned(flat, ALIGNMENTS[2]).register(moving, fixed)
    assert found.moving.grid == moving.grid
    again = found.field.warp(moving)
    np.testing.assert_allclose(again.array, found.moved.array, atol=1e-3 * np.ptp(moving.array))
    u, v = (torch.from_numpy(array)[None] for array in (found.displacement, found.inverse_displacement))
    both = compose(u, v)[0].numpy()[:, 8:-8, 8:-8]  # further out the way leads past the field
    assert np.quantile(np.abs(both), 0.95) < 0.1
    assert np.abs(found.displacement).max() > 2


def test_labels_and_figures_are_those_of_the_image_as_it_is(flat, pair):
    moving, fixed, _ = pair
    labels = hr.Image(moving.array.astype(np.int32) * 0, moving.grid)
    labels.array[10:20, 10:20] = 2
    found = Aligned(flat, ALIGNMENTS[2]).register(moving, fixed, labels)
    assert found.moving_labels.grid == moving.grid
    expected = found.field.warp(labels, labels=True)
    assert (found.moved_labels.array == expected.array).mean() > 0.999
    assert found.info["initial"]["offset"] == (3.0, -2.0)
    assert json.dumps(found.summary())


def test_itk_applies_the_field_alone(flat, pair, tmp_path):
    moving, fixed, _ = pair
    found = Aligned(flat, ALIGNMENTS[2]).register(moving, fixed)
    found.save(tmp_path / "out")
    field = sitk.ReadImage(str(tmp_path / "out" / "displacement.nii.gz"), sitk.sitkVectorFloat64)
    by_itk = sitk.Resample(
        moving.to_sitk(), fixed.to_sitk(), sitk.DisplacementFieldTransform(field), sitk.sitkLinear, 0.0
    )
    difference = np.abs(sitk.GetArrayFromImage(by_itk).T - found.moved.array)
    assert np.quantile(difference, 0.98) < 1e-3 * np.ptp(moving.array)


def test_the_identity_behind_an_alignment_is_the_alignment(rng):
    grid = Grid((16, 14, 12), (1.0, 1.5, 2.0), (1.0, 2.0, 3.0), tuple(np.eye(3).ravel().tolist()))
    moving = Image(rng.uniform(1, 2, size=grid.shape).astype(np.float32), grid)
    found = Aligned(Undeformed(), ALIGNMENTS[3]).register(moving, moving)
    transform = sitk.AffineTransform(3)
    transform.SetMatrix(LINEAR[3].ravel().tolist())
    transform.SetTranslation((3.0, -2.0, 1.0))
    expected = sitk.Resample(moving.to_sitk(), moving.to_sitk(), transform, sitk.sitkLinear, 1.0)
    expected = sitk.GetArrayFromImage(expected).T
    inside = found.field.warp(moving).array > 0
    assert inside.mean() > 0.4
    difference = np.abs(found.moved.array - expected)[inside]
    assert np.quantile(difference, 0.99) < 1e-4


def test_samples_go_the_whole_way(flat, pair):
    moving, fixed, _ = pair

    class Uncertain:
        """A registrar whose displacement is uncertain by a voxel along the first axis."""

        name = "uncertain"

        def register(self, moving, fixed, moving_labels=None):
            class Draws:
                def sample(self, n, seed):
                    for k in range(n):
                        u = np.zeros((2, *fixed.grid.shape), np.float32)
                        u[0] = (-1.0) ** k
                        yield u

            return replace(Undeformed().register(moving, fixed), posterior=Draws(), samples=2)

    found = Aligned(Uncertain(), ALIGNMENTS[2]).register(moving, fixed)
    # A voxel along the first axis, in mm, through T: the length of a column of the matrix. Two samples at ±1 have
    # an sd of √2.
    step = fixed.grid.matrix[:, 0]
    expected = np.sqrt(2) * np.linalg.norm(LINEAR[2] @ step)
    np.testing.assert_allclose(found.displacement_sd.array, expected, rtol=1e-4)
    first = next(found.sample(1))
    moved = fixed.grid.matrix @ (first - found.displacement)[:, 5, 5]
    np.testing.assert_allclose(moved, LINEAR[2] @ step, atol=1e-4)


def test_dimensions_must_agree(flat, pair):
    with pytest.raises(UserError, match="has 2 dimensions, but the initial alignment has 3"):
        Aligned(flat, ALIGNMENTS[3]).register(*pair[:2])


@pytest.mark.parametrize("model", ["undeformed", "run"])
def test_images_that_do_not_overlap_are_refused_and_brought_together_by_an_alignment(model, run_2d, pair):
    moving, fixed, _ = pair
    far = replace(moving, grid=replace(moving.grid, origin=tuple(x + 400 for x in moving.grid.origin)), name="ED")
    registrar = hr.load(run_2d.folder if model == "run" else model)
    for begun in (registrar, aligned(registrar, "grid")):
        with pytest.raises(
            UserError, match=r"ED and .* do not overlap in space: check their origins, or begin with"
        ):
            begun.register(far, fixed)
    with pytest.raises(UserError, match="do not overlap"):  # nor do they where the transform brings them
        aligned(registrar, Affine(tuple(np.eye(2).ravel()), (900.0, 0.0))).register(far, fixed)
    found = aligned(registrar, "centre").register(far, fixed)
    assert np.ptp(found.moved.array) > 0


def test_a_small_image_inside_a_large_one_overlaps():
    """Neither has a point of the other's coarse lattice: the small one lies between them."""
    large, small = Image.from_array(np.eye(512)), Image.from_array(np.eye(4), spacing=0.5)
    require_overlap(replace(small, grid=replace(small.grid, origin=(17.2, 17.2))), large)
    require_overlap(large, replace(small, grid=replace(small.grid, origin=(17.2, 17.2))))
    with pytest.raises(UserError):
        require_overlap(large, replace(small, grid=replace(small.grid, origin=(511.9, 0.0))))
