"""Exported files, run by onnxruntime, against PyTorch and against the registrar."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import SimpleITK as sitk
import torch

import heteroreg as hr
from heteroreg.data.cohort import Cohort
from heteroreg.data.image import read_image
from heteroreg.export import export
from heteroreg.export import onnx as exporter
from heteroreg.export.graph import Graph
from heteroreg.export.onnx import _traced, examples, largest_difference
from heteroreg.system.errors import UserError
from heteroreg.training import Config, Run
from heteroreg.training.parts import Parts

GUIDE = Path(__file__).parents[2] / "docs" / "export.md"


def graph_of(network: str, dims: int, method: str, **settings: Any) -> tuple[Graph, tuple[str, ...]]:
    """An untrained model that moves voxels, and the names of its inputs."""
    torch.manual_seed(1)
    config = Config.build({"network": network, "dims": dims, "method": method, "head_sd": 0.02, **settings})
    graph = Graph(*Parts.of(config, "the test").build()).eval()
    return graph, ("moving", "fixed", "noise")[: 3 if graph.sampled else 2]


LONG = [pytest.mark.slow, pytest.mark.long]


@pytest.mark.parametrize(
    ("network", "dims", "method", "settings", "outputs"),
    [
        ("voxelmorph", 2, "hetero-z", {}, {"noise_sd", "weight", "displacement_sd"}),
        pytest.param("voxelmorph", 3, "hetero", {}, {"noise_sd", "weight"}, marks=pytest.mark.slow),
        ("voxelmorph-half", 2, "hetero-paper", {}, {"noise_sd", "weight"}),
        ("pyramid", 3, "mse", {"kernel": 1.0}, set()),
        ("voxelmorph", 2, "adaframe", {}, {"weight"}),
        ("voxelmorph", 2, "mi", {}, set()),
        ("transmorph-small", 2, "sigma-z", {}, {"displacement_sd"}),
        ("pyramid", 2, "hetero-z", {}, {"noise_sd", "weight", "displacement_sd"}),
        pytest.param("pyramid", 3, "mse", {}, set(), marks=LONG),
        ("pyramid-symmetric", 2, "hetero-z", {"head_sd": 2.0}, {"noise_sd", "weight", "displacement_sd"}),
        pytest.param("transmorph-small", 3, "adacs", {}, {"weight"}, marks=LONG),
        pytest.param("transmorph", 2, "vxm-diff", {"int_steps": 0}, {"displacement_sd"}, marks=LONG),
    ],
)
def test_onnxruntime_computes_what_pytorch_does(
    network: str, dims: int, method: str, settings: dict[str, Any], outputs: set[str]
) -> None:
    graph, inputs = graph_of(network, dims, method, **settings)
    assert set(graph.outputs) == {"moved", "displacement", "inverse_displacement"} | outputs
    assert largest_difference(_traced(graph, inputs), graph, inputs) < 1e-4
    moved = graph(*examples(1, (24,) * dims, inputs, seed=5))[1]
    assert moved.abs().max() > 0.01  # there was something to get wrong


def test_the_graph_is_the_networks() -> None:
    """Displacement, moved image, noise and weight by the parts that training calls."""
    torch.manual_seed(2)
    config = Config.build({"dims": 2, "method": "hetero", "head_sd": 0.1})
    network, objective = (module.eval() for module in Parts.of(config, "the test").build())
    graph = Graph(network, objective).eval()
    moving, fixed = examples(2, (30, 41), ("moving", "fixed"), seed=3)
    found = dict(zip(graph.outputs, graph(moving, fixed), strict=True))
    expected = network(moving, fixed)
    torch.testing.assert_close(found["displacement"], expected.forward)
    torch.testing.assert_close(found["inverse_displacement"], expected.backward)
    losses = objective(found["moved"], fixed)
    torch.testing.assert_close(found["noise_sd"].square().log(), losses.log_variance)
    torch.testing.assert_close(found["weight"], losses.weight)


def test_the_spread_is_that_of_samples() -> None:
    """By hand, with constant σ_z and neither correlation nor integration: σ_z times the noise."""
    graph, _ = graph_of("transmorph", 2, "vxm-diff", int_steps=0)
    head = graph.network.log_variance_head
    torch.nn.init.zeros_(head.weight)
    torch.nn.init.constant_(head.bias, 2 * np.log(0.3))
    moving, fixed, noise = examples(1, (20, 24), ("moving", "fixed", "noise"), seed=3)
    spread = graph(moving, fixed, noise)[-1]
    torch.testing.assert_close(spread, 0.3 * noise.std(0), rtol=1e-3, atol=1e-5)


@pytest.fixture(scope="module")
def exported(run_2d: Run, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("onnx") / "model.onnx"
    written = export(run_2d.folder, path)
    assert written.difference is not None
    assert written.difference < 1e-4
    assert written.outputs == ("moved", "displacement", "inverse_displacement", "noise_sd", "weight")
    return path


def test_a_file_says_how_to_use_it_and_nothing_of_where_it_was_made(exported: Path, run_2d: Run) -> None:
    model = onnx.load(exported)
    about = json.loads({entry.key: entry.value for entry in model.metadata_props}["heteroreg"])
    assert about["dims"] == 2
    assert about["preparation"]["spacing_mm"] == list(run_2d.config.spacing or ())
    assert about["preparation"]["percentiles"] == [0.5, 99.5]
    assert about["preparation"]["initial"].startswith("grid: ")
    assert list(about["outputs"]) == [output.name for output in model.graph.output]
    assert [dim.dim_param for dim in model.graph.input[0].type.tensor_type.shape.dim] == ["batch", "", "n0", "n1"]
    content = exported.read_bytes()
    for path in (run_2d.folder, run_2d.config.cohort, Path(exporter.__file__).parents[2], Path(sys.prefix)):
        assert str(path).encode() not in content


def test_it_estimates_what_the_registrar_does(exported: Path, run_2d: Run, cohort_2d: Cohort) -> None:
    """On the working grid of a pair whose spacing is the model's: 32x32 pixels need no resampling."""
    pair = cohort_2d.split("test")[0]
    registration = hr.load(run_2d.folder, device="cpu", precision="32-true").register(pair.moving, pair.fixed)

    def prepared(path: Path) -> np.ndarray:
        array = read_image(path).array.astype(np.float32)
        low, high = np.percentile(array, (0.5, 99.5))
        return np.clip((array - low) / (high - low), 0, 1)[None, None].astype(np.float32)

    session = onnxruntime.InferenceSession(exported)
    feed = {"moving": prepared(pair.moving), "fixed": prepared(pair.fixed)}
    displacement, inverse, weight = session.run(["displacement", "inverse_displacement", "weight"], feed)
    np.testing.assert_allclose(displacement[0], registration.displacement, atol=1e-4)
    np.testing.assert_allclose(inverse[0], registration.inverse_displacement, atol=1e-4)
    assert registration.weight is not None
    np.testing.assert_allclose(weight[0, 0], registration.weight.array, atol=1e-3)


def script(tmp_path: Path) -> Path:
    (code,) = re.findall(r"<!-- register_onnx.py -->\n```python\n(.*?)```", GUIDE.read_text("utf-8"), re.DOTALL)
    assert set(re.findall(r"^(?:import|from) (\w+)", code, re.MULTILINE)) == {
        "json", "sys", "numpy", "onnxruntime", "SimpleITK",
    }  # fmt: skip
    path = tmp_path / "register_onnx.py"
    path.write_text(code, encoding="utf-8")
    return path


@pytest.mark.slow
@pytest.mark.parametrize("case", ["2D", pytest.param("3D", marks=LONG), "stack"])
def test_the_program_of_the_guide_does_what_register_does(
    case: str, exported: Path, run_2d: Run, run_3d: Run, cohort_2d: Cohort, cohort_3d: Cohort, tmp_path: Path
) -> None:
    run, cohort = (run_3d, cohort_3d) if case == "3D" else (run_2d, cohort_2d if case == "2D" else cohort_3d)
    model = exported
    if case == "3D":
        model = export(run.folder, tmp_path / "model.onnx").path
    pair = cohort.split("test")[0]
    images = []
    for name in ("moving", "fixed"):
        image = sitk.ReadImage(str(getattr(pair, name)), sitk.sitkFloat32)
        if name == "moving":
            image.SetOrigin([position + 0.8 for position in image.GetOrigin()])
        # Another spacing than the model's, and oblique.
        image.SetSpacing([step * 1.3 for step in image.GetSpacing()])
        if image.GetDimension() == 3:
            image.SetDirection(sitk.VersorTransform((0.2, 0.3, 0.1), 0.4).GetMatrix())
        path = tmp_path / f"{name}.nii.gz"
        sitk.WriteImage(image, str(path))
        images.append(path)
    subprocess.run([sys.executable, script(tmp_path), model, *images, tmp_path / "moved.nii.gz"], check=True)
    moved = sitk.GetArrayFromImage(sitk.ReadImage(str(tmp_path / "moved.nii.gz"))).T
    registrar = hr.load(run.folder, device="cpu", precision="32-true")
    expected = registrar.register(*images)
    assert np.abs(expected.displacement).max() > 0.2
    np.testing.assert_allclose(moved, expected.moved.array, atol=1e-3 * np.ptp(expected.moved.array))


def test_a_file_that_computes_something_else_is_not_written(
    run_2d: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Off(Graph):
        """Gives PyTorch another result than the exporter."""

        def forward(self, *inputs: Any) -> Any:
            moved, *others = super().forward(*inputs)
            return (moved if torch.jit.is_tracing() else moved + 2e-4, *others)

    monkeypatch.setattr(exporter, "Graph", Off)
    with pytest.raises(UserError, match=r"onnxruntime and PyTorch differ by 2\.0e-04"):
        export(run_2d.folder, tmp_path / "model.onnx")
    assert not list(tmp_path.iterdir())


def test_a_network_that_cannot_be_exported_gets_one_line(
    run_2d: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Odd(Graph):
        """Uses an operator that ONNX has not."""

        def forward(self, *inputs: Any) -> Any:
            moved, *others = super().forward(*inputs)
            return (torch.special.erfcx(moved), *others)

    monkeypatch.setattr(exporter, "Graph", Odd)
    with pytest.raises(UserError, match="pyramid cannot be exported"):
        export(run_2d.folder, tmp_path / "model.onnx")
    assert not list(tmp_path.iterdir())


def test_without_onnxruntime_nothing_is_checked(
    run_2d: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(exporter, "find_spec", lambda _name: None)
    assert export(run_2d.folder, tmp_path / "model.onnx").difference is None


def test_without_onnx_the_extra_is_named(run_2d: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(UserError, match=r"onnx: is not installed; pip install 'heteroreg\[onnx\]'"):
        export(run_2d.folder, tmp_path / "model.onnx")


def test_onnxruntime_leaves_nothing_in_the_home_folder(run_2d: Run, tmp_path: Path) -> None:
    """Its telemetry is off: it would keep an identifier of this machine there."""
    home = tmp_path / "home"
    home.mkdir()
    program = "import sys, heteroreg as hr; print(hr.export(sys.argv[1], sys.argv[2]).difference)"
    command = [sys.executable, "-c", program, str(run_2d.folder), str(tmp_path / "model.onnx")]
    kept = {name: value for name, value in os.environ.items() if name != "ORT_DISABLE_TELEMETRY"}
    environment = kept | {"HOME": str(home), "XDG_CACHE_HOME": str(home)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert float(done.stdout) < 1e-4, done.stderr
    assert list(home.rglob("*")) == []
