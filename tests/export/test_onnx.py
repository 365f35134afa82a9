"""Exported files, run by onnxruntime, against PyTorch and against the registrar."""

from __future__ import annotations

import pytest
import torch

from heteroreg.export.graph import Graph
from heteroreg.export.onnx import _traced, largest_difference
from heteroreg.training.config import Config
from heteroreg.training.run import build

CASES = [
    ("voxelmorph", 2, "hetero-z", {}),
    ("voxelmorph", 3, "hetero", {}),
    ("voxelmorph-half", 2, "hetero-paper", {}),
    ("transmorph", 2, "mse", {"int_steps": 0}),
    ("transmorph-small", 2, "sigma-z", {}),
    ("transmorph-small", 3, "adacs", {}),
]


def graph_of(network: str, dims: int, method: str, settings: dict[str, object]) -> Graph:
    torch.manual_seed(1)
    config = Config.build({"network": network, "dims": dims, "method": method, "head_sd": 0.02, **settings})
    return Graph(*build(config)).eval()


@pytest.mark.parametrize(("network", "dims", "method", "settings"), CASES)
def test_onnxruntime_computes_what_pytorch_does(network, dims, method, settings) -> None:
    graph = graph_of(network, dims, method, settings)
    inputs = ("moving", "fixed", "noise")[: 3 if graph.sampled else 2]
    content = _traced(graph, inputs)
    difference = largest_difference(content, graph, inputs)
    print(network, dims, method, difference, graph.outputs, len(content))
    assert difference < 1e-4
