"""Gradients of elementwise operators."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import onnx_ir as ir

from symbucket.compiler.autodiff.rules.common import Grads, Wanted, inp, only, unbroadcast
from symbucket.ir import Builder, attr, const_of, dtype_of, gradient, shape_of

Slope = Callable[[Builder, ir.Value, ir.Value, ir.Value], ir.Value]


def _mul(g: Builder, a: ir.Value, b: ir.Value) -> ir.Value:
    return g.op("Mul", a, b)


def _scale(g: Builder, a: ir.Value, factor: float) -> ir.Value:
    return g.op("Mul", a, g.const(factor, like=a))


def _one_minus(g: Builder, a: ir.Value) -> ir.Value:
    return g.op("Sub", g.const(1.0, like=a), a)


def _plus(g: Builder, a: ir.Value, number: float) -> ir.Value:
    return g.op("Add", a, g.const(number, like=a))


def _square(g: Builder, a: ir.Value) -> ir.Value:
    return g.op("Mul", a, a)


def _mask(g: Builder, condition: ir.Value, dy: ir.Value) -> ir.Value:
    return g.op("Mul", dy, g.cast(condition, dtype_of(dy)))


def _inverse_root(g: Builder, a: ir.Value) -> ir.Value:
    return g.op("Reciprocal", g.op("Sqrt", a))


# d = dy * f'(x), written with x and y = f(x), whichever is cheaper.
_SLOPES: dict[str, Slope] = {
    "Identity": lambda g, x, y, dy: dy,
    "Neg": lambda g, x, y, dy: g.op("Neg", dy),
    "Exp": lambda g, x, y, dy: _mul(g, dy, y),
    "Log": lambda g, x, y, dy: g.op("Div", dy, x),
    "Sqrt": lambda g, x, y, dy: g.op("Div", _scale(g, dy, 0.5), y),
    "Reciprocal": lambda g, x, y, dy: g.op("Neg", _mul(g, dy, _square(g, y))),
    "Abs": lambda g, x, y, dy: _mul(g, dy, g.op("Sign", x)),
    "Sin": lambda g, x, y, dy: _mul(g, dy, g.op("Cos", x)),
    "Cos": lambda g, x, y, dy: g.op("Neg", _mul(g, dy, g.op("Sin", x))),
    "Tan": lambda g, x, y, dy: _mul(g, dy, _plus(g, _square(g, y), 1.0)),
    "Asin": lambda g, x, y, dy: _mul(g, dy, _inverse_root(g, _one_minus(g, _square(g, x)))),
    "Acos": lambda g, x, y, dy: g.op(
        "Neg", _mul(g, dy, _inverse_root(g, _one_minus(g, _square(g, x))))
    ),
    "Atan": lambda g, x, y, dy: g.op("Div", dy, _plus(g, _square(g, x), 1.0)),
    "Sinh": lambda g, x, y, dy: _mul(g, dy, g.op("Cosh", x)),
    "Cosh": lambda g, x, y, dy: _mul(g, dy, g.op("Sinh", x)),
    "Asinh": lambda g, x, y, dy: _mul(g, dy, _inverse_root(g, _plus(g, _square(g, x), 1.0))),
    "Acosh": lambda g, x, y, dy: _mul(g, dy, _inverse_root(g, _plus(g, _square(g, x), -1.0))),
    "Atanh": lambda g, x, y, dy: g.op("Div", dy, _one_minus(g, _square(g, x))),
    "Tanh": lambda g, x, y, dy: _mul(g, dy, _one_minus(g, _square(g, y))),
    "Sigmoid": lambda g, x, y, dy: _mul(g, dy, _mul(g, y, _one_minus(g, y))),
    "Relu": lambda g, x, y, dy: _mask(g, g.op("Greater", x, g.const(0.0, like=x)), dy),
    "Softplus": lambda g, x, y, dy: _mul(g, dy, g.op("Sigmoid", x)),
    "Softsign": lambda g, x, y, dy: _mul(g, dy, _square(g, _one_minus(g, g.op("Abs", y)))),
    "Erf": lambda g, x, y, dy: _mul(
        g, dy, _scale(g, g.op("Exp", g.op("Neg", _square(g, x))), 2.0 / math.sqrt(math.pi))
    ),
}


def _define(op_type: str, slope: Slope) -> None:
    @gradient(op_type)
    def rule(g: Builder, node: ir.Node, grads: Grads, wanted: Wanted) -> Grads:
        return [slope(g, inp(node), node.outputs[0], only(grads))]


for _op_type, _slope in _SLOPES.items():
    _define(_op_type, _slope)


@gradient("Cast")
def _cast(g: Builder, node: ir.Node, grads: Grads, wanted: Wanted) -> Grads:
    return [g.cast(only(grads), dtype_of(inp(node)))]


@gradient("LeakyRelu")
def _leaky(g: Builder, node: ir.Node, grads: Grads, wanted: Wanted) -> Grads:
    x, dy = inp(node), only(grads)
    leak = _scale(g, dy, attr(node, "alpha", 0.01))
    return [g.op("Where", g.op("Greater", x, g.const(0.0, like=x)), dy, leak)]


@gradient("Elu")
def _elu(g: Builder, node: ir.Node, grads: Grads, wanted: Wanted) -> Grads:
    x, y, dy = inp(node), node.outputs[0], only(grads)
    left = _mul(g, dy, _plus(g, y, attr(node, "alpha", 1.0)))
    return [g.op("Where", g.op("Greater", x, g.const(0.0, like=x)), dy, left)]


@gradient("PRelu")
def _prelu(g: Builder, node: ir.Node, grads: Grads, wanted: Wanted) -> Grads:
    x, slope, dy = inp(node), inp(node, 1), only(grads)
    positive = g.op("Greater", x, g.const(0.0, like=x))
    dx = g.op("Where", positive, dy, _mul(g, dy, slope)) if wanted[0] else None
    ds = None
    if wanted[1]:
        ds = _mul(g, dy, g.op("Min", x, g.const(0.0, like=x)))
        ds = unbroadcast(g, ds, shape_of(slope))
    return [dx, ds]


@gradient("Clip")
def _clip(g: Builder, node: ir.Node, grads: Grads, wanted: Wanted) -> Grads:
    x, dy = inp(node), only(grads)
    for i, outside in ((1, "Less"), (2, "Greater")):
        if len(node.inputs) > i and node.inputs[i] is not None:
            dy = _mask(g, g.op("Not", g.op(outside, x, inp(node, i))), dy)
    return [dy, *[None] * (len(node.inputs) - 1)]


# Two operands -----------------------------------------------------------------------------------


def _both(
    g: Builder, node: ir.Node, wanted: Wanted, parts: Sequence[Callable[[], ir.Value]]
) -> Grads:
    """The wanted parts, summed to the shapes of their operands."""
    return [
        unbroadcast(g, part(), shape_of(inp(node, i))) if wanted[i] else None
        for i, part in enumerate(parts)
    ]


@gradient("Add")
def _add(g: Builder, node: ir.Node, grads: Grads, wanted: Wanted) -> Grads:
    dy = only(grads)
    return _both(g, node, wanted, [lambda: dy, lambda: dy])


@gradient("Sum")
def _sum(g: Builder, node: ir.Node, grads: Grads, wanted: Wanted) -> Grads:
    dy = only(grads)
    return _both(g, node, wanted, [lambda: dy] * len(node.inputs))


@gradient("Mean")
def _mean(g: Builder, node: ir.Node, grads: Grads, wanted: Wanted) -> Grads:
    dy = _scale(g, only(grads), 1.0 / len(node.inputs))
    return _both(g, node, wanted, [lambda: dy] * len(node.inputs))


@gradient("Sub")
def _sub(g: Builder, node: ir.Node, grads: Grads, wanted: Wanted) -> Grads:
    dy = only(grads)
    return _both(g, node, wanted, [lambda: dy, lambda: g.op("Neg", dy)])


@gradient("Mul")
def _mul_rule(g: Builder, node: ir.Node, grads: Grads, wanted: Wanted) -> Grads:
    dy = only(grads)
    a, b = inp(node), inp(node, 1)
    if a is b:  # square: two equal halves are one
        return [_scale(g, _mul(g, dy, a), 2.0), None]
    return _both(g, node, wanted, [lambda: _mul(g, dy, b), lambda: _mul(g, dy, a)])


@gradient("Div")
def _div(g: Builder, node: ir.Node, grads: Grads, wanted: Wanted) -> Grads:
    dy, b, y = only(grads), inp(node, 1), node.outputs[0]
    ratio = g.op("Div", dy, b)
    return _both(g, node, wanted, [lambda: ratio, lambda: g.op("Neg", _mul(g, ratio, y))])


@gradient("Pow")
def _pow(g: Builder, node: ir.Node, grads: Grads, wanted: Wanted) -> Grads:
    dy, a, b, y = only(grads), inp(node), inp(node, 1), node.outputs[0]

    def by_base() -> ir.Value:
        exponent = const_of(b)
        if exponent is not None and exponent.size == 1:
            power = float(exponent.reshape(-1)[0])
            if power == 0.0:  # 0 times 0 to the power of -1 would be NaN
                return _scale(g, dy, 0.0)
            slope = g.op("Pow", a, g.const(power - 1.0, like=a))
            return _mul(g, dy, _scale(g, slope, power))
        return _mul(g, dy, _mul(g, b, g.op("Pow", a, _plus(g, b, -1.0))))

    def by_exponent() -> ir.Value:
        # 0^b is constant for b > 0; log(0) must not turn that into NaN.
        positive = g.op("Greater", a, g.const(0.0, like=a))
        safe = g.op("Where", positive, a, g.const(1.0, like=a))
        return _mul(g, dy, _mul(g, y, g.op("Log", safe)))

    return _both(g, node, wanted, [by_base, by_exponent])


def _select(winner: str) -> None:
    beats = "GreaterOrEqual" if winner == "Max" else "LessOrEqual"

    @gradient(winner)
    def rule(g: Builder, node: ir.Node, grads: Grads, wanted: Wanted) -> Grads:
        # As MXNet's: where operands are equal the first one takes the gradient.
        dy, y, count = only(grads), node.outputs[0], len(node.inputs)
        if count == 1:
            return [dy]
        if count == 2:
            first = g.op(beats, inp(node), inp(node, 1))
            masks = [lambda: first, lambda: g.op("Not", first)]
            return _both(g, node, wanted, [lambda m=m: _mask(g, m(), dy) for m in masks])  # type: ignore[misc]
        out: list[ir.Value | None] = []
        free: ir.Value | None = None  # where no operand so far has taken the gradient
        for i in range(count):
            hit = g.op("Equal", inp(node, i), y)
            mine = hit if free is None else g.op("And", hit, free)
            taken = g.op("Not", hit)
            free = taken if free is None else g.op("And", free, taken)
            part = unbroadcast(g, _mask(g, mine, dy), shape_of(inp(node, i))) if wanted[i] else None
            out.append(part)
        return out


_select("Max")
_select("Min")


@gradient("Where")
def _where(g: Builder, node: ir.Node, grads: Grads, wanted: Wanted) -> Grads:
    dy, condition = only(grads), inp(node)
    zero = g.const(0.0, like=dy)
    out: list[ir.Value | None] = [None, None, None]
    if wanted[1]:
        out[1] = unbroadcast(g, g.op("Where", condition, dy, zero), shape_of(inp(node, 1)))
    if wanted[2]:
        out[2] = unbroadcast(g, g.op("Where", condition, zero, dy), shape_of(inp(node, 2)))
    return out


@gradient("Dropout")
def _dropout(g: Builder, node: ir.Node, grads: Grads, wanted: Wanted) -> Grads:
    dy = only(grads)
    if len(node.outputs) < 2:
        return [dy, *[None] * (len(node.inputs) - 1)]  # not training: the identity
    ratio = const_of(inp(node, 1))
    keep = 1.0 - (0.5 if ratio is None else float(ratio))
    dx = _scale(g, _mask(g, node.outputs[1], dy), 1.0 / keep)
    return [dx, *[None] * (len(node.inputs) - 1)]
