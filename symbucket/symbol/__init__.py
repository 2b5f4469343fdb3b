"""The DSL: symbols, variables, groups, and one function for every operator.

``sym.FullyConnected(data, num_hidden=10, name="fc")`` and its like are made from the operator
records in ``symbucket.ops``; ``help(sym.FullyConnected)`` shows inputs, shapes, gradient and
attributes. ``__init__.pyi`` declares them for type checkers; ``tools/operator_stubs.py`` writes it.
"""

from __future__ import annotations

from collections.abc import Callable

import symbucket.ops as _ops
from symbucket.attribute import AttrScope
from symbucket.errors import InvalidArgumentError
from symbucket.name import NameManager, Prefix
from symbucket.symbol import _internal, contrib, image, linalg, op, random
from symbucket.symbol.functions import operator_function as _operator_function
from symbucket.symbol.of_numbers import hypot, maximum, minimum, pow, power
from symbucket.symbol.onnx.importer import from_onnx
from symbucket.symbol.pytorch import from_torch, torch_state_dict
from symbucket.symbol.shorthands import histogram, split_v2
from symbucket.symbol.symbol import Group, Symbol, load, load_json
from symbucket.symbol.variable import Variable

var = Variable

__all__ = [
    "AttrScope",
    "Group",
    "NameManager",
    "Prefix",
    "Symbol",
    "Variable",
    "_internal",
    "contrib",
    "from_onnx",
    "from_torch",
    "histogram",
    "hypot",
    "image",
    "linalg",
    "load",
    "load_json",
    "maximum",
    "minimum",
    "op",
    "pow",
    "power",
    "random",
    "split_v2",
    "torch_state_dict",
    "var",
]


def __getattr__(name: str) -> Callable[..., Symbol]:
    if name.startswith("__"):
        raise AttributeError(name)
    try:
        function = _operator_function(name)
    except InvalidArgumentError as error:
        raise AttributeError(str(error)) from None
    globals()[name] = function  # the next look finds it by itself
    return function


def __dir__() -> list[str]:
    return sorted({*__all__, *(n for n in _ops.names() if not n.startswith("_"))})
