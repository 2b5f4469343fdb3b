"""Arithmetic, comparisons and logic: of two arrays, with broadcasting, of an array and a number."""

from __future__ import annotations

from collections.abc import Callable
from operator import add, and_, eq, ge, gt, le, lt, mul, ne, or_, pow, sub, truediv

import onnx_ir as ir

from symbucket.errors import ShapeError
from symbucket.ir import Expr
from symbucket.ir.expr import maximum, minimum, sqrt, where
from symbucket.ops.record import Emitter, Operator, operator
from symbucket.ops.shape import unify
from symbucket.types import InferredShapes, PartialShape

FAMILY = "Element by element"

Binary = Callable[[Expr, Expr], Expr]


def _compare(compare: Binary) -> Binary:
    # MXNet's comparisons are 1.0 and 0.0 in the dtype of the operands.
    return lambda a, b: compare(a, b).cast(a.dtype)


def _logical(combine: Binary) -> Binary:
    def rule(a: Expr, b: Expr) -> Expr:
        left, right = (v.cast(ir.DataType.BOOL) for v in (a, b))
        return combine(left, right).cast(a.dtype)

    return rule


def _xor(a: Expr, b: Expr) -> Expr:
    return a.op("Xor", b)


def _modulo(a: Expr, b: Expr) -> Expr:
    # Python's sign rule, which ONNX's Mod has for integers only; x % 0 is 0, as in MXNet.
    is_zero = b == 0.0
    if not a.dtype.is_floating_point():
        return where(is_zero, b.const(0), a.op("Mod", where(is_zero, b.const(1), b)))
    divisor = where(is_zero, b.const(1.0), b)
    return where(is_zero, b.const(0.0), a - divisor * (a / divisor).op("Floor"))


def _hypot(a: Expr, b: Expr) -> Expr:
    return sqrt(a * a + b * b)


_BINARY: dict[str, tuple[Binary, tuple[str, ...]]] = {
    "add": (add, ("elemwise_add", "_plus", "_add")),
    "sub": (sub, ("elemwise_sub", "_minus", "_sub")),
    "mul": (mul, ("elemwise_mul", "_mul")),
    "div": (truediv, ("elemwise_div", "_div")),
    "power": (pow, ("_power",)),
    "mod": (_modulo, ("_mod",)),
    "maximum": (maximum, ("_maximum",)),
    "minimum": (minimum, ("_minimum",)),
    "hypot": (_hypot, ("_hypot",)),
    "equal": (_compare(eq), ("_equal",)),
    "not_equal": (_compare(ne), ("_not_equal",)),
    "greater": (_compare(gt), ("_greater",)),
    "greater_equal": (_compare(ge), ("_greater_equal",)),
    "lesser": (_compare(lt), ("_lesser",)),
    "lesser_equal": (_compare(le), ("_lesser_equal",)),
    "logical_and": (_logical(and_), ("_logical_and",)),
    "logical_or": (_logical(or_), ("_logical_or",)),
    "logical_xor": (_logical(_xor), ("_logical_xor",)),
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
    """Two operands whose shapes broadcast: equal sizes, or 1 on either side.

    A shape with fewer axes begins with sizes of 1.
    """

    shapes = "(*d), (*e) -> (*f)"

    def infer_shape(self, ins: list[PartialShape], outs: list[PartialShape]) -> InferredShapes:
        a, b = ins
        if a is None or b is None:
            return ins, outs
        rank = max(len(a), len(b))
        whole = [(*[1] * (rank - len(shape)), *shape) for shape in (a, b)]
        out = []
        for x, y in zip(*whole):
            if x > 1 and y > 1 and x != y:
                raise ShapeError(f"shapes {a} and {b} do not broadcast")
            out.append(max(x, y) if (x > 1 or y > 1) else min(x, y))
        return ins, [unify(outs[0], tuple(out))]


def _plain(name: str) -> str:
    """The name of an operator's function: ``equal`` for ``broadcast_equal``, ``_equal_scalar``."""
    return name.removeprefix("broadcast").removeprefix("_").removesuffix("_scalar")


def _define_binary(name: str, rule: Binary, base: type[Operator], *aliases: str) -> None:
    def emit(self: Operator, g: Emitter, lhs: ir.Value, rhs: ir.Value) -> ir.Value:
        return rule(Expr(g, lhs), Expr(g, rhs)).value

    kind = "with broadcasting" if base is _Broadcast else "of two arrays of one shape"
    no_gradient = ("lhs", "rhs") if _plain(name) in _COMPARISONS else ()
    body = {
        "emit": emit,
        "no_gradient": no_gradient,
        "__doc__": f"``{name}`` {kind}.",
        "__module__": __name__,
    }
    operator(name, *aliases)(type(name, (base,), body))


def _old_name(name: str) -> str:
    """The name in files of MXNet before 1.0: ``_Plus``, ``_Not_Equal``, ``_RMinusScalar``."""
    words = name.strip("_").split("_")
    if words[-1] != "scalar":
        return "_" + "_".join(word.capitalize() for word in words)
    reflected = words[0] in ("rminus", "rdiv", "rmod", "rpower")
    first = "R" + words[0][1:].capitalize() if reflected else words[0].capitalize()
    return "_" + first + "".join(word.capitalize() for word in words[1:])


for _name, (_binary_rule, _aliases) in _BINARY.items():
    # MXNet's file name of an operator is the first alias: elemwise_add, _power, ...
    _old = _old_name({"add": "plus", "sub": "minus"}.get(_name, _name))
    _define_binary(_aliases[0], _binary_rule, _TwoInputs, *_aliases[1:], _old)
    extra = {"add": ("broadcast_plus",), "sub": ("broadcast_minus",)}.get(_name, ())
    _define_binary(f"broadcast_{_name}", _binary_rule, _Broadcast, *extra)


class _Scalar(Operator):
    """An array and a number."""

    scalar: float


_SCALAR: dict[str, Binary] = {
    "_plus_scalar": add,
    "_minus_scalar": sub,
    "_rminus_scalar": lambda x, s: s - x,
    "_mul_scalar": mul,
    "_div_scalar": truediv,
    "_rdiv_scalar": lambda x, s: s / x,
    "_mod_scalar": _modulo,
    "_rmod_scalar": lambda x, s: _modulo(s, x),
    "_power_scalar": pow,
    "_rpower_scalar": lambda x, s: s**x,
    "_maximum_scalar": maximum,
    "_minimum_scalar": minimum,
    "_hypot_scalar": _hypot,
    "_equal_scalar": _compare(eq),
    "_not_equal_scalar": _compare(ne),
    "_greater_scalar": _compare(gt),
    "_greater_equal_scalar": _compare(ge),
    "_lesser_scalar": _compare(lt),
    "_lesser_equal_scalar": _compare(le),
    "_logical_and_scalar": _logical(and_),
    "_logical_or_scalar": _logical(or_),
    "_logical_xor_scalar": _logical(_xor),
}


def _define_scalar(name: str, rule: Binary) -> None:
    def emit(self: _Scalar, g: Emitter, data: ir.Value) -> ir.Value:
        x = Expr(g, data)
        return rule(x, x.const(self.scalar)).value

    body = {
        "emit": emit,
        "no_gradient": ("data",) if _plain(name) in _COMPARISONS else (),
        "__annotations__": {"scalar": float},
        "__doc__": f"``{name.strip('_')}`` of an array and the number ``scalar``.",
        "__module__": __name__,
    }
    operator(name, _old_name(name))(type(name, (_Scalar,), body))


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
