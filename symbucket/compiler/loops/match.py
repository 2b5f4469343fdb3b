"""Find the steps of a recurrent network in its unrolled graph.

A recurrent network multiplies by one weight in every step, each product waiting for the one
before. Walking up from these products in all steps at once shows what a step consists of.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Hashable, Sequence

import onnx_ir as ir

from symbucket.compiler.loops.loop import (
    BodyOp,
    Internal,
    Invariant,
    LoopCandidate,
    Scanned,
    Source,
    State,
    alike,
)
from symbucket.compiler.loops.slices import next_slice
from symbucket.compiler.rewrite.graph_queries import attribute_key, chained_weights
from symbucket.ir import readers, reads

MIN_STEPS = 4  # steps; fewer are left as they are


def recurrent_products(graph: ir.Graph) -> list[list[ir.Node]]:
    """The products with one weight that wait for each other, in order, by weight."""
    weights = chained_weights(graph)
    found: dict[Hashable, list[ir.Node]] = defaultdict(list)
    for node in graph:
        if node.op_type == "Gemm" and not node.domain and node.inputs[1] in weights:
            shape = node.outputs[0].shape
            key = id(node.inputs[1]), len(node.inputs), str(shape), attribute_key(node)
            found[key].append(node)
    return [nodes for nodes in found.values() if len(nodes) >= MIN_STEPS]


def find_candidate(nodes: Sequence[ir.Node], products: Sequence[ir.Node]) -> LoopCandidate | None:
    """The steps around ``products``; None where they are not alike.

    ``nodes`` are those of the graph from the first product to the last one. Where the first step
    or the last one differs from the others, it stays out.
    """
    step_of = _steps(nodes, products)
    if step_of is None:
        return None
    count = len(products)
    for first, last in ((0, count), (1, count), (0, count - 1), (1, count - 1)):
        if last - first >= MIN_STEPS:
            inner = {n: step - first for n, step in step_of.items() if first <= step < last}
            candidate = _Walk(products[first:last], inner).candidate()
            if candidate is not None:
                return candidate
    return None


def _steps(nodes: Sequence[ir.Node], products: Sequence[ir.Node]) -> dict[ir.Node, int] | None:
    """The nodes on the way from one product to a later one, with the number of the former.

    None where a product does not wait for the one before it.
    """
    number = {node: i for i, node in enumerate(products)}
    reached: dict[ir.Value, int] = {}
    found: dict[ir.Node, int] = {}
    for node in nodes:
        step = max((reached.get(v, -1) for v in reads(node) if v is not None), default=-1)
        if node in number:
            if step != number[node] - 1:
                return None
            step += 1
        if step >= 0:
            found[node] = step
            for out in node.outputs:
                reached[out] = step
    leading = set(products)
    for node in reversed(found):
        if any(user in leading for out in node.outputs for user in readers(out)):
            leading.add(node)
    return {node: step for node, step in found.items() if node in leading}


class _Walk:
    """Walks from the products to what they are made of, in all steps at once."""

    def __init__(self, products: Sequence[ir.Node], step_of: dict[ir.Node, int]) -> None:
        self._count = len(products)
        self._products = products
        self._step_of = step_of
        self._place: dict[ir.Node, tuple[BodyOp, int]] = {}
        self._columns: list[BodyOp] = []
        self._initial: dict[State, ir.Value | None] = {}

    def candidate(self) -> LoopCandidate | None:
        if self._body_op(list(self._products)) is None:
            return None
        for body_op in self._columns:  # grows
            slots = len(next(node for _, node in body_op.present()).inputs)
            for slot in range(slots):
                source = self._source(body_op, slot)
                if source is None:
                    return None
                body_op.sources.append(source)
        if any(body_op.nodes[1] is None for body_op in self._columns):
            return None
        order = {node: i for i, node in enumerate(self._step_of)}
        self._columns.sort(key=lambda body_op: order[body_op.model])
        for step in range(2, self._count):
            self._fill(step)
        present = sum(body_op.nodes[-1] is not None for body_op in self._columns)
        if 2 * present <= len(self._columns):
            self._drop_last()
        for body_op in self._columns:
            for source in body_op.sources:
                if isinstance(source, Scanned):
                    _complete(source.values)
        return LoopCandidate(self._count, self._columns, self._initial)

    def _body_op(self, nodes: list[ir.Node | None]) -> BodyOp | None:
        """Return the body operation of these nodes: a new one, or one that has some of them."""
        present = [(t, node) for t, node in enumerate(nodes) if node is not None]
        known = next((self._place[node] for _, node in present if node in self._place), None)
        body_op = BodyOp([None] * self._count) if known is None else known[0]
        model = present[0][1] if known is None else next(n for _, n in body_op.present())
        for step, node in present:
            if self._place.get(node, (body_op, step)) != (body_op, step):
                return None
            if body_op.nodes[step] not in (None, node) or not alike(node, model):
                return None
            body_op.nodes[step] = node
            self._place[node] = body_op, step
        if known is None:
            self._columns.append(body_op)
        return body_op

    def _source(self, body_op: BodyOp, slot: int) -> Source | None:
        """What an operand is; None where it is not the same kind of thing in every step."""
        values = [(step, node.inputs[slot]) for step, node in body_op.present()]
        made: list[tuple[int, ir.Value, ir.Node]] = []
        for step, value in values:
            node = None if value is None else value.producer()
            if value is not None and node is not None and node in self._step_of:
                made.append((step, value, node))
        if not made:
            if all(value is values[0][1] for _, value in values):
                return Invariant(values[0][1])
            if any(value is None for _, value in values):
                return None
            given: list[ir.Value | None] = [None] * self._count
            for step, value in values:
                given[step] = value
            return Scanned(given)
        distances = {step - self._step_of[node] for step, _, node in made}
        outputs = {value.index() for _, value, _ in made}
        if len(distances) != 1 or len(outputs) != 1 or not distances <= {0, 1}:
            return None
        distance, output = distances.pop(), outputs.pop()
        first_step, first = values[0]
        if len(made) < len(values) - distance or (distance and made[0][0] == first_step):
            return None
        nodes: list[ir.Node | None] = [None] * self._count
        for step, _, node in made:
            nodes[step - distance] = node
        source = self._body_op(nodes)
        if source is None or output is None:
            return None
        if distance and (
            first_step or self._initial.setdefault((source, output), first) is not first
        ):
            return None
        return Internal(source, output, bool(distance))

    def _drop_last(self) -> None:
        """A last step that is hardly one, such as the gradient of the initial state, stays out."""
        self._count -= 1
        for body_op in self._columns:
            body_op.nodes.pop()
            for source in body_op.sources:
                if isinstance(source, Scanned):
                    source.values.pop()

    def _fill(self, step: int) -> None:
        """Find the nodes of one of the last steps that no later product waits for.

        Those that are not there are not read: such as the gradient of the state that the network
        starts from.
        """
        exactly = True
        while True:
            missing = (body_op for body_op in self._columns if body_op.nodes[step] is None)
            if any(self._fill_one(body_op, step, exactly) for body_op in missing):
                exactly = True
            elif exactly:
                exactly = False
            else:
                break

    def _fill_one(self, body_op: BodyOp, step: int, exactly: bool) -> bool:
        """Find one node; ``exactly``: only where all its operands are foreseen."""
        wanted: list[ir.Value | None] = []
        known: list[ir.Value] = []
        free: list[int] = []
        for slot, source in enumerate(body_op.sources):
            if isinstance(source, Scanned):
                wanted.append(next_slice([v for v in source.values[:step] if v is not None]))
                if wanted[-1] is None and not exactly:
                    free.append(slot)
                continue
            value = source.value if isinstance(source, Invariant) else source.at(step)
            wanted.append(value)
            if isinstance(source, Internal):
                if value is None:
                    return False
                known.append(value)
        if not known:
            return False
        users = [u for u in dict.fromkeys(readers(known[0])) if u not in self._place]
        users = [u for u in users if alike(u, body_op.model)]
        found = [u for u in users if _fits(u, wanted, free)]
        if len(found) != 1:
            return False
        body_op.nodes[step] = found[0]
        self._place[found[0]] = body_op, step
        for source, value in zip(body_op.sources, found[0].inputs):
            if isinstance(source, Scanned):
                source.values[step] = value
        return True


def _complete(values: list[ir.Value | None]) -> None:
    """Steps that need no value get the one that a sequence goes on with."""
    for step in range(2, len(values)):
        if values[step] is None:
            values[step] = next_slice([v for v in values[:step] if v is not None])


def _fits(node: ir.Node, wanted: Sequence[ir.Value | None], free: Sequence[int]) -> bool:
    """Whether a node has the wanted operands, those in the ``free`` slots aside."""
    for slot, (value, want) in enumerate(zip(node.inputs, wanted)):
        if slot not in free and value is not want:
            return False
        if slot in free and value is None:
            return False
    return True
