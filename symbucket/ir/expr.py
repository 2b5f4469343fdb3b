"""Formulas over ONNX values: ``p - y * p.sum(axis, keepdims=True)`` appends the nodes it names.

An ``Expr`` is a value together with the builder that appends to its graph. Every operator, method
and function below appends one node, in the order in which Python evaluates the formula; nothing is
simplified, folded or reordered, so that the order of float operations is the one that is written.
The only calls that append nothing are those that would change nothing: a reshape or expansion to
the same shape, the identity transpose, a cast to the same dtype, a sum over no axes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

import numpy as np
import onnx_ir as ir

from symbucket.ir.builder import Builder, const_of, dtype_of, shape_of
from symbucket.ir.registry import OWN_DOMAIN
from symbucket.types import Array, Shape

Operand: TypeAlias = "Expr | float | Array"
Argument: TypeAlias = "Operand | ir.Value | Sequence[int] | None"
"""An input of a node: numbers and arrays become constants, lists of integers int64 constants."""


class Expr:
    """An ``ir.Value`` with the operators of numpy.

    Numbers and numpy arrays become constants of this value's dtype. Comparisons (``==`` too) are
    elementwise and return booleans, so an Expr has no truth value and no hash; compare ``.value``
    to ask whether two are the same value.

    Args:
        g: appends the nodes.
        value: a value of that graph, of static shape if a formula asks for its shape.
    """

    __slots__ = ("g", "value")
    __array_ufunc__ = None  # array * expr asks expr
    __hash__ = None  # type: ignore[assignment]

    def __init__(self, g: Builder, value: ir.Value) -> None:
        self.g = g
        self.value = value

    def __repr__(self) -> str:
        return f"Expr({self.value!r})"

    def __bool__(self) -> bool:
        raise TypeError(
            "an Expr is a value that the graph computes later, so it is neither true nor "
            "false; use where(condition, x, y), or compare .value for identity."
        )

    # What is known of the value

    @property
    def shape(self) -> Shape:
        """The static shape."""
        return shape_of(self.value)

    @property
    def rank(self) -> int:
        """The number of axes."""
        return len(self.shape)

    @property
    def size(self) -> int:
        """The number of elements."""
        return int(np.prod(self.shape, dtype=np.int64))

    @property
    def dtype(self) -> ir.DataType:
        """The element type."""
        return dtype_of(self.value)

    @property
    def constant(self) -> Array | None:
        """The array of a constant, None for a computed value."""
        return const_of(self.value)

    # Nodes by name

    def op(self, op_type: str, *others: Argument, domain: str = "", **attributes: Any) -> Expr:
        """Append ``op_type`` with this value as first input; return its only output."""
        inputs = [v.value if type(v) is Expr else self._input(v) for v in others]
        g = self.g
        return Expr(g, g.op(op_type, self.value, *inputs, domain=domain, **attributes))

    def own(self, op_type: str, *others: Argument, **attributes: Any) -> Expr:
        """Append a node of symbucket's own domain with this value as first input."""
        return self.op(op_type, *others, domain=OWN_DOMAIN, **attributes)

    def ops(
        self, op_type: str, *others: Argument, outputs: int, domain: str = "", **attributes: Any
    ) -> list[Expr]:
        """Append ``op_type`` with this value as first input; return all its outputs."""
        inputs = [self.value, *map(self._input, others)]
        values = self.g.ops(op_type, *inputs, outputs=outputs, domain=domain, **attributes)
        return [Expr(self.g, value) for value in values]

    def _input(self, other: Argument) -> ir.Value | None:
        if isinstance(other, Expr):
            return other.value
        if other is None or isinstance(other, ir.Value):
            return other
        if isinstance(other, Sequence):
            return self.g.ints(*other)
        return self.g.const(other, like=self.value)

    # Constants of this dtype

    def const(self, array: float | Array) -> Expr:
        """A constant of this dtype; equal constants of a graph are one."""
        return Expr(self.g, self.g.const(array, like=self.value))

    def filled(self, fill: float, shape: Sequence[int] | None = None) -> Expr:
        """A tensor of one number, of this dtype and of ``shape`` (this one's by default)."""
        return Expr(self.g, self.g.filled(self.shape if shape is None else shape, fill, self.dtype))

    # Arithmetic

    def __neg__(self) -> Expr:
        return self.op("Neg")

    def __abs__(self) -> Expr:
        return self.op("Abs")

    def __add__(self, other: Operand) -> Expr:
        return self.op("Add", other)

    def __radd__(self, other: float) -> Expr:
        return self.const(other) + self

    def __sub__(self, other: Operand) -> Expr:
        return self.op("Sub", other)

    def __rsub__(self, other: float) -> Expr:
        return self.const(other) - self

    def __mul__(self, other: Operand) -> Expr:
        return self.op("Mul", other)

    def __rmul__(self, other: float) -> Expr:
        return self.const(other) * self

    def __truediv__(self, other: Operand) -> Expr:
        return self.op("Div", other)

    def __rtruediv__(self, other: float) -> Expr:
        return self.const(other) / self

    def __pow__(self, other: Operand) -> Expr:
        return self.op("Pow", other)

    def __rpow__(self, other: float) -> Expr:
        return self.const(other) ** self

    def __matmul__(self, other: Expr | Array) -> Expr:
        return self.op("MatMul", other)

    def __rmatmul__(self, other: float) -> Expr:
        return self.const(other) @ self

    # Comparisons and logic

    def __eq__(self, other: Expr | float) -> Expr:  # type: ignore[override]
        return self.op("Equal", other)

    def __ne__(self, other: Expr | float) -> Expr:  # type: ignore[override]
        return ~(self == other)

    def __lt__(self, other: Expr | float) -> Expr:
        return self.op("Less", other)

    def __le__(self, other: Expr | float) -> Expr:
        return self.op("LessOrEqual", other)

    def __gt__(self, other: Expr | float) -> Expr:
        return self.op("Greater", other)

    def __ge__(self, other: Expr | float) -> Expr:
        return self.op("GreaterOrEqual", other)

    def __and__(self, other: Expr) -> Expr:
        return self.op("And", other)

    def __or__(self, other: Expr) -> Expr:
        return self.op("Or", other)

    def __invert__(self) -> Expr:
        return self.op("Not")

    # Shapes, dtypes, reductions

    def reshape(self, shape: Sequence[int]) -> Expr:
        """The same elements in another static shape."""
        return Expr(self.g, self.g.reshape(self.value, shape))

    def transpose(self, perm: Sequence[int]) -> Expr:
        """The axes in the order ``perm``."""
        return Expr(self.g, self.g.transpose(self.value, perm))

    def swap_last(self) -> Expr:
        """A stack of matrices, each transposed."""
        rank = self.rank
        return self.transpose([*range(rank - 2), rank - 1, rank - 2])

    def expand(self, shape: Sequence[int]) -> Expr:
        """Broadcast to ``shape``."""
        return self if self.shape == tuple(shape) else self.op("Expand", list(shape))

    def cast(self, dtype: ir.DataType) -> Expr:
        """The elements in another dtype."""
        return Expr(self.g, self.g.cast(self.value, dtype))

    def sum(self, axes: int | Sequence[int] | None = None, keepdims: bool = False) -> Expr:
        """The sum over ``axes``, over all of them by default."""
        return Expr(self.g, self.g.reduce_sum(self.value, self._axes(axes), keepdims))

    def mean(self, axes: int | Sequence[int] | None = None, keepdims: bool = False) -> Expr:
        """The mean over ``axes``, over all of them by default."""
        # ONNX keeps axes unless told otherwise.
        return self.op("ReduceMean", self._axes(axes), keepdims=None if keepdims else 0)

    def _axes(self, axes: int | Sequence[int] | None) -> list[int]:
        if axes is None:
            return list(range(self.rank))
        rank = self.rank
        return [axis % rank for axis in ([axes] if isinstance(axes, int) else axes)]

    def sum_to(self, shape: Sequence[int]) -> Expr:
        """The sum over the axes along which a value of ``shape`` was broadcast to this one."""
        whole = self.shape
        if whole == tuple(shape):
            return self
        extra = len(whole) - len(shape)
        if whole[extra:] == tuple(shape):
            return self.sum(range(extra))
        axes = [*range(extra)]
        axes += [i + extra for i, d in enumerate(shape) if d == 1 and whole[i + extra] != 1]
        return self.sum(axes, keepdims=True).reshape(shape)


def _unary(op_type: str) -> Callable[[Expr], Expr]:
    def function(x: Expr) -> Expr:
        return x.op(op_type)

    function.__name__ = function.__qualname__ = op_type.lower()
    function.__doc__ = f"Append ONNX ``{op_type}``, element by element."
    return function


exp = _unary("Exp")
log = _unary("Log")
sqrt = _unary("Sqrt")
reciprocal = _unary("Reciprocal")
sign = _unary("Sign")
sin = _unary("Sin")
cos = _unary("Cos")
sinh = _unary("Sinh")
cosh = _unary("Cosh")
tanh = _unary("Tanh")
sigmoid = _unary("Sigmoid")
erf = _unary("Erf")


def maximum(x: Expr, y: Operand) -> Expr:
    """The larger one, element by element."""
    return x.op("Max", y)


def minimum(x: Expr, y: Operand) -> Expr:
    """The smaller one, element by element."""
    return x.op("Min", y)


def clip(x: Expr, low: Operand | None = None, high: Operand | None = None) -> Expr:
    """``x`` limited to ``[low, high]``, which are scalars; None stands for no limit."""
    return x.op("Clip", low, high)


def where(condition: Expr, x: Operand, y: Operand) -> Expr:
    """``x`` where ``condition`` holds, else ``y``; one of them is an Expr."""
    typed = x if isinstance(x, Expr) else y
    if not isinstance(typed, Expr):
        raise TypeError(f"where() needs an Expr among {x!r} and {y!r}, which has the dtype.")
    x, y = (v if isinstance(v, Expr) else typed.const(v) for v in (x, y))
    return condition.op("Where", x, y)


def has_nan(x: Expr, axes: Sequence[int], keepdims: bool = False) -> Expr:
    """Return where numbers along ``axes`` have a NaN."""
    # A sum of absolute values is NaN only if one of them is: no infinities cancel.
    return x.op("ReduceL1", list(axes), keepdims=int(keepdims)).op("IsNaN")
