"""Shapes, dtypes and bounds of a network, read off its loops: one step tells about all of them.

``Symbol.complete_shapes`` visits every node that the user wrote; these visit those of the compiled
network, and go back to the written ones wherever that is not enough, also for the error texts.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from symbucket.compiler.loops.group import grouped
from symbucket.compiler.loops.grouped import Grouped
from symbucket.errors import SymbucketError
from symbucket.symbol.bounds import InputBounds, has_bounds, input_bounds
from symbucket.symbol.brief import brief
from symbucket.symbol.infer import ShapeTable, infer_shapes, infer_types
from symbucket.symbol.node import Entry
from symbucket.symbol.symbol import Symbol
from symbucket.types import DType, Shape

T = TypeVar("T")
Listed = tuple[list[T], list[T], list[T]]
"""What is so for arguments, outputs and auxiliary states, each in listed order."""


@dataclass(frozen=True)
class Inferred:
    """Shapes and dtypes of arguments, outputs and auxiliary states, each in listed order."""

    shapes: Listed[Shape]
    dtypes: Listed[DType]


def infer_interface(
    symbol: Symbol, shapes: Mapping[str, Sequence[int]], dtypes: Mapping[str, Any]
) -> Inferred:
    """Return what a symbol's ``complete_shapes`` and ``complete_types`` do, from one step of loops.

    Raises ShapeError as they do.
    """
    network = grouped(symbol)
    question = tuple((n, *(shape or ())) for n, shape in shapes.items()), tuple(dtypes.items())
    if question not in network.inferred:  # asked for the parameters of a key, then for its arrays
        network.inferred[question] = _infer(symbol, network, shapes, dtypes)
    inferred: Inferred = network.inferred[question]
    return inferred


def _infer(
    symbol: Symbol, network: Grouped, shapes: Mapping[str, Sequence[int]], dtypes: Mapping[str, Any]
) -> Inferred:
    if network.loops:
        table = _complete_table(network, shapes)
        types = infer_types(network.nodes, dtypes)
        if table is not None and all(
            (n, 0) in types for group in symbol.variables() for n in group
        ):
            return Inferred(
                _listed(symbol, network, table.shape_of),
                _listed(symbol, network, types.__getitem__),
            )
    return Inferred(symbol.complete_shapes(**shapes), symbol.complete_types(**dtypes))


def bounds_of_inputs(symbol: Symbol, shapes: Mapping[str, Sequence[int]]) -> list[InputBounds]:
    """Return the bounds of every variable that reaches an indexing argument unchanged."""
    if not any(map(has_bounds, brief(symbol).nodes)):
        return []
    network = grouped(symbol)
    table = _complete_table(network, shapes) if network.loops else None
    current = {old: new for new, old in network.written.items()}
    # Some may be in a loop.
    if table is None or not all(n in current for n in network.source if has_bounds(n)):
        nodes = symbol.nodes()
        return input_bounds(nodes, infer_shapes(nodes, shapes).shape_of)
    of_old = {
        old_entry: table.shape_of(new_entry)
        for old, new in current.items()
        if has_bounds(old)
        for old_entry, new_entry in zip(old.inputs, new.inputs)
    }
    return input_bounds(network.source, of_old.get)


def _complete_table(network: Grouped, shapes: Mapping[str, Sequence[int]]) -> ShapeTable | None:
    """The shapes in a network with loops; None if they are not all known, or contradictory."""
    names, earlier = network.inferred.get(ShapeTable, ((), None))
    if earlier is not None and shapes.keys() >= names:
        complete = {n.name: earlier.shape_of((n, 0)) for n in network.nodes if n.op is None}
        if all(complete.get(name) == tuple(shape or ()) for name, shape in shapes.items()):
            table: ShapeTable = earlier
            return table  # nothing is asked that was not worked out from less
    try:
        table = infer_shapes(network.nodes, shapes)
        table.require_complete()
    except SymbucketError:
        return None
    network.inferred[ShapeTable] = set(shapes), table
    return table


def _listed(symbol: Symbol, network: Grouped, of: Callable[[Entry], Any]) -> Listed[Any]:
    arguments, auxiliary = symbol.variables()
    return (
        [of((n, 0)) for n in arguments],
        [of(head) for head in network.heads],
        [of((n, 0)) for n in auxiliary],
    )
