"""Operators that numpy computes in place of a session, in host memory.

They are those whose results are the same to the last bit: arithmetic (see
``symbucket.runtime.arithmetic``), functions that IEEE 754 rounds correctly, and what only moves
values. numpy takes one to three microseconds for a small array, and compiles nothing. Tests compare
each with the model that its record makes.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from symbucket.errors import ShapeError
from symbucket.ops import names
from symbucket.runtime.arithmetic import arithmetic_rules, calculate
from symbucket.types import Array

Kernel = Callable[..., Array]
"""The record with its attributes, then the inputs -> the output."""

KERNELS: dict[str, Kernel] = {}
"""By the name of the record."""


def _binary(rule: str, same_shape: bool) -> Kernel:
    def kernel(_: Any, lhs: Array, rhs: Array) -> Array:
        if same_shape and lhs.shape != rhs.shape:
            raise ShapeError(
                f"{rule}: shapes {lhs.shape} and {rhs.shape} differ; broadcast_{rule} broadcasts"
            )
        return calculate(rule, lhs, rhs)

    return kernel


def _with_scalar(rule: str, reverse: bool) -> Kernel:
    def kernel(op: Any, data: Array) -> Array:
        return calculate(rule, op.scalar, data) if reverse else calculate(rule, data, op.scalar)

    return kernel


_SPELLED = {"add": "plus", "sub": "minus"}  # in names of operators with a number

for _rule in arithmetic_rules():
    _spelled = _SPELLED.get(_rule, _rule)
    KERNELS |= {
        f"broadcast_{_rule}": _binary(_rule, same_shape=False),
        f"elemwise_{_rule}": _binary(_rule, same_shape=True),
        f"_{_rule}": _binary(_rule, same_shape=True),
        f"_{_spelled}_scalar": _with_scalar(_rule, reverse=False),
        f"_r{_spelled}_scalar": _with_scalar(_rule, reverse=True),
    }


def _elementwise(function: Callable[[Array], Array]) -> Kernel:
    def kernel(_: Any, data: Array) -> Array:
        with np.errstate(all="ignore"):
            return np.asarray(function(data)).astype(data.dtype, copy=False)

    return kernel


def _rounding(function: Callable[[Array], Array]) -> Kernel:
    """A function that leaves whole numbers as they are."""
    return _elementwise(lambda x: function(x) if x.dtype.kind == "f" else x.copy())


KERNELS |= {
    "abs": _elementwise(np.abs),
    "negative": _elementwise(np.negative),
    "sign": _elementwise(lambda x: np.nan_to_num(np.sign(x), copy=False)),  # MXNet: 0 for NaN
    "square": _elementwise(np.square),
    "sqrt": _elementwise(np.sqrt),
    "reciprocal": _elementwise(lambda x: np.divide(1, x)),
    "floor": _rounding(np.floor),
    "ceil": _rounding(np.ceil),
    "trunc": _rounding(np.trunc),
    "fix": _rounding(np.trunc),
    "identity": _elementwise(np.copy),
    "zeros_like": _elementwise(np.zeros_like),
    "ones_like": _elementwise(np.ones_like),
}


def _cast(op: Any, data: Array) -> Array:
    with np.errstate(all="ignore"):
        return data.astype(op.dtype)


def _transpose(op: Any, data: Array) -> Array:
    shape = op.infer_shape([data.shape], [None])[1][0]  # checks the axes
    return np.transpose(data, op.axes or None).copy().reshape(shape)


def _reshape(op: Any, data: Array) -> Array:
    return data.reshape(op.infer_shape([data.shape], [None])[1][0]).copy()


KERNELS |= {
    "Cast": _cast,
    "transpose": _transpose,
    "Reshape": _reshape,
    "Flatten": _reshape,
    "expand_dims": _reshape,
    "BlockGrad": _elementwise(np.copy),
}

KERNELS = {name: kernel for name, kernel in KERNELS.items() if name in names()}
