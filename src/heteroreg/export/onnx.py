"""Write a model as an ONNX file, checked first."""

from __future__ import annotations

import json
import os
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from inspect import signature
from pathlib import Path
from tempfile import TemporaryDirectory
from types import ModuleType
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from heteroreg._version import __version__
from heteroreg.data.samples.preparation import PERCENTILES, SMALLEST_AXIS
from heteroreg.export.graph import OUTPUTS, Graph
from heteroreg.spatial.fields import INTERPOLATION
from heteroreg.system.errors import UserError
from heteroreg.system.files import atomic_file
from heteroreg.training.parts import MethodLike, NetworkLike
from heteroreg.training.run import Run

FORMATS = ("onnx",)
OPSET = 20  # the first whose GridSample takes volumes
METADATA_KEY = "heteroreg"
LARGEST_DIFFERENCE = 1e-4
TRACED_GRID = (40, 52, 36)
CHECKED_SIZES = ((1, (16, 16, 16)), (3, (33, 47, 29)))  # batch, grid
CHECKED_SAMPLES = 3


@dataclass(frozen=True)
class Exported:
    """An exported file.

    Attributes:
        path: The file.
        inputs: Names of the inputs.
        outputs: Names of the outputs.
        difference: Largest difference between onnxruntime and PyTorch, relative to the largest value of an output
            if that is above 1; None if it was not checked because onnxruntime is not installed.
    """

    path: Path
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    difference: float | None


def export(
    run: Run | str | Path,
    out: str | Path,
    *,
    checkpoint: str = "best",
    method: MethodLike = None,
    network: NetworkLike = None,
) -> Exported:
    """Write a run's model as an ONNX file for images of any size, including the warp.

    If onnxruntime is installed, it runs the model on images of two sizes other than the traced one, and the file is
    written only if all outputs agree with PyTorch to 1e-4. The metadata of the file say how to prepare images, as
    JSON under the key `heteroreg`.

    Args:
        run: The run, or its folder.
        out: The file to write, `.onnx`.
        checkpoint: `best` or `last`.
        method: The method of a run that was trained with a user's own; see `hr.load`.
        network: Likewise.

    Raises:
        UserError: The folder is no run; `out` has another ending; onnx is not installed; the network cannot be
            exported, or its export gives different results.

    Examples:
        >>> import heteroreg as hr
        >>> model = hr.load("phantom", device="cpu").run  # or the folder of a run
        >>> hr.export(model, "hetero.onnx").path.name
        'hetero.onnx'
    """
    out = Path(out)
    if out.suffix.lower() != ".onnx":
        raise UserError(f"{out}: name a file that ends in .onnx")
    if out.is_dir():
        raise UserError(f"{out}: is a folder; name a file")
    run = run if isinstance(run, Run) else Run.read(run)
    onnx = _installed("onnx")
    graph = Graph(*run.modules(checkpoint, method=method, network=network)).eval()
    inputs = ("moving", "fixed", "noise") if graph.sampled else ("moving", "fixed")
    try:
        content = _traced(graph, inputs)
    # Operators that ONNX lacks raise errors without a common class.
    except (RuntimeError, TypeError, ValueError) as error:
        reason = str(error).partition("\n")[0]
        raise UserError(f"{run.folder}: the network {run.config.network} cannot be exported ({reason})") from error
    model = onnx.load_from_string(content)
    model.metadata_props.add(
        key=METADATA_KEY, value=json.dumps(description(run, graph, inputs), ensure_ascii=False)
    )
    model.producer_name, model.producer_version = "heteroreg", __version__
    onnx.checker.check_model(model)
    content = model.SerializeToString()
    difference = None
    if find_spec("onnxruntime"):
        difference = largest_difference(content, graph, inputs)
        if not difference <= LARGEST_DIFFERENCE:
            raise UserError(
                f"{run.folder}: onnxruntime and PyTorch differ by {difference:.1e} on the exported network, more "
                f"than {LARGEST_DIFFERENCE:.0e}; nothing was written. Try another version of torch"
            )
    with atomic_file(out) as temporary:
        temporary.write_bytes(content)
    return Exported(out, inputs, graph.outputs, difference)


def description(run: Run, graph: Graph, inputs: Sequence[str]) -> dict[str, Any]:
    """Return the metadata of the file: how to prepare images, and the meaning of inputs and outputs."""
    config = run.config
    shape = {"moving": "(N, 1, *grid)", "fixed": "(N, 1, *grid)", "noise": "(samples, N, d, *grid)"}
    return {
        "version": __version__,
        "method": config.method,
        "network": config.network,
        "dims": graph.dims,
        "preparation": {
            "axes": "arrays [x, y(, z)] as in NIfTI; SimpleITK's are [(z,) y, x]",
            "grid": "that of the fixed image at the spacing; both images are resampled to it, linearly",
            "spacing_mm": list(config.spacing) if isinstance(config.spacing, tuple) else None,
            "initial": f"{config.initial}: how moving is aligned first; not part of the graph",
            "smallest": SMALLEST_AXIS,
            "multiple": 1,  # padding is part of the graph
            "slices": "with dims 2, the slices along z form the batch",
            "intensity": config.intensity,
            "percentiles": list(PERCENTILES[config.intensity]),
            "scale": "(image - low) / (high - low), clipped to [0, 1]; low and high: its own percentiles",
        },
        "inputs": {name: f"{shape[name]}, float32" for name in inputs},
        "outputs": {name: OUTPUTS[name] for name in graph.outputs},
    }


def largest_difference(content: bytes, graph: Graph, inputs: Sequence[str]) -> float:
    """Return the largest difference of any output between onnxruntime and PyTorch, on images of two sizes.

    PyTorch computes in float64: in float32 its own error may exceed the tolerance (3e-4 voxels for a 3D
    `transmorph`). The difference is relative to the largest value of an output if that is above 1, since float32
    resolves a displacement of 30 voxels less finely than one of 1.
    """
    with _without_telemetry():
        session = _installed("onnxruntime").InferenceSession(content, providers=["CPUExecutionProvider"])
    largest, exact = 0.0, graph.exact()
    for seed, (batch, grid) in enumerate(CHECKED_SIZES):
        example = examples(batch, grid[: graph.dims], inputs, seed)
        with torch.no_grad():
            expected = exact(*(tensor.double() for tensor in example))
        feed = {name: tensor.numpy() for name, tensor in zip(inputs, example, strict=True)}
        found: list[NDArray[np.float32]] = session.run(list(graph.outputs), feed)
        for ours, theirs in zip(expected, found, strict=True):
            if tuple(ours.shape) != theirs.shape:
                return float("inf")
            difference = float((ours - torch.from_numpy(theirs)).abs().max())
            largest = max(largest, difference / max(1.0, float(ours.abs().max())))
    return largest


@contextmanager
def _without_telemetry() -> Iterator[None]:
    """Keep onnxruntime from leaving an identifier of this machine in the home folder as it is loaded."""
    name = "ORT_DISABLE_TELEMETRY"
    given = os.environ.get(name)
    os.environ[name] = given or "1"
    try:
        yield
    finally:
        if given is None:
            del os.environ[name]


def examples(batch: int, grid: Sequence[int], inputs: Sequence[str], seed: int) -> list[Tensor]:
    """Return random images as smooth as real ones, and noise if it is an input."""
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.rand(2 * batch, 1, *[max(4, n // 6) for n in grid], generator=generator)
    images = F.interpolate(coarse, size=tuple(grid), mode=INTERPOLATION[len(grid)], align_corners=True)
    tensors = list(images.chunk(2))
    if "noise" in inputs:
        tensors.append(torch.randn(CHECKED_SAMPLES, batch, len(grid), *grid, generator=generator))
    return tensors


def _traced(graph: Graph, inputs: Sequence[str]) -> bytes:
    """Return the graph as an ONNX model with dynamic batch, grid and samples."""
    example = examples(2, TRACED_GRID[: graph.dims], inputs, seed=99)
    grid = [f"n{axis}" for axis in range(graph.dims)]
    image = dict(enumerate(["batch", None, *grid]))
    names = {"moving": image, "fixed": image, "noise": dict(enumerate(["samples", "batch", None, *grid]))}
    axes = {name: {axis: label for axis, label in names[name].items() if label} for name in inputs}
    axes |= {name: {0: "batch", **{axis + 2: label for axis, label in enumerate(grid)}} for name in graph.outputs}
    with TemporaryDirectory() as folder, warnings.catch_warnings():
        file = Path(folder) / "model.onnx"
        # The tracer warns at every use of a size; running other sizes afterwards shows that they are dynamic.
        warnings.simplefilter("ignore")
        # PyTorch 2.4 always traces and does not know this keyword.
        tracing: dict[str, Any] = {"dynamo": False} if "dynamo" in signature(torch.onnx.export).parameters else {}
        # Traced, because PyTorch's other exporter fails on the dynamic sizes of a Swin transformer (as of 2.13).
        torch.onnx.export(
            graph,
            tuple(example),
            str(file),
            input_names=list(inputs),
            output_names=list(graph.outputs),
            dynamic_axes=axes,
            opset_version=OPSET,
            **tracing,
        )
        return file.read_bytes()


def _installed(name: str) -> ModuleType:
    try:
        return import_module(name)
    except ImportError as error:
        raise UserError(f"{name}: is not installed; pip install 'heteroreg[onnx]'") from error
