"""The gradients of a cell's gates, taken through their activations all at once.

The gates of a recurrent cell are slices of one matrix; backwards, each slice is multiplied by the
slope of its activation and the results are joined. Joined first, the slopes are one expression,
``s(1 - s) = s - s^2`` and ``1 - t^2``, and one product serves all gates: six nodes a step where
there were thirteen. Only the last product waits for the step after it. This is for steps that stay
unrolled; in a Scan, hoist-factors takes the slopes out of the step altogether.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from symbucket.compiler.rewrite.graph_queries import only_user
from symbucket.ir import Builder, attr, const_of, dtype_of, shape_of


@dataclass
class _Gate:
    """``grad * slope`` of one slice: the activation's value and whether it is a sigmoid's."""

    grad: ir.Value
    value: ir.Value
    sigmoid: bool


def join_gate_gradients(graph: ir.Graph) -> int:
    """Rewrite every Concat along the last axis whose inputs are all gradients of gates."""
    joined = 0
    ones: dict[tuple[int, ...], ir.Value] = {}
    for node in list(graph):
        if node.op_type != "Concat" or node.domain or len(node.inputs) < 2:
            continue
        rank = len(shape_of(node.outputs[0]))
        if attr(node, "axis") % rank != rank - 1:
            continue
        gates = [_gate(value, node) for value in node.inputs]
        if any(gate is None for gate in gates):
            continue
        _join(graph, node, [gate for gate in gates if gate is not None], ones)
        joined += 1
    return joined


def _node(value: ir.Value | None, op_type: str) -> ir.Node | None:
    node = None if value is None else value.producer()
    return node if node is not None and node.op_type == op_type and not node.domain else None


def _is_one(value: ir.Value | None) -> bool:
    array = const_of(value)
    return array is not None and array.size == 1 and bool((array == 1).all())


def _gate(value: ir.Value | None, user: ir.Node) -> _Gate | None:
    """Match ``Mul(grad, Mul(y, Sub(1, y)))`` or ``Mul(grad, Sub(1, Mul(y, y)))``."""
    outer = _node(value, "Mul")
    if outer is None or only_user(outer.outputs[0]) is not user:
        return None
    grad, slope = outer.inputs
    if grad is None or slope is None or only_user(slope) is not outer:
        return None
    if shape_of(grad) != shape_of(slope):
        return None
    product = _node(slope, "Mul")
    if product is not None:
        y, rest = product.inputs
        less = _node(rest, "Sub")
        if y is not None and less is not None and _is_one(less.inputs[0]) and less.inputs[1] is y:
            return _Gate(grad, y, sigmoid=True)
    less = _node(slope, "Sub")
    if less is not None and _is_one(less.inputs[0]):
        square = _node(less.inputs[1], "Mul")
        if square is not None and square.inputs[0] is square.inputs[1]:
            y = square.inputs[0]
            if y is not None and shape_of(y) == shape_of(slope):
                return _Gate(grad, y, sigmoid=False)
    return None


def _join(
    graph: ir.Graph, node: ir.Node, gates: list[_Gate], ones: dict[tuple[int, ...], ir.Value]
) -> None:
    g = Builder(graph, anchor=node)
    axis = len(shape_of(node.outputs[0])) - 1
    with g.scoped((node.name or "").rpartition("/")[0]):
        values = g.op("Concat", *(gate.value for gate in gates), axis=axis)
        square = g.op("Mul", values, values)
        if all(gate.sigmoid for gate in gates):
            whole = values
        elif not any(gate.sigmoid for gate in gates):
            whole = g.const(1.0, like=values)
        else:
            firsts = [gate.value if gate.sigmoid else _ones(g, gate.value, ones) for gate in gates]
            whole = g.op("Concat", *firsts, axis=axis)
        slopes = g.op("Sub", whole, square)
        grads = g.op("Concat", *(gate.grad for gate in gates), axis=axis)
        result = g.op("Mul", grads, slopes)
    node.outputs[0].replace_all_uses_with(result, replace_graph_outputs=True)
    graph.remove(node, safe=True)


def _ones(g: Builder, like: ir.Value, made: dict[tuple[int, ...], ir.Value]) -> ir.Value:
    """A constant of ones; all time steps share it."""
    shape = shape_of(like)
    if shape not in made:
        made[shape] = g.const(np.ones(shape, dtype=dtype_of(like).numpy()))
    return made[shape]
