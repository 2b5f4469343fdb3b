"""Operator attributes: parsed from Python values or from the strings of a symbol file, by type."""

from __future__ import annotations

import ast
import types
import typing
from typing import Any, Literal, Union

import numpy as np

from symbucket.errors import InvalidArgumentError

_TRUE, _FALSE = {"true", "1"}, {"false", "0"}


def parse(owner: str, name: str, annotation: Any, raw: Any) -> Any:
    """Return ``raw`` as a value of the type ``annotation``.

    Raises InvalidArgumentError with the operator ``owner`` and the attribute ``name``.
    """
    try:
        return _parse(annotation, raw)
    except (ValueError, TypeError, SyntaxError, OverflowError):
        raise InvalidArgumentError(
            f"{owner}: attribute {name}={raw!r} is not {describe(annotation)}"
        ) from None


def _parse(annotation: Any, raw: Any) -> Any:
    origin = typing.get_origin(annotation)
    if origin in (Union, types.UnionType):
        options = typing.get_args(annotation)
        if type(None) in options and (raw is None or raw in ("None", "")):
            return None
        for option in options:
            if option is type(None):
                continue
            try:
                return _parse(option, raw)
            except (ValueError, TypeError, SyntaxError, OverflowError):
                continue
        raise ValueError
    if origin is Literal:
        if raw in typing.get_args(annotation):
            return raw
        raise ValueError
    if origin is tuple:
        return _parse_tuple(typing.get_args(annotation)[0], raw)
    return _parse_scalar(annotation, raw)


def _parse_tuple(item: Any, raw: Any) -> tuple[Any, ...]:
    if isinstance(raw, str):
        raw = ast.literal_eval(raw)
    if isinstance(raw, (int, float)):
        raw = (raw,)
    if not isinstance(raw, (tuple, list)):
        raise TypeError
    return tuple(_parse(item, v) for v in raw)


def _parse_scalar(annotation: Any, raw: Any) -> Any:
    if annotation is bool:
        if isinstance(raw, str):
            if raw.lower() in _TRUE | _FALSE:
                return raw.lower() in _TRUE
            raise ValueError
        if raw in (True, False, 0, 1):
            return bool(raw)
        raise ValueError
    if annotation is int:
        if isinstance(raw, float) and raw != int(raw):
            raise ValueError
        return int(raw)
    if annotation is float:
        return as_number(raw)
    if annotation is str:
        if isinstance(raw, type):  # np.float32 given as dtype
            return raw.__name__
        if isinstance(raw, str):
            return raw
        name = getattr(raw, "name", None)  # np.dtype("float32")
        if isinstance(name, str):
            return name
        raise ValueError
    if isinstance(annotation, type) and isinstance(raw, annotation):
        return raw  # what symbol files do not hold as text, as the graph of a loop
    raise TypeError


def as_number(raw: Any) -> float:
    """Return a number or its text as a float; an integer that a float would round stays one.

    Tensors of int64 take it exactly.
    """
    number = float(raw)
    if isinstance(raw, str):
        try:
            raw = int(raw)
        except ValueError:
            return number
    if isinstance(raw, (int, np.integer)) and int(raw) != number:
        return int(raw)
    return number


def describe(annotation: Any) -> str:
    """Return the type in words, for messages and generated documentation."""
    origin = typing.get_origin(annotation)
    if origin in (Union, types.UnionType):
        return " or ".join(
            "None" if o is type(None) else describe(o) for o in typing.get_args(annotation)
        )
    if origin is Literal:
        return "one of " + ", ".join(map(repr, typing.get_args(annotation)))
    if origin is tuple:
        return f"a tuple of {describe(typing.get_args(annotation)[0])}"
    words = {int: "an integer", float: "a number", bool: "True or False", str: "a string"}
    if isinstance(annotation, type) and annotation not in words:
        return f"a {annotation.__name__}"
    return words.get(annotation, str(annotation))


def render(value: Any) -> str:
    """Return the string that a symbol file holds for a value."""
    return str(value)
