"""Operators that read or write at places that are numbers."""

from __future__ import annotations

from collections.abc import Sequence

from symbucket.compiler.shards.labels import SUM, Digit, Label, RefusedError
from symbucket.compiler.shards.rules.base import Operands, rule
from symbucket.ir import attribute_of


@rule("Gather")
def gather(v: Operands) -> Sequence[Label]:
    """Rows of numbers read what is the same for all, or all rows read the same places."""
    axis = v.axis(v.attribute("axis"), len(v.shape(0)))
    data, numbers = v.labels[0], v.labels[1]
    assert data is not None
    assert numbers is not None
    shape = v.out_shape()
    if data.is_same and numbers.is_rows:
        return [v.digit(1).moved(axis).label(shape)]
    if not numbers.is_same:
        raise RefusedError("rows read from each other")
    if data.is_sum:
        return [SUM]
    digit = v.digit(0)
    if digit.axis == axis:
        raise RefusedError("it picks some of the batch's rows")
    moved = len(v.shape(1)) - 1 if digit.axis > axis else 0
    return [digit.moved(moved).label(shape)]


@rule("GatherElements")
def gather_elements(v: Operands) -> Sequence[Label]:
    """Each row reads from itself."""
    _refuse_sums(v)
    shape = v.out_shape()
    digit = v.aligned((0, 1), shape)
    _check_same_size(v, digit, (0, 1))
    if digit.axis == v.axis(v.attribute("axis"), len(shape)):
        raise RefusedError("rows read from each other")
    return [digit.label(shape)]


@rule("ScatterElements")
def scatter_elements(v: Operands) -> Sequence[Label]:
    """Each row writes into itself, or all rows add to zeros."""
    _refuse_sums(v)
    shape = v.out_shape()
    axis = v.axis(v.attribute("axis"), len(shape))
    if _adds_to_zeros(v):
        digit = v.aligned((1, 2), v.shape(1))
        if digit.axis == axis:
            _check_same_size(v, digit, (1, 2))
            return [SUM]
    digit = v.aligned((0, 1, 2), shape)
    _check_same_size(v, digit, (0, 1, 2))
    if digit.axis == axis:
        raise RefusedError("rows write into each other")
    return [digit.label(shape)]


@rule("ScatterND")
def scatter_nd(v: Operands) -> Sequence[Label]:
    """All rows add to zeros."""
    _refuse_sums(v)
    if not _adds_to_zeros(v):
        raise RefusedError("rows write into each other")
    places, updates = v.shape(1), v.shape(2)
    if not (v.is_rows(1) and v.is_rows(2)):
        raise RefusedError("the places that it writes to are no rows of the batch")
    digit = v.digit(1)
    if v.digit(2) != digit or digit.axis >= len(places) - 1:
        raise RefusedError("its operands have the batch's rows in different places")
    if places[digit.axis] != updates[digit.axis]:
        raise RefusedError("its operands have the batch's rows in different places")
    return [SUM]


def _adds_to_zeros(v: Operands) -> bool:
    data = v.labels[0]
    reduction = attribute_of(v.node, "reduction")
    return data is not None and data.is_zero and reduction in ("add", b"add")


def _refuse_sums(v: Operands) -> None:
    if any(label is not None and label.is_sum for label in v.labels):
        raise RefusedError("it takes a sum over the batch's rows and is not linear in it")


def _check_same_size(v: Operands, digit: Digit, numbers: tuple[int, ...]) -> None:
    """Nothing is broadcast here, and numbers may be fewer than the data."""
    if len({v.shape(i)[digit.axis] for i in numbers}) > 1:
        raise RefusedError("it works on some of the batch's rows")
