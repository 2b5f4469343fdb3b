"""Operators as methods of an array: ``x.sum(axis=0)`` is ``nd.sum(x, axis=0)``.

They are those that a Symbol has (``Operator.method``); ``operator_methods.pyi`` lists them for type
checkers.
"""

from __future__ import annotations

from collections.abc import Callable
from types import MethodType
from typing import Any

from symbucket import hooks
from symbucket.ops import find, names


class OperatorMethods:
    """The methods."""

    __slots__ = ()


class _OperatorMethod:
    """The function of an operator, bound to the array as its first input."""

    def __init__(self, name: str) -> None:
        self.name = name

    def __get__(self, array: Any, owner: type | None = None) -> Callable[..., Any]:
        function: Callable[..., Any] = hooks.array_function(self.name)
        return function if array is None else MethodType(function, array)


for _name in names():
    if find(_name).method == _name:
        setattr(OperatorMethods, _name, _OperatorMethod(_name))
