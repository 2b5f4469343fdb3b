"""The DSL: symbols, variables, groups, and one function for every operator.

``sym.FullyConnected(data, num_hidden=10, name="fc")`` and its like are made from the operator
records in ``symbucket.ops``; ``help(sym.FullyConnected)`` shows inputs and attributes.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import symbucket.ops as _ops
from symbucket.attribute import AttrScope
from symbucket.errors import InvalidArgumentError
from symbucket.name import NameManager, Prefix
from symbucket.ops.attributes import describe as _describe
from symbucket.symbol.onnx_import import from_onnx
from symbucket.symbol.symbol import Group, Symbol, Variable, apply, load, load_json

var = Variable

__all__ = [
    "AttrScope",
    "Group",
    "NameManager",
    "Prefix",
    "Symbol",
    "Variable",
    "from_onnx",
    "load",
    "load_json",
    "var",
]

_functions: dict[str, Callable[..., Symbol]] = {}


def _function(name: str) -> Callable[..., Symbol]:
    record = _ops.find(name)

    def call(*args: Any, **kwargs: Any) -> Symbol:
        return apply(name, args, kwargs)

    lines = [record.__doc__ or "", "", "Attributes:"]
    for field, annotation in record.fields().items():
        default = getattr(record, field, None)
        needed = "required" if field in record.required() else f"default {default!r}"
        lines.append(f"    {field}: {_describe(annotation)}; {needed}.")
    call.__name__ = call.__qualname__ = name
    call.__doc__ = "\n".join(lines)
    return call


def __getattr__(name: str) -> Callable[..., Symbol]:
    if name.startswith("__"):
        raise AttributeError(name)
    if name not in _functions:
        try:
            _functions[name] = _function(name)
        except InvalidArgumentError as error:
            raise AttributeError(str(error)) from None
    return _functions[name]


def __dir__() -> list[str]:
    return sorted({*__all__, *(n for n in _ops.names() if not n.startswith("_"))})
