"""Values that are pieces of one tensor, cut along an axis: a sequence, seen step by step."""

from __future__ import annotations

from collections.abc import Sequence

import onnx_ir as ir

from symbucket.ir import Builder, attr, shape_of
from symbucket.ir.notes import node_notes, value_notes


def slice_of(value: ir.Value | None) -> tuple[ir.Node, int] | None:
    """The Split into equal parts that made a value, maybe seen in another shape, and which part."""
    node = None if value is None else value.producer()
    while node is not None and node.op_type == "Reshape" and not node.domain:
        value = node.inputs[0]
        node = None if value is None else value.producer()
    if node is None or value is None or node.op_type != "Split" or node.domain:
        return None
    if not _even(node):
        return None
    index = value.index()
    assert index is not None
    return node, index


def _even(split: ir.Node) -> bool:
    """Whether all parts are of one size; found out once, there are many of them."""
    notes = node_notes(split)
    if notes.splits_evenly is None:
        first = split.outputs[0].shape
        static = first is not None and first.is_static()
        notes.splits_evenly = static and all(out.shape == first for out in split.outputs)
    return notes.splits_evenly


def consecutive_slices(values: Sequence[ir.Value | None]) -> tuple[ir.Node, int, int] | None:
    """The Split that ``values`` are consecutive pieces of, the first one's number, and 1 or -1."""
    if len(values) < 2 or (len(values) > 2 and slice_of(values[1]) is None):
        return None
    found = [slice_of(value) for value in values]
    found[0] = _beside(values[0], found[0], found[1])
    found[-1] = _beside(values[-1], found[-1], found[-2])
    first, second = found[0], found[1]
    if first is None or second is None:
        return None
    way = second[1] - first[1]
    if way not in (1, -1):
        return None
    for i, piece in enumerate(found):
        if piece is None or piece[0] is not first[0] or piece[1] != first[1] + way * i:
            return None
    return first[0], first[1], way


def mark_alias(value: ir.Value | None, piece: ir.Value) -> None:
    """Note that a piece has the numbers of ``value``, which it is not made of."""
    if value is not None:
        value_notes(value).equal_slices.append(piece)


_Piece = tuple[ir.Node, int]


def _beside(
    value: ir.Value | None, piece: _Piece | None, neighbour: _Piece | None
) -> _Piece | None:
    """The piece of the neighbour's Split that a value is, or has the numbers of; else ``piece``."""
    if value is None or neighbour is None or (piece is not None and piece[0] is neighbour[0]):
        return piece
    for also in map(slice_of, value_notes(value).equal_slices):
        if also is not None and also[0] is neighbour[0]:
            return also
    return piece


def next_slice(values: Sequence[ir.Value]) -> ir.Value | None:
    """The piece after the last of consecutive ones, in the same shape; None where there is none."""
    run = consecutive_slices(values)
    if run is None:
        return None
    split, first, way = run
    at = first + way * len(values)
    if not 0 <= at < len(split.outputs):
        return None
    value = split.outputs[at]
    if value.shape == values[0].shape:
        return value
    for user, _ in value.uses():
        if user.op_type == "Reshape" and user.outputs[0].shape == values[0].shape:
            return user.outputs[0]
    return None


def as_stack(g: Builder, values: Sequence[ir.Value]) -> tuple[ir.Value, bool] | None:
    """Consecutive pieces in one tensor (number, *shape), without copying them one by one.

    Gives the tensor and whether the pieces stand in it in reverse order; None where ``values`` are
    not such pieces.
    """
    run = consecutive_slices(values)
    if run is None:
        return None
    split, first, way = run
    source = split.inputs[0]
    assert source is not None
    shape, whole = shape_of(values[0]), shape_of(source)
    axis = attr(split, "axis", 0) % len(whole)
    count = len(split.outputs)
    x = source
    if axis:
        x = g.reshape(x, (*whole[:axis], count, whole[axis] // count, *whole[axis + 1 :]))
        x = g.transpose(x, [axis, *range(axis), *range(axis + 1, len(whole) + 1)])
    x = g.reshape(x, (count, *shape))
    low = min(first, first + way * (len(values) - 1))
    if len(values) < count:
        x = g.op("Slice", x, g.ints(low), g.ints(low + len(values)), g.ints(0))
    return x, way < 0


def join_slices(graph: ir.Graph, least: int) -> None:
    """Where a Concat puts ``least`` or more consecutive pieces of a Scan's output together, take
    that output as it is; pieces in reverse are turned around at once.
    """
    for node in list(graph):
        if node.op_type != "Concat" or node.domain:
            continue
        axis = attr(node, "axis") % len(node.outputs[0].shape or ())
        g = Builder(graph, anchor=node)
        with g.beside(node):
            operands: list[ir.Value] = []
            joined = False
            for run in _runs([v for v in node.inputs if v is not None]):
                found = as_stack(g, run) if len(run) >= least and _joins(run) else None
                if found is None:
                    operands += run
                    continue
                stack = _reverse(g, found[0]) if found[1] else found[0]
                operands.append(_along(g, stack, shape_of(run[0]), axis))
                joined = True
            if not joined:
                continue
            whole = operands[0] if len(operands) == 1 else g.op("Concat", *operands, axis=axis)
        node.outputs[0].replace_all_uses_with(whole, replace_graph_outputs=True)
        graph.remove(node, safe=True)


def _reverse(g: Builder, x: ir.Value) -> ir.Value:
    """The same pieces, the last one first."""
    begin, end = g.ints(-1), g.ints(-shape_of(x)[0] - 1)
    return g.op("Slice", x, begin, end, g.ints(0), g.ints(-1))


def _along(g: Builder, stacked: ir.Value, shape: Sequence[int], axis: int) -> ir.Value:
    """(number, *shape) with the pieces put together along ``axis`` of their shape."""
    number = shape_of(stacked)[0]
    x = g.reshape(stacked, (number, *shape))
    x = g.transpose(x, [*range(1, axis + 1), 0, *range(axis + 1, len(shape) + 1)])
    return g.reshape(x, (*shape[:axis], number * shape[axis], *shape[axis + 1 :]))


def _runs(values: Sequence[ir.Value]) -> list[list[ir.Value]]:
    """Cut into consecutive pieces of one Split; other values stand alone."""
    runs: list[list[ir.Value]] = []
    before: tuple[ir.Node, int] | None = None
    way = 0  # from the last piece but one to the last piece
    for value in values:
        piece = slice_of(value)
        step = 0
        if piece is not None and before is not None and piece[0] is before[0]:
            step = piece[1] - before[1]
        if step in (1, -1) and way in (0, step):
            runs[-1].append(value)
            way = step
        else:
            runs.append([value])
            way = 0
        before = piece
    return runs


def _joins(run: Sequence[ir.Value]) -> bool:
    """Whether pieces come from a Scan, or stand in reverse; others were joined before the steps."""
    found = consecutive_slices(run)
    source = None if found is None else found[0].inputs[0]
    maker = None if source is None else source.producer()
    return found is not None and (found[2] < 0 or (maker is not None and maker.op_type == "Scan"))
