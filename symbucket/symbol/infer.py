"""Shape and dtype inference over a symbol, in both directions, until nothing changes."""

from __future__ import annotations

import ast
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from symbucket.errors import InvalidArgumentError, ShapeError, SymbucketError
from symbucket.ops.graph import OnnxGraph
from symbucket.ops.shape import is_known, unify
from symbucket.symbol.node import Entry, Node
from symbucket.types import DType, PartialShape

_FAULTS = (ArithmeticError, IndexError, TypeError, ValueError)  # of rules that expect other ranks
_ROUNDS = 50  # each round is a sweep down and a sweep up; real networks need two or three


class ShapeTable:
    """Shapes of every output of every node."""

    def __init__(self, nodes: Sequence[Node]) -> None:
        self._nodes = nodes
        self._shapes: dict[Entry, PartialShape] = {}
        self._empty: set[Entry] = set()

    def shape_of(self, entry: Entry) -> PartialShape:
        """Return what is known of an entry's shape."""
        return self._shapes.get(entry)

    def set(self, entry: Entry, shape: PartialShape) -> bool:
        """Add what is known of a shape; return whether that is news."""
        before = self._shapes.get(entry)
        after = unify(before, shape)
        self._shapes[entry] = after
        return after != before

    def set_empty(self, entry: Entry, shape: Sequence[int]) -> None:
        """Set a shape whose zeros are sizes: there are no elements."""
        self._shapes[entry] = tuple(shape)
        self._empty.add(entry)

    def is_known(self, entry: Entry) -> bool:
        """Return whether rank and every dimension of an entry are known."""
        return entry in self._empty or is_known(self.shape_of(entry))

    def is_complete(self) -> bool:
        """Return whether all shapes are known."""
        return not self.unknown_text()

    def unknown_text(self) -> str:
        """Return which variables or node have an incomplete shape, in words; empty if none has."""
        unknown = [n for n in self._nodes if n.op is None and not self.is_known((n, 0))]
        if unknown:
            unresolved = ", ".join(
                f"{n.name} ({'unknown' if s is None else s})"
                for n, s in ((n, self.shape_of((n, 0))) for n in unknown[:8])
            )
            return (
                f"The shapes of these arguments cannot be inferred: {unresolved}. Give them as "
                f"{unknown[0].name}=(...), or with shape= when the Variable is made."
            )
        for node in self._nodes:
            for i in range(node.num_outputs):
                if not self.is_known((node, i)):
                    return (
                        f"The shape of node {node.name!r} ({_kind(node)}) cannot be inferred: "
                        f"all that is known is {self.shape_of((node, i))} (0: unknown)."
                    )
        return ""

    def require_complete(self) -> None:
        """Raise ShapeError if a shape is incomplete, and name the variables or the node."""
        if not self.is_complete():
            raise ShapeError(self.unknown_text())


def infer_shapes(nodes: Sequence[Node], shapes: Mapping[str, Sequence[int]]) -> ShapeTable:
    """Infer all shapes from ``shapes`` (variable name -> shape) and the ``shape=`` of variables.

    Raises ShapeError if they contradict each other, with the node or variable.
    """
    table = ShapeTable(nodes)
    variables = {n.name: n for n in nodes if n.op is None}
    of_foreign = _read_by_foreign_graphs(nodes)
    unknown = [name for name in shapes if name not in variables]
    if unknown:
        raise InvalidArgumentError(
            f"Shapes were given for {', '.join(unknown)}, but the symbol's inputs are "
            f"{', '.join(variables)}."
        )
    for name, node in variables.items():
        shape = None if shapes.get(name) is None else tuple(int(d) for d in shapes[name])
        # A shape that is given takes precedence, as in MXNet.
        if "__shape__" in node.attrs and not is_known(shape):
            table.set((node, 0), _own_shape(node))
        if shape is not None and 0 in shape and node in of_foreign:
            table.set_empty((node, 0), shape)
        elif shape is not None:
            try:
                table.set((node, 0), shape)
            except ShapeError as error:
                raise ShapeError(
                    f"Variable {name!r} has shape={node.attrs['__shape__']}, but {error}"
                ) from None
    propagate_shapes(table, nodes)
    return table


def _read_by_foreign_graphs(nodes: Sequence[Node]) -> set[Node]:
    """Return the variables that foreign graphs alone read.

    These infer nothing about their inputs, so a dimension of 0 is no unknown one there.
    """
    readers: dict[Node, bool] = {}
    for node in nodes:
        if node.op is not None:
            foreign = isinstance(node.op, OnnxGraph)
            for source, _ in node.inputs:
                readers[source] = readers.get(source, True) and foreign
    return {n for n, foreign in readers.items() if n.op is None and foreign}


def propagate_shapes(table: ShapeTable, nodes: Sequence[Node]) -> None:
    """Complete a table by the shape rules of ``nodes``, in both directions.

    A node whose inputs were all known has told everything: an unrolled network is swept once,
    and only the nodes around a weight or state of unknown size again.
    """
    pending = [n for n in nodes if n.op is not None]
    idle = 0  # sweeps without news; after one in each direction there will be none
    for _ in range(2 * _ROUNDS):
        if idle == 2 or not pending:
            break
        news = False
        open_nodes = []
        for node in pending:
            changed, settled = _step(table, node)
            news |= changed
            if not settled:
                open_nodes.append(node)
        open_nodes.reverse()
        pending = open_nodes
        idle = 0 if news else idle + 1


# The numbers that stand for dtypes in symbol files of MXNet.
_DTYPE_NUMBERS = ("float32", "float64", "float16", "uint8", "int32", "int8", "int64", "bool")


def checked_dtype(name: str, dtype: Any) -> DType:
    """Return a variable's dtype from anything that numpy takes or MXNet's number as a string."""
    try:
        if isinstance(dtype, str) and dtype.isdecimal():
            dtype = _DTYPE_NUMBERS[int(dtype)]
        result: DType = np.dtype(dtype)
        return result
    except (TypeError, ValueError, IndexError):
        raise InvalidArgumentError(
            f"Variable {name!r}: dtype {dtype!r} is not a numpy dtype; use one such as float32"
        ) from None


def dtype_text(dtype: DType) -> str:
    """Return a variable's ``__dtype__``: MXNet's number as text, or a name if it has none."""
    return str(_DTYPE_NUMBERS.index(dtype.name)) if dtype.name in _DTYPE_NUMBERS else dtype.name


def _own_shape(node: Node) -> tuple[int, ...]:
    text = node.attrs["__shape__"]
    try:
        return tuple(int(d) for d in ast.literal_eval(text))
    except (ValueError, TypeError, SyntaxError, RecursionError, MemoryError, OverflowError):
        raise InvalidArgumentError(
            f"Variable {node.name!r}: its attribute __shape__ is {text!r}, which is not a shape"
        ) from None


def _step(table: ShapeTable, node: Node) -> tuple[bool, bool]:
    """Apply a node's rule; returns whether that is news, and whether the node can tell no more."""
    assert node.op is not None
    entries = [*node.inputs, *((node, i) for i in range(node.num_outputs))]
    shapes = [table.shape_of(entry) for entry in entries]
    count = len(node.inputs)
    ins = shapes[:count]
    changed = False
    foreign = node.op if isinstance(node.op, OnnxGraph) else None
    empty = foreign is not None and any(0 in (shape or ()) for shape in ins)
    if empty and not all(table.is_known(entry) for entry in node.inputs):
        return False, False
    try:
        if foreign is not None and empty:
            new_ins, new_outs = (
                list(ins),
                list[PartialShape](foreign.shapes_of_outputs([shape or () for shape in ins])),
            )
        else:
            new_ins, new_outs = node.op.infer_shape(list(ins), shapes[count:])
        for entry, old, new in zip(entries, shapes, [*new_ins, *new_outs]):
            if foreign is not None and new is not None and entry[0] is node and 0 in new:
                table.set_empty(entry, new)
                changed = True
            elif new != old:
                changed |= table.set(entry, new)
    except (InvalidArgumentError, *_FAULTS) as error:
        names = (*node.op.arguments(), *node.op.auxiliary())
        inputs = ", ".join(
            f"{arg}={entry[0].name}{'' if s is None else s}"
            for arg, entry, s in zip(names, node.inputs, ins)
        )
        raise ShapeError(
            f"Node {node.name!r} ({_kind(node)}; {inputs}): {_reason(error)}"
        ) from error
    return changed, empty or (all(map(is_known, ins)) and all(map(is_known, new_outs)))


def infer_types_partial(
    nodes: Sequence[Node], dtypes: Mapping[str, Any]
) -> dict[Entry, DType | None]:
    """Return the dtype of every output, None if nothing determines it."""
    table: dict[Entry, DType | None] = {}
    for node in nodes:
        if node.op is None:
            dtype = dtypes.get(node.name, node.attrs.get("__dtype__"))
            table[node, 0] = None if dtype is None else checked_dtype(node.name, dtype)
    applied = [n for n in nodes if n.op is not None]
    propagate_types(table, applied)
    undecided = [n for n in applied if not n.inputs and table.get((n, 0)) is None]
    if undecided:  # zeros whose use asks for no dtype
        table.update({(node, 0): np.dtype(np.float32) for node in undecided})
        propagate_types(table, applied)
    return table


def infer_types(nodes: Sequence[Node], dtypes: Mapping[str, Any]) -> dict[Entry, DType]:
    """Return the dtype of every output; float32 if nothing determines another."""
    table = infer_types_partial(nodes, dtypes)
    applied = [n for n in nodes if n.op is not None]
    for node in nodes:
        if node.op is None and table[node, 0] is None:
            table[node, 0] = np.dtype(np.float32)
    propagate_types(table, applied)
    return {entry: dtype or np.dtype(np.float32) for entry, dtype in table.items()}


def propagate_types(table: dict[Entry, np.dtype[Any] | None], nodes: Sequence[Node]) -> bool:
    """Complete a table of dtypes by the rules of ``nodes``; returns whether it has changed."""
    pending = [node for node in nodes if not _has_types(table, node)]
    settled = 0  # sweeps without a change; after one in each direction nothing will change
    learnt = False
    for _ in range(2 * _ROUNDS):
        if settled == 2 or not pending:
            break
        changes = [_type_step(table, node) for node in pending]
        pending = [n for n in reversed(pending) if not _has_types(table, n)]
        settled = 0 if any(changes) else settled + 1
        learnt |= any(changes)
    return learnt


def _type_step(table: dict[Entry, DType | None], node: Node) -> bool:
    assert node.op is not None
    entries = [*node.inputs, *((node, i) for i in range(node.num_outputs))]
    before = [table.get(entry) for entry in entries]
    count = len(node.inputs)
    try:
        ins, outs = node.op.infer_type(before[:count], before[count:])
    except _FAULTS as error:
        if isinstance(error, SymbucketError):
            raise
        raise ShapeError(
            f"Node {node.name!r} ({_kind(node)}): no rule for inputs of dtypes {before[:count]}: "
            f"{_reason(error)}"
        ) from error
    changed = False
    for entry, old, new in zip(entries, before, [*ins, *outs]):
        if old is None and new is not None and table.get(entry) is None:
            table[entry] = new
            changed = True
    return changed


def _has_types(table: dict[Entry, DType | None], node: Node) -> bool:
    entries = [*node.inputs, *((node, i) for i in range(node.num_outputs))]
    return all(table.get(entry) is not None for entry in entries)


def _reason(error: Exception) -> str:
    """Return an error's text; one of Python says which it is."""
    return str(error) if isinstance(error, SymbucketError) else f"no rule for these: {error!r}"


def _kind(node: Node) -> str:
    return "variable" if node.op is None else node.op.op_name
