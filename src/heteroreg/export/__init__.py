"""Trained models as single files that need neither this package nor PyTorch."""

from heteroreg.export.onnx import FORMATS, export

__all__ = ["FORMATS", "export"]
