"""What operators there are and what they take, as ``mx.operator``."""

from __future__ import annotations

import typing
from typing import Any, NamedTuple

from symbucket import ops
from symbucket.ops.attributes import describe

__all__ = ["OperatorArguments", "get_all_registered_operators", "get_operator_arguments"]


class OperatorArguments(NamedTuple):
    """The inputs and attributes of an operator: how many, their names, and what each may be."""

    narg: int
    names: list[str]
    types: list[str]


def get_all_registered_operators() -> list[str]:
    """Return the names of all operators, aliases included, sorted."""
    return ops.names()


def get_operator_arguments(op_name: str) -> OperatorArguments:
    """Return the inputs of an operator, with its attributes at their defaults, then its attributes.

    Raises InvalidArgumentError, with a suggestion, if there is no such operator.
    """
    record = ops.find(op_name)
    attributes, required = record.fields(), record.required()
    # Which inputs there are depends on the attributes (no_bias). These are at their defaults, or
    # where there is none at any value of their type, so the record's own checks are left out.
    instance = object.__new__(record)
    for name in required:
        object.__setattr__(instance, name, _value_of(attributes[name]))
    if record.variadic:
        object.__setattr__(instance, "num_args", 1)
    inputs = [*instance.arguments(), *instance.auxiliary()]
    types = ["Symbol or Symbol[]" if record.variadic else "Symbol"] * len(inputs)
    types += [
        f"{describe(kind)}, {'required' if name in required else 'optional'}"
        for name, kind in attributes.items()
    ]
    arguments = [*inputs, *attributes]
    return OperatorArguments(len(arguments), arguments, types)


def _value_of(kind: Any) -> Any:
    """Return a value of an attribute's type, to make an instance of a record with."""
    if typing.get_origin(kind) is tuple:
        return (1, 1)
    choices = typing.get_args(kind)
    if choices:
        is_union = typing.get_origin(kind) is not typing.Literal
        return _value_of(choices[0]) if is_union else choices[0]
    return {int: 1, float: 1.0, bool: False}.get(kind, "float32")
