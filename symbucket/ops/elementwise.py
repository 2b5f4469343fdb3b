"""Elementwise operators: activations, unary mathematics, arithmetic with arrays and scalars."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Literal

import numpy as np
import onnx_ir as ir

from symbucket.errors import ShapeError
from symbucket.ir import dtype_of
from symbucket.ops.record import Emitter, Operator, operator
from symbucket.ops.shape import unify
from symbucket.types import InferredShapes, InferredTypes, PartialDType, PartialShape

FAMILY = "Element by element"

Unary = Callable[[Emitter, ir.Value], ir.Value]


def _onnx(op_type: str) -> Unary:
    return lambda g, x: g.op(op_type, x)


def _one_plus(g: Emitter, x: ir.Value) -> ir.Value:
    return g.op("Add", x, g.const(1.0, like=x))


def _cbrt(g: Emitter, x: ir.Value) -> ir.Value:
    root = g.op("Pow", g.op("Abs", x), g.const(1.0 / 3.0, like=x))
    return g.op("Mul", g.op("Sign", x), root)


def _round_away(g: Emitter, x: ir.Value) -> ir.Value:
    # MXNet rounds halves away from zero, ONNX's Round to even.
    up = g.op("Floor", g.op("Add", g.op("Abs", x), g.const(0.5, like=x)))
    return g.op("Mul", g.op("Sign", x), up)


def _truncate(g: Emitter, x: ir.Value) -> ir.Value:
    return g.op("Mul", g.op("Sign", x), g.op("Floor", g.op("Abs", x)))


def _log_base(base: float) -> Unary:
    return lambda g, x: g.op("Mul", g.op("Log", x), g.const(1.0 / math.log(base), like=x))


def _scaled(factor: float) -> Unary:
    return lambda g, x: g.op("Mul", x, g.const(factor, like=x))


_UNARY: dict[str, Unary] = {
    "exp": _onnx("Exp"),
    "log": _onnx("Log"),
    "log2": _log_base(2.0),
    "log10": _log_base(10.0),
    "log1p": lambda g, x: g.op("Log", _one_plus(g, x)),
    "expm1": lambda g, x: g.op("Sub", g.op("Exp", x), g.const(1.0, like=x)),
    "sqrt": _onnx("Sqrt"),
    "rsqrt": lambda g, x: g.op("Reciprocal", g.op("Sqrt", x)),
    "cbrt": _cbrt,
    "square": lambda g, x: g.op("Mul", x, x),
    "reciprocal": _onnx("Reciprocal"),
    "abs": _onnx("Abs"),
    "sign": _onnx("Sign"),
    "negative": _onnx("Neg"),
    "floor": _onnx("Floor"),
    "ceil": _onnx("Ceil"),
    "rint": _onnx("Round"),
    "round": _round_away,
    "trunc": _truncate,
    "fix": _truncate,
    "sin": _onnx("Sin"),
    "cos": _onnx("Cos"),
    "tan": _onnx("Tan"),
    "arcsin": _onnx("Asin"),
    "arccos": _onnx("Acos"),
    "arctan": _onnx("Atan"),
    "sinh": _onnx("Sinh"),
    "cosh": _onnx("Cosh"),
    "arcsinh": _onnx("Asinh"),
    "arccosh": _onnx("Acosh"),
    "arctanh": _onnx("Atanh"),
    "degrees": _scaled(180.0 / math.pi),
    "radians": _scaled(math.pi / 180.0),
    "tanh": _onnx("Tanh"),
    "sigmoid": _onnx("Sigmoid"),
    "relu": _onnx("Relu"),
    "softsign": _onnx("Softsign"),
    "softrelu": _onnx("Softplus"),
    "erf": _onnx("Erf"),
    "log_sigmoid": lambda g, x: g.op("Neg", g.op("Softplus", g.op("Neg", x))),
    "identity": _onnx("Identity"),
}


# Piecewise constant: nothing flows back.
_STEPS = frozenset("sign floor ceil rint round trunc fix".split())
_METHODS = frozenset(
    "abs cbrt ceil cos erf exp floor log log1p reciprocal relu round rsqrt sigmoid sign sin sqrt "
    "square tanh".split()
)


def _define_unary(name: str, rule: Unary, *aliases: str) -> None:
    def emit(self: Operator, g: Emitter, data: ir.Value) -> ir.Value:
        return rule(g, data)

    body = {
        "emit": emit,
        "no_gradient": ("data",) if name in _STEPS else (),
        "__doc__": f"``{name}(data)``, element by element.",
        "__module__": __name__,
    }
    method = name if name in _METHODS else ""
    operator(name, *aliases, method=method)(type(name, (Operator,), body))


for _name, _rule in _UNARY.items():
    _define_unary(_name, _rule, *({"identity": ("_copy",)}.get(_name, ())))


@operator("Activation")
class Activation(Operator):
    """An activation function, element by element; softrelu is log(1 + exp(x))."""

    act_type: Literal["relu", "sigmoid", "tanh", "softrelu", "softsign"]

    def emit(self, g: Emitter, data: ir.Value) -> ir.Value:
        return _UNARY[self.act_type](g, data)


@operator("clip", method="clip")
class Clip(Operator):
    """Values below ``a_min`` become ``a_min``, above ``a_max`` become ``a_max``."""

    a_min: float
    a_max: float

    def emit(self, g: Emitter, data: ir.Value) -> ir.Value:
        return g.op("Clip", data, g.const(self.a_min, like=data), g.const(self.a_max, like=data))


@operator("hard_sigmoid")
class HardSigmoid(Operator):
    """``alpha * data + beta``, clipped to 0 to 1."""

    alpha: float = 0.2
    beta: float = 0.5

    def emit(self, g: Emitter, data: ir.Value) -> ir.Value:
        line = g.op("Mul", data, g.const(self.alpha, like=data))
        line = g.op("Add", line, g.const(self.beta, like=data))
        return g.op("Clip", line, g.const(0.0, like=data), g.const(1.0, like=data))


@operator("smooth_l1")
class SmoothL1(Operator):
    """Huber-like loss: ``(s x)^2 / 2`` where ``|x| < 1/s^2``, else ``|x| - 1/(2 s^2)``."""

    scalar: float = 1.0

    def emit(self, g: Emitter, data: ir.Value) -> ir.Value:
        squared = self.scalar**2
        size = g.op("Abs", data)
        inner = g.op("Mul", g.op("Mul", data, data), g.const(0.5 * squared, like=data))
        outer = g.op("Sub", size, g.const(0.5 / squared, like=data))
        return g.op("Where", g.op("Less", size, g.const(1.0 / squared, like=data)), inner, outer)


# Arithmetic ------------------------------------------------------------------------------------

Binary = Callable[[Emitter, ir.Value, ir.Value], ir.Value]


def _onnx2(op_type: str) -> Binary:
    return lambda g, a, b: g.op(op_type, a, b)


def _compare(op_type: str) -> Binary:
    # MXNet's comparisons give 1.0 and 0.0 in the dtype of the operands.
    return lambda g, a, b: g.cast(g.op(op_type, a, b), dtype_of(a))


def _not_equal(g: Emitter, a: ir.Value, b: ir.Value) -> ir.Value:
    return g.cast(g.op("Not", g.op("Equal", a, b)), dtype_of(a))


def _modulo(g: Emitter, a: ir.Value, b: ir.Value) -> ir.Value:
    # Python's sign rule, which ONNX's Mod has for integers only.
    return g.op("Sub", a, g.op("Mul", b, g.op("Floor", g.op("Div", a, b))))


def _hypot(g: Emitter, a: ir.Value, b: ir.Value) -> ir.Value:
    return g.op("Sqrt", g.op("Add", g.op("Mul", a, a), g.op("Mul", b, b)))


def _logical(op_type: str) -> Binary:
    def rule(g: Emitter, a: ir.Value, b: ir.Value) -> ir.Value:
        left, right = (g.cast(v, ir.DataType.BOOL) for v in (a, b))
        return g.cast(g.op(op_type, left, right), dtype_of(a))

    return rule


_BINARY: dict[str, tuple[Binary, tuple[str, ...]]] = {
    "add": (_onnx2("Add"), ("elemwise_add", "_plus", "_add")),
    "sub": (_onnx2("Sub"), ("elemwise_sub", "_minus", "_sub")),
    "mul": (_onnx2("Mul"), ("elemwise_mul", "_mul")),
    "div": (_onnx2("Div"), ("elemwise_div", "_div")),
    "power": (_onnx2("Pow"), ("_power",)),
    "mod": (_modulo, ("_mod",)),
    "maximum": (_onnx2("Max"), ("_maximum",)),
    "minimum": (_onnx2("Min"), ("_minimum",)),
    "hypot": (_hypot, ("_hypot",)),
    "equal": (_compare("Equal"), ("_equal",)),
    "not_equal": (_not_equal, ("_not_equal",)),
    "greater": (_compare("Greater"), ("_greater",)),
    "greater_equal": (_compare("GreaterOrEqual"), ("_greater_equal",)),
    "lesser": (_compare("Less"), ("_lesser",)),
    "lesser_equal": (_compare("LessOrEqual"), ("_lesser_equal",)),
    "logical_and": (_logical("And"), ("_logical_and",)),
    "logical_or": (_logical("Or"), ("_logical_or",)),
    "logical_xor": (_logical("Xor"), ("_logical_xor",)),
}


_COMPARISONS = frozenset(
    "equal not_equal greater greater_equal lesser lesser_equal logical_and logical_or "
    "logical_xor".split()
)


class _TwoInputs(Operator):
    """Two operands of one shape."""

    def arguments(self) -> tuple[str, ...]:
        return ("lhs", "rhs")


class _Broadcast(_TwoInputs):
    """Two operands whose shapes broadcast: equal sizes, or 1 on either side."""

    shapes = "(*d), (*e) -> (*f)"

    def infer_shape(self, ins: list[PartialShape], outs: list[PartialShape]) -> InferredShapes:
        a, b = ins
        if a is None or b is None:
            return ins, outs
        if len(a) != len(b):
            raise ShapeError(f"shapes {a} and {b} have different ranks")
        out = []
        for x, y in zip(a, b):
            if x > 1 and y > 1 and x != y:
                raise ShapeError(f"shapes {a} and {b} do not broadcast")
            out.append(max(x, y) if (x > 1 or y > 1) else min(x, y))
        return ins, [unify(outs[0], tuple(out))]


def _plain(name: str) -> str:
    """The name of an operator's function: ``equal`` for ``broadcast_equal``, ``_equal_scalar``."""
    return name.removeprefix("broadcast").removeprefix("_").removesuffix("_scalar")


def _define_binary(name: str, rule: Binary, base: type[Operator], *aliases: str) -> None:
    def emit(self: Operator, g: Emitter, lhs: ir.Value, rhs: ir.Value) -> ir.Value:
        return rule(g, lhs, rhs)

    kind = "with broadcasting" if base is _Broadcast else "of two arrays of one shape"
    no_gradient = ("lhs", "rhs") if _plain(name) in _COMPARISONS else ()
    body = {
        "emit": emit,
        "no_gradient": no_gradient,
        "__doc__": f"``{name}`` {kind}.",
        "__module__": __name__,
    }
    operator(name, *aliases)(type(name, (base,), body))


for _name, (_binary_rule, _aliases) in _BINARY.items():
    # MXNet's file name of an operator is the first alias: elemwise_add, _power, ...
    _define_binary(_aliases[0], _binary_rule, _TwoInputs, *_aliases[1:])
    extra = {"add": ("broadcast_plus",), "sub": ("broadcast_minus",)}.get(_name, ())
    _define_binary(f"broadcast_{_name}", _binary_rule, _Broadcast, *extra)


class _Scalar(Operator):
    """An array and a number."""

    scalar: float


_SCALAR: dict[str, Binary] = {
    "_plus_scalar": _onnx2("Add"),
    "_minus_scalar": _onnx2("Sub"),
    "_rminus_scalar": lambda g, x, s: g.op("Sub", s, x),
    "_mul_scalar": _onnx2("Mul"),
    "_div_scalar": _onnx2("Div"),
    "_rdiv_scalar": lambda g, x, s: g.op("Div", s, x),
    "_mod_scalar": _modulo,
    "_rmod_scalar": lambda g, x, s: _modulo(g, s, x),
    "_power_scalar": _onnx2("Pow"),
    "_rpower_scalar": lambda g, x, s: g.op("Pow", s, x),
    "_maximum_scalar": _onnx2("Max"),
    "_minimum_scalar": _onnx2("Min"),
    "_equal_scalar": _compare("Equal"),
    "_not_equal_scalar": _not_equal,
    "_greater_scalar": _compare("Greater"),
    "_greater_equal_scalar": _compare("GreaterOrEqual"),
    "_lesser_scalar": _compare("Less"),
    "_lesser_equal_scalar": _compare("LessOrEqual"),
}


def _define_scalar(name: str, rule: Binary) -> None:
    def emit(self: _Scalar, g: Emitter, data: ir.Value) -> ir.Value:
        return rule(g, data, g.const(self.scalar, like=data))

    body = {
        "emit": emit,
        "no_gradient": ("data",) if _plain(name) in _COMPARISONS else (),
        "__annotations__": {"scalar": float},
        "__doc__": f"``{name.strip('_')}`` of an array and the number ``scalar``.",
        "__module__": __name__,
    }
    operator(name)(type(name, (_Scalar,), body))


for _name, _binary_rule in _SCALAR.items():
    _define_scalar(_name, _binary_rule)


@operator("add_n", "ElementWiseSum", "_sum")
class AddN(Operator):
    """The sum of any number of arrays of one shape."""

    num_args: int
    variadic = True

    def arguments(self) -> tuple[str, ...]:
        return tuple(f"arg{i}" for i in range(self.num_args))

    def emit(self, g: Emitter, *inputs: ir.Value) -> ir.Value:
        return g.op("Sum", *inputs)


@operator("Cast", "cast")
class Cast(Operator):
    """The values in another dtype."""

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
