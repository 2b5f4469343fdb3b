"""Operators that move elements: other shapes, orders, pieces and repetitions."""

from __future__ import annotations

from collections.abc import Sequence

from symbucket.compiler.shards.labels import SUM, Digit, Label, RefusedError, digit_of
from symbucket.compiler.shards.rules.base import Operands, rule
from symbucket.ir import attribute_of, perm_of


@rule("Reshape", "Flatten", "Squeeze", "Unsqueeze")
def reshape(v: Operands) -> Sequence[Label]:
    """The order of elements stays; the parts have to lie within one axis again."""
    label = v.labels[0]
    assert label is not None
    if label.is_rows and v.is_same(1):
        if v.node.op_type == "Squeeze" and v.label(1) is None:
            raise RefusedError("which axes go depends on the sizes")
        shape = v.out_shape()
        digit = digit_of(shape, label.outer, v.parts)
        if v.node.op_type == "Reshape":
            v.replace(1, digit.shard(shape, v.parts))
        return [label]
    return _sum_alone(v)


@rule("Transpose")
def transpose(v: Operands) -> Sequence[Label]:
    """The axis with the parts goes elsewhere."""
    if not v.is_rows(0):
        return _sum_alone(v)
    digit = v.digit(0)
    return [Digit(perm_of(v.node).index(digit.axis), digit.outer).label(v.out_shape())]


@rule("Expand")
def expand(v: Operands) -> Sequence[Label]:
    """Repeat along axes of one element."""
    if not v.is_rows(0):
        return _sum_alone(v)
    shape = v.out_shape()
    digit = v.aligned((0,), shape)
    v.replace(1, digit.shard(shape, v.parts))
    return [digit.label(shape)]


@rule("Tile")
def tile(v: Operands) -> Sequence[Label]:
    """Repeat along other axes than that of the parts."""
    if not v.is_rows(0):
        return _sum_alone(v)
    repeats = v.ints(1)
    digit = v.digit(0)
    if repeats is None or repeats[digit.axis] != 1:
        raise RefusedError("it repeats the batch's rows")
    return [digit.label(v.out_shape())]


@rule("Concat")
def concat(v: Operands) -> Sequence[Label]:
    """Join along another axis than that of the parts, or whole groups of all rows along it."""
    numbers = range(len(v.labels))
    if any(label is not None and label.is_sum for label in v.labels):
        if not v.linear(numbers):
            raise RefusedError("it joins sums over the batch's rows with something else")
        return [SUM]
    shape = v.out_shape()
    axis = v.axis(v.attribute("axis"), len(shape))
    digits = [v.digit(i) if v.is_rows(i) else None for i in numbers]
    first = next(digit for digit in digits if digit is not None)
    outer = 0
    for i, digit in enumerate(digits):
        expected = first if digit is None or first.axis != axis else digit
        if first.axis == axis:
            expected = _whole_groups(v, i, digit, first)
            outer += expected.outer
        if digit is None:
            label = v.labels[i]
            assert label is not None
            if not label.is_fill:
                raise RefusedError("it joins the batch's rows with what is no part of them")
            v.fit(i, expected)
        elif digit != expected:
            raise RefusedError("its operands have the batch's rows in different places")
    return [Digit(first.axis, outer or first.outer).label(shape)]


def _whole_groups(v: Operands, i: int, digit: Digit | None, first: Digit) -> Digit:
    """Return the digit of an operand that is joined along the axis of the parts.

    Each group is ``(parts, rest)``, all rows of one step, say; groups come one after another.
    """
    numbers = range(len(v.labels))
    rest = next(v.rest(v.shape(n), v.digit(n)) for n in numbers if v.is_rows(n))
    group = rest * v.parts
    size = v.shape(i)[first.axis]
    if size % group:
        raise RefusedError("it joins along the batch's rows")
    expected = Digit(first.axis, size // group)
    if digit is not None and digit.axis != first.axis:
        raise RefusedError("its operands have the batch's rows in different places")
    return expected


@rule("Split")
def split(v: Operands) -> Sequence[Label]:
    """Cut along another axis than that of the parts, or between whole groups of all rows."""
    if not v.is_rows(0):
        return [_sum_alone(v)[0]] * len(v.node.outputs)
    shape, digit = v.shape(0), v.digit(0)
    pieces = [v.out_shape(i) for i in range(len(v.node.outputs))]
    if v.axis(v.attribute("axis"), len(shape)) != digit.axis:
        return [digit.label(piece) for piece in pieces]
    group = v.rest(shape, digit) * v.parts
    sizes = [piece[digit.axis] for piece in pieces]
    if any(size % group for size in sizes):
        raise RefusedError("it cuts between the batch's rows")
    if v.label(1) is not None:
        v.replace(1, (size // v.parts for size in sizes))
    return [Digit(digit.axis, n // group).label(piece) for n, piece in zip(sizes, pieces)]


@rule("Slice")
def slice_(v: Operands) -> Sequence[Label]:
    """Cut along other axes than that of the parts, or between whole groups of all rows."""
    if not v.is_rows(0):
        return _sum_alone(v)
    shape, digit = v.shape(0), v.digit(0)
    starts, ends = v.ints(1), v.ints(2)
    assert starts is not None
    assert ends is not None
    axes, steps = v.ints(3) or list(range(len(starts))), v.ints(4) or [1] * len(starts)
    axes = [v.axis(axis, len(shape)) for axis in axes]
    if digit.axis not in axes:
        return [digit.label(v.out_shape())]
    at = axes.index(digit.axis)
    start, end, step = slice(starts[at], ends[at], steps[at]).indices(shape[digit.axis])
    group = v.rest(shape, digit) * v.parts
    if steps[at] != 1 or step != 1 or start % group or end % group or end <= start:
        raise RefusedError("it cuts between the batch's rows")
    starts[at], ends[at] = start // v.parts, end // v.parts
    v.replace(1, starts)
    v.replace(2, ends)
    return [Digit(digit.axis, (end - start) // group).label(v.out_shape())]


@rule("Pad")
def pad(v: Operands) -> Sequence[Label]:
    """Append along other axes than that of the parts; sums take zeros only."""
    if not all(v.is_same(i) for i in range(1, len(v.labels))):
        raise RefusedError("what it appends depends on the batch's rows")
    if not v.is_rows(0):
        value = v.label(2)
        mode = attribute_of(v.node, "mode")
        if mode not in ("constant", b"constant") or not (value is None or value.is_zero):
            raise RefusedError("it appends something to a sum over the batch's rows")
        return _sum_alone(v, others=3)
    digit, rank = v.digit(0), len(v.shape(0))
    pads = v.ints(1)
    assert pads is not None
    axes = [v.axis(axis, rank) for axis in v.ints(3) or range(rank)]
    if digit.axis in axes:
        at = axes.index(digit.axis)
        if pads[at] or pads[at + len(axes)]:
            raise RefusedError("it appends to the batch's rows")
    return [digit.label(v.out_shape())]


def _sum_alone(v: Operands, others: int = 1) -> Sequence[Label]:
    """Return SUM if the first operand is one, and the others are numbers."""
    label = v.labels[0]
    if label is None or not label.is_sum or not all(map(v.is_same, range(others, len(v.labels)))):
        raise RefusedError("how it moves elements depends on the batch's rows")
    return [SUM]
