"""Operators as methods of a symbol: ``x.reshape((0, -1))`` is ``sym.reshape(x, (0, -1))``.

``Operator.method`` is the name of the method, empty for operators that are none.
"""

from __future__ import annotations

from collections.abc import Callable
from types import MethodType
from typing import TYPE_CHECKING, Any

from symbucket.errors import InvalidArgumentError
from symbucket.ops import find, names


class FluentMethods:
    """The methods; ``fluent.pyi`` lists them for type checkers."""

    __slots__ = ()

    if not TYPE_CHECKING:  # which would take any name then

        def __getattr__(self, name: str) -> Any:
            if name.startswith("_"):
                raise AttributeError(f"a Symbol has no attribute {name!r}")
            try:
                find(name)
            except InvalidArgumentError as error:
                raise AttributeError(f"a Symbol has no attribute {name!r}. {error}") from None
            raise AttributeError(
                f"a Symbol has no attribute {name!r}; the operator is a function: sym.{name}(x)"
            )


class _FluentMethod:
    """The function of an operator, bound to the symbol as its first input."""

    def __init__(self, name: str) -> None:
        self.name = name

    def __get__(self, symbol: Any, owner: type | None = None) -> Callable[..., Any]:
        from symbucket.symbol.functions import operator_function  # needs Symbol, which needs us

        function = operator_function(self.name)
        return function if symbol is None else MethodType(function, symbol)


for _name in names():
    if find(_name).method == _name:
        setattr(FluentMethods, _name, _FluentMethod(_name))
