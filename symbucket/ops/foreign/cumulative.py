"""Products along an axis, and slices written into a tensor at places that data give."""

from __future__ import annotations

import math

import numpy as np

from symbucket.ir import Expr, const_of
from symbucket.ir.expr import where
from symbucket.ops.foreign.call import Call, Results, translation
from symbucket.ops.record import Emitter


@translation("CumProd")
def _cumulative_product(g: Emitter, call: Call) -> Results:
    """Multiply with the product of the 1, 2, 4, ... elements before, until that is all."""
    x, axis = Expr(g, call.input(0)), const_of(call.optional(1))
    call.refuse(axis is None, "an axis that the graph computes")
    assert axis is not None
    along = int(axis.reshape(-1)[0]) % x.rank
    size = x.shape[along]
    if call.attr("reverse", 0):
        x = _reversed(x, along)
    y = x
    for distance in (2**i for i in range(max(size - 1, 0).bit_length())):
        y = y * _moved(y, along, distance)
    if call.attr("exclusive", 0) and size:
        y = _moved(y, along, 1)
    return [(_reversed(y, along) if call.attr("reverse", 0) else y).value]


def _moved(x: Expr, axis: int, distance: int) -> Expr:
    """x, moved to the end of an axis; ones come in at its beginning."""
    size = x.shape[axis]
    ones = x.filled(1.0, (*x.shape[:axis], min(distance, size), *x.shape[axis + 1 :]))
    if distance >= size:
        return ones
    return ones.op("Concat", x.op("Slice", [0], [size - distance], [axis]), axis=axis)


def _reversed(x: Expr, axis: int) -> Expr:
    size = x.shape[axis]
    return x.op("Slice", [size - 1], [-size - 1], [axis], [-1])


@translation("TensorScatter")
def _tensor_scatter(g: Emitter, call: Call) -> Results:
    """Write ``update`` into the cache: for each sample from a place of its own on."""
    cache, update = Expr(g, call.input(0)), Expr(g, call.input(1))
    axis = call.attr("axis", -2) % cache.rank
    call.refuse(axis == 0, "axis=0, the samples themselves,")
    begins = call.optional(2)
    rows = np.arange(update.shape[axis], dtype=np.int64)
    places = Expr(g, g.const(rows.reshape((-1, *(1,) * (cache.rank - 1 - axis)))))
    if begins is not None:
        lead = (update.shape[0], *(1,) * (cache.rank - 1))
        places = Expr(g, begins).reshape(lead) + places
    if str(call.attr("mode", "linear")) == "circular":
        places = places.op("Mod", cache.shape[axis])
    places = places.expand(update.shape)
    return [cache.op("ScatterElements", places, update, axis=axis).value]


@translation("ScatterND")
def _scatter_nd(g: Emitter, call: Call) -> Results:
    """With a reduction by ScatterElements: the kernel of ScatterND loses updates of equal places.

    See docs/runtimes.md.
    """
    x, index, updates = (Expr(g, call.input(i)) for i in range(3))
    reduction = str(call.attr("reduction", "none"))
    if reduction == "none":
        return [x.op("ScatterND", index, updates).value]
    depth = index.shape[-1]
    sizes, width = np.array(x.shape[:depth]), math.prod(x.shape[depth:])
    count = math.prod(index.shape[:-1])
    strides = np.cumprod([1, *sizes[:0:-1]])[::-1]  # one number for every place
    rows = (where(index < 0, index + sizes, index) * strides).sum(index.rank - 1)
    rows = rows.reshape((count, 1)).expand((count, width))
    flat = x.reshape((math.prod(x.shape[:depth]), width))
    y = flat.op(
        "ScatterElements", rows, updates.reshape((count, width)), axis=0, reduction=reduction
    )
    return [y.reshape(x.shape).value]
