"""Trained networks as files: ONNX bundles."""

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
    "open_bundle",
]
