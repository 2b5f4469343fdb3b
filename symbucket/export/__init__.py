"""Trained networks as files: ONNX bundles, and serving them."""

from symbucket.export.write import export_module
from symbucket.module.base import BaseModule

BaseModule._exporter = staticmethod(export_module)

__all__ = ["export_module"]
