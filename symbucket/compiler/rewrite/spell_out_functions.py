"""Write functions that the target does not have with those that it has.

CUDA has no kernel for most trigonometric functions. The runtime would compute such a node on the
host, between two copies, while the device waits. And if its input is also an output of the model,
bound to memory of the device, onnxruntime 1.31 lets the host read that memory.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import onnx_ir as ir

from symbucket.compiler.rewrite.base import PassContext, graph_pass
from symbucket.compiler.rewrite.graph_queries import substitute
from symbucket.ir import Builder, Expr, attribute_of, const_of, graphs_of, input_of, shape_of
from symbucket.ir.expr import cos, exp, log, reciprocal, sign, sin, sqrt, where

_LARGE = 1e4
"""From here on ``sqrt(1 + x^2)`` is x, and ``x^2`` may soon overflow."""


def _polynomial(x: Expr, coefficients: list[float]) -> Expr:
    """Return the polynomial of ``x``, by Horner's rule; the constant coefficient comes first."""
    result = x * coefficients[-1] + coefficients[-2]
    for coefficient in coefficients[-3::-1]:
        result = result * x + coefficient
    return result


def _tan(x: Expr) -> Expr:
    return sin(x) / cos(x)


# Abramowitz and Stegun, Handbook of Mathematical Functions (1964), 4.4.49: atan(x) / x by powers of
# x^2, for x from 0 to 1; the error is at most 2e-8.
_ATAN = [
    *(1.0, -0.3333314528, 0.1999355085, -0.1420889944, 0.1065626393),
    *(-0.0752896400, 0.0429096138, -0.0161657367, 0.0028662257),
]


def _atan(x: Expr) -> Expr:
    size = abs(x)
    beyond = size > 1.0
    ratio = where(beyond, reciprocal(size), size)
    angle = ratio * _polynomial(ratio * ratio, _ATAN)
    return sign(x) * where(beyond, math.pi / 2 - angle, angle)


def _asin(x: Expr) -> Expr:
    return _atan(x / sqrt((1.0 - x) * (x + 1.0)))


def _acos(x: Expr) -> Expr:
    size = abs(x)
    angle = _atan(sqrt((1.0 - size) / (size + 1.0))) * 2.0
    return where(x < 0.0, math.pi - angle, angle)


def _half_exp(x: Expr) -> Expr:
    """Return ``e^x / 2``, which overflows later than ``e^x``."""
    root = exp(x * 0.5)
    return root * 0.5 * root


def _sinh(x: Expr) -> Expr:
    series = x * _polynomial(x * x, [1 / math.factorial(n) for n in (1, 3, 5, 7, 9)])
    return where(abs(x) < 1.0, series, _half_exp(x) - _half_exp(-x))


def _cosh(x: Expr) -> Expr:
    return _half_exp(x) + _half_exp(-x)


def _atanh(x: Expr) -> Expr:
    series = x * _polynomial(x * x, [1 / n for n in range(1, 17, 2)])
    return where(abs(x) < 1 / 3, series, log((x + 1.0) / (1.0 - x)) * 0.5)


def _asinh(x: Expr) -> Expr:
    size = abs(x)
    near = _atanh(size / sqrt(size * size + 1.0))
    middle = log(size + sqrt(size * size + 1.0))
    far = log(size) + math.log(2.0)
    return sign(x) * where(size < 1.0, near, where(size < _LARGE, middle, far))


def _acosh(x: Expr) -> Expr:
    root = sqrt(x - 1.0) * sqrt(x + 1.0)  # NaN for x below 1
    near, middle = _atanh(root / x), log(x + root)
    return where(x < 1.5, near, where(x < _LARGE, middle, log(x) + math.log(2.0)))


FUNCTIONS: dict[str, Callable[[Expr], Expr]] = {
    "Acos": _acos,
    "Acosh": _acosh,
    "Asin": _asin,
    "Asinh": _asinh,
    "Atan": _atan,
    "Atanh": _atanh,
    "Cosh": _cosh,
    "Sinh": _sinh,
    "Tan": _tan,
}
"""Formulas whose errors are a few units in the last place of float32."""


def _add_columns(g: Builder, node: ir.Node) -> ir.Value | None:
    """Return Col2Im as a transposed convolution with a kernel of ones and zeros, exact as it is."""
    data, image, block = (input_of(node, i) for i in range(3))
    sizes, kernel = const_of(image), const_of(block)
    if sizes is None or kernel is None:
        return None
    rank, area = len(sizes), math.prod(kernel.tolist())
    rows, columns, _ = shape_of(data)
    strides = list(attribute_of(node, "strides") or [1] * rank)
    dilations = list(attribute_of(node, "dilations") or [1] * rank)
    pads = list(attribute_of(node, "pads") or [0] * (2 * rank))
    if pads[:rank] != pads[rank:]:  # CUDA's transposed convolution has equal padding only
        return None
    spare = sizes + np.add(pads[:rank], pads[rank:]) - np.multiply(kernel - 1, dilations) - 1
    weight = np.zeros((columns, 1, area), np.float32)
    weight[np.arange(columns), 0, np.arange(columns) % area] = 1.0
    return g.op(
        "ConvTranspose",
        g.reshape(data, (rows, columns, *(spare // strides + 1))),
        g.const(weight.reshape(columns, 1, *kernel), like=data),
        group=columns // area,
        strides=strides,
        dilations=dilations,
        pads=pads,
        output_padding=[int(n) for n in spare % strides],
    )


@graph_pass("final")
def spell_out_functions(graph: ir.Graph, context: PassContext) -> int:
    """Replace functions that the target misses by formulas; returns how many."""
    if not any(name in context.target.missing for name in (*FUNCTIONS, "Col2Im")):
        return 0
    count = 0
    for node in list(graph):
        for body in graphs_of(node):
            count += spell_out_functions(body, context)
        if node.domain or node.op_type not in context.target.missing:
            continue
        g = Builder(graph, anchor=node)
        with g.beside(node):
            result = None
            if node.op_type in FUNCTIONS:
                result = FUNCTIONS[node.op_type](Expr(g, input_of(node, 0))).value
            elif node.op_type == "Col2Im":
                result = _add_columns(g, node)
            if result is not None:
                substitute(g, node.outputs[0], result)
                graph.remove(node, safe=True)
                count += 1
    return count
