"""Gradient rules of standard ONNX operators, by family. Importing this registers all of them."""

from symbucket.compiler.gradients import elementwise, linear, movement, reduction

__all__ = ["elementwise", "linear", "movement", "reduction"]
