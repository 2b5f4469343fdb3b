"""Checks of arguments, shared by everything that users call.

Each function returns the checked value in its plain Python form, or raises an error (by default
InvalidArgumentError) that names the argument, says what was found, and what was expected.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from difflib import get_close_matches
from typing import Any, TypeGuard

import numpy as np

from symbucket.errors import InvalidArgumentError, SymbucketError


def is_integer(value: object) -> TypeGuard[int]:
    """Return whether ``value`` is a Python or numpy integer; a bool is not one."""
    return isinstance(value, (int, np.integer)) and not isinstance(value, bool)


def check_integer(
    value: object,
    name: str,
    minimum: int | None = None,
    *,
    error: type[SymbucketError] = InvalidArgumentError,
) -> int:
    """Return ``value`` as an int; raise ``error`` if it is no integer or less than ``minimum``."""
    if not is_integer(value) or (minimum is not None and value < minimum):
        expected = "an integer" if minimum is None else f"an integer of {minimum} or more"
        raise error(f"{name} is {value!r}; expected {expected}")
    return int(value)


def check_part(num_parts: object, part_index: object) -> tuple[int, int]:
    """Return the number of parts that workers share data in, and which one of them this is."""
    count = check_integer(num_parts, "num_parts", 1)
    index = check_integer(part_index, "part_index", 0)
    if index >= count:
        raise InvalidArgumentError(
            f"part_index is {index}; with num_parts={count} it is at most {count - 1}"
        )
    return count, index


def is_finite(value: float) -> bool:
    """Return whether a number is finite as a float; an integer of 400 digits is not."""
    try:
        return math.isfinite(value)
    except OverflowError:
        return False


def check_number(
    value: object,
    name: str,
    minimum: float | None = None,
    *,
    error: type[SymbucketError] = InvalidArgumentError,
) -> float:
    """Return ``value``, a finite real number of ``minimum`` or more, as an int or a float.

    Numpy scalars become Python numbers; bools, NaN and infinities are refused.
    """
    plain: Any = value.item() if isinstance(value, np.generic) else value
    is_real = isinstance(plain, (int, float)) and not isinstance(plain, bool)
    if not is_real or not is_finite(plain) or (minimum is not None and plain < minimum):
        expected = "a finite number" if minimum is None else f"a finite number >= {minimum:g}"
        raise error(f"{name} is {value!r}; expected {expected}")
    return plain  # type: ignore[no-any-return] # an int or a float, as checked


def check_fraction(value: object, name: str) -> float:
    """Return ``value``, a number from 0 up to but excluding 1, as a float."""
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value < 1:
        raise InvalidArgumentError(
            f"{name} is {value!r}; expected a number from 0 up to but excluding 1"
        )
    return float(value)


def check_choice(value: str, name: str, choices: Sequence[str]) -> str:
    """Return ``value`` if it is one of ``choices``."""
    if value not in choices:
        raise InvalidArgumentError(
            f"{name} is {value!r}; expected one of {', '.join(map(repr, choices))}"
            f"{did_you_mean(value, choices)}"
        )
    return value


def listing(names: Iterable[str], most: int = 10) -> str:
    """Return names as text for a message: the first ``most``, and how many there are if more."""
    listed = list(names)
    more = f", ... ({len(listed)} in all)" if len(listed) > most else ""
    return ", ".join(listed[:most]) + more


def did_you_mean(word: object, choices: Iterable[str]) -> str:
    """Return ``". Did you mean 'x'?"`` with the choice closest to ``word``, or ``""`` if none is.

    Letter case is ignored. Append it to an error text that has no full stop at its end.
    """
    by_lower = {choice.lower(): choice for choice in choices}
    matches = get_close_matches(str(word).lower(), by_lower, n=1)
    return f". Did you mean {by_lower[matches[0]]!r}?" if matches else ""


def one_line(error: object, most: int = 400) -> str:
    """Return the text of another library's error on one line, cut after ``most`` characters."""
    text = " ".join(str(error).split())
    return "".join(c if c.isprintable() else "?" for c in text)[:most]
