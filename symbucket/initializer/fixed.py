"""Initializers without randomness."""

from __future__ import annotations

from typing import Any

import numpy as np

from symbucket.errors import ParameterError, ShapeError
from symbucket.file_values import find_value
from symbucket.initializer.base import Initializer, alias, register
from symbucket.initializer.checks import number, want_float, want_held
from symbucket.types import Array


@register
@alias("zeros")
class Zero(Initializer):
    """Weights 0."""

    def __init__(self) -> None:
        super().__init__()

    def _init_weight(self, desc: str, arr: Array) -> None:
        self._init_zero(desc, arr)


@register
@alias("ones")
class One(Initializer):
    """Weights 1."""

    def __init__(self) -> None:
        super().__init__()

    def _init_weight(self, desc: str, arr: Array) -> None:
        self._init_one(desc, arr)


@register
class Constant(Initializer):
    """Weights equal to ``value``: a number, or an array (nested list) of the weight's shape."""

    def __init__(self, value: Any) -> None:
        plain = value
        if not isinstance(value, (int, float)):
            plain = np.asarray(value).tolist()
        super().__init__(value=plain)
        self.value = value

    def _init_weight(self, desc: str, arr: Array) -> None:
        value = np.asarray(self.value)
        if value.ndim and value.shape != arr.shape:
            raise ShapeError(
                f"Constant holds a value of shape {value.shape}, but parameter {str(desc)!r} has "
                f"shape {arr.shape}; they must be equal."
            )
        if np.any(value != np.floor(value)):
            want_float(self, desc, arr)
        if np.dtype(arr.dtype).kind != "f":
            want_held(self, desc, value, arr)
        arr[...] = value


@register
class Bilinear(Initializer):
    """Kernels of shape (outputs, inputs, height, width) that enlarge images bilinearly."""

    def __init__(self) -> None:
        super().__init__()

    def _init_weight(self, desc: str, arr: Array) -> None:
        want_float(self, desc, arr)
        if arr.ndim != 4:
            raise ShapeError(
                f"Bilinear initialises kernels of shape (outputs, inputs, height, width), but "
                f"parameter {str(desc)!r} has shape {arr.shape}."
            )
        # As in MXNet the width alone sets the slope of both tents.
        half = np.ceil(arr.shape[3] / 2.0)
        centre = (2 * half - 1 - half % 2) / (2.0 * half)
        tent_y = 1 - np.abs(np.arange(arr.shape[2]) / half - centre)
        tent_x = 1 - np.abs(np.arange(arr.shape[3]) / half - centre)
        arr[...] = np.outer(tent_y, tent_x)


@register
class LSTMBias(Initializer):
    """LSTM biases: ``forget_bias`` for the forget gate, 0 for the others.

    The array holds the gates input, forget, cell, output one after another along its first axis,
    so its second quarter is the forget gate. Used as ``Variable(..., init=LSTMBias())``, or
    directly on a parameter whose name ends in ``bias``.
    """

    def __init__(self, forget_bias: float = 1.0) -> None:
        self.forget_bias = number(self, "forget_bias", forget_bias, least=-1e30)
        super().__init__(forget_bias=self.forget_bias)

    def _init_weight(self, desc: str, arr: Array) -> None:
        want_float(self, desc, arr)
        if arr.ndim == 0 or arr.shape[0] % 4:
            raise ShapeError(
                f"LSTMBias fills four gates of equal size, but parameter {str(desc)!r} has shape "
                f"{arr.shape}; its first axis must be 4 * num_hidden."
            )
        hidden = arr.shape[0] // 4
        arr[...] = 0
        arr[hidden : 2 * hidden] = self.forget_bias

    def _init_bias(self, desc: str, arr: Array) -> None:
        self._init_weight(desc, arr)


@register
class OnnxValue(Initializer):
    """Fills with the value in the file, by the hash of its contents; ``sym.from_onnx`` sets it."""

    def __init__(self, digest: str) -> None:
        super().__init__(digest=digest)
        self._digest = digest

    def _init_weight(self, desc: str, arr: Array) -> None:
        value = find_value(self._digest)
        if value is None:
            raise ParameterError(
                f"Parameter {str(desc)!r} starts at a value from an ONNX file, but no symbol that "
                "was read from that file is alive: a symbol file holds the graph and no values. "
                "Call sym.from_onnx with that file first and keep the symbol, or give the values "
                "(init_params(arg_params=...), a checkpoint)."
            )
        arr[...] = value
