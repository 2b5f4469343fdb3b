"""The proof that a graph works row by row: a label for each value, or the reason why not."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace

import onnx_ir as ir

from symbucket.compiler.shards.labels import OPEN, SAME, Kind, Label, RefusedError, SettledNoise
from symbucket.compiler.shards.loops import label_loop
from symbucket.compiler.shards.rules import Operands, rule_of
from symbucket.compiler.shards.rules.base import Changes
from symbucket.compiler.shards.whole import may_run_whole
from symbucket.ir import attribute_of, body_of, const_of, graphs_of, info_of, reads, scope_of

_ZERO = Label(Kind.FILL, fill=0)


@dataclass
class Proof:
    """What is proven so far.

    Attributes:
        graph: the training step.
        parts: the number of shards.
        labels: of the values; those of inputs are assumptions.
        changes: what nodes need besides the shards of their operands.
        whole: nodes that each shard runs over all of the batch, in order.
        arguments: the inputs that a shard may also have whole.
    """

    graph: ir.Graph
    parts: int
    labels: dict[ir.Value, Label]
    arguments: frozenset[ir.Value]
    changes: dict[ir.Node, Changes] = field(default_factory=dict)
    whole: list[ir.Node] = field(default_factory=list)

    def label(self, value: ir.Value) -> Label:
        """Return the label of a value that is computed before, or constant."""
        label = self.labels.get(value)
        if label is None:
            label = self.labels[value] = _label_of_constant(value)
        return label

    def walk(self, graph: ir.Graph) -> None:
        """Label the results of all nodes of a graph or body, in order."""
        for node in graph:
            try:
                labels = self.results(node)
            except RefusedError as refusal:
                where = scope_of(node) or node.name
                raise RefusedError(f"{node.op_type} in {where!r}: {refusal}") from None
            self.labels.update(zip(node.outputs, labels))

    def results(self, node: ir.Node) -> Sequence[Label]:
        """Return the labels of a node's results."""
        labels = [None if v is None else self.label(v) for v in node.inputs]
        self.changes.pop(node, None)
        if not graphs_of(node) and any(label is OPEN for label in labels):
            return self._guess(node, labels)
        try:
            return self._labels(node, labels)
        except RefusedError:
            inside = node.graph is not self.graph
            if inside or not may_run_whole(node, self.labels, self.arguments):
                raise
            self.whole.append(node)
            return [SAME] * len(node.outputs)

    def _guess(self, node: ir.Node, labels: Sequence[Label | None]) -> Sequence[Label]:
        """Return what the other operands tell, as far as they do: a later round checks it."""
        try:
            results = self._labels(node, [_ZERO if label is OPEN else label for label in labels])
        except RefusedError:
            return [OPEN] * len(node.outputs)
        return [OPEN if label.is_same else label for label in results]

    def _labels(self, node: ir.Node, labels: Sequence[Label | None]) -> Sequence[Label]:
        free = next((label for label in labels if label is not None and label.choices), None)
        if free is not None and body_of(node) is None:
            return self._choose(node, labels, free)
        everything = labels
        if graphs_of(node):
            everything = [None if v is None else self.label(v) for v in reads(node)]
        if all(label is None or label.is_same for label in everything):
            return _all_same(node, labels)
        if body_of(node) is not None:
            return label_loop(self, node)
        rule = rule_of(node)
        if rule is None:
            raise RefusedError("nothing is known of this operator")
        operands = Operands(node, labels, self.parts)
        results = rule(operands)
        if operands.changes != Changes():
            self.changes[node] = operands.changes
        return results

    def _choose(
        self, node: ir.Node, labels: Sequence[Label | None], free: Label
    ) -> Sequence[Label]:
        """Keep the choices of random numbers that go with the other operands."""
        assert free.noise is not None
        possible: list[tuple[Label, Sequence[Label]]] = []
        for at_input, here in free.choices:
            try:
                chosen = [here if label is free else label for label in labels]
                possible.append((at_input, self._labels(node, chosen)))
            except RefusedError as refusal:
                last = refusal
        self.changes.pop(node, None)
        if not possible:
            raise last
        if len(possible) == 1:
            raise SettledNoise(free.noise, possible[0][0])
        if any(label.choices for _, results in possible for label in results):
            raise RefusedError("two inputs of random numbers meet")
        return [
            replace(free, choices=tuple((at_input, results[i]) for at_input, results in possible))
            for i in range(len(node.outputs))
        ]


def prove(
    graph: ir.Graph,
    inputs: Mapping[ir.Value, Label],
    parts: int,
    arguments: Collection[ir.Value] = (),
) -> Proof:
    """Return the proof that ``graph`` works row by row; raises RefusedError.

    Args:
        graph: a training step, in the order in which it runs.
        inputs: the labels of its inputs, FREE for random numbers.
        parts: the number of shards.
        arguments: the inputs that a shard may also have whole.
    """
    labels = dict(inputs)
    while True:
        proof = Proof(graph, parts, dict(labels), frozenset(arguments))
        try:
            proof.walk(graph)
        except SettledNoise as settled:
            labels[settled.noise] = settled.label
            continue
        return proof


def _all_same(node: ir.Node, labels: Sequence[Label | None]) -> Sequence[Label]:
    """Return the labels of what every shard computes from the same numbers."""
    if info_of(node).random:
        raise RefusedError("each shard would draw its own random numbers")
    if body_of(node) is not None:
        raise RefusedError("each shard would run all of the loop")
    if node.op_type == "ConstantOfShape":
        fill = attribute_of(node, "value")
        return [Label(Kind.FILL, fill=0 if fill is None else fill.numpy().reshape(-1)[0].item())]
    first = labels[0] if labels else None
    if node.op_type in _MOVES and first is not None and first.is_fill:
        return [first] * len(node.outputs)
    return [SAME] * len(node.outputs)


_MOVES = frozenset(
    "Identity Reshape Flatten Squeeze Unsqueeze Transpose Expand Slice Split".split()
)
"""What leaves equal elements equal."""


def _label_of_constant(value: ir.Value) -> Label:
    array = const_of(value)
    if array is not None and array.size and (array == array.flat[0]).all():
        return Label(Kind.FILL, fill=array.flat[0].item())
    return SAME
