"""Operators that join arrays, split them and cut slices out of them."""

from __future__ import annotations

from collections.abc import Sequence

import onnx_ir as ir

from symbucket.errors import ShapeError
from symbucket.ir import shape_of
from symbucket.ops.record import Emitter, Operator, operator
from symbucket.ops.shape import axis_of, unify, with_dim
from symbucket.types import InferredShapes, PartialShape, Shape

FAMILY = "Slices and joins"


@operator("Concat", "concat")
class Concat(Operator):
    """Any number of arrays joined along axis ``dim``."""

    formula = "y = the arrays one after another along dim"
    example = "concat([[1, 2]], [[3, 4]], dim=0) -> [[1, 2], [3, 4]]"
    shapes = "(*d, k, *e), ... -> (*d, sum of k, *e)"
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


@operator("stack", method="stack")
class Stack(Operator):
    """Arrays of one shape joined along a new axis."""

    formula = "y[k] = the k-th array, k along axis"
    example = "stack([1, 2], [3, 4]) -> [[1, 2], [3, 4]]"
    shapes = "(*d, *e), ... -> (*d, num_args, *e)"
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


@operator("SliceChannel", "split", method="split")
class SliceChannel(Operator):
    """The data cut along ``axis`` into ``num_outputs`` equal parts.

    ``squeeze_axis`` removes the axis, whose parts must then be of size 1.
    """

    formula = "y[k] = x[k m:(k + 1) m] along axis, m = size / num_outputs"
    example = "split([[1, 2, 3, 4]], num_outputs=2) -> [[1, 2]], [[3, 4]]"
    shapes = "(*d, k, *e) -> (*d, k / num_outputs, *e) or (*d, num_outputs, *e) -> (*d, *e)"
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


@operator("_split_v2")
class SplitV2(Operator):
    """The data cut along ``axis`` before each position in ``indices``, or into equal ``sections``.

    ``squeeze_axis`` removes the axis, whose parts must then be of size 1.
    """

    formula = "y[k] = x[indices[k]:indices[k + 1]] along axis"
    example = "split_v2([1, 2, 3], indices_or_sections=(1,)) -> [1], [2, 3]"
    shapes = "(*d) -> (*e), ..."
    always_written = ("indices",)
    moves_only = True

    indices: tuple[int, ...] = ()
    axis: int = 1
    squeeze_axis: bool = False
    sections: int = 0

    def __post_init__(self) -> None:
        # MXNet's files begin with a 0 that cuts nothing; alone it leaves one part.
        self.check(self.sections > 0 or len(self.indices) > 0, "give sections or indices to cut at")
        self.check(
            list(self.indices) == sorted({*self.indices}) and min(self.indices, default=0) >= 0,
            f"indices={self.indices} must be ascending",
        )

    def outputs(self) -> tuple[str, ...]:
        count = self.sections or len(self._starts())
        return ("output",) if count == 1 else tuple(f"output{i}" for i in range(count))

    def _starts(self) -> list[int]:
        return [0, *(i for i in self.indices if i > 0)]

    def _sizes(self, size: int) -> list[int]:
        """The sizes of the parts of an axis."""
        if self.sections:
            if size % self.sections:
                raise ShapeError(f"{size} elements cannot be cut into {self.sections} equal parts")
            return [size // self.sections] * self.sections
        starts = self._starts()
        if size and starts[-1] >= size:
            raise ShapeError(f"cannot cut {size} elements at {starts[-1]}: a part would be empty")
        return [end - start for start, end in zip(starts, [*starts[1:], size])]

    def infer_shape(self, ins: list[PartialShape], outs: list[PartialShape]) -> InferredShapes:
        data = ins[0]
        if data is None:
            return ins, outs
        axis = axis_of(self.axis, len(data))
        if not data[axis]:
            return ins, outs
        shapes = [with_dim(data, axis, size) for size in self._sizes(data[axis])]
        if self.squeeze_axis:
            if any(shape[axis] != 1 for shape in shapes):
                raise ShapeError(f"squeeze_axis needs parts of size 1; {data} gives {shapes}")
            shapes = [(*data[:axis], *data[axis + 1 :])] * len(shapes)
        return ins, [unify(a, b) for a, b in zip(outs, shapes)]

    def emit(self, g: Emitter, data: ir.Value) -> Sequence[ir.Value]:
        shape = shape_of(data)
        axis = axis_of(self.axis, len(shape))
        sizes = self._sizes(shape[axis])
        if len(sizes) == 1:
            return [g.op("Identity", g.reshape(data, g.out_shapes[0]))]
        parts = g.ops("Split", data, g.ints(*sizes), axis=axis, outputs=len(sizes))
        return [g.reshape(part, size) for part, size in zip(parts, g.out_shapes)]


def _range(begin: int | None, end: int | None, step: int, size: int) -> range:
    return range(*slice(begin, end, step).indices(size))


def slice_ranges(
    begin: Sequence[int | None],
    end: Sequence[int | None],
    step: Sequence[int | None] | None,
    shape: Shape,
) -> list[range]:
    """Return which positions ``begin[i]:end[i]:step[i]`` takes along each of the first axes.

    Of an axis of unknown size, 0, it takes none. Raises ShapeError if there are too few axes.
    """
    if len(begin) > len(shape):
        raise ShapeError(f"begin={begin} has more entries than {shape} has axes")
    steps = [s or 1 for s in step or ()]
    steps += [1] * (len(begin) - len(steps))
    return [_range(b, e, s, size) for b, e, s, size in zip(begin, end, steps, shape)]


def _slice(
    g: Emitter, x: ir.Value, axes: Sequence[int], ranges: Sequence[range], sizes: Sequence[int]
) -> ir.Value:
    starts = [r.start for r in ranges]
    # A backward slice through the first element ends before it, which ONNX writes as -size - 1.
    ends = [r.stop if r.stop >= 0 else -size - 1 for r, size in zip(ranges, sizes)]
    steps = [r.step for r in ranges]
    return g.op("Slice", x, g.ints(*starts), g.ints(*ends), g.ints(*axes), g.ints(*steps))


@operator("slice_axis", method="slice_axis")
class SliceAxis(Operator):
    """``data[begin:end]`` along ``axis``; negative positions count from the end."""

    formula = "y = x[begin:end] along axis"
    example = "slice_axis([[1, 2, 3]], axis=1, begin=1, end=3) -> [[2, 3]]"
    shapes = "(*d, k, *e) -> (*d, end - begin, *e)"
    always_written = ("end",)
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


@operator("slice", "crop", method="slice")
class Slice(Operator):
    """``data[begin[0]:end[0]:step[0], ...]``; None leaves a bound open."""

    formula = "y = x[begin[0]:end[0]:step[0], ...]"
    example = "slice([[1, 2, 3], [4, 5, 6]], begin=(0, 1), end=(2, 3)) -> [[2, 3], [5, 6]]"
    shapes = "(*d) -> (*e)"
    moves_only = True
    begin: tuple[int | None, ...]
    end: tuple[int | None, ...]
    step: tuple[int | None, ...] | None = None

    def __post_init__(self) -> None:
        self.check(len(self.begin) == len(self.end), "begin and end must be equally long")

    def _ranges(self, shape: Shape) -> list[range]:
        return slice_ranges(self.begin, self.end, self.step, shape)

    def infer_shape(self, ins: list[PartialShape], outs: list[PartialShape]) -> InferredShapes:
        data = ins[0]
        if data is None:
            return ins, outs
        sizes = tuple(len(r) for r in self._ranges(data))
        if any(taken == 0 for taken, size in zip(sizes, data) if size):
            raise ShapeError(f"[{self.begin}:{self.end}] of {data} is empty")
        return ins, [unify(outs[0], (*sizes, *data[len(sizes) :]))]

    def emit(self, g: Emitter, data: ir.Value) -> ir.Value:
        shape = shape_of(data)
        ranges = self._ranges(shape)
        return _slice(g, data, range(len(ranges)), ranges, shape)
