"""Elementwise functions: activations, unary mathematics, clip, Cast."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from operator import neg
from typing import Literal

import numpy as np
import onnx_ir as ir

from symbucket.ir import Expr, dtype_of
from symbucket.ir.expr import (
    clip,
    cos,
    cosh,
    erf,
    exp,
    log,
    reciprocal,
    sigmoid,
    sign,
    sin,
    sinh,
    sqrt,
    tanh,
    where,
)
from symbucket.ops.record import Emitter, Operator, operator
from symbucket.ops.shape import unify
from symbucket.types import InferredShapes, InferredTypes, PartialDType, PartialShape

FAMILY = "Element by element"

Unary = Callable[[Expr], Expr]


def _onnx(op_type: str) -> Unary:
    return lambda x: x.op(op_type)


_ceil = _onnx("Ceil")
_floor = _onnx("Floor")
_softplus = _onnx("Softplus")
_atanh = _onnx("Atanh")


def _with_sign_of(x: Expr, size: Expr) -> Expr:
    return sign(x) * size


def _truncate(x: Expr) -> Expr:
    return sign(x) * _floor(abs(x))


def _near_zero(x: Expr, near: Unary, far: Unary) -> Expr:
    """Return ``near`` of the elements between -0.5 and 0.5, and ``far`` of all others.

    Neither function sees the other's elements: their gradients may be infinite there.
    """
    is_near = abs(x) < 0.5
    zero, one = x.const(0.0), x.const(1.0)
    return where(is_near, near(where(is_near, x, zero)), far(where(is_near, one, x)))


def _unless_nan(x: Expr, y: Expr, otherwise: float) -> Expr:
    if not x.dtype.is_floating_point():
        return y
    return where(x.op("IsNaN"), otherwise, y)


def _cbrt(x: Expr) -> Expr:
    return _with_sign_of(x, abs(x) ** (1.0 / 3.0))


def _log1p(x: Expr) -> Expr:
    return _near_zero(x, lambda x: _atanh(x / (x + 2.0)) * 2.0, lambda x: log(x + 1.0))


def _expm1(x: Expr) -> Expr:
    def near(x: Expr) -> Expr:
        half = tanh(x * 0.5)
        return half * 2.0 / (1.0 - half)

    return _near_zero(x, near, lambda x: exp(x) - 1.0)


_UNARY: dict[str, Unary] = {
    "exp": exp,
    "log": log,
    "log2": lambda x: log(x) * (1.0 / math.log(2.0)),
    "log10": lambda x: log(x) * (1.0 / math.log(10.0)),
    "log1p": _log1p,
    "expm1": _expm1,
    "sqrt": sqrt,
    "rsqrt": lambda x: reciprocal(sqrt(x)),
    "cbrt": _cbrt,
    "rcbrt": lambda x: reciprocal(_cbrt(x)),
    "square": lambda x: x * x,
    "reciprocal": reciprocal,
    "abs": abs,
    "sign": lambda x: _unless_nan(x, sign(x), 0.0),
    "negative": neg,
    "floor": _floor,
    "ceil": _ceil,
    "rint": lambda x: _ceil(x - 0.5),  # MXNet: halves go down
    "round": lambda x: _with_sign_of(x, _floor(abs(x) + 0.5)),  # MXNet: halves away from zero
    "trunc": _truncate,
    "fix": _truncate,
    "sin": sin,
    "cos": cos,
    "tan": _onnx("Tan"),
    "arcsin": _onnx("Asin"),
    "arccos": _onnx("Acos"),
    "arctan": _onnx("Atan"),
    "sinh": sinh,
    "cosh": cosh,
    "arcsinh": _onnx("Asinh"),
    "arccosh": _onnx("Acosh"),
    "arctanh": _onnx("Atanh"),
    "degrees": lambda x: x * (180.0 / math.pi),
    "radians": lambda x: x * (math.pi / 180.0),
    "tanh": tanh,
    "sigmoid": sigmoid,
    "relu": _onnx("Relu"),
    "softsign": _onnx("Softsign"),
    "softrelu": _softplus,
    "erf": lambda x: _unless_nan(x, erf(x), math.nan),  # 1 in onnxruntime 1.19
    "log_sigmoid": lambda x: -_softplus(-x),
    "identity": _onnx("Identity"),
    "logical_not": lambda x: (~x.cast(ir.DataType.BOOL)).cast(x.dtype),
}


_MEANINGS = {
    "exp": "e to the power of x",
    "log": "The natural logarithm",
    "log2": "The logarithm to base 2",
    "log10": "The logarithm to base 10",
    "log1p": "``log(1 + x)``, exact near zero",
    "expm1": "``exp(x) - 1``, exact near zero",
    "sqrt": "The square root",
    "rsqrt": "``1 / sqrt(x)``",
    "cbrt": "The cube root, also of negative numbers",
    "rcbrt": "``1 / cbrt(x)``",
    "square": "``x * x``",
    "reciprocal": "``1 / x``",
    "abs": "The absolute value",
    "sign": "1 above zero, -1 below, 0 at zero and for NaN",
    "negative": "``-x``",
    "floor": "The largest whole number that is not above x",
    "ceil": "The smallest whole number that is not below x",
    "rint": "The nearest whole number, halves down",
    "round": "The nearest whole number, halves away from zero",
    "trunc": "The whole number next to x towards zero",
    "fix": "The whole number next to x towards zero, as ``trunc``",
    "sin": "The sine of an angle in radians",
    "cos": "The cosine of an angle in radians",
    "tan": "The tangent of an angle in radians",
    "arcsin": "The angle in radians, from -pi/2 to pi/2, with this sine",
    "arccos": "The angle in radians, from 0 to pi, with this cosine",
    "arctan": "The angle in radians, between -pi/2 and pi/2, with this tangent",
    "sinh": "``(exp(x) - exp(-x)) / 2``",
    "cosh": "``(exp(x) + exp(-x)) / 2``",
    "arcsinh": "``log(x + sqrt(x**2 + 1))``",
    "arccosh": "``log(x + sqrt(x**2 - 1))``, of x from 1 on",
    "arctanh": "``log((1 + x) / (1 - x)) / 2``, of x between -1 and 1",
    "degrees": "Radians in degrees: ``x * 180 / pi``",
    "radians": "Degrees in radians: ``x * pi / 180``",
    "tanh": "``sinh(x) / cosh(x)``, between -1 and 1",
    "sigmoid": "``1 / (1 + exp(-x))``, between 0 and 1",
    "relu": "``max(x, 0)``",
    "softsign": "``x / (1 + abs(x))``, between -1 and 1",
    "softrelu": "``log(1 + exp(x))``",
    "erf": "The error function: ``2 / sqrt(pi)`` times the integral of ``exp(-t**2)`` from 0 to x",
    "log_sigmoid": "``log(sigmoid(x))``, which is ``-log(1 + exp(-x))``",
    "identity": "x itself",
    "logical_not": "1 where x is 0, else 0",
}

# Formula, and the arguments and the result of an example.
_FORMULAS = {
    "exp": ("y = e^x", "[0, 1]) -> [1, 2.718]"),
    "log": ("y = log(x), to base e", "[1, 2]) -> [0, 0.6931]"),
    "log2": ("y = log(x) / log(2)", "[1, 8]) -> [0, 3]"),
    "log10": ("y = log(x) / log(10)", "[1, 1000]) -> [0, 3]"),
    "log1p": ("y = log(1 + x)", "[0, 1]) -> [0, 0.6931]"),
    "expm1": ("y = e^x - 1", "[0, 1]) -> [0, 1.718]"),
    "sqrt": ("y = x^(1/2)", "[4, 9]) -> [2, 3]"),
    "rsqrt": ("y = x^(-1/2)", "[4, 16]) -> [0.5, 0.25]"),
    "cbrt": ("y = x^(1/3)", "[-8, 27]) -> [-2, 3]"),
    "rcbrt": ("y = x^(-1/3)", "[-8, 1]) -> [-0.5, 1]"),
    "square": ("y = x^2", "[-2, 3]) -> [4, 9]"),
    "reciprocal": ("y = 1 / x", "[-2, 4]) -> [-0.5, 0.25]"),
    "abs": ("y = max(x, -x)", "[-2, 3]) -> [2, 3]"),
    "sign": ("y = 1 if x > 0, -1 if x < 0, else 0", "[-2, 0, 3]) -> [-1, 0, 1]"),
    "negative": ("y = -x", "[-2, 3]) -> [2, -3]"),
    "floor": ("y = max of whole k <= x", "[-1.5, 1.5]) -> [-2, 1]"),
    "ceil": ("y = min of whole k >= x", "[-1.5, 1.5]) -> [-1, 2]"),
    "rint": ("y = ceil(x - 1/2)", "[-1.5, 0.5, 1.7]) -> [-2, 0, 2]"),
    "round": ("y = sign(x) floor(abs(x) + 1/2)", "[-1.5, 0.5, 1.7]) -> [-2, 1, 2]"),
    "trunc": ("y = sign(x) floor(abs(x))", "[-1.5, 1.5]) -> [-1, 1]"),
    "fix": ("y = sign(x) floor(abs(x))", "[-1.5, 1.5]) -> [-1, 1]"),
    "sin": ("y = sin(x)", "[0, 1]) -> [0, 0.8415]"),
    "cos": ("y = cos(x)", "[0, 1]) -> [1, 0.5403]"),
    "tan": ("y = sin(x) / cos(x)", "[0, 1]) -> [0, 1.557]"),
    "arcsin": ("sin(y) = x", "[0, 1]) -> [0, 1.571]"),
    "arccos": ("cos(y) = x", "[0, 1]) -> [1.571, 0]"),
    "arctan": ("tan(y) = x", "[0, 1]) -> [0, 0.7854]"),
    "sinh": ("y = (e^x - e^-x) / 2", "[0, 1]) -> [0, 1.175]"),
    "cosh": ("y = (e^x + e^-x) / 2", "[0, 1]) -> [1, 1.543]"),
    "arcsinh": ("y = log(x + sqrt(x^2 + 1))", "[0, 1]) -> [0, 0.8814]"),
    "arccosh": ("y = log(x + sqrt(x^2 - 1))", "[1, 2]) -> [0, 1.317]"),
    "arctanh": ("y = log((1 + x) / (1 - x)) / 2", "[0, 0.5]) -> [0, 0.5493]"),
    "degrees": ("y = 180 x / pi", "[0, 1]) -> [0, 57.3]"),
    "radians": ("y = pi x / 180", "[0, 90]) -> [0, 1.571]"),
    "tanh": ("y = (e^x - e^-x) / (e^x + e^-x)", "[0, 1]) -> [0, 0.7616]"),
    "sigmoid": ("y = 1 / (1 + e^-x)", "[0, 1]) -> [0.5, 0.7311]"),
    "relu": ("y = max(x, 0)", "[-1, 2]) -> [0, 2]"),
    "softsign": ("y = x / (1 + abs(x))", "[-1, 3]) -> [-0.5, 0.75]"),
    "softrelu": ("y = log(1 + e^x)", "[0, 1]) -> [0.6931, 1.313]"),
    "erf": ("y = 2 / sqrt(pi) integral over t from 0 to x of e^(-t^2)", "[0, 1]) -> [0, 0.8427]"),
    "log_sigmoid": ("y = -log(1 + e^-x)", "[0, 1]) -> [-0.6931, -0.3133]"),
    "identity": ("y = x", "[1, 2]) -> [1, 2]"),
    "logical_not": ("y = 1 if x = 0, else 0", "[0, 2]) -> [1, 0]"),
}


# Piecewise constant: nothing flows back.
_STEPS = frozenset("sign floor ceil rint round trunc fix logical_not".split())
_METHODS = frozenset(
    "abs arccos arccosh arcsin arcsinh arctan arctanh cbrt ceil cos cosh degrees erf exp expm1 fix "
    "floor log log10 log1p log2 radians rcbrt reciprocal relu rint round rsqrt sigmoid sign sin "
    "sinh sqrt square tan tanh trunc".split()
)


def _define_unary(name: str, rule: Unary, *aliases: str) -> None:
    def emit(self: Operator, g: Emitter, data: ir.Value) -> ir.Value:
        return rule(Expr(g, data)).value

    formula, example = _FORMULAS[name]
    body = {
        "emit": emit,
        "formula": formula,
        "example": f"{name}({example}",
        "no_gradient": ("data",) if name in _STEPS else (),
        "__doc__": f"{_MEANINGS[name]}; element by element.",
        "__module__": __name__,
    }
    method = name if name in _METHODS else ""
    operator(name, *aliases, method=method)(type(name, (Operator,), body))


for _name, _rule in _UNARY.items():
    _define_unary(_name, _rule, *({"identity": ("_copy",)}.get(_name, ())))


@operator("Activation")
class Activation(Operator):
    """An activation function, element by element; softrelu is log(1 + exp(x))."""

    formula = (
        "y = f(x): relu max(x, 0); sigmoid 1 / (1 + exp(-x)); tanh; softrelu log(1 + exp(x)); "
        "softsign x / (1 + abs(x))"
    )
    example = 'Activation([-1, 2], act_type="relu") -> [0, 2]'

    act_type: Literal["relu", "sigmoid", "tanh", "softrelu", "softsign"]

    def emit(self, g: Emitter, data: ir.Value) -> ir.Value:
        return _UNARY[self.act_type](Expr(g, data)).value


@operator("clip", method="clip")
class Clip(Operator):
    """Values below ``a_min`` become ``a_min``, above ``a_max`` become ``a_max``."""

    formula = "y = min(max(x, a_min), a_max)"
    example = "clip([-2, 0.5, 2], -1, 1) -> [-1, 0.5, 1]"

    a_min: float
    a_max: float

    def emit(self, g: Emitter, data: ir.Value) -> ir.Value:
        low, high = self.a_min, self.a_max
        dtype = dtype_of(data).numpy()
        if dtype.kind in "iu":  # limits beyond the range of the dtype are none
            limits = np.iinfo(dtype)
            low, high = (min(max(end, limits.min), limits.max) for end in (low, high))
        return clip(Expr(g, data), low, high).value


@operator("hard_sigmoid")
class HardSigmoid(Operator):
    """``alpha * data + beta``, clipped to 0 to 1."""

    formula = "y = min(max(alpha x + beta, 0), 1)"
    example = "hard_sigmoid([-5, 1, 5]) -> [0, 0.7, 1]"

    alpha: float = 0.2
    beta: float = 0.5

    def emit(self, g: Emitter, data: ir.Value) -> ir.Value:
        return clip(Expr(g, data) * self.alpha + self.beta, 0.0, 1.0).value


@operator("smooth_l1")
class SmoothL1(Operator):
    """Huber-like loss: ``(s x)^2 / 2`` where ``|x| < 1/s^2``, else ``|x| - 1/(2 s^2)``."""

    formula = "y = (s x)^2 / 2 if abs(x) < 1 / s^2, else abs(x) - 1 / (2 s^2), s = scalar"
    example = "smooth_l1([0.5, 3]) -> [0.125, 2.5]"

    scalar: float = 1.0

    def emit(self, g: Emitter, data: ir.Value) -> ir.Value:
        x, squared = Expr(g, data), self.scalar**2
        size = abs(x)
        inner = x * x * (0.5 * squared)
        outer = size - 0.5 / squared
        return where(size < 1.0 / squared, inner, outer).value


@operator("_contrib_quadratic")
class Quadratic(Operator):
    """``a x^2 + b x + c``, element by element."""

    formula = "y = a x^2 + b x + c"
    example = "contrib.quadratic([1, 2], a=1, b=2, c=3) -> [6, 11]"

    a: float = 0.0
    b: float = 0.0
    c: float = 0.0

    def emit(self, g: Emitter, data: ir.Value) -> ir.Value:
        x = Expr(g, data)
        return (x * x * self.a + x * self.b + self.c).value


@operator("Cast", "cast", "amp_cast")
class Cast(Operator):
    """The values in another dtype."""

    formula = "y = x in dtype; fractions are cut off"
    example = 'Cast([1.7, -1.7], dtype="int32") -> [1, -1]'
    moves_only = True

    dtype: str

    def __post_init__(self) -> None:
        try:
            np.dtype(self.dtype)
        except TypeError:
            self.check(False, f"dtype={self.dtype!r} is not a numpy dtype")

    def infer_type(self, ins: list[PartialDType], outs: list[PartialDType]) -> InferredTypes:
        """The output has the attribute's dtype."""
        return ins, [np.dtype(self.dtype)]

    def emit(self, g: Emitter, data: ir.Value) -> ir.Value:
        return g.cast(data, ir.DataType.from_numpy(np.dtype(self.dtype)))


@operator("amp_multicast")
class AmpMulticast(Operator):
    """Several arrays in one float dtype: the widest among them (``cast_narrow``: the narrowest)."""

    formula = "y[i] = x[i] in the widest dtype"
    example = "amp_multicast([1], [2], num_outputs=2) -> [1], [2]"
    variadic = True
    count_in_files = "num_outputs"
    num_args: int = 1
    num_outputs: int = 0
    cast_narrow: bool = False

    def __post_init__(self) -> None:
        self.check(
            self.num_outputs in (0, self.num_args),
            f"num_outputs={self.num_outputs} must be the number of inputs, {self.num_args}",
        )

    def arguments(self) -> tuple[str, ...]:
        return tuple(f"data_{i}" for i in range(self.num_args))

    def outputs(self) -> tuple[str, ...]:
        if self.num_args == 1:
            return ("output",)
        return tuple(f"output{i}" for i in range(self.num_args))

    def infer_shape(self, ins: list[PartialShape], outs: list[PartialShape]) -> InferredShapes:
        shapes = [unify(a, b) for a, b in zip(ins, outs)]
        return shapes, shapes

    def infer_type(self, ins: list[PartialDType], outs: list[PartialDType]) -> InferredTypes:
        dtypes = [dtype for dtype in ins if dtype is not None]
        if len(dtypes) < len(ins):
            return ins, outs
        choose = min if self.cast_narrow else max
        return ins, [choose(dtypes, key=lambda dtype: dtype.itemsize)] * len(ins)

    def emit(self, g: Emitter, *inputs: ir.Value) -> Sequence[ir.Value]:
        return [g.cast(x, ir.DataType.from_numpy(dtype)) for x, dtype in zip(inputs, g.out_dtypes)]
