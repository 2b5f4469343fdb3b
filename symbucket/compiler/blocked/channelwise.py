"""A number for each channel, and values in blocks of channels: factors, summands and means."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import onnx_ir as ir

from symbucket.compiler.blocked.layouts import convolve
from symbucket.ir import BLOCKED_DOMAIN, Expr, attr, input_of, produced_by, shape_of


def per_channel(
    x: Expr,
    factor: Expr | None,
    summand: Expr | None = None,
    added: Expr | None = None,
    **activation: Any,
) -> Expr:
    """x times a factor plus a summand, one of each for a channel, plus a value, in one pass.

    ``activation``: attributes of a function that the kernel applies to the result.
    """
    channels = x.shape[1]
    weight = x.const(np.ones((channels, 1, 1, 1))) if factor is None else factor
    shift = None if summand is None else summand.reshape((channels,))
    weight = weight.reshape((channels, 1, 1, 1))
    return convolve(x, weight, shift, group=channels, added=added, **activation)


def clipped(alpha: float, beta: float) -> dict[str, Any]:
    """Attributes with which the kernel returns alpha y + beta, between 0 and 1."""
    return {"activation": "HardSigmoid", "activation_params": [alpha, beta]}


def as_product(x: Expr) -> tuple[Expr, Expr] | None:
    """The value and the factors for its channels whose product x is, if a kernel computes it."""
    node = produced_by(x.value, "Conv", BLOCKED_DOMAIN)
    if (
        node is None
        or len(node.inputs) > 2
        or attr(node, "activation", "")
        or not is_per_channel(node)
    ):
        return None
    return Expr(x.g, input_of(node, 0)), Expr(x.g, input_of(node, 1))


def as_positive_product(x: Expr) -> tuple[Expr, Expr] | None:
    """The same if the factors are positive, as those of a normalization are."""
    scaled = as_product(x)
    if scaled is None:
        return None
    reshaped = produced_by(scaled[1].value, "Reshape")
    source = scaled[1].value if reshaped is None else input_of(reshaped, 0)
    inverse = produced_by(source, "Reciprocal")
    root = None if inverse is None else produced_by(input_of(inverse, 0), "Sqrt")
    return None if root is None else scaled


def is_per_channel(convolution: ir.Node) -> bool:
    """Return whether a convolution over blocks is one that multiplies each channel by a number.

    With a stride and as much padding, one of single elements may return as many, but not the same.
    """
    x, weight = (shape_of(input_of(convolution, i)) for i in range(2))
    in_place = set(attr(convolution, "strides")) == {1} and not any(attr(convolution, "pads"))
    return weight == (x[1], 1, 1, 1) and attr(convolution, "group") == x[1] and in_place


def mean_of_channels(x: Expr) -> Expr:
    """The mean of each channel, (1, c, 1, 1)."""
    return x.op("GlobalAveragePool", domain=BLOCKED_DOMAIN).mean([0], keepdims=True)


def mean_of_products(x: Expr, y: Expr) -> Expr:
    """The mean of each channel of x y, (1, c, 1, 1).

    In one pass: a channel of a picture is convolved with that of the other, as large as it is.
    """
    samples, channels, *size = x.shape
    pictures = x.reshape((1, samples * channels, *size))
    weight = y.reshape((samples * channels, 1, *size))
    products = convolve(pictures, weight, group=samples * channels)
    products = products.reshape((samples, channels, 1, 1))
    return products.sum([0], keepdims=True) * (1.0 / (samples * math.prod(size)))
