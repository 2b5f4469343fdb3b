"""Operators that move, cut and join data without computing."""

from __future__ import annotations

import math
from collections.abc import Sequence

import onnx_ir as ir

from symbucket.errors import ShapeError
from symbucket.ir import shape_of
from symbucket.ops.record import Emitter, Operator, operator
from symbucket.ops.shape import axis_of, known, unify, with_dim
from symbucket.types import InferredShapes, PartialShape, Shape


class _ToOutShape(Operator):
    """The data in the order it has, in the inferred output shape."""

    moves_only = True

    def emit(self, g: Emitter, data: ir.Value) -> ir.Value:
        return g.reshape(data, g.out_shapes[0])


@operator("Reshape", "reshape")
class Reshape(_ToOutShape):
    """The data in another shape, by MXNet's codes.

    In ``shape``: a positive number is a size; 0 copies a dimension; -1 is what is left over; -2
    copies all remaining dimensions; -3 joins two dimensions; -4 splits one into the next two.
    ``reverse`` reads the codes from the right.
    """

    shape: tuple[int, ...]
    reverse: bool = False

    def __post_init__(self) -> None:
        self.check(len(self.shape) > 0, "shape must not be empty")
        bad = [d for d in self.shape if d < -4]
        self.check(not bad, f"shape {self.shape} has unknown codes {bad}")
        codes = self._codes()
        free, i = 0, 0
        while i < len(codes):
            if codes[i] == -4:
                parts = codes[i + 1 : i + 3]
                whole = len(parts) == 2 and all(p > 0 or p == -1 for p in parts)
                self.check(
                    whole and parts != (-1, -1),
                    f"shape {self.shape}: -4 must be followed by two sizes, one of which may be -1",
                )
                i += 3
            else:
                free += codes[i] == -1
                i += 1
        self.check(free <= 1, f"shape {self.shape} has {free} codes -1; one size can be left over")

    def _codes(self) -> tuple[int, ...]:
        return self.shape[::-1] if self.reverse else self.shape

    def infer_shape(self, ins: list[PartialShape], outs: list[PartialShape]) -> InferredShapes:
        data, out = ins[0], outs[0]
        if data is None:
            return ins, outs
        target = self._target(data)
        out = unify(out, target)
        if known(out) and data.count(0) == 1:
            assert out is not None
            rest = math.prod(d for d in data if d)
            data = tuple(d or math.prod(out) // rest for d in data)
        if known(out) and known(data) and math.prod(out or ()) != math.prod(data):
            raise ShapeError(f"cannot reshape {data} ({math.prod(data)} elements) by {self.shape}")
        return [data], [out]

    def _target(self, data: Shape) -> Shape:
        source = data[::-1] if self.reverse else data
        codes = self._codes()
        out: list[int] = []
        position, i = 0, 0
        inferred: int | None = None

        def take() -> int:
            nonlocal position
            if position >= len(source):
                raise ShapeError(f"shape codes {self.shape} use more dimensions than {data} has")
            position += 1
            return source[position - 1]

        while i < len(codes):
            code = codes[i]
            if code > 0:
                out.append(code)
                position += 1
            elif code == 0:
                out.append(take())
            elif code == -1:
                inferred = len(out)
                out.append(-1)
                position += 1
            elif code == -2:
                out.extend(source[position:])
                position = len(source)
            elif code == -3:
                first, second = take(), take()
                out.append(first * second)
            else:
                whole = take()
                left, right = codes[i + 1], codes[i + 2]
                if left == -1:
                    left = whole // right if whole else 0
                if right == -1:
                    right = whole // left if whole else 0
                if whole and left * right != whole:
                    raise ShapeError(f"-4 cannot split {whole} into {left} x {right}")
                out.extend((left, right))
                i += 2
            i += 1
        if inferred is not None:
            rest = math.prod(d for d in out if d != -1)
            whole = math.prod(source)
            if 0 in source or rest == 0:
                out[inferred] = 0
            elif whole % rest:
                raise ShapeError(f"cannot reshape {data} by {self.shape}: {whole} / {rest}")
            else:
                out[inferred] = whole // rest
        return tuple(out[::-1] if self.reverse else out)


@operator("Flatten", "flatten")
class Flatten(_ToOutShape):
    """All axes but the first joined into one."""

    def infer_shape(self, ins: list[PartialShape], outs: list[PartialShape]) -> InferredShapes:
        data = ins[0]
        if data is None:
            return ins, outs
        wide = 0 if 0 in data[1:] else math.prod(data[1:])
        return ins, [unify(outs[0], (data[0], wide))]


@operator("expand_dims")
class ExpandDims(_ToOutShape):
    """A new axis of size 1 at position ``axis``."""

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


@operator("squeeze")
class Squeeze(_ToOutShape):
    """Axes of size 1 removed: those in ``axis``, or all of them."""

    axis: int | tuple[int, ...] | None = None

    def infer_shape(self, ins: list[PartialShape], outs: list[PartialShape]) -> InferredShapes:
        data = ins[0]
        if not known(data):
            return ins, outs
        assert data is not None
        if self.axis is None:
            gone = {i for i, d in enumerate(data) if d == 1}
        else:
            axes = self.axis if isinstance(self.axis, tuple) else (self.axis,)
            gone = {axis_of(a, len(data)) for a in axes}
            wrong = [a for a in gone if data[a] != 1]
            if wrong:
                raise ShapeError(f"axis {wrong[0]} of {data} is not of size 1")
        return ins, [unify(outs[0], tuple(d for i, d in enumerate(data) if i not in gone) or (1,))]


@operator("reshape_like")
class ReshapeLike(Operator):
    """``lhs`` in the shape of ``rhs``."""

    def arguments(self) -> tuple[str, ...]:
        return ("lhs", "rhs")

    def infer_shape(self, ins: list[PartialShape], outs: list[PartialShape]) -> InferredShapes:
        shape = unify(outs[0], ins[1])
        return [ins[0], shape], [shape]

    def emit(self, g: Emitter, lhs: ir.Value, rhs: ir.Value) -> ir.Value:
        return g.reshape(lhs, shape_of(rhs))


@operator("transpose")
class Transpose(Operator):
    """Axes in the order ``axes``; reversed where none are given."""

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


@operator("SwapAxis", "swapaxes", "SwapAxes")
class SwapAxis(Operator):
    """Axes ``dim1`` and ``dim2`` exchanged."""

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


@operator("Concat", "concat")
class Concat(Operator):
    """Any number of arrays joined along axis ``dim``."""

    moves_only = True
    num_args: int
    dim: int = 1
    variadic = True

    def arguments(self) -> tuple[str, ...]:
        return tuple(f"arg{i}" for i in range(self.num_args))

    def infer_shape(self, ins: list[PartialShape], outs: list[PartialShape]) -> InferredShapes:
        shape = next((s for s in [*outs, *ins] if s is not None), None)
        if shape is None:
            return ins, outs
        axis = axis_of(self.dim, len(shape))
        common: PartialShape = with_dim(shape, axis, 0)
        for s in [*ins, *outs]:
            common = unify(common, None if s is None else with_dim(s, axis, 0))
        assert common is not None
        ins = [unify(s, common) for s in ins]
        sizes = [s[axis] for s in ins if s is not None]
        total = 0 if 0 in sizes else sum(sizes)
        out = unify(outs[0], with_dim(common, axis, total))
        if out is not None and out[axis] and sizes.count(0) == 1:
            rest = out[axis] - sum(sizes)
            ins = [with_dim(s, axis, s[axis] or rest) for s in ins if s is not None]
        return ins, [out]

    def emit(self, g: Emitter, *inputs: ir.Value) -> ir.Value:
        return g.op("Concat", *inputs, axis=axis_of(self.dim, len(shape_of(inputs[0]))))


@operator("stack")
class Stack(Operator):
    """Arrays of one shape joined along a new axis."""

    moves_only = True
    num_args: int
    axis: int = 0
    variadic = True

    def arguments(self) -> tuple[str, ...]:
        return tuple(f"arg{i}" for i in range(self.num_args))

    def infer_shape(self, ins: list[PartialShape], outs: list[PartialShape]) -> InferredShapes:
        shape: PartialShape = None
        for s in ins:
            shape = unify(shape, s)
        if outs[0] is not None:
            axis = axis_of(self.axis, len(outs[0]))
            shape = unify(shape, (*outs[0][:axis], *outs[0][axis + 1 :]))
        if shape is None:
            return ins, outs
        axis = axis_of(self.axis, len(shape) + 1)
        out = unify(outs[0], (*shape[:axis], self.num_args, *shape[axis:]))
        return [shape] * len(ins), [out]

    def emit(self, g: Emitter, *inputs: ir.Value) -> ir.Value:
        shape = shape_of(inputs[0])
        axis = axis_of(self.axis, len(shape) + 1)
        wide = [g.reshape(x, (*shape[:axis], 1, *shape[axis:])) for x in inputs]
        return g.op("Concat", *wide, axis=axis)


@operator("SliceChannel", "split")
class SliceChannel(Operator):
    """The data cut along ``axis`` into ``num_outputs`` equal parts.

    ``squeeze_axis`` removes the axis, whose parts must then be of size 1.
    """

    moves_only = True
    num_outputs: int
    axis: int = 1
    squeeze_axis: bool = False

    def __post_init__(self) -> None:
        self.check(self.num_outputs > 0, f"num_outputs={self.num_outputs} must be positive")

    def outputs(self) -> tuple[str, ...]:
        if self.num_outputs == 1:
            return ("output",)
        return tuple(f"output{i}" for i in range(self.num_outputs))

    def infer_shape(self, ins: list[PartialShape], outs: list[PartialShape]) -> InferredShapes:
        data = ins[0]
        out: PartialShape = None
        for s in outs:
            out = unify(out, s)
        if data is None and out is not None:
            rank = len(out) + self.squeeze_axis
            axis = axis_of(self.axis, rank)
            if self.squeeze_axis:
                data = (*out[:axis], self.num_outputs, *out[axis:])
            else:
                data = with_dim(out, axis, out[axis] * self.num_outputs)
        if data is None:
            return ins, outs
        axis = axis_of(self.axis, len(data))
        size = data[axis]
        if size % self.num_outputs:
            raise ShapeError(f"axis {axis} of {data} cannot be cut into {self.num_outputs} parts")
        if self.squeeze_axis and size and size != self.num_outputs:
            raise ShapeError(
                f"squeeze_axis needs parts of size 1; axis {axis} of {data} gives "
                f"{size // self.num_outputs}"
            )
        part = with_dim(data, axis, size // self.num_outputs)
        if self.squeeze_axis:
            part = (*data[:axis], *data[axis + 1 :])
        out = unify(out, part)
        assert out is not None
        if self.squeeze_axis:
            data = unify(data, (*out[:axis], self.num_outputs, *out[axis:]))
        else:
            data = unify(data, with_dim(out, axis, out[axis] * self.num_outputs))
        return [data], [out] * self.num_outputs

    def emit(self, g: Emitter, data: ir.Value) -> ir.Value | Sequence[ir.Value]:
        if self.num_outputs == 1:
            return g.reshape(data, g.out_shapes[0]) if self.squeeze_axis else g.op("Identity", data)
        axis = axis_of(self.axis, len(shape_of(data)))
        size = shape_of(data)[axis] // self.num_outputs
        sizes = g.ints(*[size] * self.num_outputs)
        parts = g.ops("Split", data, sizes, axis=axis, outputs=self.num_outputs)
        if not self.squeeze_axis:
            return parts
        return [g.reshape(p, s) for p, s in zip(parts, g.out_shapes)]


def _range(begin: int | None, end: int | None, step: int, size: int) -> range:
    return range(*slice(begin, end, step).indices(size))


def _slice(
    g: Emitter, x: ir.Value, axes: Sequence[int], ranges: Sequence[range], sizes: Sequence[int]
) -> ir.Value:
    starts = [r.start for r in ranges]
    # A backward slice through the first element ends before it, which ONNX writes as -size - 1.
    ends = [r.stop if r.stop >= 0 else -size - 1 for r, size in zip(ranges, sizes)]
    steps = [r.step for r in ranges]
    return g.op("Slice", x, g.ints(*starts), g.ints(*ends), g.ints(*axes), g.ints(*steps))


@operator("slice_axis")
class SliceAxis(Operator):
    """``data[begin:end]`` along ``axis``; negative positions count from the end."""

    moves_only = True
    axis: int
    begin: int
    end: int | None = None

    def infer_shape(self, ins: list[PartialShape], outs: list[PartialShape]) -> InferredShapes:
        data = ins[0]
        if data is None:
            return ins, outs
        axis = axis_of(self.axis, len(data))
        if not data[axis]:
            return ins, [unify(outs[0], data)]
        size = len(_range(self.begin, self.end, 1, data[axis]))
        if size == 0:
            raise ShapeError(f"[{self.begin}:{self.end}] of axis {axis} of {data} is empty")
        out = unify(outs[0], with_dim(data, axis, size))
        assert out is not None
        return [unify(data, with_dim(out, axis, data[axis]))], [out]

    def emit(self, g: Emitter, data: ir.Value) -> ir.Value:
        shape = shape_of(data)
        axis = axis_of(self.axis, len(shape))
        taken = _range(self.begin, self.end, 1, shape[axis])
        return _slice(g, data, [axis], [taken], [shape[axis]])


@operator("slice", "crop")
class Slice(Operator):
    """``data[begin[0]:end[0]:step[0], ...]``; None leaves a bound open."""

    moves_only = True
    begin: tuple[int | None, ...]
    end: tuple[int | None, ...]
    step: tuple[int | None, ...] | None = None

    def __post_init__(self) -> None:
        self.check(len(self.begin) == len(self.end), "begin and end must be equally long")

    def _ranges(self, shape: Shape) -> list[range]:
        steps = [s or 1 for s in self.step or ()]
        steps += [1] * (len(self.begin) - len(steps))
        return [_range(b, e, s, d) for b, e, s, d in zip(self.begin, self.end, steps, shape)]

    def infer_shape(self, ins: list[PartialShape], outs: list[PartialShape]) -> InferredShapes:
        data = ins[0]
        if not known(data):
            return ins, outs
        assert data is not None
        if len(self.begin) > len(data):
            raise ShapeError(f"begin={self.begin} has more entries than {data} has axes")
        sizes = tuple(len(r) for r in self._ranges(data))
        if 0 in sizes:
            raise ShapeError(f"[{self.begin}:{self.end}] of {data} is empty")
        return ins, [unify(outs[0], (*sizes, *data[len(sizes) :]))]

    def emit(self, g: Emitter, data: ir.Value) -> ir.Value:
        shape = shape_of(data)
        ranges = self._ranges(shape)
        return _slice(g, data, range(len(ranges)), ranges, shape)
