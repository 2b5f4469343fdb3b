"""One object for equal values: many bucket keys consist of the same names, numbers and types."""

from __future__ import annotations

from collections.abc import Hashable
from typing import Generic, TypeVar

T = TypeVar("T", bound=Hashable)


class OneOfEach(Generic[T]):
    """Returns for a value the first one that was equal to it.

    Values never change, and equal ones must not be told apart (1 and 1.0 are equal). When there
    are ``most`` of them, all are forgotten: equal values may be two objects then.
    """

    def __init__(self, most: int = 4096) -> None:
        self._most = most
        self._values: dict[T, T] = {}

    def __call__(self, value: T) -> T:
        """Return ``value``, or the one that came first."""
        if len(self._values) >= self._most:
            self._values.clear()
        return self._values.setdefault(value, value)
