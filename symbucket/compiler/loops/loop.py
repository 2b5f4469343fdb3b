"""What a recurrent step consists of: one body operation for each of its nodes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import onnx_ir as ir

from symbucket.compiler.rewrite.graph_queries import attribute_key
from symbucket.ir.notes import graph_notes


@dataclass(frozen=True)
class Invariant:
    """An operand from outside, the same one in every step: a weight or a constant."""

    value: ir.Value | None


@dataclass(eq=False)
class Scanned:
    """An operand from outside, another one in every step; None where the step has no such node."""

    values: list[ir.Value | None]


@dataclass(frozen=True)
class Internal:
    """An operand that a body operation makes: in this step, or (``before``) in the one before."""

    body_op: BodyOp = field(repr=False)
    output: int
    before: bool

    def at(self, step: int) -> ir.Value | None:
        """The value in ``step``; None where no node makes it."""
        step -= self.before
        node = self.body_op.nodes[step] if step >= 0 else None
        return None if node is None else node.outputs[self.output]


Source = Invariant | Scanned | Internal


@dataclass(eq=False)
class BodyOp:
    """The nodes that do the same thing in every step; None where a step does without.

    A last step does without what nobody reads, a first step without adding zero (there is no step
    before it). ``sources`` say what each operand is.
    """

    nodes: list[ir.Node | None]
    sources: list[Source] = field(default_factory=list)

    @property
    def model(self) -> ir.Node:
        """The node of the second step, which every body operation has."""
        node = self.nodes[1]
        assert node is not None
        return node

    def present(self) -> Iterator[tuple[int, ir.Node]]:
        """The steps that have such a node, with the node."""
        for step, node in enumerate(self.nodes):
            if node is not None:
                yield step, node


State = tuple[BodyOp, int]
"""A body operation and the number of an output that the next step reads."""


@dataclass(eq=False)
class LoopCandidate:
    """Recurrent steps. Body operations stand in the order in which a step runs.

    ``initial`` has, for what is read of the step before, the value that the first step reads; None
    for zeros. ``instead`` has, for nodes that the first step does without because they add zero,
    the value they would make.
    """

    steps: int
    body_ops: list[BodyOp]
    initial: dict[State, ir.Value | None]
    instead: dict[BodyOp, ir.Value] = field(default_factory=dict)

    def places(self) -> dict[ir.Node, tuple[BodyOp, int]]:
        """Body operation and step of every node."""
        return {node: (body_op, t) for body_op in self.body_ops for t, node in body_op.present()}

    def operand(self, source: Source, step: int) -> ir.Value | None:
        """What the unrolled graph has for ``source`` in a step; None where it has nothing."""
        if isinstance(source, Invariant):
            return source.value
        if isinstance(source, Scanned):
            return source.values[step]
        if source.before and not step:
            return self.initial[source.body_op, source.output]
        made = source.at(step)
        first = step == int(source.before)
        return self.instead.get(source.body_op) if made is None and first else made

    def operands(self, body_op: BodyOp, slot: int) -> list[tuple[int, ir.Value | None]]:
        """What a body operation reads in ``slot``, with the steps in which that counts."""
        found = [(step, node.inputs[slot]) for step, node in body_op.present()]
        if body_op in self.instead:
            found.insert(0, (0, self.operand(body_op.sources[slot], 0)))
        return found


def alike(a: ir.Node, b: ir.Node) -> bool:
    """Whether two nodes do the same with operands of the same shapes and dtypes."""
    return a.op_type == b.op_type and _signature(a) == _signature(b)


def _signature(node: ir.Node) -> tuple[Any, ...]:
    """Return all that nodes which are alike have in common.

    It is asked for often; the notes of the graph keep it until the graph changes.
    """
    signatures = graph_notes(node.graph).signatures if isinstance(node.graph, ir.Graph) else {}
    signature = signatures.get(node)
    if signature is None:
        types = tuple(
            None if v is None else (v.shape, v.dtype) for v in (*node.inputs, *node.outputs)
        )
        counts = len(node.inputs), len(node.outputs)
        signature = node.domain, counts, types, attribute_key(node)
        signatures[node] = signature
    return signature


def same_type(a: ir.Value | None, b: ir.Value | None) -> bool:
    """Whether two operands have one shape and one dtype, or are both left out."""
    if a is None or b is None:
        return a is b
    return a.shape == b.shape and a.dtype == b.dtype
