"""Trained networks as files: ONNX bundles, and serving them."""

from symbucket.export.bundle import Bundle
from symbucket.export.route import Request
from symbucket.export.spec import (
    InputSpec,
    Manifest,
    NetworkSpec,
    OutputSpec,
    StoredTensor,
    TensorSpec,
)
from symbucket.export.statistics import KeyStatistics, format_statistics
from symbucket.export.verify import open_bundle
from symbucket.export.write import export_module

__all__ = [
    "Bundle",
    "InputSpec",
    "KeyStatistics",
    "Manifest",
    "NetworkSpec",
    "OutputSpec",
    "Request",
    "StoredTensor",
    "TensorSpec",
    "export_module",
    "format_statistics",
    "open_bundle",
]
