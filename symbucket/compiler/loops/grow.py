"""Nodes beside a candidate that belong to one step each: they join the steps that they serve."""

from __future__ import annotations

from collections.abc import Sequence

import onnx_ir as ir

from symbucket.compiler.loops.loop import (
    BodyOp,
    Internal,
    Invariant,
    LoopCandidate,
    Scanned,
    Source,
    alike,
)
from symbucket.compiler.loops.slices import consecutive_slices
from symbucket.ir import info_of, readers
from symbucket.ir.notes import phase_of


def grow_candidate(
    candidate: LoopCandidate, after: set[ir.Value], order: dict[ir.Node, int]
) -> None:
    """Add body operations of nodes that only the steps read, and of nodes that read one step each.

    ``after``: the values that depend on the candidate; no step may wait for them. ``order``
    numbers the graph's nodes.
    """
    _Growth(candidate, after).take()
    candidate.body_ops.sort(key=lambda body_op: order[body_op.model])


class _Growth:
    def __init__(self, candidate: LoopCandidate, after: set[ir.Value]) -> None:
        self._candidate = candidate
        self._after = after
        self._place = candidate.places()

    def take(self) -> None:
        grown = True
        while grown:
            before = len(self._candidate.body_ops)
            for body_op in list(self._candidate.body_ops):
                for slot, source in enumerate(body_op.sources):
                    if isinstance(source, Scanned):
                        self._take_makers(body_op, slot)
            for body_op in list(self._candidate.body_ops):
                for output in range(len(body_op.model.outputs)):
                    self._take_readers(body_op, output)
            grown = len(self._candidate.body_ops) > before

    def _take_makers(self, body_op: BodyOp, slot: int) -> None:
        """Nodes that make an operand of one step each, and that nothing else reads."""
        operands = self._candidate.operands(body_op, slot)
        if consecutive_slices([value for _, value in operands]) is not None:
            return
        nodes: list[ir.Node | None] = [None] * self._candidate.steps
        for step, value in operands:
            maker = None if value is None else value.producer()
            if maker is None or any(out.is_graph_output() for out in maker.outputs):
                return
            users = [user for out in maker.outputs for user in readers(out)]
            if any(self._place.get(user, (None, -1))[1] != step for user in users):
                return
            nodes[step] = maker
        self._join(nodes)

    def _take_readers(self, body_op: BodyOp, output: int) -> None:
        """Nodes that read one step each, in the same way: elementwise ones, and such as put the
        gradients of gates together.
        """
        present = list(body_op.present())
        first_step, first = present[0]
        phase = phase_of(body_op.model)
        for user, slot in self._users(first.outputs[output]):
            if phase_of(user) is not phase:
                continue  # a gradient's steps run the other way
            nodes: list[ir.Node | None] = [None] * self._candidate.steps
            nodes[first_step] = user
            for step, node in present[1:]:
                found = [
                    other
                    for other, at in self._users(node.outputs[output])
                    if at == slot and alike(other, user) and phase_of(other) is phase
                ]
                if len(found) != 1:
                    break
                nodes[step] = found[0]
            else:
                self._join(nodes)

    def _users(self, value: ir.Value) -> list[tuple[ir.Node, int]]:
        return [
            (user, slot)
            for user, slot in value.uses()
            if user not in self._place
            and user.graph is self._candidate.body_ops[0].model.graph
            and (info_of(user).elementwise or (user.op_type == "Concat" and not user.domain))
        ]

    def _join(self, nodes: list[ir.Node | None]) -> None:
        present = [(step, node) for step, node in enumerate(nodes) if node is not None]
        model = present[0][1]
        if nodes[1] is None:
            return
        if len({node for _, node in present}) != len(present) or info_of(model).random:
            return
        if any(node in self._place or not alike(node, model) for _, node in present):
            return
        sources = [self._source(present, slot) for slot in range(len(model.inputs))]
        known = [source for source in sources if source is not None]
        if len(known) != len(sources) or not model.inputs:
            return
        body_op = BodyOp(nodes, known)
        for step, node in present:
            self._place[node] = body_op, step
        read = self._read_by(body_op)
        if read is None:
            for _, node in present:
                del self._place[node]
            return
        self._candidate.body_ops.append(body_op)
        for reader, slot, made in read:
            reader.sources[slot] = made

    def _read_by(self, body_op: BodyOp) -> list[tuple[BodyOp, int, Internal]] | None:
        """Who reads a new body operation and where; None where one reads it in some steps only."""
        own = {node for _, node in body_op.present()}
        found = []
        for reader in self._candidate.body_ops:
            for slot, source in enumerate(reader.sources):
                if isinstance(source, Scanned):
                    values = self._candidate.operands(reader, slot)
                    if not any(v is not None and v.producer() in own for _, v in values):
                        continue
                    made = self._made_by(body_op, values)
                    if made is None:
                        return None
                    found.append((reader, slot, made))
        return found

    def _source(self, present: Sequence[tuple[int, ir.Node]], slot: int) -> Source | None:
        values = [(step, node.inputs[slot]) for step, node in present]
        makers = [None if v is None else v.producer() for _, v in values]
        places = [None if maker is None else self._place.get(maker) for maker in makers]
        if all(place is None for place in places):
            if any(v in self._after for _, v in values):
                return None
            if all(v is values[0][1] for _, v in values):
                return Invariant(values[0][1])
            given: list[ir.Value | None] = [None] * self._candidate.steps
            for step, value in values:
                given[step] = value
            return None if any(v is None for _, v in values) else Scanned(given)
        first = places[0]
        return None if first is None else self._made_by(first[0], values)

    def _made_by(
        self, body_op: BodyOp, values: Sequence[tuple[int, ir.Value | None]]
    ) -> Internal | None:
        """One output of the body operation, where ``values`` are that, each in its step."""
        outputs = set()
        for step, value in values:
            maker = None if value is None else value.producer()
            if value is None or maker is None or self._place.get(maker) != (body_op, step):
                return None
            outputs.add(value.index())
        output = outputs.pop()
        return None if outputs or output is None else Internal(body_op, output, before=False)
