"""Partial shapes: ``None`` is an unknown rank, ``0`` an unknown dimension, as in MXNet."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeGuard

from symbucket.errors import ShapeError
from symbucket.types import PartialShape, Shape


def unify(a: PartialShape, b: PartialShape) -> PartialShape:
    """Return what both shapes say together; raise ShapeError if they contradict each other."""
    if a is None or b is None:
        return b if a is None else a
    if a == b:
        return a
    if len(a) != len(b):
        raise ShapeError(f"shapes {a} and {b} have different ranks")
    if any(x and y and x != y for x, y in zip(a, b)):
        raise ShapeError(f"shapes {a} and {b} differ")
    return tuple(x or y for x, y in zip(a, b))


def unify_all(shapes: Sequence[PartialShape]) -> PartialShape:
    """Return what all shapes say together; raise ShapeError if they contradict each other."""
    out: PartialShape = None
    for shape in shapes:
        out = unify(out, shape)
    return out


def is_known(shape: PartialShape) -> TypeGuard[Shape]:
    """Return whether rank and every dimension are known."""
    return shape is not None and 0 not in shape


def axis_of(axis: int, rank: int) -> int:
    """Return the axis counted from the front; raise ShapeError if it does not exist."""
    if not -rank <= axis < rank:
        raise ShapeError(f"axis {axis} does not exist in {rank} dimensions")
    return axis % rank


def with_dim(shape: Shape, axis: int, size: int) -> Shape:
    """Return ``shape`` with another size at ``axis``."""
    return (*shape[:axis], size, *shape[axis + 1 :])


def check_square(shape: PartialShape) -> None:
    """Raise ShapeError unless ``shape`` may be that of square matrices, the input A."""
    if shape is not None and (len(shape) < 2 or (0 not in shape and shape[-1] != shape[-2])):
        raise ShapeError(f"A must be square matrices (*d, n, n), it has shape {shape}")
