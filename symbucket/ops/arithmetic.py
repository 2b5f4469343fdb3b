"""Arithmetic, comparisons and logic: of two arrays, with broadcasting, of an array and a number."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial, reduce
from operator import add, and_, eq, ge, gt, le, lt, mul, ne, or_, sub, truediv

import onnx_ir as ir

from symbucket.elements import as_element
from symbucket.errors import ShapeError
from symbucket.ir import Expr, dtype_of
from symbucket.ir.expr import maximum, minimum, sqrt, where
from symbucket.ops.integers import integer_power
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
    rest = a.op("Mod", divisor, fmod=1)
    opposite = (rest < 0.0) & (divisor > 0.0) | (rest > 0.0) & (divisor < 0.0)
    return where(is_zero, b.const(0.0), where(opposite, rest + divisor, rest))


def _hypot(a: Expr, b: Expr) -> Expr:
    # The squares of 1e-30 and 1e30 are none of float32.
    left, right = (x.cast(ir.DataType.DOUBLE) for x in (a, b))
    return sqrt(left * left + right * right).cast(a.dtype)


def _power(a: Expr, b: Expr) -> Expr:
    return integer_power(a, b) if a.dtype.is_integer() else a**b


_BINARY: dict[str, tuple[Binary, tuple[str, ...]]] = {
    "add": (add, ("elemwise_add", "_plus", "_add")),
    "sub": (sub, ("elemwise_sub", "_minus", "_sub")),
    "mul": (mul, ("elemwise_mul", "_mul")),
    "div": (truediv, ("elemwise_div", "_div")),
    "power": (_power, ("_power",)),
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

# Formula, and the results of [1, 4] with [2, 4], and of [[1], [4]] with [2, 4].
_FORMULAS = {
    "add": ("lhs + rhs", "[3, 8]", "[[3, 5], [6, 8]]"),
    "sub": ("lhs - rhs", "[-1, 0]", "[[-1, -3], [2, 0]]"),
    "mul": ("lhs * rhs", "[2, 16]", "[[2, 4], [8, 16]]"),
    "div": ("lhs / rhs", "[0.5, 1]", "[[0.5, 0.25], [2, 1]]"),
    "power": ("lhs^rhs", "[1, 256]", "[[1, 1], [16, 256]]"),
    "mod": ("lhs - rhs floor(lhs / rhs), 0 where rhs = 0", "[1, 0]", "[[1, 1], [0, 0]]"),
    "maximum": ("max(lhs, rhs)", "[2, 4]", "[[2, 4], [4, 4]]"),
    "minimum": ("min(lhs, rhs)", "[1, 4]", "[[1, 1], [2, 4]]"),
    "hypot": ("sqrt(lhs^2 + rhs^2)", "[2.236, 5.657]", "[[2.236, 4.123], [4.472, 5.657]]"),
    "equal": ("1 if lhs = rhs, else 0", "[0, 1]", "[[0, 0], [0, 1]]"),
    "not_equal": ("1 if lhs != rhs, else 0", "[1, 0]", "[[1, 1], [1, 0]]"),
    "greater": ("1 if lhs > rhs, else 0", "[0, 0]", "[[0, 0], [1, 0]]"),
    "greater_equal": ("1 if lhs >= rhs, else 0", "[0, 1]", "[[0, 0], [1, 1]]"),
    "lesser": ("1 if lhs < rhs, else 0", "[1, 0]", "[[1, 1], [0, 0]]"),
    "lesser_equal": ("1 if lhs <= rhs, else 0", "[1, 1]", "[[1, 1], [0, 1]]"),
    "logical_and": ("1 if lhs != 0 and rhs != 0, else 0", "[1, 1]", "[[1, 1], [1, 1]]"),
    "logical_or": ("1 if lhs != 0 or rhs != 0, else 0", "[1, 1]", "[[1, 1], [1, 1]]"),
    "logical_xor": ("1 if lhs = 0 or rhs = 0, but not both, else 0", "[0, 0]", "[[0, 0], [0, 0]]"),
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


def _define_binary(name: str, kind: str, rule: Binary, base: type[Operator], *aliases: str) -> None:
    def emit(self: Operator, g: Emitter, lhs: ir.Value, rhs: ir.Value) -> ir.Value:
        return rule(Expr(g, lhs), Expr(g, rhs)).value

    formula, result, broadcast_result = _FORMULAS[kind]
    example = f"([1, 4], [2, 4]) -> {result}"
    if base is _Broadcast:
        example = f"([[1], [4]], [2, 4]) -> {broadcast_result}"
    operands = "two arrays that broadcast" if base is _Broadcast else "two arrays of one shape"
    body = {
        "emit": emit,
        "formula": f"y = {formula}",
        "example": f"{name}{example}",
        "no_gradient": ("lhs", "rhs") if kind in _COMPARISONS else (),
        "__doc__": f"``{formula}`` of {operands}.",
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
    _define_binary(_aliases[0], _name, _binary_rule, _TwoInputs, *_aliases[1:], _old)
    extra = {"add": ("broadcast_plus",), "sub": ("broadcast_minus",)}.get(_name, ())
    _define_binary(f"broadcast_{_name}", _name, _binary_rule, _Broadcast, *extra)


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
    "_power_scalar": _power,
    "_rpower_scalar": lambda x, s: _power(s, x),
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

# Formula, and the result of [1, 4] with scalar=2.
_SCALAR_FORMULAS = {
    "_plus_scalar": ("x + scalar", "[3, 6]"),
    "_minus_scalar": ("x - scalar", "[-1, 2]"),
    "_rminus_scalar": ("scalar - x", "[1, -2]"),
    "_mul_scalar": ("x * scalar", "[2, 8]"),
    "_div_scalar": ("x / scalar", "[0.5, 2]"),
    "_rdiv_scalar": ("scalar / x", "[2, 0.5]"),
    "_mod_scalar": ("x - scalar floor(x / scalar), 0 if scalar = 0", "[1, 0]"),
    "_rmod_scalar": ("scalar - x floor(scalar / x), 0 where x = 0", "[0, 2]"),
    "_power_scalar": ("x^scalar", "[1, 16]"),
    "_rpower_scalar": ("scalar^x", "[2, 16]"),
    "_maximum_scalar": ("max(x, scalar)", "[2, 4]"),
    "_minimum_scalar": ("min(x, scalar)", "[1, 2]"),
    "_hypot_scalar": ("sqrt(x^2 + scalar^2)", "[2.236, 4.472]"),
    "_equal_scalar": ("1 if x = scalar, else 0", "[0, 0]"),
    "_not_equal_scalar": ("1 if x != scalar, else 0", "[1, 1]"),
    "_greater_scalar": ("1 if x > scalar, else 0", "[0, 1]"),
    "_greater_equal_scalar": ("1 if x >= scalar, else 0", "[0, 1]"),
    "_lesser_scalar": ("1 if x < scalar, else 0", "[1, 0]"),
    "_lesser_equal_scalar": ("1 if x <= scalar, else 0", "[1, 0]"),
    "_logical_and_scalar": ("1 if x != 0 and scalar != 0, else 0", "[1, 1]"),
    "_logical_or_scalar": ("1 if x != 0 or scalar != 0, else 0", "[1, 1]"),
    "_logical_xor_scalar": ("1 if x = 0 or scalar = 0, but not both, else 0", "[0, 0]"),
}


def _define_scalar(name: str, rule: Binary) -> None:
    def emit(self: _Scalar, g: Emitter, data: ir.Value) -> ir.Value:
        x = Expr(g, data)
        return rule(x, x.const(as_element(self.scalar, x.dtype.numpy()))).value

    formula, result = _SCALAR_FORMULAS[name]
    kind = name.removeprefix("_").removesuffix("_scalar")
    body = {
        "emit": emit,
        "formula": f"y = {formula}",
        "example": f"{name}([1, 4], scalar=2) -> {result}",
        "no_gradient": ("data",) if kind in _COMPARISONS else (),
        "__annotations__": {"scalar": float},
        "__doc__": f"``{formula}`` of an array x and a number.",
        "__module__": __name__,
    }
    operator(name, _old_name(name))(type(name, (_Scalar,), body))


for _name, _binary_rule in _SCALAR.items():
    _define_scalar(_name, _binary_rule)


@operator("add_n", "ElementWiseSum", "_sum")
class AddN(Operator):
    """The sum of any number of arrays of one shape."""

    formula = "y = x[0] + x[1] + ..."
    example = "add_n([1, 2], [3, 4], [5, 6]) -> [9, 12]"

    num_args: int
    variadic = True

    def arguments(self) -> tuple[str, ...]:
        return tuple(f"arg{i}" for i in range(self.num_args))

    def emit(self, g: Emitter, *inputs: ir.Value) -> ir.Value:
        if dtype_of(inputs[0]).is_floating_point():
            return g.op("Sum", *inputs)
        return reduce(partial(g.op, "Add"), inputs)  # the runtimes' Sum has floats only
