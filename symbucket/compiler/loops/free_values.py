"""Values of a loop's body that do not wait for the step before."""

from __future__ import annotations

import onnx_ir as ir

from symbucket.compiler.loops.batch import batch_rule, is_product
from symbucket.ir import body_of, graphs_of, info_of, nbytes_of, read_directions, states_of

Directions = dict[ir.Value, int | None]
"""For each such value 1 if it depends on slices that are read last one first, 0 if on others.

None stands for those that are the same in every step.
"""

_LARGEST = 1 << 16  # bytes of a step's value; larger elementwise results stay in the cache
_LARGEST_JOINED = 4 * _LARGEST  # of one that is made of small slices, as the gates of a cell are


def slice_directions(scan: ir.Node) -> Directions:
    """Return the directions of the slices that a loop reads."""
    body = body_of(scan)
    assert body is not None
    return dict(zip(body.inputs[states_of(scan) :], read_directions(scan)))


def find_free(body: ir.Graph, directions: Directions) -> None:
    """Add every value of a body that does not wait for the step before, with its direction."""
    inputs, outputs = set(body.inputs), set(body.outputs)
    for node in body:
        if node.op_type == "Identity" and node.outputs[0] in outputs:
            continue  # a copy, because the original cannot be an output
        direction = _free_direction(node, body, inputs, directions)
        if direction is not False:
            for out in node.outputs:
                directions[out] = None if direction is None else int(direction)


def is_inside(value: ir.Value, body: ir.Graph, inputs: set[ir.Value]) -> bool:
    """Return whether a value is one of the body; ``inputs`` are the body's."""
    node = value.producer()
    return value in inputs or (node is not None and node.graph is body)


def _free_direction(
    node: ir.Node, body: ir.Graph, inputs: set[ir.Value], directions: Directions
) -> int | bool | None:
    """The direction of a node's results; False if they wait for the step before."""
    if graphs_of(node) or info_of(node).random:
        return False
    ways: set[int] = set()
    varying = []
    for value in node.inputs:
        if value is not None and is_inside(value, body, inputs) and value not in directions:
            return False
        way = None if value is None else directions.get(value)
        varying.append(way is not None)
        if way is not None:
            ways.add(way)
    if not ways:
        return None
    if len(ways) > 1 or batch_rule(node, varying) is None:
        return False
    return ways.pop()


def is_worth_hoisting(value: ir.Value, body: ir.Graph, directions: Directions) -> bool:
    """Return whether a free value is better computed outside: small ones, and those of products."""
    if directions[value] is None or nbytes_of(value) <= _LARGEST:
        return True
    largest_slice = 0
    seen: set[ir.Value] = set()
    stack = [value]
    while stack:
        one = stack.pop()
        if one in seen:
            continue
        seen.add(one)
        node = one.producer()
        if node is None or node.graph is not body:
            if directions.get(one) is not None:
                largest_slice = max(largest_slice, nbytes_of(one))
            continue
        if is_product(node):
            return True
        stack.extend(v for v in node.inputs if v is not None)
    return largest_slice <= _LARGEST and nbytes_of(value) <= _LARGEST_JOINED
