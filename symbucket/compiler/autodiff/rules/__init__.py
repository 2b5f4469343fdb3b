"""Gradient rules of standard ONNX operators, by family. Importing this registers all of them."""

from symbucket.compiler.autodiff.rules import (
    activations,
    branch,
    convolution,
    elementwise,
    linear,
    movement,
    pooling,
    quantization,
    reduction,
    resampling,
    scan,
    scatter,
    without_gradient,
)

__all__ = [
    "activations",
    "branch",
    "convolution",
    "elementwise",
    "linear",
    "movement",
    "pooling",
    "quantization",
    "reduction",
    "resampling",
    "scan",
    "scatter",
    "without_gradient",
]
