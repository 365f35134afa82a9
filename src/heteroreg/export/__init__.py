"""A trained model as one file that needs neither this package nor PyTorch."""

from heteroreg.export.onnx import FORMATS, export

__all__ = ["FORMATS", "export"]
