"""A function for every operator, with its signature and documentation from the record."""

from __future__ import annotations

import inspect
import re
import typing
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cache, reduce
from inspect import Parameter
from operator import or_
from types import GenericAlias
from typing import Any

import numpy as np

from symbucket.ops import Operator, find
from symbucket.ops.attributes import describe
from symbucket.symbol.compose import apply
from symbucket.symbol.symbol import Symbol

DtypeLike = str | type | np.dtype  # type: ignore[type-arg] # short in help()
"""The values that an attribute ``dtype`` accepts."""

_LEFT_OUT = "a new variable if it is left out"


class _NewVariable:
    """The default of an input that becomes a variable if it is left out."""

    def __repr__(self) -> str:
        return "<new variable>"


class _Counted:
    """The default of ``num_args``, which is the number of inputs."""

    def __repr__(self) -> str:
        return "<number of inputs>"


@cache
def operator_function(name: str) -> Callable[..., Symbol]:
    """Return the function that applies the operator ``name``.

    Raises InvalidArgumentError if there is no such operator.
    """
    record = find(name)

    def function(*args: Any, **kwargs: Any) -> Symbol:
        return apply(name, args, kwargs)

    function.__name__ = function.__qualname__ = name
    function.__module__ = "symbucket.symbol"
    function.__doc__ = documentation(record)
    function.__signature__ = signature(record)  # type: ignore[attr-defined]
    return function


def signature(record: type[Operator]) -> inspect.Signature:
    """Return the signature of an operator's function: inputs, attributes, ``name``, ``attr``.

    It is a little stricter than the function, which takes any input as missing and any attribute
    by position or as a string of a symbol file.
    """
    parameters = [
        *_parameters(record),
        Parameter("name", Parameter.KEYWORD_ONLY, default=None, annotation=str | None),
        Parameter(
            "attr", Parameter.KEYWORD_ONLY, default=None, annotation=Mapping[str, str] | None
        ),
    ]
    if record.runs_python:
        parameters.append(Parameter("kwargs", Parameter.VAR_KEYWORD, annotation=Any))
    return inspect.Signature(parameters, return_annotation=Symbol)


def _parameters(record: type[Operator]) -> Iterator[Parameter]:
    kind: Any = Parameter.POSITIONAL_OR_KEYWORD
    optional = False
    inputs = record.inputs()
    for name, always in (inputs or {}).items():
        optional |= not always or name in record.implicit
        value = _NewVariable() if optional else Parameter.empty
        yield Parameter(name, kind, default=value, annotation=Symbol)
    if inputs is None:
        annotation = Symbol | Sequence[Symbol] if record.variadic else Symbol
        yield Parameter("args", Parameter.VAR_POSITIONAL, annotation=annotation)
        kind = Parameter.KEYWORD_ONLY
    for name, annotation in record.fields().items():
        default: Any = getattr(record, name, Parameter.empty)
        if record.variadic and name == "num_args":
            default = _Counted()
        if default is Parameter.empty and optional:  # may not follow by position
            kind = Parameter.KEYWORD_ONLY
        optional |= default is not Parameter.empty
        yield Parameter(name, kind, default=default, annotation=_accepted(name, annotation))


def _accepted(name: str, annotation: Any) -> Any:
    """The type of the values that an attribute takes in Python code."""
    if name in ("dtype", "out_dtype"):
        return DtypeLike | None if type(None) in typing.get_args(annotation) else DtypeLike
    options = typing.get_args(annotation)
    if typing.get_origin(annotation) is tuple:
        return options[0] | GenericAlias(Sequence, options[0])
    if type(None) in options:
        return reduce(or_, (_accepted(name, option) for option in options))
    return annotation


def documentation(record: type[Operator], makes_variables: bool = True) -> str:
    """Return what ``help`` shows: the record's docstring, inputs, outputs, gradient, attributes.

    ``makes_variables``: inputs that are left out become variables.
    """
    inputs = record.inputs()
    lines = [inspect.cleandoc(record.__doc__ or ""), "", "Inputs:"]
    for name, always in (inputs or {}).items():
        notes = [
            *([_LEFT_OUT] if makes_variables and name in record.implicit else []),
            *([] if always else ["not with all values of the attributes"]),
        ]
        lines.append(f"    {name}{': ' if notes else ''}{', '.join(notes)}")
    if not inputs:
        lines.append("    none" if inputs is not None else "    any number")
    lines += ["", "Shapes of inputs -> outputs:"]
    lines += [f"    {shapes}" for shapes in shape_texts(record)]
    if record.formula:
        lines += ["", f"Formula: {record.formula}"]
    if record.example:
        call, _, result = record.example.partition(" -> ")
        lines += ["", f"Example, lists standing for arrays of ``nd``: {call} is {result}"]
    lines += ["", f"Gradient: {gradient(record)}.", "", "Attributes:"]
    for name, annotation in record.fields().items():
        needed = name in record.required()
        default = "required" if needed else f"default {getattr(record, name)!r}"
        if record.variadic and name == "num_args":
            default = "the number of inputs by default"
        lines.append(f"    {name}: {describe(annotation)}; {default}.")
    if not record.fields():
        lines.append("    none but name and attr.")
    return "\n".join(lines)


def shape_texts(record: type[Operator]) -> list[str]:
    """Return the possible shapes, one text each: ``data (n, *d), weight (k, n) -> (n, k)``."""
    inputs = record.inputs()
    if inputs is None:
        return [record.shapes or "(*d), ... -> (*d)"]
    shapes = record.shapes or ", ".join(["(*d)"] * len(inputs)) + " -> (*d)"
    texts = []
    for text in shapes.split(" or "):
        left, _, outputs = text.partition("->")
        pairs = zip(inputs, re.findall(r"\([^)]*\)", left))
        texts.append(f"{', '.join(f'{n} {s}' for n, s in pairs) or 'none'} -> {outputs.strip()}")
    return texts


def gradient(record: type[Operator]) -> str:
    """Return which inputs get a gradient, in words."""
    inputs = record.inputs()
    if record.foreign:
        return "as its nodes have one"
    if inputs is None:
        return "yes, for all inputs"
    reached = [name for name in inputs if name not in record.no_gradient]
    if not reached:
        return "no"
    if record.is_loss:
        return f"its own, for {', '.join(reached)}; what comes from above is ignored"
    return f"yes, for {', '.join(reached)}"
