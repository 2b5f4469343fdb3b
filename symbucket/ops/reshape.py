"""Operators that change the shape of an array or the order of its axes."""

from __future__ import annotations

import math
from collections.abc import Iterator
from itertools import islice

import onnx_ir as ir

from symbucket.errors import ShapeError
from symbucket.ir import shape_of
from symbucket.ops.record import Emitter, Operator, operator
from symbucket.ops.shape import axis_of, is_known, unify
from symbucket.types import InferredShapes, PartialShape, Shape

FAMILY = "Shapes and axes"


class _ToOutShape(Operator):
    """The data in the order it has, in the inferred output shape."""

    moves_only = True

    def emit(self, g: Emitter, data: ir.Value) -> ir.Value:
        return g.reshape(data, g.out_shapes[0])


@operator("Reshape", "reshape", method="reshape")
class Reshape(_ToOutShape):
    """The data in another shape, by MXNet's codes.

    In ``shape``: a positive number is a size; 0 copies a dimension; -1 is what is left over; -2
    copies all remaining dimensions; -3 joins two dimensions; -4 splits one into the next two.
    ``reverse`` reads the codes from the right.

    ``target_shape`` of old symbol files counts only without ``shape``: 0 is what is left over, and
    ``keep_highest`` keeps the first dimension, whatever stands there.
    """

    formula = (
        "the elements in the same order; in shape 0 keeps a size, -1 is what is left, -2 all "
        "further axes, -3 joins two, -4 splits one"
    )
    example = "reshape([[1, 2], [3, 4]], shape=(-1,)) -> [1, 2, 3, 4]"
    shapes = "(*d) -> (*e)"

    shape: tuple[int, ...] = ()
    reverse: bool = False
    target_shape: tuple[int, ...] = ()
    keep_highest: bool = False

    def __post_init__(self) -> None:
        self.check(len(self.shape or self.target_shape) > 0, "shape is missing")
        old = self.target_shape[self.keep_highest :]
        self.check(
            min(old, default=0) >= 0 and (self.shape != () or old.count(0) <= 1),
            f"target_shape={self.target_shape} must be sizes; one may be 0, what is left over",
        )
        unknown = [d for d in self.shape if d < -4]
        self.check(not unknown, f"shape {self.shape} has unknown codes {unknown}")
        inferred = 0
        for code, parts in self._codes():
            inferred += code == -1
            self.check(
                code != -4 or (len(parts) == 2 and _are_sizes(parts)),
                f"shape {self.shape}: -4 must be followed by two sizes, one of which may be -1",
            )
        self.check(
            inferred <= 1, f"shape {self.shape} has {inferred} codes -1; one size can be left over"
        )

    def _codes(self) -> Iterator[tuple[int, tuple[int, ...]]]:
        """Return the codes, from the left or from the right; -4 with the two sizes that follow."""
        codes = iter(self.shape[::-1] if self.reverse else self.shape)
        for code in codes:
            yield code, tuple(islice(codes, 2)) if code == -4 else ()

    def infer_shape(self, ins: list[PartialShape], outs: list[PartialShape]) -> InferredShapes:
        data, out = ins[0], outs[0]
        if data is None:
            return ins, outs
        target = self._target(data)
        out = unify(out, target)
        if is_known(out) and data.count(0) == 1:
            assert out is not None
            rest = math.prod(d for d in data if d)
            data = tuple(d or math.prod(out) // rest for d in data)
        if is_known(out) and is_known(data) and math.prod(out or ()) != math.prod(data):
            raise ShapeError(f"cannot reshape {data} ({math.prod(data)} elements) by {self.shape}")
        return [data], [out]

    def _old_target(self, data: Shape) -> Shape:
        out = list(self.target_shape)
        if self.keep_highest:
            out[0] = data[0]
        if 0 in out[self.keep_highest :]:
            place = out.index(0, self.keep_highest)
            out[place] = 1
            out[place] = self._left_over(data, math.prod(out))
        return tuple(out)

    def _target(self, data: Shape) -> Shape:
        if not self.shape:
            return self._old_target(data)
        source = data[::-1] if self.reverse else data
        sizes = iter(source)

        def take() -> int:
            size = next(sizes, None)
            if size is None:
                raise ShapeError(f"shape codes {self.shape} use more dimensions than {data} has")
            return size

        out: list[int] = []
        for code, parts in self._codes():
            if code > 0 or code == -1:
                next(sizes, None)  # stands for a dimension of the data, if there is one left
                out.append(code)
            elif code == 0:
                out.append(take())
            elif code == -2:
                out.extend(sizes)
            elif code == -3:
                out.append(take() * take())
            else:
                out.extend(_split_size(take(), *parts))
        if -1 in out:
            out[out.index(-1)] = self._left_over(data, math.prod(d for d in out if d != -1))
        return tuple(out[::-1] if self.reverse else out)

    def _left_over(self, data: Shape, rest: int) -> int:
        """The size that code -1 stands for, if the other sizes have the product ``rest``."""
        if 0 in data or rest == 0:
            return 0
        if math.prod(data) % rest:
            raise ShapeError(f"cannot reshape {data} by {self.shape}: {math.prod(data)} / {rest}")
        return math.prod(data) // rest


def _are_sizes(parts: tuple[int, ...]) -> bool:
    return all(p > 0 or p == -1 for p in parts) and parts != (-1, -1)


def _split_size(whole: int, left: int, right: int) -> tuple[int, int]:
    """``whole`` as a product of two sizes, one of which may be -1; 0 if it is unknown."""
    if left == -1:
        left = whole // right
    if right == -1:
        right = whole // left
    if whole and left * right != whole:
        raise ShapeError(f"-4 cannot split {whole} into {left} x {right}")
    return left, right


@operator("Flatten", "flatten", method="flatten")
class Flatten(_ToOutShape):
    """All axes but the first joined into one."""

    formula = "y[n, k] = x[n, ...], k the number of the place"
    example = "Flatten([[[1, 2], [3, 4]]]) -> [[1, 2, 3, 4]]"
    shapes = "(n, *d) -> (n, k)"

    def infer_shape(self, ins: list[PartialShape], outs: list[PartialShape]) -> InferredShapes:
        data = ins[0]
        if data is None:
            return ins, outs
        wide = 0 if 0 in data[1:] else math.prod(data[1:])
        return ins, [unify(outs[0], (data[0], wide))]


@operator("expand_dims", method="expand_dims")
class ExpandDims(_ToOutShape):
    """A new axis of size 1 at position ``axis``."""

    formula = "y[i, 0, j] = x[i, j]"
    example = "expand_dims([1, 2], axis=1) -> [[1], [2]]"
    shapes = "(*d, *e) -> (*d, 1, *e)"

    axis: int

    def infer_shape(self, ins: list[PartialShape], outs: list[PartialShape]) -> InferredShapes:
        data, out = ins[0], outs[0]
        if data is not None:
            axis = axis_of(self.axis, len(data) + 1)
            out = unify(out, (*data[:axis], 1, *data[axis:]))
        elif out is not None:
            axis = axis_of(self.axis, len(out))
            data = (*out[:axis], *out[axis + 1 :])
        return [data], [out]


@operator("squeeze", method="squeeze")
class Squeeze(_ToOutShape):
    """Axes of size 1 removed: those in ``axis``, or all of them."""

    formula = "y[i, j] = x[i, 0, j]"
    example = "squeeze([[[1, 2]]]) -> [1, 2]"
    shapes = "(*d) -> (*e)"

    axis: int | tuple[int, ...] | None = None

    def infer_shape(self, ins: list[PartialShape], outs: list[PartialShape]) -> InferredShapes:
        data = ins[0]
        if not is_known(data):
            return ins, outs
        assert data is not None
        if self.axis is None:
            removed = {i for i, d in enumerate(data) if d == 1}
        else:
            axes = self.axis if isinstance(self.axis, tuple) else (self.axis,)
            removed = {axis_of(a, len(data)) for a in axes}
            wrong = [a for a in removed if data[a] != 1]
            if wrong:
                raise ShapeError(f"axis {wrong[0]} of {data} is not of size 1")
        sizes = tuple(d for i, d in enumerate(data) if i not in removed)
        return ins, [unify(outs[0], sizes or (1,))]


def _bounds(begin: int | None, end: int | None, rank: int) -> tuple[int, int]:
    """The first axis and the one after the last, counted from the front."""
    first = 0 if begin is None else begin + rank * (begin < 0)
    last = rank if end is None else end + rank * (end < 0)
    if not 0 <= first <= last <= rank:
        raise ShapeError(f"axes {begin} to {end} do not exist in {rank} dimensions")
    return first, last


@operator("reshape_like", method="reshape_like")
class ReshapeLike(Operator):
    """``lhs`` in the shape of ``rhs``.

    With bounds, its axes from ``lhs_begin`` to before ``lhs_end`` get the sizes of the axes of
    ``rhs`` from ``rhs_begin`` to before ``rhs_end``; the others stay.
    """

    formula = "the elements in the same order"
    example = "reshape_like([1, 2], [[0], [0]]) -> [[1], [2]]"
    shapes = "(*d), (*e) -> (*f)"
    no_gradient = ("rhs",)

    lhs_begin: int | None = None
    lhs_end: int | None = None
    rhs_begin: int | None = None
    rhs_end: int | None = None

    def arguments(self) -> tuple[str, ...]:
        return ("lhs", "rhs")

    def infer_shape(self, ins: list[PartialShape], outs: list[PartialShape]) -> InferredShapes:
        if self == ReshapeLike():
            shape = unify(outs[0], ins[1])
            return [ins[0], shape], [shape]
        lhs, rhs = ins
        if not is_known(lhs) or not is_known(rhs):
            return ins, outs
        first, last = _bounds(self.lhs_begin, self.lhs_end, len(lhs))
        start, stop = _bounds(self.rhs_begin, self.rhs_end, len(rhs))
        out = (*lhs[:first], *rhs[start:stop], *lhs[last:])
        if math.prod(out) != math.prod(lhs):
            raise ShapeError(f"{lhs} cannot get the shape {out}: the numbers of elements differ")
        return ins, [unify(outs[0], out)]

    def emit(self, g: Emitter, lhs: ir.Value, rhs: ir.Value) -> ir.Value:
        return g.reshape(lhs, g.out_shapes[0])


@operator("transpose", method="transpose")
class Transpose(Operator):
    """Axes in the order ``axes``; reversed by default."""

    formula = "y[j, i] = x[i, j]"
    example = "transpose([[1, 2], [3, 4]]) -> [[1, 3], [2, 4]]"
    shapes = "(*d) -> (*e)"
    moves_only = True
    axes: tuple[int, ...] | None = None

    def infer_shape(self, ins: list[PartialShape], outs: list[PartialShape]) -> InferredShapes:
        data, out = ins[0], outs[0]
        known_rank = data if data is not None else out
        if known_rank is None:
            return ins, outs
        perm = self._perm(len(known_rank))
        if data is not None:
            out = unify(out, tuple(data[p] for p in perm))
        if out is not None:
            back = [0] * len(perm)
            for i, p in enumerate(perm):
                back[p] = out[i]
            data = unify(data, tuple(back))
        return [data], [out]

    def _perm(self, rank: int) -> list[int]:
        perm = [axis_of(a, rank) for a in self.axes or range(rank - 1, -1, -1)]
        if sorted(perm) != list(range(rank)):
            raise ShapeError(f"axes={self.axes} is not a permutation of {rank} axes")
        return perm

    def emit(self, g: Emitter, data: ir.Value) -> ir.Value:
        return g.op("Transpose", data, perm=self._perm(len(shape_of(data))))


@operator("SwapAxis", "swapaxes", "SwapAxes", method="swapaxes")
class SwapAxis(Operator):
    """Axes ``dim1`` and ``dim2`` exchanged."""

    formula = "y[j, i] = x[i, j]"
    example = "swapaxes([[1, 2]], dim1=0, dim2=1) -> [[1], [2]]"
    shapes = "(*d) -> (*e)"
    moves_only = True
    dim1: int = 0
    dim2: int = 0

    def _perm(self, rank: int) -> list[int]:
        perm = list(range(rank))
        a, b = axis_of(self.dim1, rank), axis_of(self.dim2, rank)
        perm[a], perm[b] = b, a
        return perm

    def infer_shape(self, ins: list[PartialShape], outs: list[PartialShape]) -> InferredShapes:
        data, out = ins[0], outs[0]
        if data is not None:
            out = unify(out, tuple(data[p] for p in self._perm(len(data))))
        if out is not None:
            data = unify(data, tuple(out[p] for p in self._perm(len(out))))
        return [data], [out]

    def emit(self, g: Emitter, data: ir.Value) -> ir.Value:
        return g.op("Transpose", data, perm=self._perm(len(shape_of(data))))
