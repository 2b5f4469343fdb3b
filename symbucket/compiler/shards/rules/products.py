"""Matrix products: rows of one operand, or of both, or a sum over the rows of both."""

from __future__ import annotations

from collections.abc import Sequence

from symbucket.compiler.shards.labels import SUM, Digit, Label, RefusedError
from symbucket.compiler.shards.rules.base import Operands, rule

_Index = int
"""An index of a product: those of the result count from 0, and that of the summed axis is -1."""

_SUMMED = -1
_BROADCAST = -2


@rule("MatMul")
def matmul(v: Operands) -> Sequence[Label]:
    """The product of matrices, or of stacks of them."""
    a, b, shape = v.shape(0), v.shape(1), v.out_shape()
    if len(a) < 2 or len(b) < 2:
        raise RefusedError("it multiplies a vector")
    rank = len(shape)

    def stack(operand: tuple[int, ...]) -> list[_Index]:
        places = range(rank - len(operand), rank - 2)
        return [n if operand[i] == shape[n] else _BROADCAST for i, n in enumerate(places)]

    indices = [*stack(a), rank - 2, _SUMMED], [*stack(b), _SUMMED, rank - 1]
    return [_product(v, indices, shape, None)]


@rule("Gemm")
def gemm(v: Operands) -> Sequence[Label]:
    """The product of two matrices, plus a third."""
    left = [_SUMMED, 0] if v.attribute("transA") else [0, _SUMMED]
    right = [1, _SUMMED] if v.attribute("transB") else [_SUMMED, 1]
    return [_product(v, (left, right), v.out_shape(), 2)]


def _product(
    v: Operands,
    indices: tuple[list[_Index], list[_Index]],
    shape: tuple[int, ...],
    addend: int | None,
) -> Label:
    """Return the label of a product of operands 0 and 1; ``indices`` name their axes."""
    if any(label is not None and label.is_sum for label in v.labels):
        return _product_of_sum(v, addend)
    place: tuple[_Index, int, int] | None = None  # of the parts: index, outer, size
    for i in (0, 1):
        if v.is_rows(i):
            digit = v.digit(i)
            one = indices[i][digit.axis], digit.outer, v.shape(i)[digit.axis]
            if (place or one) != one:
                raise RefusedError("its operands have the batch's rows in different places")
            place = one
    if place is None and addend is not None and v.is_rows(addend):
        digit = v.digit(addend).moved(len(shape) - len(v.shape(addend)))
        place = digit.axis, digit.outer, shape[digit.axis]
    if place is None:
        raise RefusedError("no operand has the batch's rows")
    index, outer, _ = place
    for i in (0, 1):
        if not v.is_rows(i) and index in indices[i]:
            label = v.labels[i]
            assert label is not None
            v.agree(i, label, Digit(indices[i].index(index), outer))
            if i not in v.changes.fits:
                raise RefusedError("it multiplies the batch's rows with what is no part of them")
    added = None if addend is None else v.label(addend)
    if index == _SUMMED:
        if added is not None and not added.is_zero:
            raise RefusedError("it adds to a sum over the batch's rows")
        return SUM
    digit = Digit(index, outer)
    if added is not None and addend is not None:
        if added.is_rows:
            own = v.digit(addend).moved(len(shape) - len(v.shape(addend)))
            if own != digit or v.shape(addend)[v.digit(addend).axis] != shape[digit.axis]:
                raise RefusedError("its operands have the batch's rows in different places")
        else:
            v.agree(addend, added, digit.moved(len(v.shape(addend)) - len(shape)))
    return digit.label(shape)


def _product_of_sum(v: Operands, addend: int | None) -> Label:
    """A product with what is the same for all shards is linear."""
    sums = sum(label is not None and label.is_sum for label in v.labels[:2])
    others = sum(map(v.is_same, (0, 1)))
    if (sums, others) != (1, 1) or not (addend is None or v.linear((addend,))):
        raise RefusedError("it takes a sum over the batch's rows and is not linear in it")
    return SUM
