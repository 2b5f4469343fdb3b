"""Sequences and optionals of foreign graphs: how many parts they have is known when they are read.

They are no values of the graph that is written: their operators compute with Python's tuples of
values, and a position must be a constant.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import onnx
import onnx_ir as ir

from symbucket.errors import UnsupportedError
from symbucket.ir import const_of, shape_of
from symbucket.ops.foreign.attributes import graph_of, int_of
from symbucket.ops.record import Emitter


@dataclass(frozen=True)
class Items:
    """A sequence: its elements."""

    values: tuple[Item, ...]


@dataclass(frozen=True)
class Nothing:
    """An optional without a value; one with a value is that value."""


Item: TypeAlias = "ir.Value | Items | Nothing"
Write = Callable[[onnx.GraphProto, Sequence[Item]], list[Item]]
"""Appends the nodes of a body for values of its inputs; returns its outputs."""
Rule = Callable[[Emitter, onnx.NodeProto, Sequence["Item | None"], Write], Sequence[Item]]

SEQUENCES: dict[str, Rule] = {}


def _rule(op_type: str) -> Callable[[Rule], Rule]:
    def decorate(rule: Rule) -> Rule:
        SEQUENCES[op_type] = rule
        return rule

    return decorate


def tensor_of(value: Item | None, what: str) -> ir.Value:
    """Return a value that must be a tensor."""
    if not isinstance(value, ir.Value):
        names = {Items: "a sequence", Nothing: "an optional without a value"}
        raise UnsupportedError(f"{what} is {names.get(type(value), 'missing')}, not a tensor")
    return value


def _items(inputs: Sequence[Item | None]) -> tuple[Item, ...]:
    sequence = inputs[0]
    if not isinstance(sequence, Items):
        raise UnsupportedError("its first input is not a sequence")
    return sequence.values


def _position(
    inputs: Sequence[Item | None], i: int, count: int, default: int, end: bool = False
) -> int:
    """Return input ``i`` as a position from the front; ``end``: the one after the last exists."""
    if i >= len(inputs) or inputs[i] is None:
        return default
    constant = const_of(tensor_of(inputs[i], "the position"))
    if constant is None:
        raise UnsupportedError("the position is computed by the graph; it must be a constant")
    position = int(constant.reshape(-1)[0])
    if not -count <= position <= (count if end else count - 1):
        raise UnsupportedError(f"there is no position {position} in a sequence of {count}")
    return position + count if position < 0 else position


@_rule("SequenceConstruct")
def _construct(
    g: Emitter, node: onnx.NodeProto, inputs: Sequence[Item | None], write: Write
) -> Sequence[Item]:
    return [Items(tuple(tensor_of(x, f"input {i}") for i, x in enumerate(inputs)))]


@_rule("SequenceEmpty")
def _empty(
    g: Emitter, node: onnx.NodeProto, inputs: Sequence[Item | None], write: Write
) -> Sequence[Item]:
    return [Items(())]


@_rule("SequenceInsert")
def _insert(
    g: Emitter, node: onnx.NodeProto, inputs: Sequence[Item | None], write: Write
) -> Sequence[Item]:
    items = _items(inputs)
    at = _position(inputs, 2, len(items), len(items), end=True)
    return [Items((*items[:at], tensor_of(inputs[1], "the new element"), *items[at:]))]


@_rule("SequenceErase")
def _erase(
    g: Emitter, node: onnx.NodeProto, inputs: Sequence[Item | None], write: Write
) -> Sequence[Item]:
    items = _items(inputs)
    at = _position(inputs, 1, len(items), len(items) - 1)
    return [Items((*items[:at], *items[at + 1 :]))]


@_rule("SequenceAt")
def _at(
    g: Emitter, node: onnx.NodeProto, inputs: Sequence[Item | None], write: Write
) -> Sequence[Item]:
    items = _items(inputs)
    return [items[_position(inputs, 1, len(items), 0)]]


@_rule("SequenceLength")
def _length(
    g: Emitter, node: onnx.NodeProto, inputs: Sequence[Item | None], write: Write
) -> Sequence[Item]:
    return [g.const(np.array(len(_items(inputs)), np.int64))]


@_rule("SplitToSequence")
def _split(
    g: Emitter, node: onnx.NodeProto, inputs: Sequence[Item | None], write: Write
) -> Sequence[Item]:
    x = tensor_of(inputs[0], "what is split")
    shape = shape_of(x)
    axis = int_of(node, "axis", 0) % len(shape)
    split = inputs[1] if len(inputs) > 1 else None
    size = shape[axis]
    if split is None:
        sizes = [1] * size
    else:
        constant = const_of(tensor_of(split, "the sizes"))
        if constant is None:
            raise UnsupportedError("the sizes of the parts are computed by the graph")
        sizes = [int(part) for part in constant.reshape(-1)]
        if constant.ndim == 0:
            sizes = [min(sizes[0], size - start) for start in range(0, size, sizes[0])]
    parts = [x]
    if len(sizes) != 1:
        parts = g.ops("Split", x, g.ints(*sizes), outputs=len(sizes), axis=axis) if sizes else []
    if split is None and not int_of(node, "keepdims", 1):
        rest = (*shape[:axis], *shape[axis + 1 :])
        parts = [g.reshape(part, rest) for part in parts]
    return [Items(tuple(parts))]


@_rule("ConcatFromSequence")
def _concat(
    g: Emitter, node: onnx.NodeProto, inputs: Sequence[Item | None], write: Write
) -> Sequence[Item]:
    parts = [tensor_of(item, "an element") for item in _items(inputs)]
    if not parts:
        raise UnsupportedError("the sequence is empty")
    axis = int_of(node, "axis", 0)
    if int_of(node, "new_axis", 0):
        rank = len(shape_of(parts[0])) + 1
        axis %= rank
        parts = [g.op("Unsqueeze", part, g.ints(axis)) for part in parts]
    return [parts[0] if len(parts) == 1 else g.op("Concat", *parts, axis=axis)]


@_rule("SequenceMap")
def _map(
    g: Emitter, node: onnx.NodeProto, inputs: Sequence[Item | None], write: Write
) -> Sequence[Item]:
    body, rows = graph_of(node, "body"), []
    for i in range(len(_items(inputs))):
        inside = [x.values[i] if isinstance(x, Items) else tensor_of(x, "") for x in inputs]
        rows.append(write(body, inside))
    return [Items(tuple(column)) for column in zip(*rows)] or [Items(())] * len(node.output)


@_rule("Optional")
def _optional(
    g: Emitter, node: onnx.NodeProto, inputs: Sequence[Item | None], write: Write
) -> Sequence[Item]:
    return [Nothing() if not inputs or inputs[0] is None else inputs[0]]


@_rule("OptionalGetElement")
def _get(
    g: Emitter, node: onnx.NodeProto, inputs: Sequence[Item | None], write: Write
) -> Sequence[Item]:
    value = inputs[0] if inputs else None
    if value is None or isinstance(value, Nothing):
        raise UnsupportedError("its optional has no value")
    return [value]


@_rule("OptionalHasElement")
def _has(
    g: Emitter, node: onnx.NodeProto, inputs: Sequence[Item | None], write: Write
) -> Sequence[Item]:
    value = inputs[0] if inputs else None
    return [g.const(np.array(value is not None and not isinstance(value, Nothing)))]
