"""The call of an operator: which arguments are arrays, which are attributes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np

from symbucket.checks import listing
from symbucket.context import Context
from symbucket.errors import InvalidArgumentError
from symbucket.ops.record import Operator
from symbucket.runtime import NDArray

_IGNORED = ("name", "attr")  # of nodes of a symbol


@dataclass(frozen=True)
class Call:
    """An operator with its attributes set, the arrays for all its inputs, and where to write."""

    op: Operator
    inputs: list[NDArray]
    out: NDArray | Sequence[NDArray] | None
    context: Context | None


def read_call(
    record: type[Operator], called: str, args: Sequence[Any], kwargs: Mapping[str, Any]
) -> Call:
    """Match the arguments of a call.

    Positional arguments are inputs in the operator's order, then attributes in theirs; keyword
    arguments are inputs or attributes by name, ``out=`` and ``ctx=``. ``name=`` is ignored.
    """
    kwargs = dict(kwargs)
    out, context = kwargs.pop("out", None), kwargs.pop("ctx", None)
    for name in _IGNORED:
        kwargs.pop(name, None)
    if record.variadic and len(args) == 1 and isinstance(args[0], (list, tuple)):
        args = args[0]
    positional = [a for a in args if isinstance(a, NDArray)]
    rest = [a for a in args if not isinstance(a, NDArray)]
    named = {k: v for k, v in kwargs.items() if isinstance(v, NDArray)}
    raw = {
        k: v
        for k, v in kwargs.items()
        if k not in named and (v is not None or record.takes_none(k))
    }
    if rest:
        free = [f for f in record.fields() if f not in raw]
        if len(rest) > len(free):
            raise _no_array(called, "an input", rest[-1])
        raw.update({k: v for k, v in zip(free, rest) if v is not None or record.takes_none(k)})
    if record.variadic and "num_args" not in raw:
        raw["num_args"] = len(positional) + len(named)
    try:
        op = _make(record, tuple((k, _plain(v)) for k, v in raw.items()))
    except InvalidArgumentError:
        for name in record.inputs() or ():
            if name in raw and name not in record.fields():
                raise _no_array(called, name, raw[name]) from None
        if any(isinstance(value, np.ndarray) for value in rest):
            raise _no_array(called, "an input", rest[0]) from None
        raise
    return Call(op, _match(op, called, positional, named), out, context)


def _no_array(called: str, name: str, value: Any) -> InvalidArgumentError:
    return InvalidArgumentError(
        f"nd.{called}: {name} is {value!r} of type {type(value).__name__}; expected an NDArray, "
        "as nd.array(values) makes one"
    )


def _plain(value: Any) -> Any:
    """Return an attribute's value in a form that can be hashed."""
    if isinstance(value, np.ndarray):
        value = value.tolist()
    return tuple(map(_plain, value)) if isinstance(value, (list, tuple)) else value


@lru_cache(maxsize=4096)
def _cached(record: type[Operator], attributes: tuple[tuple[str, Any], ...]) -> Operator:
    return record.make(dict(attributes))


def _make(record: type[Operator], attributes: tuple[tuple[str, Any], ...]) -> Operator:
    try:
        hash(attributes)
    except TypeError:
        return record.make(dict(attributes))
    if record.runs_python:  # each call has properties of its own
        return record.make(dict(attributes))
    return _cached(record, attributes)  # type: ignore[arg-type] # a class can be hashed


def _match(
    op: Operator, called: str, positional: Sequence[NDArray], named: Mapping[str, NDArray]
) -> list[NDArray]:
    names = [*op.arguments(), *op.auxiliary()]
    inputs = {**dict(zip(names, positional)), **named}
    unknown = [name for name in named if name not in names]
    missing = [name for name in names if name not in inputs]
    if unknown or missing or len(positional) + len(named) != len(names):
        problem = (
            f"there is no input {unknown[0]!r}"
            if unknown
            else f"{listing(missing)} must be given: there is nothing to take them from"
            if missing
            else f"{len(positional) + len(named)} arrays were given"
        )
        raise InvalidArgumentError(f"nd.{called}: {problem}; its inputs are {listing(names)}")
    return [inputs[name] for name in names]
