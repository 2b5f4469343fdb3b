"""Gradient rules of standard ONNX operators, by family. Importing this registers all of them."""

from symbucket.compiler.autodiff.rules import (
    convolution,
    elementwise,
    imported,
    leaky,
    linear,
    movement,
    reduction,
)

__all__ = [
    "convolution",
    "elementwise",
    "imported",
    "leaky",
    "linear",
    "movement",
    "reduction",
]
