"""Gradients of operators that move, cut and join data."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx_ir as ir

from symbucket.compiler.autodiff.rules.common import Grads, Wanted, inp, only, unbroadcast
from symbucket.errors import UnsupportedError
from symbucket.ir import Builder, attr, const_of, dtype_of, gradient, shape_of


def _ints(node: ir.Node, i: int) -> list[int] | None:
    found = const_of(node.inputs[i]) if len(node.inputs) > i else None
    return None if found is None else [int(v) for v in found.reshape(-1)]


def _rest(node: ir.Node) -> list[None]:
    return [None] * (len(node.inputs) - 1)


@gradient("Reshape", "Flatten", "Squeeze", "Unsqueeze")
def _reshape(g: Builder, node: ir.Node, grads: Grads, wanted: Wanted) -> Grads:
    return [g.reshape(only(grads), shape_of(inp(node))), *_rest(node)]


@gradient("Transpose")
def _transpose(g: Builder, node: ir.Node, grads: Grads, wanted: Wanted) -> Grads:
    rank = len(shape_of(inp(node)))
    perm = list(attr(node, "perm") or range(rank - 1, -1, -1))
    back = [perm.index(i) for i in range(rank)]
    return [g.transpose(only(grads), back)]


@gradient("Concat")
def _concat(g: Builder, node: ir.Node, grads: Grads, wanted: Wanted) -> Grads:
    dy = only(grads)
    if len(node.inputs) == 1:
        return [dy]
    axis = attr(node, "axis") % len(shape_of(dy))
    sizes = [shape_of(inp(node, i))[axis] for i in range(len(node.inputs))]
    return g.ops("Split", dy, g.ints(*sizes), axis=axis, outputs=len(sizes))


@gradient("Split")
def _split(g: Builder, node: ir.Node, grads: Grads, wanted: Wanted) -> Grads:
    axis = attr(node, "axis", 0)
    parts = [
        grad if grad is not None else g.filled(shape_of(out), 0.0, dtype_of(out))
        for grad, out in zip(grads, node.outputs)
    ]
    return [g.op("Concat", *parts, axis=axis), *_rest(node)]


@gradient("Slice")
def _slice(g: Builder, node: ir.Node, grads: Grads, wanted: Wanted) -> Grads:
    dy, shape = only(grads), shape_of(inp(node))
    starts, ends = _ints(node, 1) or [], _ints(node, 2) or []
    axes = _ints(node, 3) or list(range(len(starts)))
    steps = _ints(node, 4) or [1] * len(starts)
    for start, end, axis, step in zip(starts, ends, axes, steps):
        size = shape[axis]
        stop = None if step < 0 and end < -size else end
        taken = range(*slice(start, stop, step).indices(size))
        dy = _spread(g, dy, axis % len(shape), taken, size)
    return [dy, *_rest(node)]


def _spread(g: Builder, dy: ir.Value, axis: int, taken: range, size: int) -> ir.Value:
    """Put the slices of ``dy`` along ``axis`` at the positions ``taken`` of ``size``, else zero."""
    have = shape_of(dy)
    if list(taken) == list(range(size)):
        return dy
    if taken.step == 1:
        zero = [0] * len(have)
        before, after = list(zero), list(zero)
        before[axis], after[axis] = taken.start, size - taken.stop
        return g.op("Pad", dy, g.ints(*before, *after))
    if list(taken) == list(range(size - 1, -1, -1)):
        return g.op("Slice", dy, g.ints(size - 1), g.ints(-size - 1), g.ints(axis), g.ints(-1))
    # Any other stride: a row of zeros and a Gather that picks it for the positions left out.
    zero_row = g.filled((*have[:axis], 1, *have[axis + 1 :]), 0.0, dtype_of(dy))
    place = {p: i for i, p in enumerate(taken)}
    index = g.ints(*(place.get(i, len(place)) for i in range(size)))
    return g.op("Gather", g.op("Concat", dy, zero_row, axis=axis), index, axis=axis)


@gradient("Expand")
def _expand(g: Builder, node: ir.Node, grads: Grads, wanted: Wanted) -> Grads:
    return [unbroadcast(g, only(grads), shape_of(inp(node))), None]


@gradient("Tile")
def _tile(g: Builder, node: ir.Node, grads: Grads, wanted: Wanted) -> Grads:
    shape, repeats = shape_of(inp(node)), _ints(node, 1) or []
    split = [d for pair in zip(repeats, shape) for d in pair]
    parts = g.reshape(only(grads), split)
    summed = g.reduce_sum(parts, list(range(0, len(split), 2)), keepdims=False)
    return [g.reshape(summed, shape), None]


@gradient("Pad")
def _pad(g: Builder, node: ir.Node, grads: Grads, wanted: Wanted) -> Grads:
    if attr(node, "mode", "constant") != "constant":
        raise UnsupportedError(f"{node.name}: the gradient of Pad exists for mode=constant only")
    shape, pads = shape_of(inp(node)), _ints(node, 1) or []
    axes = _ints(node, 3) or list(range(len(shape)))
    starts = pads[: len(axes)]
    ends = [s + shape[a] for s, a in zip(starts, axes)]
    dx = g.op("Slice", only(grads), g.ints(*starts), g.ints(*ends), g.ints(*axes))
    return [dx, *_rest(node)]


@gradient("Gather")
def _gather(g: Builder, node: ir.Node, grads: Grads, wanted: Wanted) -> Grads:
    dy, table, index = only(grads), inp(node), inp(node, 1)
    shape = shape_of(table)
    axis = attr(node, "axis", 0) % len(shape)
    lead, count = list(shape[:axis]), len(shape_of(index))
    if axis:
        # Bring the gathered axes to the front, add there, and bring the axis back.
        rank = len(shape_of(dy))
        front = [*range(axis, axis + count), *range(axis), *range(axis + count, rank)]
        dy = g.transpose(dy, front)
    rest = [*lead, *shape[axis + 1 :]]
    added = _add_rows(g, shape[axis], rest, index, dy)
    if axis:
        added = g.transpose(added, [*range(1, axis + 1), 0, *range(axis + 1, len(shape))])
    return [added, None]


def _add_rows(
    g: Builder, count: int, rest: Sequence[int], index: ir.Value, dy: ir.Value
) -> ir.Value:
    """Zeros (count, *rest) with ``dy`` added at the rows in ``index``, which may repeat."""
    rows, width = math.prod(shape_of(index)), math.prod(rest)
    zeros = g.filled([count, width], 0.0, dtype_of(dy))
    where = g.cast(g.reshape(index, (rows, 1)), ir.DataType.INT64)
    added = g.own("AddRows", zeros, where, g.reshape(dy, (rows, width)))
    return g.reshape(added, (count, *rest))


@gradient("GatherElements")
def _gather_elements(g: Builder, node: ir.Node, grads: Grads, wanted: Wanted) -> Grads:
    x = inp(node)
    zeros = g.filled(shape_of(x), 0.0, dtype_of(x))
    axis = attr(node, "axis", 0)
    return [
        g.op("ScatterElements", zeros, inp(node, 1), only(grads), axis=axis, reduction="add"),
        None,
    ]


@gradient("GatherND")
def _gather_nd(g: Builder, node: ir.Node, grads: Grads, wanted: Wanted) -> Grads:
    if attr(node, "batch_dims", 0):
        raise UnsupportedError(f"{node.name}: the gradient of GatherND needs batch_dims=0")
    shape, index = shape_of(inp(node)), inp(node, 1)
    depth = shape_of(index)[-1]
    sizes, rest = shape[:depth], shape[depth:]
    # One number for every position: the rows of the tensor with its indexed axes joined.
    limit, stride = np.array(sizes), np.cumprod([1, *sizes[:0:-1]])[::-1]
    positive = g.op(
        "Where", g.op("Less", index, g.const(0, like=index)), _plus(g, index, limit), index
    )
    rows = g.reduce_sum(
        g.op("Mul", positive, g.const(stride, like=index)), [len(shape_of(index)) - 1]
    )
    added = _add_rows(g, math.prod(sizes), rest, rows, only(grads))
    return [g.reshape(added, shape), None]


def _plus(g: Builder, x: ir.Value, numbers: np.ndarray[Any, Any]) -> ir.Value:
    return g.op("Add", x, g.const(numbers, like=x))


@gradient("ScatterND")
def _scatter_nd(g: Builder, node: ir.Node, grads: Grads, wanted: Wanted) -> Grads:
    dy, index, updates = only(grads), inp(node, 1), inp(node, 2)
    mode = attr(node, "reduction", "none")
    if mode not in ("none", "add"):
        raise UnsupportedError(f"{node.name}: no gradient of ScatterND with reduction={mode}")
    dx = dy
    if wanted[0] and mode == "none":
        zeros = g.filled(shape_of(updates), 0.0, dtype_of(updates))
        dx = g.op("ScatterND", dy, index, zeros)
    return [dx, None, g.op("GatherND", dy, index) if wanted[2] else None]


@gradient("ScatterElements")
def _scatter_elements(g: Builder, node: ir.Node, grads: Grads, wanted: Wanted) -> Grads:
    dy, index, updates = only(grads), inp(node, 1), inp(node, 2)
    mode, axis = attr(node, "reduction", "none"), attr(node, "axis", 0)
    if mode not in ("none", "add"):
        raise UnsupportedError(f"{node.name}: no gradient of ScatterElements, reduction={mode}")
    dx = dy
    if wanted[0] and mode == "none":
        zeros = g.filled(shape_of(updates), 0.0, dtype_of(updates))
        dx = g.op("ScatterElements", dy, index, zeros, axis=axis)
    return [dx, None, g.op("GatherElements", dy, index, axis=axis) if wanted[2] else None]


@gradient("ReverseSequence")
def _reverse_sequence(g: Builder, node: ir.Node, grads: Grads, wanted: Wanted) -> Grads:
    axes = {k: attr(node, k) for k in ("batch_axis", "time_axis")}
    return [g.op("ReverseSequence", only(grads), inp(node, 1), **axes), None]
