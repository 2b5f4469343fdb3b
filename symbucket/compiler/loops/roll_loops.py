"""Recurrent steps, unrolled by the user's program, become one Scan over a body of one step.

The runtime keeps almost 4 KB for every node of a session, and an unrolled network has some sixty
nodes a time step. A Scan keeps one step, however long the sequence is; it reads the pieces of its
inputs and writes those of its outputs in place, where the unrolled graph copies them (Split,
Concat). Forward and backward steps are found by what they are, whoever wrote the cell.
"""

from __future__ import annotations

import heapq

import onnx_ir as ir

from symbucket.compiler.loops.carried_stacks import (
    drop_unread,
    stack_products,
    stack_sums,
)
from symbucket.compiler.loops.emit import write_scan
from symbucket.compiler.loops.first_iteration import extend_to_front
from symbucket.compiler.loops.grow import take_in_neighbours
from symbucket.compiler.loops.loop import Chain, Column, Given, Same
from symbucket.compiler.loops.match import LEAST, find_chain, recurrent_products
from symbucket.compiler.loops.slices import join_pieces
from symbucket.compiler.rewrite.base import Property, graph_pass
from symbucket.compiler.rewrite.merge_common_subexpressions import merge_common_subexpressions
from symbucket.compiler.rewrite.remove_dead_nodes import remove_dead_nodes
from symbucket.ir import readers, reads
from symbucket.ir.notes import graph_notes


@graph_pass(
    "final", introduces=("Scan",), requires=(Property.NO_DEAD_NODES, Property.STANDARD_ONNX)
)
def roll_loops(graph: ir.Graph) -> int:
    """Write every chain of four or more equal recurrent steps as a Scan; gives their number."""
    groups = recurrent_products(graph)
    if not groups:
        return 0
    signatures = graph_notes(graph).signatures
    signatures.clear()
    nodes = list(graph)
    order = {node: i for i, node in enumerate(nodes)}
    rolled = 0
    for products in sorted(groups, key=lambda nodes: order[nodes[0]]):
        if any(node.graph is not graph for node in products):
            continue  # in a Scan already, with another weight
        chain = _whole_chain(nodes, order, products, front=True)
        if chain is None:
            continue
        _place(graph, nodes, order, write_scan(graph, chain))
        signatures.clear()
        rolled += 1
        nodes = list(graph)
        order = {node: i for i, node in enumerate(nodes)}
    signatures.clear()
    if rolled:
        stack_products(graph)
        stack_sums(graph)
        join_pieces(graph, LEAST)
        remove_dead_nodes(graph)
        drop_unread(graph)
        merge_common_subexpressions(graph)
    return rolled


def _whole_chain(
    nodes: list[ir.Node], order: dict[ir.Node, int], products: list[ir.Node], front: bool
) -> Chain | None:
    """The steps around ``products`` with all that belongs to them; None where they cannot run in
    a row. ``front``: whether to look for a step before them that starts from zeros.
    """
    chain = find_chain(nodes[order[products[0]] : order[products[-1]] + 1], products)
    if chain is None:
        return None
    joined = front and extend_to_front(chain)
    take_in_neighbours(chain, _depending(nodes, chain), order)
    if _holds(chain) and _closed(nodes, chain):
        return chain
    return _whole_chain(nodes, order, products, front=False) if joined else None


def _depending(nodes: list[ir.Node], chain: Chain) -> set[ir.Value]:
    """All values that depend on the chain, the chain's own among them."""
    members = chain.places()
    found: set[ir.Value] = set()
    for node in nodes:
        if node in members or any(value in found for value in reads(node)):
            found.update(node.outputs)
    return found


def _closed(nodes: list[ir.Node], chain: Chain) -> bool:
    """Whether no step waits for something that waits for a step."""
    members = chain.places()
    after = _depending(nodes, chain)
    return not any(
        value in after and value.producer() not in members
        for node in members
        for value in reads(node)
        if value is not None
    )


def _holds(chain: Chain) -> bool:
    """Whether every operand of every node is what the chain says."""
    members = chain.places()
    for column in chain.columns:
        for step, node in column.present():
            for value, source in zip(node.inputs, column.sources):
                if value is not chain.operand(source, step):
                    return False
        for source in column.sources:
            outside = [source.value] if isinstance(source, Same) else ()
            outside = source.values if isinstance(source, Given) else outside
            if any(v is not None and v.producer() in members for v in outside):
                return False
    if any(v is not None and v.producer() in members for v in chain.initial.values()):
        return False
    return all(_adds_up(chain, column, value) for column, value in chain.instead.items())


def _adds_up(chain: Chain, column: Column, value: ir.Value) -> bool:
    """Whether ``value`` is an operand of the first step's ``column``, or the sum of several."""
    operands = [chain.operand(source, 0) for source in column.sources]
    node = value.producer()
    return value in operands or (
        node is not None
        and column.model.op_type == "Sum"
        and node.op_type in ("Sum", "Add")
        and all(v in operands for v in node.inputs)
    )


def _place(
    graph: ir.Graph, nodes: list[ir.Node], order: dict[ir.Node, int], new: list[ir.Node]
) -> None:
    """Move new nodes from the graph's end to where what they read is there, and not read yet."""
    made = {value.producer() for node in new for value in reads(node) if value is not None}
    last = max((order[node] for node in made if node in order), default=-1)
    users = {user for node in new for value in node.outputs for user in readers(value)}
    first = min((order[node] for node in users if node in order), default=len(nodes))
    if last < first < len(nodes):
        graph.insert_before(nodes[first], new)
    elif first < len(nodes):
        _sort(graph, {**order, **dict.fromkeys(new, last)})


def _sort(graph: ir.Graph, rank: dict[ir.Node, int]) -> None:
    """Bring nodes behind what they read, and else into the order of ``rank``."""
    nodes = list(graph)
    waits: dict[ir.Node, int] = {}
    after: dict[ir.Value, list[ir.Node]] = {}
    for node in nodes:
        needed = {v for v in reads(node) if v is not None and v.producer() is not None}
        waits[node] = len(needed)
        for value in needed:
            after.setdefault(value, []).append(node)
    number = {node: i for i, node in enumerate(nodes)}
    ready = [(rank[node], number[node]) for node in nodes if not waits[node]]
    heapq.heapify(ready)
    done: list[ir.Node] = []
    while ready:
        node = nodes[heapq.heappop(ready)[1]]
        done.append(node)
        for out in node.outputs:
            for user in after.get(out, ()):
                waits[user] -= 1
                if not waits[user]:
                    heapq.heappush(ready, (rank[user], number[user]))
    assert len(done) == len(nodes), "the graph has a circle"
    graph.extend(done)
