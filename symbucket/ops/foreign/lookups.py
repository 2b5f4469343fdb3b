"""The ranges of inputs that a foreign graph looks up rows with."""

from __future__ import annotations

from collections.abc import Mapping

import onnx

from symbucket.ops.foreign.attributes import attribute_of, int_of
from symbucket.ops.record import IndexBounds
from symbucket.types import Shape

_MOVES = frozenset(
    {"Cast", "Flatten", "Identity", "Reshape", "Squeeze", "Transpose", "Unsqueeze"}
)  # operators whose first input's values are the output's


def lookup_bounds(graph: onnx.GraphProto, shapes: Mapping[str, Shape]) -> dict[str, IndexBounds]:
    """Return the ranges of inputs that reach the positions of a Gather unchanged.

    ``shapes``: of the graph's inputs. Positions below 0 count from the end, except in tables of
    embeddings (those with ``padding_index``), which have none such in PyTorch.
    """
    source = {value.name: value.name for value in graph.input}
    sizes = {**shapes, **{t.name: tuple(t.dims) for t in graph.initializer}}
    bounds: dict[str, IndexBounds] = {}
    for node in graph.node:
        if node.op_type in _MOVES and node.input[0] in source:
            source[node.output[0]] = source[node.input[0]]
        if node.op_type != "Gather" or node.input[1] not in source:
            continue
        shape = sizes.get(node.input[0])
        if not shape:
            continue  # computed: its size is not known here
        rows = shape[int_of(node, "axis", 0)]
        low = 0 if attribute_of(node, "padding_index") else -rows
        name = source[node.input[1]]
        if name in bounds:
            low, rows = max(low, bounds[name].low or 0), min(rows, bounds[name].high)
        bounds[name] = IndexBounds("rows", rows, low=low)
    return bounds
