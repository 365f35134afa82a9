from collections import Counter
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from heteroreg.data.image import read_image, read_labels
from heteroreg.data.importing import import_cohort
from heteroreg.data.phantom import make_pair, write_phantom
from heteroreg.data.readers._left_out import LeftOut
from heteroreg.system.errors import UserError


@pytest.fixture
def mnms(tmp_path):
    write_phantom(tmp_path / "MnMs", pairs=5, size=32, layout="mnms", seed=4)
    return tmp_path / "MnMs"


def table_of(folder):
    return next(folder.glob("*.csv"))


def test_frames(mnms, tmp_path):
    cohort = import_cohort("mnms", mnms, tmp_path / "cohort")
    assert Counter(pair.split for pair in cohort) == {"train": 3, "val": 1, "test": 1}
    pair = next(pair for pair in cohort if pair.id == "A0P0T0")
    assert pair.extra == {"vendor": "A", "centre": "1", "pathology": "NOR"}
    assert pair.moving == tmp_path / "cohort" / "A0P0T0_ED.nii.gz"
    expected = make_pair((4, 0), shape=(32, 32, 6), spacing=(4.5, 4.5, 10.0))
    for file, image in ((pair.moving, expected.moving), (pair.fixed, expected.fixed)):
        read = read_image(file)
        np.testing.assert_array_equal(read.array, np.round(image.array).clip(0))
        assert read.grid.same_as(image.grid)
    for file, labels in ((pair.moving_labels, expected.moving_labels), (pair.fixed_labels, expected.fixed_labels)):
        np.testing.assert_array_equal(read_labels(file).array, labels.array)  # M&Ms' numbers are the phantom's


def test_an_oblique_grid_and_scaled_intensities_are_kept(mnms, tmp_path):
    path = next(mnms.rglob("A0P0T0_sa.nii.gz"))
    series = nib.load(path)
    c, s = np.cos(0.3), np.sin(0.3)
    affine = np.eye(4)
    affine[:3, :3] = np.array([[c, -s, 0], [s, c, 0], [0, 0, 1]]) @ np.diag([1.2, 1.3, 9.0])
    affine[:3, 3] = (10, -20, 30)
    values = np.asarray(series.dataobj)
    scaled = nib.Nifti1Image(values, affine)
    scaled.header.set_slope_inter(0.5, 3.0)
    nib.save(scaled, path)
    stored = np.asarray(nib.load(path).dataobj)
    pair = next(p for p in import_cohort("mnms", mnms, tmp_path / "cohort") if p.id == "A0P0T0")
    frame = nib.load(pair.fixed)
    np.testing.assert_allclose(frame.affine, affine, atol=1e-5)
    np.testing.assert_allclose(frame.get_fdata(), stored[..., 9], atol=1e-3)


def test_series_without_labels_or_without_frames(mnms, tmp_path):
    next(mnms.rglob("A0P0T0_sa_gt.nii.gz")).unlink()
    table = table_of(mnms)
    lines = table.read_text().splitlines()
    lines[2] = lines[2].replace(",0,9,", ",,,")  # B1P0T0: not known
    table.write_text("\n".join(lines) + "\n")
    cohort = import_cohort("mnms", mnms, tmp_path / "cohort")
    labelled = {pair.id: pair.labelled for pair in cohort}
    assert labelled == {"A0P0T0": False, "C2P0T0": True, "D3P0T0": True, "E4P0T0": True}


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("A0P0T0", "XXXXXX", "has no line for 'A0P0T0'"),
        (",0,9,", ",0,40,", "has 12 frames, but .* names frame 40 as ES"),
        (",0,9,", ",0,nine,", "'nine' in the column ES of A0P0T0 is not a frame number"),
        ("External code", "Code", "contains no table with the columns 'External code', 'ED' and 'ES'"),
    ],
)
def test_a_table_that_does_not_fit(mnms, tmp_path, old, new, message):
    table = table_of(mnms)
    table.write_text(table.read_text().replace(old, new, 1))
    with pytest.raises(UserError, match=message):
        import_cohort("mnms", mnms, tmp_path / "cohort")
    assert not (tmp_path / "cohort").exists()


def test_damaged_series(mnms, tmp_path):
    path = next(mnms.rglob("C2P0T0_sa.nii.gz"))
    path.write_bytes(path.read_bytes()[:5000])
    with pytest.raises(UserError, match=r"C2P0T0_sa.nii.gz: the compressed data are damaged"):
        import_cohort("mnms", mnms, tmp_path / "cohort")


def test_no_series(tmp_path):
    (tmp_path / "empty").mkdir()
    for source, message in (("empty", "contains no series"), ("nowhere", "no such folder")):
        with pytest.raises(UserError, match=message):
            import_cohort("mnms", tmp_path / source, tmp_path / "cohort")


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ([0, 1.99998, 2.99997], None),
        ([0, 400, 600], None),
        ([0, 2, -1], "holds the label -1"),
        ([0, 2, 2.5], "must hold whole numbers"),
        ([0, 2, np.nan], "must hold whole numbers"),
    ],
)
def test_labels_are_never_cast(mnms, tmp_path, values, message):
    path = next(mnms.rglob("A0P0T0_sa_gt.nii.gz"))
    labels = np.asarray(nib.load(path).dataobj)
    changed = np.asarray(values)[np.minimum(labels, 2)]
    nib.save(nib.Nifti1Image(changed.astype(np.float32), nib.load(path).affine), path)
    if message:
        with pytest.raises(UserError, match=message):
            import_cohort("mnms", mnms, tmp_path / "cohort")
        return
    pair = next(p for p in import_cohort("mnms", mnms, tmp_path / "cohort") if p.id == "A0P0T0")
    assert set(np.unique(nib.load(pair.moving_labels).dataobj)) == set(np.round(values))


def test_what_is_left_out_is_counted(mnms, tmp_path):
    table = table_of(mnms)
    lines = table.read_text().splitlines()
    lines[2] = lines[2].replace(",0,9,", ",,,")  # B1P0T0: not known
    lines.append(lines[1].replace("A0P0T0", "Z9P0T0"))
    table.write_text("\n".join(lines) + "\n")
    (mnms / "A0P0T0_la.nii.gz").touch()
    left_out = LeftOut()
    import_cohort("mnms", mnms, tmp_path / "cohort", left_out=left_out)
    assert left_out.by_reason == {
        "series without ED and ES frames in the table": [next(mnms.rglob("B1P0T0_sa.nii.gz"))],
        f"lines of {table.name} without their series": [Path("Z9P0T0_sa.nii.gz")],
        "images that are no series CODE_sa.nii.gz": [mnms / "A0P0T0_la.nii.gz"],
    }
