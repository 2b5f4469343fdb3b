"""Layers between convolutions, on values in blocks of channels.

A rule says to which nodes it applies, and writes the outputs of one. An output of more than one
place is in blocks; one number for each channel lies in memory as it always does.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import onnx_ir as ir

from symbucket.ir import (
    BLOCKED_DOMAIN,
    OWN_DOMAIN,
    Builder,
    Expr,
    attr,
    attributes_of,
    const_of,
    info_of,
    input_of,
    is_op,
    optional_input_of,
    produced_by,
    shape_of,
)
from symbucket.ir.expr import reciprocal, sqrt
from symbucket.ir.max_pool_gradient import numbers_of_places, to_first_maximum

MOST_PLACES = 4096
"""Elements of a channel that the kernel adds up one by one without losing digits."""


@dataclass(frozen=True)
class Layer:
    """A node to be written on values in blocks; ``blocks`` returns those of an input."""

    g: Builder
    node: ir.Node
    blocks: Callable[[ir.Value], Expr]
    block: int

    def data(self, index: int) -> Expr:
        """An input in blocks."""
        return self.blocks(input_of(self.node, index))

    def plain(self, index: int) -> Expr:
        """An input as it is."""
        return Expr(self.g, input_of(self.node, index))


def is_data(value: ir.Value | None) -> bool:
    """Return whether a value is pictures of more than one place, which blocks put in order."""
    if value is None or value.dtype != ir.DataType.FLOAT or value.shape is None:
        return False
    shape = value.shape
    return len(shape) == 4 and shape.is_static() and math.prod(shape.numpy()[2:]) > 1


# Parts ------------------------------------------------------------------------------------------


def _per_channel(x: Expr, factor: Expr | None, summand: Expr | None = None) -> Expr:
    """x times a factor plus a summand, one of each for a channel, in one pass."""
    channels = x.shape[1]
    weight = x.const(np.ones((channels, 1, 1, 1))) if factor is None else factor
    return x.op(
        "Conv",
        weight.reshape((channels, 1, 1, 1)),
        None if summand is None else summand.reshape((channels,)),
        domain=BLOCKED_DOMAIN,
        group=channels,
        kernel_shape=[1, 1],
        strides=[1, 1],
        pads=[0, 0, 0, 0],
    )


def _is_per_channel(convolution: ir.Node) -> bool:
    """Return whether a convolution over blocks is one that multiplies each channel by a number."""
    x, weight = (shape_of(input_of(convolution, i)) for i in range(2))
    y = shape_of(convolution.outputs[0])
    return weight == (x[1], 1, 1, 1) and attr(convolution, "group") == x[1] and y == x


def _mean(x: Expr) -> Expr:
    """The mean of each channel, (1, c, 1, 1)."""
    return x.op("GlobalAveragePool", domain=BLOCKED_DOMAIN).mean([0], keepdims=True)


def _fits(x: ir.Value) -> bool:
    return math.prod(shape_of(x)[2:]) <= MOST_PLACES


def _is_number(value: ir.Value) -> bool:
    return value.shape is not None and value.shape.is_static() and math.prod(shape_of(value)) == 1


def _is_channels(value: ir.Value, channels: int) -> bool:
    """Return whether a value has one number for each channel of pictures."""
    shape = value.shape
    if shape is None or not shape.is_static():
        return False
    sizes = shape.numpy()
    return sizes in ((channels, 1, 1), (1, channels, 1, 1))


# Rules ------------------------------------------------------------------------------------------


def _one_shape(node: ir.Node) -> bool:
    """All operands are pictures of one shape, or single numbers."""
    shape, operator = node.outputs[0].shape, info_of(node)
    return (
        not node.domain
        and operator.elementwise
        and not operator.random
        and len(node.outputs) == 1
        and all(
            v is None or (is_data(v) and v.shape == shape) or _is_number(v) for v in node.inputs
        )
    )


def _elementwise(layer: Layer) -> Sequence[Expr]:
    node = layer.node
    inputs = [layer.blocks(v).value if v is not None and is_data(v) else v for v in node.inputs]
    return [Expr(layer.g, layer.g.op(node.op_type, *inputs, **attributes_of(node)))]


def _by_channels(node: ir.Node) -> tuple[ir.Value, ir.Value] | None:
    """Return pictures and the numbers of their channels, of a node that takes the two."""
    a, b = input_of(node, 0), input_of(node, 1)
    if node.op_type != "Sub" and is_data(b):
        a, b = b, a
    return (a, b) if is_data(a) and _is_channels(b, shape_of(a)[1]) else None


def _arithmetic(layer: Layer) -> Sequence[Expr]:
    operands = _by_channels(layer.node)
    if operands is None:
        return _elementwise(layer)
    x, each = layer.blocks(operands[0]), Expr(layer.g, operands[1])
    if layer.node.op_type == "Mul":
        return [_per_channel(x, each)]
    summand = -each if layer.node.op_type == "Sub" else each
    scaled = produced_by(x.value, "Conv", BLOCKED_DOMAIN)
    if scaled is not None and len(scaled.inputs) == 2 and _is_per_channel(scaled):
        factor = Expr(layer.g, input_of(scaled, 1))  # of a product just before
        return [_per_channel(Expr(layer.g, input_of(scaled, 0)), factor, summand)]
    return [_per_channel(x, None, summand)]


def _comparison(node: ir.Node) -> ir.Node | None:
    """Return the comparison whose result a node casts."""
    compared = input_of(node, 0).producer()
    return compared if input_of(node, 0).dtype == ir.DataType.BOOL else None


def _cast(layer: Layer) -> Sequence[Expr]:
    """A mask as numbers: the comparison and its cast."""
    compared = _comparison(layer.node)
    assert compared is not None
    (mask,) = _elementwise(replace(layer, node=compared))
    return [mask.cast(ir.DataType.FLOAT)]


def _sums_channels(node: ir.Node) -> bool:
    axes = const_of(optional_input_of(node, 1))
    return axes is not None and axes.tolist() == [0, 2, 3] and _fits(input_of(node, 0))


def _sum(layer: Layer) -> Sequence[Expr]:
    total = _mean(layer.data(0))
    if layer.node.op_type == "ReduceSum":
        shape = shape_of(input_of(layer.node, 0))
        total = total * float(shape[0] * math.prod(shape[2:]))
    return [total.reshape(shape_of(layer.node.outputs[0]))]


def _returns_values(node: ir.Node) -> bool:
    return not any(value.uses() or value.is_graph_output() for value in node.outputs[1:])


def _pool(layer: Layer) -> Sequence[Expr]:
    node = layer.node
    return [layer.data(0).op(node.op_type, domain=BLOCKED_DOMAIN, **attributes_of(node))]


def _normalizes_channels(node: ir.Node) -> bool:
    return list(attr(node, "axes")) == [0, 2, 3] and _fits(input_of(node, 0))


def _centered(data: Expr, factor: Expr | None, eps: float) -> tuple[Expr, Expr, Expr, Expr]:
    """(data - mean) * factor, 1 / sqrt(var + eps), mean, var; the factor is 1, -1 or None."""
    mean = _mean(data)
    centered = _per_channel(data, factor, -mean if factor is None else -(mean * factor))
    var = _mean(centered * centered)
    return centered, reciprocal(sqrt(var + eps)), mean, var


def _normalize(layer: Layer) -> Sequence[Expr]:
    sign = optional_input_of(layer.node, 1)
    factor = None if sign is None else Expr(layer.g, sign)
    centered, size, mean, var = _centered(layer.data(0), factor, attr(layer.node, "eps"))
    y = _per_channel(centered, size)
    return [y, size if factor is None else size * factor, mean, var]


def _normalize_batch(layer: Layer) -> Sequence[Expr]:
    scale, shift = layer.plain(1), layer.plain(2)
    centered, r, mean, var = _centered(layer.data(0), None, attr(layer.node, "eps"))
    return [_per_channel(centered, r * scale, shift), centered, r, mean, var]


def _max_pool_gradient(layer: Layer) -> Sequence[Expr]:
    """As in standard ONNX (``symbucket/ir/max_pool_gradient.py``), by kernels for blocks."""
    x, y, dy = (layer.data(i) for i in range(3))
    kernel = list(attr(layer.node, "kernel_shape"))
    channels, rows, columns = x.shape[1:]

    def spread(value: Expr) -> Expr:
        return value.op("Upsample", domain=BLOCKED_DOMAIN, scales=[1, 1, *kernel], mode="nearest")

    def pooled(value: Expr) -> Expr:
        pool = {"kernel_shape": kernel, "strides": kernel, "pads": [0, 0, 0, 0]}
        return value.op("MaxPool", domain=BLOCKED_DOMAIN, **pool)

    # The channels of a block lie side by side, and have the number of their place.
    numbers = numbers_of_places(kernel, (rows, columns))
    each = np.tile(numbers.reshape(-1, 1), (channels // layer.block, layer.block))
    return [to_first_maximum(x, y, dy, each.reshape(x.shape[1:])[None], spread, pooled)]


@dataclass(frozen=True)
class Rule:
    """``write`` returns the outputs of a node to which the rule ``applies``."""

    applies: Callable[[ir.Node], bool]
    write: Callable[[Layer], Sequence[Expr]]


_ELEMENTWISE = Rule(_one_shape, _elementwise)
_ARITHMETIC = Rule(lambda node: _by_channels(node) is not None or _one_shape(node), _arithmetic)
_SUM = Rule(_sums_channels, _sum)
_POOL = Rule(_returns_values, _pool)
_RULES: dict[tuple[str, str], Rule] = {
    ("", "Add"): _ARITHMETIC,
    ("", "Sub"): _ARITHMETIC,
    ("", "Mul"): _ARITHMETIC,
    ("", "ReduceSum"): _SUM,
    ("", "ReduceMean"): _SUM,
    ("", "MaxPool"): _POOL,
    ("", "GlobalAveragePool"): _POOL,
    (OWN_DOMAIN, "Normalize"): Rule(_normalizes_channels, _normalize),
    (OWN_DOMAIN, "NormalizeBatch"): Rule(_normalizes_channels, _normalize_batch),
    (OWN_DOMAIN, "MaxPoolGradient"): Rule(lambda node: True, _max_pool_gradient),
}


def rule_of(node: ir.Node) -> tuple[Rule, list[ir.Value]] | None:
    """Return the rule that applies to a node, and its inputs that are pictures; or None."""
    rule, reads = _RULES.get((node.domain, node.op_type), _ELEMENTWISE), node
    if is_op(node, "Cast"):
        compared = _comparison(node)
        if compared is not None:
            rule, reads = Rule(lambda _: _one_shape(compared), _cast), compared
    data = [value for value in reads.inputs if value is not None and is_data(value)]
    pictures = is_data(node.outputs[0]) or rule is not _ELEMENTWISE
    return (rule, data) if data and pictures and rule.applies(node) else None


def stays(value: ir.Value) -> bool:
    """Return whether all that reads a convolution's result will read it in blocks, and gain."""
    readers = [node for node, _ in value.uses()]
    if value.is_graph_output() or not all(rule_of(node) for node in readers):
        return False
    return not all(info_of(node).elementwise for node in readers)
