"""Checks of arguments and of arrays that the initializers share."""

from __future__ import annotations

from typing import Any

import numpy as np

from symbucket.casts import lost_numbers
from symbucket.errors import InvalidArgumentError, ShapeError
from symbucket.initializer.base import Initializer
from symbucket.types import Array


def number(owner: Initializer, name: str, value: Any, *, least: float = 0.0) -> float:
    """Return ``value``, a finite number of at least ``least``."""
    if isinstance(value, bool) or not isinstance(value, (int, float, np.number)):
        text = f"{value!r} of type {type(value).__name__}"
    elif not least <= float(value) < float("inf"):
        text = repr(value)
    else:
        return value if isinstance(value, (int, float)) else value.item()
    raise InvalidArgumentError(
        f"{type(owner).__name__}: {name} must be a finite number >= {least:g}, found {text}."
    )


def one_of(owner: Initializer, name: str, value: str, choices: tuple[str, ...]) -> str:
    """Return ``value``, one of ``choices``."""
    if value not in choices:
        raise InvalidArgumentError(
            f"{type(owner).__name__}: {name} must be one of {', '.join(map(repr, choices))}, "
            f"found {value!r}."
        )
    return value


def want_float(owner: Initializer, desc: str, arr: Array) -> None:
    """Raise ShapeError for integer arrays, in which fractions would silently become zeros."""
    if np.dtype(arr.dtype).kind in "biu":
        raise ShapeError(
            f"{type(owner).__name__} fills parameter {str(desc)!r} with fractions, but its dtype "
            f"is {arr.dtype}. Give the variable a floating dtype, or init=Zero() or One()."
        )


def want_held(owner: Initializer, desc: str, values: Array, arr: Array) -> None:
    """Raise ShapeError if some of ``values`` would be other numbers in the dtype of ``arr``."""
    count, first = lost_numbers(values, np.dtype(arr.dtype))
    if count:
        raise ShapeError(
            f"{type(owner).__name__}: parameter {str(desc)!r} has dtype {arr.dtype}, which does "
            f"not hold {count} of the {values.size} values, the first {first}. Give the variable "
            "another dtype, or other values."
        )


def want_rank(owner: Initializer, desc: str, arr: Array, least: int, reason: str) -> None:
    """Raise ShapeError for arrays with fewer than ``least`` axes."""
    if arr.ndim < least:
        raise ShapeError(
            f"{type(owner).__name__} cannot initialise parameter {str(desc)!r} of shape "
            f"{arr.shape}: {reason}. Use Uniform or Normal for it, for instance by Mixed or "
            f"Variable({str(desc)!r}, init=...)."
        )
