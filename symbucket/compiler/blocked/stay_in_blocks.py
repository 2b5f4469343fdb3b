"""What lies between convolutions over blocks stays in blocks.

Elementwise operators do not care in which order elements lie. Pools have kernels for blocks that
take a quarter of the time. A factor and a summand for each channel are a convolution of single
elements, channel by channel, in one pass over memory; sums of channels are means of pictures.
"""

from __future__ import annotations

import math
from collections.abc import Collection
from dataclasses import dataclass

import onnx_ir as ir

from symbucket.compiler.blocked.layers import Layer, Rule, gains, is_data, rule_of
from symbucket.compiler.blocked.layouts import from_blocks, to_blocks
from symbucket.compiler.rewrite.base import PassContext, graph_pass
from symbucket.compiler.rewrite.graph_queries import substitute
from symbucket.ir import (
    BLOCKED_DOMAIN,
    Builder,
    Expr,
    input_of,
    is_op,
    shape_of,
)


@graph_pass("final")
def stay_in_blocks(graph: ir.Graph, context: PassContext) -> int:
    """Rewrite nodes most of whose data is in blocks already; return their number."""
    block = context.target.channel_block
    if not block or BLOCKED_DOMAIN not in graph.opset_imports:
        return 0
    rules = _choose(graph, block)
    in_blocks: dict[ir.Value, ir.Value] = {}
    for node in list(graph):
        if is_op(node, "ReorderOutput", BLOCKED_DOMAIN):
            in_blocks[node.outputs[0]] = input_of(node, 0)
        elif is_op(node, "ReorderInput", BLOCKED_DOMAIN):
            blocks = in_blocks.setdefault(input_of(node, 0), node.outputs[0])
            if blocks is not node.outputs[0]:
                node.outputs[0].replace_all_uses_with(blocks)
        elif node in rules:
            _rewrite(graph, node, rules[node], in_blocks, block)
    return len(rules)


def _choose(graph: ir.Graph, block: int) -> dict[ir.Node, Rule]:
    """Return the nodes to rewrite: with most of their data in blocks, and less to reorder then."""
    in_blocks: set[ir.Value] = set()
    plan = _Plan({}, {})
    for node in graph:
        if is_op(node, "ReorderOutput", BLOCKED_DOMAIN):
            in_blocks.add(node.outputs[0])
            continue
        if is_op(node, "ReorderInput", BLOCKED_DOMAIN):
            in_blocks.add(input_of(node, 0))
            continue
        applicable = rule_of(node)
        if applicable is None:
            continue
        rule, data = applicable
        there = sum(_size(value) for value in data if value in in_blocks)
        most = 2 * there > sum(map(_size, data))
        if most and all(shape_of(value)[1] % block == 0 for value in data):
            results = [value for value in node.outputs if is_data(value)]
            plan.rules[node], plan.data[node] = rule, [*data, *results]
            in_blocks.update(results)
    for node in reversed(list(plan.rules)):
        plan.drop_unless_cheaper([node])
    for part in plan.parts():
        plan.drop_unless_cheaper(part)
    return plan.rules


@dataclass
class _Plan:
    """Nodes to rewrite, with the pictures that they read and return."""

    rules: dict[ir.Node, Rule]
    data: dict[ir.Node, list[ir.Value]]

    def drop_unless_cheaper(self, nodes: Collection[ir.Node]) -> None:
        """Leave nodes as they are if less has to be reordered then, or as much for no gain."""
        values = dict.fromkeys(value for node in nodes for value in self.data[node])
        cost = sum(map(self._reordered, values))
        dropped = {node: self.rules.pop(node) for node in nodes}
        without = sum(map(self._reordered, values))
        if cost < without or (cost == without and any(map(gains, nodes))):
            self.rules.update(dropped)

    def parts(self) -> list[list[ir.Node]]:
        """The nodes in groups that share no pictures."""
        group_of: dict[ir.Value, list[ir.Node]] = {}
        groups: dict[int, list[ir.Node]] = {}
        for node in self.rules:
            merged = [node]
            for group in {id(g): g for v in self.data[node] if (g := group_of.get(v))}.values():
                merged += group
                groups.pop(id(group), None)
            groups[id(merged)] = merged
            group_of.update((v, merged) for one in merged for v in self.data[one])
        return list(groups.values())

    def _reordered(self, value: ir.Value) -> int:
        """How many elements of a value are reordered."""
        node = value.producer()
        readers = [self._takes_blocks(reader) for reader, _ in value.uses()]
        if node is not None and (
            node in self.rules or is_op(node, "ReorderOutput", BLOCKED_DOMAIN)
        ):
            return _size(value) * (value.is_graph_output() or not all(readers))
        return _size(value) * any(readers)

    def _takes_blocks(self, node: ir.Node) -> bool:
        """Return whether a node reads data in blocks; a comparison does if its casts do."""
        if node in self.rules or is_op(node, "ReorderInput", BLOCKED_DOMAIN):
            return True
        casts = [reader for value in node.outputs for reader, _ in value.uses()]
        is_mask = node.outputs[0].dtype == ir.DataType.BOOL
        return is_mask and bool(casts) and all(cast in self.rules for cast in casts)


def _rewrite(
    graph: ir.Graph,
    node: ir.Node,
    rule: Rule,
    in_blocks: dict[ir.Value, ir.Value],
    block: int,
) -> None:
    g = Builder(graph, anchor=node)

    def blocks(value: ir.Value) -> Expr:
        if value not in in_blocks:
            in_blocks[value] = to_blocks(Expr(g, value)).value
        return Expr(g, in_blocks[value])

    with g.beside(node):
        for old, result in zip(node.outputs, rule.write(Layer(g, node, blocks, block))):
            if not is_data(result.value):
                substitute(g, old, result.value)
                continue
            plain = from_blocks(result).value
            in_blocks[plain] = result.value
            substitute(g, old, plain)
    graph.remove(node, safe=True)


def _size(value: ir.Value) -> int:
    return math.prod(shape_of(value))
