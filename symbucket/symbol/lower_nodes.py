"""Nodes of a symbol -> nodes of an ONNX graph."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import onnx_ir as ir

from symbucket.errors import ShapeError, SymbucketError
from symbucket.ir import shape_of
from symbucket.ops.record import Emitter
from symbucket.symbol.mixed_dtypes import mixed_dtypes
from symbucket.symbol.node import Entry, Node
from symbucket.types import PartialShape


def lower_nodes(
    emitter: Emitter,
    nodes: Sequence[Node],
    values: dict[Entry, ir.Value],
    shape_of_entry: Callable[[Entry], PartialShape],
    types: Mapping[Entry, np.dtype[Any]],
    draw_numbers: Callable[[Node], tuple[int, ...]],
) -> None:
    """Append what ``nodes`` compute, inputs first; ``values`` gets the value of every output.

    ``draw_numbers`` returns the number of a random node's first draw, in a body one for each step.
    Raises ShapeError if the dtypes of an operator's inputs do not fit each other, or if its
    expansion has another shape than its shape rule says.
    """
    for node in nodes:
        if node.op is None:
            continue
        outputs = [(node, i) for i in range(node.num_outputs)]
        shapes = []
        for entry in outputs:
            shape = shape_of_entry(entry)
            assert shape is not None
            shapes.append(shape)
        if node.op.may_draw:
            emitter.draw_numbers = draw_numbers(node)
        try:
            with emitter.emitting(node.name, shapes, [types[e] for e in outputs]):
                results = node.op.emit(emitter, *(values[e] for e in node.inputs))
        except ShapeError as error:
            mixed = mixed_dtypes(node, types)
            if not mixed:
                raise
            raise ShapeError(f"Node {node.name!r} ({node.op.op_name}): {mixed}") from error
        except SymbucketError as error:
            raise type(error)(f"Node {node.name!r} ({node.op.op_name}): {error}") from error
        results = [results] if isinstance(results, ir.Value) else list(results)
        for entry, value, expected in zip(outputs, results, shapes):
            if shape_of(value) != tuple(expected):
                raise ShapeError(
                    f"Node {node.name!r} ({node.op.op_name}): its expansion has shape "
                    f"{shape_of(value)}, its shape rule says {expected}. This is an error of the "
                    "operator's record."
                )
            values[entry] = value
