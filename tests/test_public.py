"""The top of the package: everything that a user calls."""

from __future__ import annotations

import ast
import inspect
import subprocess
import sys
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
import torch

import heteroreg as hr
from heteroreg.data.phantom import make_pair
from heteroreg.registration.model import ModelRegistrar


def test_everything_is_listed_once_and_exists() -> None:
    assert dir(hr) == sorted(hr.__all__)
    assert len(set(hr.__all__)) == len(hr.__all__)
    for name in hr.__all__:
        value = getattr(hr, name)
        assert inspect.ismodule(value) == (name in ("losses", "methods", "networks")), name
        assert name == "__version__" or value.__doc__, name
    with pytest.raises(AttributeError, match="has no attribute 'nothing'"):
        _ = hr.nothing


def test_the_types_are_those_of_the_table() -> None:
    """Type checkers see the imports under TYPE_CHECKING, and Python the table: both name the same."""
    module = ast.parse(Path(hr.__file__).read_text(encoding="utf-8"))
    (block,) = [node for node in module.body if isinstance(node, ast.If)]
    seen: set[str] = set()
    for node in block.body:
        if isinstance(node, ast.ImportFrom):
            seen |= {alias.asname or alias.name for alias in node.names}
        elif isinstance(node, ast.Assign):
            (names, values) = (node.targets[0], node.value)
            assert isinstance(names, ast.Tuple)
            assert isinstance(values, ast.Tuple)
            seen -= {value.id for value in values.elts if isinstance(value, ast.Name)}
            seen |= {name.id for name in names.elts if isinstance(name, ast.Name)}
    assert seen | {"__version__"} == set(hr.__all__)


def test_importing_it_is_quick() -> None:
    code = (
        "import sys, heteroreg as hr; dir(hr); hr.UserError; "
        "assert not {'torch', 'SimpleITK', 'pandas', 'matplotlib'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize(
    "first",
    ["import heteroreg.export.graph, heteroreg.study.jobs", "hr.export, hr.study"],
)
def test_a_function_is_not_hidden_by_the_folder_of_its_name(first: str) -> None:
    code = (
        f"import heteroreg as hr; {first}; import heteroreg.export.graph, heteroreg.study.jobs; "
        "from heteroreg.export import export; from heteroreg.study import run_study; "
        "assert hr.export is export and hr.study is run_study"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.fixture(scope="module")
def pair() -> object:
    return make_pair((7, 0), shape=(40, 36))


@pytest.fixture(scope="module")
def registrars() -> list[hr.Registrar]:
    names = ["phantom", "undeformed", *(["elastix"] if find_spec("itk") else [])]
    return [hr.load(name, device="cpu") for name in names]


@pytest.mark.long
@pytest.mark.slow
def test_every_registrar_takes_every_kind_of_image(pair, registrars, tmp_path: Path) -> None:
    moving, fixed, labels = pair.moving, pair.fixed, pair.moving_labels
    for name, image in (("moving", moving), ("fixed", fixed), ("labels", labels)):
        hr.write_image(image, tmp_path / f"{name}.nii.gz")
    spacing = fixed.grid.spacing
    arrays = [np.asarray(image) for image in (moving, fixed, labels)]
    given = [
        [tmp_path / f"{name}.nii.gz" for name in ("moving", "fixed", "labels")],
        [image.to_sitk() for image in (moving, fixed, labels)],
        arrays,
        [torch.from_numpy(array)[None] for array in arrays],
    ]
    for registrar in registrars:
        expected = registrar.register(moving, fixed, labels)
        for values in given:
            plain = isinstance(values[0], np.ndarray | torch.Tensor)
            found = registrar.register(*values, **({"spacing": spacing} if plain else {}))
            np.testing.assert_array_equal(found.displacement, expected.displacement)
            np.testing.assert_array_equal(found.moved, expected.moved)
            np.testing.assert_array_equal(found.moved_labels, expected.moved_labels)


def test_one_call(pair, tmp_path: Path) -> None:
    found = hr.register(pair.moving, pair.fixed, moving_labels=pair.moving_labels, device="cpu")
    expected = hr.load("phantom", device="cpu").register(pair.moving, pair.fixed, pair.moving_labels)
    np.testing.assert_array_equal(found.displacement, expected.displacement)
    np.testing.assert_array_equal(found.moved_labels, expected.moved_labels)
    shift = sitk.TranslationTransform(2, (3.0, 0.0))
    sitk.WriteTransform(shift, str(tmp_path / "shift.tfm"))
    placed = hr.register(pair.moving, pair.fixed, "undeformed", initial=tmp_path / "shift.tfm")
    np.testing.assert_allclose(placed.displacement_mm[0], 3.0, atol=1e-5)
    with pytest.raises(hr.UserError, match=r"^spacing: is for arrays"):
        hr.register(pair.moving, pair.fixed, spacing=2.0, device="cpu")


def test_a_name_stands_for_a_registrar_and_a_path_for_a_cohort(cohort_2d: hr.Cohort, tmp_path: Path) -> None:
    by_name = hr.evaluate("undeformed", cohort_2d.name)
    by_object = hr.evaluate(hr.load("undeformed"), cohort_2d)
    columns = [name for name in by_object.table if name != "seconds"]
    assert by_name.table[columns].equals(by_object.table[columns])
    assert hr.check(cohort_2d.name) == hr.check(cohort_2d)
    table = hr.register_cohort("undeformed", Path(cohort_2d.name).parent, tmp_path / "out")
    assert table["id"].tolist() == [pair.id for pair in cohort_2d]


def test_a_registration_as_a_field(pair, tmp_path: Path) -> None:
    found = hr.register(pair.moving, pair.fixed, device="cpu")
    assert found.field.vectors is found.displacement
    assert found.inverse_field.vectors is found.inverse_displacement
    assert found.field.grid == found.inverse_field.grid == found.grid
    np.testing.assert_array_equal(found.field.warp(found.moving), found.moved)
    point = found.grid.physical(np.array([20.0, 18.0]))
    moved = found.transform.TransformPoint(point.tolist())
    np.testing.assert_allclose(moved, point + found.displacement_mm[:, 20, 18], atol=1e-9)
    # The transform takes SimpleITK from the moving image to the moved one.
    itk = sitk.Resample(found.moving.to_sitk(), found.fixed.to_sitk(), found.transform, sitk.sitkLinear, 0.0)
    inner = (slice(2, -2),) * 2
    span = np.ptp(np.asarray(found.moved))
    np.testing.assert_allclose(
        sitk.GetArrayFromImage(itk).T[inner], np.asarray(found.moved)[inner], atol=1e-3 * span
    )
    found.save(tmp_path / "out")
    warped = hr.warp(found.moving, tmp_path / "out" / "displacement.nii.gz")
    np.testing.assert_allclose(warped, found.moved, atol=1e-3 * span)


def test_whatever_a_notebook_shows_is_one_line(pair, cohort_2d: hr.Cohort, run_2d: hr.Run, tmp_path: Path) -> None:
    registration = hr.register(pair.moving, pair.fixed, device="cpu")
    registrar = hr.load(run_2d, device="cpu")
    for name in ("a", "b"):
        hr.evaluate("undeformed", cohort_2d, out=tmp_path / name)
    comparison = hr.compare([tmp_path / "a", tmp_path / "b"])
    calibration = hr.calibrate("undeformed", cohort_2d, out=tmp_path / "calibration", split=("all",), steps=1)
    shown = [
        comparison, calibration,
        registration, registration.field, registration.fixed, registration.grid, registrar, run_2d, cohort_2d,
        cohort_2d[0], hr.load("undeformed"), hr.evaluate("undeformed", cohort_2d.split("test")),
    ]  # fmt: skip
    for value in shown:
        line = repr(value)
        assert "\n" not in line, line
        assert len(line) < 200, line
        assert "array(" not in line, line
    assert repr(registration.grid) == "Grid(40×36 voxels, 1.5×1.5 mm)"
    assert repr(registration) == "Registration('image' to 'image', 40×36 voxels, 1.5×1.5 mm, by hetero)"
    assert repr(comparison).startswith("Comparison('a', 'b'; ")
    assert repr(calibration) == "Calibration('undeformed', on 8 patients, intervals of 50 %, 68 %)"
    assert f"Cohort('{cohort_2d.name}', 8 pairs: 5 train, 1 val, 2 test)" == repr(cohort_2d)
    assert repr(registrar).startswith(
        f"ModelRegistrar({registrar.name!r}, method 'hetero', network 'pyramid', 2D, "
    )
    assert isinstance(registrar, ModelRegistrar)
    without = replace(cohort_2d[0], moving_labels=None)
    assert repr(without).endswith(", without labels)")


def test_an_image_is_its_array_to_numpy(rng: np.random.Generator) -> None:
    array = rng.random((5, 4)).astype(np.float32)
    image = hr.Image.from_array(array)
    assert np.asarray(image) is array
    assert np.asarray(image, dtype=np.float64).dtype == np.float64
    copy = np.array(image)
    copy[0, 0] = 7
    assert image.array[0, 0] == array[0, 0] != 7
    assert np.mean(image) == array.mean()
    if np.lib.NumpyVersion(np.__version__) >= "2.0.0":
        with pytest.raises(ValueError, match="without a copy"):
            np.asarray(image, dtype=np.float64, copy=False)


def test_a_registrar_of_ones_own(pair) -> None:
    class Identity(hr.BaseRegistrar):
        """Register by doing nothing."""

        name = "identity"

        def _register(self, moving, fixed, moving_labels):
            assert isinstance(moving, hr.Image)
            return hr.load("undeformed").register(moving, fixed, moving_labels)

    found = Identity().register(np.asarray(pair.moving), np.asarray(pair.fixed), spacing=1.5)
    assert not found.displacement.any()
    assert found.moved_labels is None
