"""Recurrent steps, unrolled by the user's program, become one Scan over a body of one step.

The runtime keeps almost 4 KB for every node of a session, and an unrolled network has some sixty
nodes a time step. A Scan keeps one step, however long the sequence is; it reads the pieces of its
inputs and writes those of its outputs in place, where the unrolled graph copies them (Split,
Concat). Forward and backward steps are found by what they are, whoever wrote the cell.
"""

from __future__ import annotations

import heapq

import onnx_ir as ir

from symbucket.compiler.loops.carried_stacks import stack_products, stack_sums
from symbucket.compiler.loops.emit import write_scan
from symbucket.compiler.loops.first_iteration import match_first_iteration
from symbucket.compiler.loops.grow import grow_candidate
from symbucket.compiler.loops.loop import BodyOp, Invariant, LoopCandidate, Scanned
from symbucket.compiler.loops.match import MIN_STEPS, find_candidate, recurrent_products
from symbucket.compiler.loops.slices import join_slices
from symbucket.compiler.rewrite.base import Property, graph_pass
from symbucket.compiler.rewrite.merge_common_subexpressions import merge_common_subexpressions
from symbucket.compiler.rewrite.remove_dead_nodes import remove_dead_nodes
from symbucket.ir import readers, reads
from symbucket.ir.notes import graph_notes


@graph_pass(
    "final", introduces=("Scan",), requires=(Property.NO_DEAD_NODES, Property.STANDARD_ONNX)
)
def roll_loops(graph: ir.Graph) -> int:
    """Write every candidate of four or more equal recurrent steps as a Scan; gives their number."""
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
        candidate = _whole_candidate(nodes, order, products, front=True)
        if candidate is None:
            continue
        _place(graph, nodes, order, write_scan(graph, candidate))
        signatures.clear()
        rolled += 1
        nodes = list(graph)
        order = {node: i for i, node in enumerate(nodes)}
    signatures.clear()
    if rolled:
        stack_products(graph)
        stack_sums(graph)
        join_slices(graph, MIN_STEPS)
        remove_dead_nodes(graph)
        merge_common_subexpressions(graph)
    return rolled


def _whole_candidate(
    nodes: list[ir.Node], order: dict[ir.Node, int], products: list[ir.Node], front: bool
) -> LoopCandidate | None:
    """The steps around ``products`` with all that belongs to them; None where they cannot run in
    a row. ``front``: whether to look for a step before them that starts from zeros.
    """
    candidate = find_candidate(nodes[order[products[0]] : order[products[-1]] + 1], products)
    if candidate is None:
        return None
    joined = front and match_first_iteration(candidate)
    grow_candidate(candidate, _depending(nodes, candidate), order)
    if _holds(candidate) and _closed(nodes, candidate):
        return candidate
    return _whole_candidate(nodes, order, products, front=False) if joined else None


def _depending(nodes: list[ir.Node], candidate: LoopCandidate) -> set[ir.Value]:
    """All values that depend on the candidate, the candidate's own among them."""
    members = candidate.places()
    found: set[ir.Value] = set()
    for node in nodes:
        if node in members or any(value in found for value in reads(node)):
            found.update(node.outputs)
    return found


def _closed(nodes: list[ir.Node], candidate: LoopCandidate) -> bool:
    """Whether no step waits for something that waits for a step."""
    members = candidate.places()
    after = _depending(nodes, candidate)
    return not any(
        value in after and value.producer() not in members
        for node in members
        for value in reads(node)
        if value is not None
    )


def _holds(candidate: LoopCandidate) -> bool:
    """Whether every operand of every node is what the candidate says."""
    members = candidate.places()
    for body_op in candidate.body_ops:
        for step, node in body_op.present():
            for value, source in zip(node.inputs, body_op.sources):
                if value is not candidate.operand(source, step):
                    return False
        for source in body_op.sources:
            outside = [source.value] if isinstance(source, Invariant) else ()
            outside = source.values if isinstance(source, Scanned) else outside
            if any(v is not None and v.producer() in members for v in outside):
                return False
    if any(v is not None and v.producer() in members for v in candidate.initial.values()):
        return False
    return all(_adds_up(candidate, body_op, value) for body_op, value in candidate.instead.items())


def _adds_up(candidate: LoopCandidate, body_op: BodyOp, value: ir.Value) -> bool:
    """Return whether ``value`` is an operand of ``body_op`` in the first step, or a sum of some."""
    operands = [candidate.operand(source, 0) for source in body_op.sources]
    node = value.producer()
    return value in operands or (
        node is not None
        and body_op.model.op_type == "Sum"
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
