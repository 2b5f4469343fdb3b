"""``ClassProperty``: a value that is read from a class, computed at each reading."""

from __future__ import annotations

from collections.abc import Callable
from typing import Generic, TypeVar

_T = TypeVar("_T")


class ClassProperty(Generic[_T]):
    """An attribute of a class and its instances whose value a function returns."""

    def __init__(self, get: Callable[[], _T]) -> None:
        self._get = get
        self.__doc__ = get.__doc__

    def __get__(self, instance: object, owner: type | None = None) -> _T:
        return self._get()
