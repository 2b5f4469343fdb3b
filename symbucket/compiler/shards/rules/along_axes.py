"""Operators that work along one axis, or all from one on: the rows must lie along another."""

from __future__ import annotations

from collections.abc import Sequence

from symbucket.compiler.shards.labels import Digit, Label, RefusedError
from symbucket.compiler.shards.rules.base import Operands, rule
from symbucket.ir import attribute_of


@rule("Softmax", "LogSoftmax", "Hardmax", "LpNormalization", "TopK")
def along_one(v: Operands) -> Sequence[Label]:
    """Results lie where the rows are."""
    return _along(v, v.attribute("axis"))


@rule("CumSum")
def cumulative(v: Operands) -> Sequence[Label]:
    """Add up along an axis."""
    axis = v.ints(1)
    assert axis is not None
    return _along(v, axis[0])


def _along(v: Operands, axis: int) -> Sequence[Label]:
    digit = _digit_of_data(v)
    if v.axis(axis, len(v.shape(0))) == digit.axis:
        raise RefusedError("it works along the batch's rows")
    return [digit.label(v.out_shape(i)) for i in range(len(v.node.outputs))]


@rule("ArgMax", "ArgMin")
def arg(v: Operands) -> Sequence[Label]:
    """Places along an axis, which goes."""
    digit = _digit_of_data(v)
    axis = v.axis(v.attribute("axis"), len(v.shape(0)))
    if axis == digit.axis:
        raise RefusedError("it works along the batch's rows")
    if not v.attribute("keepdims") and axis < digit.axis:
        digit = digit.moved(-1)
    return [digit.label(v.out_shape())]


@rule("LayerNormalization")
def layer_normalization(v: Operands) -> Sequence[Label]:
    """Work along all axes from one on."""
    digit = _digit_of_data(v)
    if digit.axis >= v.axis(v.attribute("axis"), len(v.shape(0))):
        raise RefusedError("it works along the batch's rows")
    return [digit.label(v.out_shape(i)) for i in range(len(v.node.outputs))]


@rule("Trilu")
def triangle(v: Operands) -> Sequence[Label]:
    """Work on the last two axes."""
    digit = _digit_of_data(v)
    if digit.axis >= len(v.shape(0)) - 2:
        raise RefusedError("it works along the batch's rows")
    return [digit.label(v.out_shape())]


@rule("OneHot")
def one_hot(v: Operands) -> Sequence[Label]:
    """A new axis of the classes."""
    digit = _digit_of_data(v)
    shape = v.out_shape()
    if v.axis(v.attribute("axis"), len(shape)) <= digit.axis:
        digit = digit.moved(1)
    return [digit.label(shape)]


@rule("ReverseSequence")
def reverse_sequence(v: Operands) -> Sequence[Label]:
    """Reverse each row up to its length."""
    digit, shape = v.digit(0), v.shape(0)
    batch = attribute_of(v.node, "batch_axis")
    if digit.axis == attribute_of(v.node, "time_axis"):
        raise RefusedError("it works along the batch's rows")
    if digit.axis == batch:
        lengths = v.label(1)
        assert lengths is not None
        if lengths.is_rows:
            if v.digit(1) != Digit(0, digit.outer):
                raise RefusedError("its operands have the batch's rows in different places")
        else:
            v.agree(1, lengths, Digit(0, digit.outer))
    elif not v.is_same(1):
        raise RefusedError("its lengths depend on the batch's rows")
    return [digit.label(shape)]


def _digit_of_data(v: Operands) -> Digit:
    """Return the digit of the first operand; the others must be the same for all rows."""
    if not v.is_rows(0) or not all(map(v.is_same, range(1, len(v.labels)))):
        raise RefusedError("it takes a sum over the batch's rows, or numbers that depend on them")
    return v.digit(0)
