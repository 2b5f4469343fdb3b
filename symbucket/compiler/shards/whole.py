"""What a shard computes over the whole batch: the few nodes between labels and their number, say.

A loss is divided by the number of labels that count, in all of the batch. That number is a sum over
the rows that goes through a division, so it is not the sum of the shards' results. It costs
nothing to compute it in each shard from all labels.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping

import onnx_ir as ir

from symbucket.compiler.shards.labels import SAME, Label
from symbucket.ir import Builder, copy_node, dtype_of, graphs_of, info_of, shape_of

_MOST_NODES = 16
_MOST_ELEMENTS = 1 << 16  # of all their results and of what they read


def may_run_whole(
    node: ir.Node, labels: Mapping[ir.Value, Label], arguments: Collection[ir.Value]
) -> bool:
    """Return whether a node and what it depends on are cheap functions of the arguments."""
    nodes, elements = {node}, 0
    waiting = [node]
    while waiting:
        one = waiting.pop()
        if graphs_of(one) or info_of(one).random or len(nodes) > _MOST_NODES:
            return False
        for value in (*one.inputs, *one.outputs):
            if value is None:
                continue
            if value.shape is None or not value.shape.is_static():
                return False
            elements += math.prod(shape_of(value))
            label = labels.get(value)
            if value.const_value is not None or (label is not None and label.is_same):
                continue
            producer = value.producer()
            if producer is None:
                if value not in arguments:
                    return False
            elif producer not in nodes:
                nodes.add(producer)
                waiting.append(producer)
        if elements > _MOST_ELEMENTS:
            return False
    return True


class WholeCopies:
    """Copies of nodes that read whole arguments, made where they are needed."""

    def __init__(self, graph: ir.Graph, labels: dict[ir.Value, Label]) -> None:
        self._graph, self._labels = graph, labels
        self._copies: dict[ir.Value, ir.Value] = {}
        self.inputs: dict[ir.Value, ir.Value] = {}  # the new ones, by those of rows

    def use(self, node: ir.Node) -> None:
        """Let the users of a node read a copy of it that reads the whole batch."""
        g = Builder(self._graph, anchor=node)
        for out in node.outputs:
            copy = self._copy(g, out, anew=True)
            out.replace_all_uses_with(copy, replace_graph_outputs=True)

    def _copy(self, g: Builder, value: ir.Value, anew: bool = False) -> ir.Value:
        copy = self._copies.get(value)
        if copy is not None:
            return copy
        label = self._labels.get(value)
        if not anew and (value.const_value is not None or (label is not None and label.is_same)):
            return value
        node = value.producer()
        if node is None:
            name = g.unique(f"{value.name}.whole")
            whole = g.input(name, shape_of(value), dtype_of(value))
            self.inputs[value] = self._copies[value] = whole
            self._labels[whole] = SAME
            return whole
        new = copy_node(node, [None if v is None else self._copy(g, v) for v in node.inputs])
        new.name = g.unique(f"{node.name}/whole")
        for i, (old, out) in enumerate(zip(node.outputs, new.outputs)):
            out.name = new.name if i == 0 else g.unique(f"{new.name}:{i}")
            self._copies[old] = out
            self._labels[out] = SAME
        g.place(new)
        return self._copies[value]
