"""The call of an operator: match inputs and attributes, add missing variables, name the node."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

from symbucket.attribute import AttrScope, is_hidden, of_input, stored_name
from symbucket.errors import InvalidArgumentError
from symbucket.name import NameManager
from symbucket.one_of_each import OneOfEach
from symbucket.ops.record import Operator
from symbucket.ops.registry import find
from symbucket.symbol.node import NO_ATTRIBUTES, Entry, Node, checked_name
from symbucket.symbol.symbol import Symbol

_HIDDEN = re.compile(r"__\w+__$")
_one_name: OneOfEach[str] = OneOfEach()  # all keys have nodes of the same names


def apply(op_name: str, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Symbol:
    """Return a new symbol: the operator ``op_name`` applied to inputs, as by ``compose``."""
    return compose(find(op_name), op_name, args, kwargs)


def apply_as(op_name: str, called: str, *args: Any, **kwargs: Any) -> Symbol:
    """Return ``op_name`` applied to inputs; its automatic name comes from ``called``."""
    return compose(find(op_name), called, args, kwargs)


def compose(
    record: type[Operator], called: str, args: Sequence[Any], kwargs: Mapping[str, Any]
) -> Symbol:
    """Return a new symbol: ``record`` applied to inputs.

    Positional arguments are inputs in the operator's order (then attributes in their order, as
    MXNet's generated functions take them); keyword arguments are inputs or attributes by name.
    ``name`` and ``attr`` belong to the node. Inputs that are missing become variables named
    ``{node}_{argument}``.
    """
    attr = AttrScope.current.get(kwargs.get("attr"))
    positional: list[Symbol] = []
    rest: list[Any] = []
    named: dict[str, Symbol] = {}
    raw: dict[str, Any] = {}
    for value in _flatten(record, args):
        (positional if isinstance(value, Symbol) else rest).append(value)
    for key, value in kwargs.items():
        if key in ("name", "attr"):
            continue
        if _is_of_node(key):
            attr[stored_name(key)] = str(value)
        elif isinstance(value, Symbol):
            named[key] = value
        elif value is not None or record.takes_none(key):
            raw[key] = value
    if rest:
        free = [f for f in record.fields() if f not in raw]
        if len(rest) > len(free):
            raise InvalidArgumentError(
                f"{called}: {len(args)} positional arguments are too many, and {rest[-1]!r} is not "
                "a Symbol"
            )
        raw.update({k: v for k, v in zip(free, rest) if v is not None or record.takes_none(k)})
    if record.variadic and "num_args" not in raw:
        raw["num_args"] = len(positional) + len(named)
    op = record.make(raw)

    node_name = NameManager.current.get(kwargs.get("name"), called.lower())
    node_name = _one_name(checked_name(node_name, called))
    inputs = _match(op, called, node_name, positional, named, attr)
    node = Node(op, node_name, inputs, attr or NO_ATTRIBUTES)
    count = node.num_outputs
    return Symbol(((node, 0),) if count == 1 else [(node, i) for i in range(count)])


@lru_cache(1024)
def _is_of_node(key: str) -> bool:
    """Return whether an argument is an attribute of the node, not of the operator."""
    return is_hidden(key) or _HIDDEN.match(key) is not None


def _flatten(record: type[Operator], args: Sequence[Any]) -> list[Any]:
    if record.variadic and len(args) == 1 and isinstance(args[0], (list, tuple)):
        return list(args[0])
    return list(args)


def _match(
    op: Operator,
    called: str,
    node_name: str,
    positional: Sequence[Symbol],
    named: Mapping[str, Symbol],
    attr: Mapping[str, str],
) -> tuple[Entry, ...]:
    names = op.arguments() + op.auxiliary()
    all_there = not named and len(positional) == len(names)
    if all_there and all(len(symbol) == 1 for symbol in positional):
        return tuple([symbol.heads[0] for symbol in positional])
    for key in named:
        if key not in names:
            raise InvalidArgumentError(
                f"{called} {node_name!r}: no input {key!r}; it has {', '.join(names)}"
            )
    if len(positional) > len(names):
        raise InvalidArgumentError(
            f"{called} {node_name!r}: {len(positional)} inputs were given, it takes "
            f"{', '.join(names)}"
        )
    both = [key for key in names[: len(positional)] if key in named]
    if both:
        raise InvalidArgumentError(f"{called} {node_name!r}: input {both[0]!r} is given twice")
    inputs = {**dict(zip(names, positional)), **named}
    inherited: dict[str, str] = {}
    if len(inputs) < len(names):
        inherited = {k: v for k, v in attr.items() if _HIDDEN.match(k)}
    entries: list[Entry] = []
    for key in names:
        if key not in inputs:
            attributes = {**inherited, **of_input(attr, key)}
            initial = op.initial_values().get(key)
            if initial is not None:
                attributes.setdefault("__init__", json.dumps(["constant", {"value": initial}]))
            variable = _one_name(f"{node_name}_{key}")
            entries.append((Node(None, variable, (), attributes or NO_ATTRIBUTES), 0))
            continue
        heads = inputs[key].heads
        if len(heads) != 1:
            raise InvalidArgumentError(
                f"{called} {node_name!r}: input {key!r} has {len(heads)} outputs; choose one with "
                "[i]"
            )
        entries.append(heads[0])
    return tuple(entries)
