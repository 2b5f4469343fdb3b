"""Compute cheap activations a second time instead of keeping them over the peak.

The idea of trading computation for memory is that of Griewank and Walther (*Revolve*, 2000) and
Chen et al. (*Training deep nets with sublinear memory cost*, 2016); here only elementwise nodes
are repeated, and only where all their inputs live over the peak anyway.
"""

from __future__ import annotations

import onnx_ir as ir

from symbucket.compiler.memory.arena_model import Arena, run_through
from symbucket.compiler.memory.intervals import live_intervals, size_of
from symbucket.ir import Builder, bounds, info_of, readers, reads, runner
from symbucket.ir.notes import Phase

_ROUNDS = 12


def recompute(graph: ir.Graph, target: int) -> int:
    """Repeat elementwise nodes until the arena needs at most ``target`` bytes, or nothing helps.

    Only values that are alive at the peak and read after it come into question, the largest
    first. Gives the number of nodes that were added.
    """
    added, before = 0, None
    for _ in range(_ROUNDS):
        buffers = live_intervals(graph)
        arena = Arena()
        run_through(arena, buffers)
        if arena.touched <= target or (before is not None and arena.touched >= before):
            break
        before = arena.touched
        change = [0] * (len(graph) + 2)
        for buffer in buffers:
            change[buffer.birth] += buffer.size
            change[buffer.death + 1] -= buffer.size
        now, live = 0, []
        for step in change:
            now += step
            live.append(now)
        made = _over(graph, max(range(len(live)), key=live.__getitem__), arena.touched - target)
        if not made:
            break
        added += made
    return added


def _over(graph: ir.Graph, peak: int, excess: int) -> int:
    """Repeat nodes whose values live over step ``peak`` until ``excess`` bytes are gone."""
    sizes, outputs, nodes = bounds(graph), set(graph.outputs), list(graph)
    place = {node: i for i, node in enumerate(nodes)}
    last = {v: i for i, node in enumerate(nodes) for v in reads(node) if v is not None}
    found: list[tuple[int, int, ir.Node, list[int]]] = []
    for i, node in enumerate(nodes[:peak]):
        traits = info_of(node)
        if not traits.elementwise or traits.random or len(node.outputs) != 1:
            continue
        value = node.outputs[0]
        read = sorted(place[user] for user in readers(value))
        if value in outputs or not read or read[-1] <= peak or peak in read:
            continue
        if all(_lives_over(v, peak, last, outputs) for v in node.inputs):
            found.append((-size_of(value, sizes), i, node, [r for r in read if r > peak]))
    needed: set[ir.Value] = set()  # by a repeated node; they must stay
    gone: set[ir.Value] = set()
    added = 0
    for size, _, node, later in sorted(found, key=lambda one: one[:2]):
        value = node.outputs[0]
        if excess <= 0:
            break
        if value in needed or any(v in gone for v in node.inputs):
            continue
        g = Builder(graph, anchor=nodes[later[0]])
        given = {name: a.value for name, a in node.attributes.items()}
        with g.scoped("grad/again", Phase.BACKWARD):
            again = g.typed(
                node.op_type,
                [d if isinstance(d, int) else str(d.value) for d in value.shape or ()],
                *[v for v in node.inputs if v is not None],
                dtype=value.dtype,
                **given,
            )
        for user, at in list(value.uses()):
            if place[runner(user)] > peak:
                user.replace_input_with(at, again)
        needed.update(v for v in node.inputs if v is not None)
        gone.add(value)
        excess += size
        added += 1
    return added


def _lives_over(
    value: ir.Value | None, peak: int, last: dict[ir.Value, int], outputs: set[ir.Value]
) -> bool:
    """Whether a value is kept over the peak in any case."""
    if value is None or value.producer() is None:
        return value is not None
    return value in outputs or last.get(value, -1) > peak
