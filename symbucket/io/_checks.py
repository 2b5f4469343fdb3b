"""Checks of arguments that several iterators share."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from symbucket.errors import InvalidArgumentError


def is_integer(value: object) -> bool:
    """True for Python and numpy integers; a bool is none."""
    return isinstance(value, (int, np.integer)) and not isinstance(value, bool)


def checked_integer(value: object, name: str) -> int:
    """``value`` as a Python int, or an InvalidArgumentError that names the argument."""
    if not isinstance(value, (int, np.integer)) or isinstance(value, bool):
        raise InvalidArgumentError(f"{name} is {value!r}; expected an integer")
    return int(value)


def checked_count(value: object, name: str, minimum: int = 1) -> int:
    """``value`` as a Python int of at least ``minimum``."""
    if not isinstance(value, (int, np.integer)) or isinstance(value, bool) or value < minimum:
        raise InvalidArgumentError(f"{name} is {value!r}; expected an integer of {minimum} or more")
    return int(value)


def checked_choice(value: str, name: str, choices: Sequence[str]) -> str:
    """``value`` if it is one of ``choices``."""
    if value not in choices:
        raise InvalidArgumentError(
            f"{name} is {value!r}; expected one of {', '.join(map(repr, choices))}"
        )
    return value
