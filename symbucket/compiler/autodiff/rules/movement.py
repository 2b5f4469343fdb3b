"""Gradients of operators that move, cut and join data."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import onnx_ir as ir

from symbucket.compiler.autodiff.rules.add_rows import add_rows
from symbucket.errors import UnsupportedError
from symbucket.ir import Expr, attr, gradient, mark, no_gradient
from symbucket.ir.expr import where
from symbucket.ir.gradient_rules import Parts
from symbucket.ir.shapes import sliced

no_gradient("Reshape", "Expand", inputs=[1], because="is a shape")
no_gradient("Squeeze", "Unsqueeze", inputs=[1], because="holds axes")
no_gradient("CumSum", inputs=[1], because="is an axis")
no_gradient("Split", "ReverseSequence", inputs=[1], because="holds lengths")
no_gradient("Slice", inputs=[1, 2, 3, 4], because="holds positions, axes or steps")
no_gradient("Tile", "TopK", inputs=[1], because="is a count")
no_gradient("Trilu", inputs=[1], because="is the number of a diagonal")
no_gradient("Pad", inputs=[1, 3], because="holds lengths or axes")
no_gradient("Gather", "GatherElements", "GatherND", inputs=[1], because="is an index")
no_gradient("OneHot", inputs=[0, 1], because="is an index or a count")

# What only moves elements moves the integers of a quantization too; their gradients are floats.
mark("Reshape", "Flatten", "Squeeze", "Unsqueeze", "Transpose", "Identity", straight_through=True)


def _ints(constant: Expr | None) -> list[int] | None:
    array = None if constant is None else constant.constant
    return None if array is None else [int(number) for number in array.reshape(-1)]


@gradient("Reshape", "Flatten", "Squeeze", "Unsqueeze")
def reshape(x: Expr, dy: Expr) -> Parts:
    """dy in the shape of x."""
    return dy.reshape(x.shape)


@gradient("Transpose")
def transpose(x: Expr, dy: Expr, *, perm: Sequence[int] | None = None) -> Parts:
    """dy with its axes moved back."""
    axes = list(perm or range(x.rank - 1, -1, -1))
    return dy.transpose([axes.index(i) for i in range(x.rank)])


@gradient("Concat")
def concat(dy: Expr, *operands: Expr, axis: int) -> Parts:
    """dy, cut where the operands were joined."""
    if len(operands) == 1:
        return dy
    axis %= dy.rank
    sizes = [operand.shape[axis] for operand in operands]
    return dy.ops("Split", sizes, axis=axis, outputs=len(sizes))


@gradient("Split")
def split(outputs: list[Expr], grads: list[Expr | None], *, axis: int = 0) -> Parts:
    """The gradients of all outputs, joined; zeros for those without one."""
    first, *others = [
        output.filled(0.0) if grad is None else grad for output, grad in zip(outputs, grads)
    ]
    return first.op("Concat", *others, axis=axis)


@gradient("Slice")
def slice_(
    dy: Expr,
    x: Expr,
    starts: Expr,
    ends: Expr,
    axes: Expr | None = None,
    steps: Expr | None = None,
) -> Parts:
    """dy at the positions that were taken, zeros elsewhere."""
    first, last = _ints(starts) or [], _ints(ends) or []
    along = _ints(axes) or list(range(len(first)))
    strides = _ints(steps) or [1] * len(first)
    for start, end, axis, step in zip(first, last, along, strides):
        size = x.shape[axis]
        dy = _place(dy, axis % x.rank, sliced(size, start, end, step), size)
    return dy


def _place(dy: Expr, axis: int, positions: range, size: int) -> Expr:
    """The slices of ``dy`` along ``axis`` at ``positions`` of ``size``, zeros elsewhere."""
    shape = dy.shape
    if list(positions) == list(range(size)):
        return dy
    if not positions:  # an empty slice
        return dy.filled(0.0, (*shape[:axis], size, *shape[axis + 1 :]))
    if positions.step == 1:
        leading, trailing = [0] * len(shape), [0] * len(shape)
        leading[axis], trailing[axis] = positions.start, size - positions.stop
        return dy.op("Pad", [*leading, *trailing])
    if list(positions) == list(range(size - 1, -1, -1)):
        return dy.op("Slice", [size - 1], [-size - 1], [axis], [-1])
    # Any other stride: a row of zeros and a Gather that takes it for the positions left out.
    zero_row = dy.filled(0.0, (*shape[:axis], 1, *shape[axis + 1 :]))
    place = {position: i for i, position in enumerate(positions)}
    index = [place.get(i, len(place)) for i in range(size)]
    return dy.op("Concat", zero_row, axis=axis).op("Gather", index, axis=axis)


@gradient("Expand")
def expand(x: Expr, dy: Expr) -> Parts:
    """The sum of dy over what was broadcast."""
    return dy.sum_to(x.shape)


@gradient("Tile")
def tile(x: Expr, repeats: Expr, dy: Expr) -> Parts:
    """The sum of dy over the repetitions."""
    counts = _ints(repeats) or []
    pairs = [size for pair in zip(counts, x.shape) for size in pair]
    return dy.reshape(pairs).sum(range(0, len(pairs), 2)).reshape(x.shape)


def _repeats_elements(node: ir.Node) -> bool:
    return str(attr(node, "mode", "constant")) != "constant"


@gradient("Pad")
def pad(
    dy: Expr,
    node: ir.Node,
    x: Expr,
    pads: Expr,
    value: Expr | None = None,
    axes: Expr | None = None,
    *,
    mode: str = "constant",
) -> Parts:
    """dy without the padding; of the value the sum of dy in the padding.

    Other modes repeat elements of x: dy is added where they came from, axis by axis.
    """
    along = _ints(axes) or list(range(x.rank))
    lengths = _ints(pads) or []

    def by_data() -> Expr:
        if min(lengths, default=0) < 0:  # lengths below zero crop
            return dy.op("Pad", [-length for length in lengths], None, along)
        starts = lengths[: len(along)]
        ends = [start + x.shape[axis] for start, axis in zip(starts, along)]
        return dy.op("Slice", starts, ends, along)

    def by_value() -> Expr:
        outside = x.filled(0.0).op("Pad", pads, 1.0, axes)
        return dy * outside

    if mode == "constant":
        return by_data, None, by_value
    if min(lengths, default=0) < 0:
        raise UnsupportedError(
            f"{node.name}: the gradient of Pad with mode={mode} needs lengths of 0 or more"
        )
    dx, count = dy, len(along)
    for axis, begin, end in zip(along, lengths[:count], lengths[count:]):
        places = np.pad(np.arange(x.shape[axis]), (begin, end), mode=mode)  # type: ignore[call-overload]
        if begin or end:
            size = (*dx.shape[:axis], x.shape[axis], *dx.shape[axis % x.rank + 1 :])
            dx = _add_at(dx, Expr(dy.g, dy.g.ints(*places.tolist())), axis, size)
    return dx


no_gradient("Pad", inputs=[2], because="is not used", when=_repeats_elements)


@gradient("Gather")
def gather(table: Expr, index: Expr, dy: Expr, *, axis: int = 0) -> Parts:
    """Zeros with the rows of dy added at ``index``."""
    return _add_at(dy, index, axis, table.shape)


def _add_at(dy: Expr, index: Expr, axis: int, shape: Sequence[int]) -> Expr:
    """Zeros of ``shape`` with slices of dy added at ``index`` of ``axis``; what Gather undoes."""
    count = index.rank
    axis %= len(shape)
    if axis:
        # The axes of the index come to the front; the rows are added there.
        front = [*range(axis, axis + count), *range(axis), *range(axis + count, dy.rank)]
        dy = dy.transpose(front)
    added = add_rows(dy, index, shape[axis], [*shape[:axis], *shape[axis + 1 :]])
    if axis:
        added = added.transpose([*range(1, axis + 1), 0, *range(axis + 1, len(shape))])
    return added


@gradient("GatherElements")
def gather_elements(x: Expr, index: Expr, dy: Expr, *, axis: int = 0) -> Parts:
    """Zeros with the elements of dy added at ``index``."""
    return x.filled(0.0).op("ScatterElements", index, dy, axis=axis, reduction="add")


@gradient("GatherND")
def gather_nd(x: Expr, index: Expr, dy: Expr, *, batch_dims: int = 0) -> Parts:
    """Zeros with the slices of dy added at ``index``."""
    if batch_dims:  # the numbers of the batch become part of the index
        lead = index.shape[:-1]
        batch = np.moveaxis(np.indices(lead)[:batch_dims], 0, -1)
        index = index.const(batch).op("Concat", index, axis=len(lead))
    depth = index.shape[-1]
    sizes, width = x.shape[:depth], x.shape[depth:]
    # One number for every position: the rows of the tensor with its indexed axes joined.
    limit, stride = np.array(sizes), np.cumprod([1, *sizes[:0:-1]])[::-1]
    positive = where(index < 0, index + limit, index)
    rows = (positive * stride).sum(index.rank - 1, keepdims=True)
    return add_rows(dy, rows, math.prod(sizes), width).reshape(x.shape)


@gradient("OneHot")
def one_hot(index: Expr, depth: Expr, values: Expr, dy: Expr, *, axis: int = -1) -> Parts:
    """Of the second value the sum of dy where it is, of the first that of the rest."""
    hot = index.op("OneHot", depth, values.const(np.array([0.0, 1.0])), axis=axis)
    on = (dy * hot).sum().reshape((1,))
    off = (dy * (1.0 - hot)).sum().reshape((1,))
    return None, None, off.op("Concat", on, axis=0)


@gradient("TopK")
def top_k(x: Expr, outputs: list[Expr], dy: Expr, *, axis: int = -1) -> Parts:
    """dy at the positions of the largest elements, zeros elsewhere."""
    return x.filled(0.0).op("ScatterElements", outputs[1], dy, axis=axis)


@gradient("ReverseSequence")
def reverse_sequence(
    dy: Expr,
    x: Expr,
    lengths: Expr,
    *,
    batch_axis: int | None = None,
    time_axis: int | None = None,
) -> Parts:
    """dy, reversed once more."""
    return dy.op("ReverseSequence", lengths, batch_axis=batch_axis, time_axis=time_axis)


@gradient("CumSum")
def cumsum(dy: Expr, x: Expr, axis: Expr, *, reverse: int = 0, exclusive: int = 0) -> Parts:
    """The sum of dy from the other end."""
    return dy.op("CumSum", axis, reverse=1 - reverse, exclusive=exclusive)


@gradient("Trilu")
def trilu(dy: Expr, x: Expr, k: Expr | None = None, *, upper: int = 1) -> Parts:
    """The same triangle of dy."""
    diagonal = [] if k is None else [k]
    return dy.op("Trilu", *diagonal, upper=upper)
