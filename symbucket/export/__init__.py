"""Trained networks as files: ONNX bundles."""

from symbucket.export.artifacts import export_training
from symbucket.export.onnx_file import export_onnx
from symbucket.export.spec import (
    InputSpec,
    Manifest,
    NetworkSpec,
    OutputSpec,
    StoredTensor,
    TensorSpec,
)
from symbucket.export.verify import open_bundle
from symbucket.export.write import export_module

__all__ = [
    "InputSpec",
    "Manifest",
    "NetworkSpec",
    "OutputSpec",
    "StoredTensor",
    "TensorSpec",
    "export_module",
    "export_onnx",
    "export_training",
    "open_bundle",
]
