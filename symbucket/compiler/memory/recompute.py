"""Rematerialize: compute cheap activations a second time, in place of keeping them over the peak.

The idea of trading computation for memory is that of Griewank and Walther (*Revolve*, 2000) and
Chen et al. (*Training deep nets with sublinear memory cost*, 2016); here only elementwise nodes
are repeated, and only if all their inputs are live over the peak anyway.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate

import onnx_ir as ir

from symbucket.compiler.memory.arena_model import ArenaModel, run_through
from symbucket.compiler.memory.live_ranges import Buffer, live_ranges, size_of
from symbucket.ir import (
    Builder,
    attributes_of,
    bounds,
    dimensions_of,
    info_of,
    readers,
    reads,
    runner,
)
from symbucket.ir.notes import Phase

MAX_ROUNDS = 12


def recompute(graph: ir.Graph, target: int) -> int:
    """Repeat elementwise nodes until the arena needs at most ``target`` bytes, or nothing helps.

    Candidates are values that are live at the peak and read after it, the largest first. Returns
    the number of nodes that were added.
    """
    added, previous = 0, None
    for _ in range(MAX_ROUNDS):
        buffers = live_ranges(graph)
        arena = ArenaModel()
        run_through(arena, buffers)
        if arena.touched <= target or (previous is not None and arena.touched >= previous):
            break
        previous = arena.touched
        repeated = _Round(graph, _peak_node(buffers, len(graph))).repeat(arena.touched - target)
        if not repeated:
            break
        added += repeated
    return added


def _peak_node(buffers: Sequence[Buffer], nodes: int) -> int:
    """Return the number of the first node at which the most bytes are live."""
    change = [0] * (nodes + 2)
    for buffer in buffers:
        change[buffer.birth] += buffer.size
        change[buffer.death + 1] -= buffer.size
    live = list(accumulate(change))
    return max(range(len(live)), key=live.__getitem__)


@dataclass
class _Candidate:
    """A node that may be repeated: ``size`` bytes, ``first_use`` after the peak."""

    size: int
    node: ir.Node
    first_use: ir.Node


class _Round:
    """One pass over a graph whose peak is at one node."""

    def __init__(self, graph: ir.Graph, peak: int) -> None:
        self._graph, self._peak = graph, peak
        self._nodes, self._outputs = list(graph), set(graph.outputs)
        self._place = {node: i for i, node in enumerate(self._nodes)}
        self._last_use = {
            v: i for i, node in enumerate(self._nodes) for v in reads(node) if v is not None
        }

    def repeat(self, excess: int) -> int:
        """Repeat nodes until ``excess`` bytes are freed at the peak; return their number."""
        needed: set[ir.Value] = set()  # by a repeated node; they must stay live
        freed: set[ir.Value] = set()
        added = 0
        for candidate in sorted(self._candidates(), key=lambda c: -c.size):
            node, value = candidate.node, candidate.node.outputs[0]
            if excess <= 0:
                break
            if value in needed or any(v in freed for v in node.inputs):
                continue
            copy = self._copy_before(candidate.first_use, node)
            for user, at in list(value.uses()):
                if self._place[runner(user)] > self._peak:
                    user.replace_input_with(at, copy)
            needed.update(v for v in node.inputs if v is not None)
            freed.add(value)
            excess -= candidate.size
            added += 1
        return added

    def _candidates(self) -> Iterator[_Candidate]:
        sizes = bounds(self._graph)
        for node in self._nodes[: self._peak]:
            traits = info_of(node)
            if not traits.elementwise or traits.random or len(node.outputs) != 1:
                continue
            value = node.outputs[0]
            uses = sorted(self._place[user] for user in readers(value))
            if value in self._outputs or not uses or uses[-1] <= self._peak or self._peak in uses:
                continue
            if all(self._is_live_over_peak(v) for v in node.inputs):
                first_use = next(use for use in uses if use > self._peak)
                yield _Candidate(size_of(value, sizes), node, self._nodes[first_use])

    def _is_live_over_peak(self, value: ir.Value | None) -> bool:
        if value is None or value.producer() is None:
            return value is not None
        return value in self._outputs or self._last_use.get(value, -1) > self._peak

    def _copy_before(self, place: ir.Node, node: ir.Node) -> ir.Value:
        g = Builder(self._graph, anchor=place)
        value = node.outputs[0]
        with g.scoped("grad/again", Phase.BACKWARD):
            return g.typed(
                node.op_type,
                dimensions_of(value),
                *[v for v in node.inputs if v is not None],
                dtype=value.dtype,
                **attributes_of(node),
            )
