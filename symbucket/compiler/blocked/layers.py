"""Layers between convolutions, on values in blocks of channels.

A rule says to which nodes it applies, and writes the outputs of one. An output of more than one
place is in blocks; one number for each channel lies in memory as it always does.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import onnx_ir as ir

from symbucket.compiler.blocked.channelwise import (
    as_positive_product,
    as_product,
    clipped,
    is_per_channel,
    mean_of_channels,
    mean_of_products,
    per_channel,
)
from symbucket.compiler.blocked.max_pool_gradient import blocked_max_pool_gradient
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
from symbucket.ir.max_pool_gradient import LEAST

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


# Conditions --------------------------------------------------------------------------------------


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
        return _with_products(layer) or _elementwise(layer)
    x, each = layer.blocks(operands[0]), Expr(layer.g, operands[1])
    scaled = as_product(x)  # a product just before
    if layer.node.op_type == "Mul":
        if scaled is None:
            return [per_channel(x, each)]
        x, factor = scaled
        return [per_channel(x, factor * each.reshape(factor.shape))]
    summand = -each if layer.node.op_type == "Sub" else each
    x, weight = (x, None) if scaled is None else scaled
    return [per_channel(x, weight, summand)]


def _with_products(layer: Layer) -> Sequence[Expr]:
    """A sum or a difference with factors and summands for channels just before, if it is one."""
    node, g = layer.node, layer.g
    if node.op_type == "Mul" or not all(is_data(value) for value in node.inputs):
        return []
    a, b = layer.data(0), layer.data(1)
    for value, other in ((b, a), (a, b)) if node.op_type == "Add" else ((b, a),):
        product = produced_by(value.value, "Conv", BLOCKED_DOMAIN)
        if product is None or len(product.inputs) > 3 or not is_per_channel(product):
            continue
        if attr(product, "activation", "") or value.value is other.value:
            continue
        x, factor = (Expr(g, input_of(product, i)) for i in range(2))
        summand = optional_input_of(product, 2)
        shift = None if summand is None else Expr(g, summand)
        if node.op_type == "Sub":
            factor, shift = -factor, None if shift is None else -shift
        return [per_channel(x, factor, shift, other)]
    return []


def _comparison(node: ir.Node) -> ir.Node | None:
    """Return the comparison whose result a node casts."""
    compared = input_of(node, 0).producer()
    return compared if input_of(node, 0).dtype == ir.DataType.BOOL else None


def _is_zero(value: ir.Value) -> bool:
    constant = const_of(value)
    return constant is not None and not constant.any()


def _cast(layer: Layer) -> Sequence[Expr]:
    """A mask as numbers: the comparison and its cast."""
    compared = _comparison(layer.node)
    assert compared is not None
    if compared.op_type == "Greater" and _is_zero(input_of(compared, 1)):
        # In one pass: less than 1 only for numbers next to zero.
        return [per_channel(layer.blocks(input_of(compared, 0)), None, **clipped(1.0 / LEAST, 0.0))]
    (mask,) = _elementwise(replace(layer, node=compared))
    return [mask.cast(ir.DataType.FLOAT)]


def _sums_channels(node: ir.Node) -> bool:
    axes = const_of(optional_input_of(node, 1))
    return axes is not None and axes.tolist() == [0, 2, 3] and _fits(input_of(node, 0))


def _sum(layer: Layer) -> Sequence[Expr]:
    total = _mean_of(layer.data(0), input_of(layer.node, 0))
    if layer.node.op_type == "ReduceSum":
        shape = shape_of(input_of(layer.node, 0))
        total = total * float(shape[0] * math.prod(shape[2:]))
    return [total.reshape(shape_of(layer.node.outputs[0]))]


def _mean_of(x: Expr, plain: ir.Value) -> Expr:
    """The mean of each channel; of a product that nothing else reads without its elements."""
    product = produced_by(x.value, "Mul")
    if product is None or len(x.value.uses()) > 1 or len(plain.uses()) > 1:
        return mean_of_channels(x)
    a, b = (Expr(x.g, input_of(product, i)) for i in range(2))
    if a.shape != x.shape or b.shape != x.shape:
        return mean_of_channels(x)
    scaled = as_product(b)
    if scaled is None:
        return mean_of_products(a, b)
    mean = mean_of_products(a, scaled[0])
    return mean * scaled[1].reshape(mean.shape)


def _returns_values(node: ir.Node) -> bool:
    return not any(value.uses() or value.is_graph_output() for value in node.outputs[1:])


def _pool(layer: Layer) -> Sequence[Expr]:
    node, x = layer.node, layer.data(0)
    # The largest element is the largest before a factor, too; afterwards there are fewer.
    scaled = as_positive_product(x) if node.op_type == "MaxPool" else None
    data = x if scaled is None else scaled[0]
    y = data.op(node.op_type, domain=BLOCKED_DOMAIN, **attributes_of(node))
    return [y if scaled is None else per_channel(y, scaled[1])]


def _normalizes_channels(node: ir.Node) -> bool:
    return list(attr(node, "axes")) == [0, 2, 3] and _fits(input_of(node, 0))


def _centered(data: Expr, factor: Expr | None, eps: float) -> tuple[Expr, Expr, Expr, Expr]:
    """(data - mean) * factor, 1 / sqrt(var + eps), mean, var; the factor is 1, -1 or None."""
    mean = mean_of_channels(data)
    centered = per_channel(data, factor, -mean if factor is None else -(mean * factor))
    var = mean_of_products(centered, centered)
    return centered, reciprocal(sqrt(var + eps)), mean, var


def _normalize(layer: Layer) -> Sequence[Expr]:
    sign = optional_input_of(layer.node, 1)
    factor = None if sign is None else Expr(layer.g, sign)
    centered, size, mean, var = _centered(layer.data(0), factor, attr(layer.node, "eps"))
    y = per_channel(centered, size)
    return [y, size if factor is None else size * factor, mean, var]


def _normalize_batch(layer: Layer) -> Sequence[Expr]:
    scale, shift = layer.plain(1), layer.plain(2)
    centered, r, mean, var = _centered(layer.data(0), None, attr(layer.node, "eps"))
    return [per_channel(centered, r * scale, shift), centered, r, mean, var]


def _max_pool_gradient(layer: Layer) -> Sequence[Expr]:
    x, y, dy = (layer.data(i) for i in range(3))
    elements, maxima = as_positive_product(x), as_positive_product(y)
    if elements is not None and maxima is not None and elements[1].value is maxima[1].value:
        x, y = elements[0], maxima[0]
    kernel = attr(layer.node, "kernel_shape")
    return [blocked_max_pool_gradient(x, y, dy, kernel, layer.block)]


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
    if is_op(node, "Cast") and node.outputs[0].dtype == ir.DataType.FLOAT:
        compared = _comparison(node)
        if compared is not None:
            rule, reads = Rule(lambda _: _one_shape(compared), _cast), compared
    data = [value for value in reads.inputs if value is not None and is_data(value)]
    pictures = is_data(node.outputs[0]) or rule is not _ELEMENTWISE
    return (rule, data) if data and pictures and rule.applies(node) else None


def gains(node: ir.Node) -> bool:
    """Return whether a node is faster in blocks by itself; what is elementwise alone is not."""
    return not info_of(node).elementwise or (
        _RULES.get((node.domain, node.op_type)) is _ARITHMETIC and _by_channels(node) is not None
    )


def stays(value: ir.Value) -> bool:
    """Return whether all that reads a convolution's result will read it in blocks, and gain."""
    readers = [node for node, _ in value.uses()]
    if value.is_graph_output() or not all(rule_of(node) for node in readers):
        return False
    return not all(info_of(node).elementwise for node in readers)
