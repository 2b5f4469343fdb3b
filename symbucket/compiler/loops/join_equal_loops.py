"""Two loops of one form that do not depend on each other run as one loop over both.

The two directions of a bidirectional layer are such loops. A step of the joined loop has the nodes
of one step, over values with a first axis for the loops, and one batched product with both weights,
a loop to each thread. Sequences are read in each loop's own direction and stacked in the step,
outputs are split in the step; what the joined backward loop reads of the joined forward loop is
stacked from the start. Small steps gain by half as many nodes; large ones lose, because what both
loops leave behind for the backward pass no longer fits the cache.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import onnx_ir as ir

from symbucket.compiler.loops.batch import batch_rule
from symbucket.compiler.loops.equal_loops import (
    Twins,
    dependents,
    find_twins,
    is_product,
    with_gradients,
)
from symbucket.compiler.rewrite.base import PassContext, graph_pass
from symbucket.compiler.rewrite.remove_dead_nodes import remove_dead_nodes
from symbucket.ir import (
    Builder,
    append_scan,
    attr,
    attributes_of,
    body_of,
    clear_body,
    input_of,
    input_of_body,
    new_body,
    optional_input_of,
    output_of_body,
    producer_of,
    read_directions,
    shape_of,
    stack_directions,
    states_of,
    trim_scan,
)
from symbucket.ir.nodes import scope_of
from symbucket.ir.notes import phase_of

Pair = tuple[ir.Value, ir.Value]


@dataclass(frozen=True)
class Stack:
    """What both loops return for all steps, in the order in which the joined loop computes it.

    Attributes:
        value: (steps, 2, ...).
        directions: of the loops' own stacks: 1 if the last step comes first, else 0.
    """

    value: ir.Value
    directions: tuple[int, int]


@graph_pass("joint", options=("memory_limit",))
def join_equal_loops(graph: ir.Graph, context: PassContext) -> int:
    """Join pairs of loops of a training step; returns the number of pairs.

    For inference the runtime's recurrent operators take the loops. Values of both loops are alive
    at the same time, so loops are left alone under a memory limit.
    """
    if context.options.memory_limit is not None:
        return 0
    stacks: dict[Pair, Stack] = {}
    joined = []
    for twins in with_gradients(find_twins(graph)):
        joined.append(_Join(graph, twins, stacks).scan())
    if joined:
        remove_dead_nodes(graph)
    for scan in joined:
        if scan.graph is not None:
            trim_scan(scan, remove_dead_nodes)
    return len(joined)


class _Join:
    """Puts one loop into the place of two; ``stacks`` gets what it returns for all steps."""

    def __init__(self, graph: ir.Graph, twins: Twins, stacks: dict[Pair, Stack]) -> None:
        self._graph, self._twins, self._stacks = graph, twins, stacks
        self._pair = self._first, self._second = twins.first, twins.second
        source = body_of(twins.first)
        assert source is not None
        self._source, self._states = source, states_of(twins.first)
        self._g = Builder(graph, anchor=self._last_one())
        self._body = new_body(self._g.root, f"{self._first.name}/joined")
        self._sequences: list[ir.Value] = []
        self._directions: list[int] = []
        self._values: dict[ir.Value, ir.Value] = {}  # of the first loop's body, in the joined one
        self._varying = set(self._source.inputs)
        self._outer: dict[tuple[Pair, bool], ir.Value] = {}

    def _last_one(self) -> ir.Node:
        """The loop that stands last; what depends on the other one stands after it afterwards."""
        nodes = list(self._graph)
        earlier, later = sorted(self._pair, key=nodes.index)
        moving = dependents(self._graph, earlier)
        between = nodes[nodes.index(earlier) + 1 : nodes.index(later)]
        moved = [node for node in between if node in moving]
        self._graph.remove(moved)
        self._graph.insert_after(later, moved)
        return later

    def scan(self) -> ir.Node:
        """Build the joined loop, and remove the two."""
        with self._g.scoped(self._first.name or "", phase_of(self._first)):
            initial = self._initial_states()
            self._slices()
            for node in self._source:
                self._append(node)
            scan = self._returned(initial)
        for node in (self._first, self._second):
            clear_body(node)
            self._graph.remove(node, safe=True)
        return scan

    # What the loops read --------------------------------------------------------------------------

    def _initial_states(self) -> list[ir.Value]:
        initial = []
        for i, inner in enumerate(self._source.inputs[: self._states]):
            initial.append(self._stacked(*self._inputs(i)))
            self._values[inner] = self._input(inner, (2, *shape_of(inner)))
        return initial

    def _slices(self) -> None:
        ways = zip(*map(read_directions, self._pair))
        for i, directions in enumerate(ways, self._states):
            inner = self._source.inputs[i]
            pair = self._inputs(i)
            stack = self._stacks.get(pair)
            turned = [] if stack is None else [a != b for a, b in zip(directions, stack.directions)]
            if stack is not None and turned[0] == turned[1]:
                self._read(stack.value, int(turned[0]))
                self._values[inner] = self._input(inner, (2, *shape_of(inner)))
                continue
            parts = []
            for sequence, direction in zip(pair, directions):
                steps, *rest = shape_of(sequence)
                self._read(self._g.reshape(sequence, (steps, 1, *rest)), direction)
                parts.append(self._input(inner, (1, *rest)))
            with self._g.inside(self._body):
                self._values[inner] = self._g.op("Concat", *parts, axis=0)

    def _inputs(self, index: int) -> Pair:
        return input_of(self._first, index), input_of(self._second, index)

    def _read(self, sequence: ir.Value, direction: int) -> None:
        self._sequences.append(sequence)
        self._directions.append(direction)

    def _input(self, inner: ir.Value, shape: Sequence[int]) -> ir.Value:
        """A new input of the body, for one of the first loop's."""
        return input_of_body(self._g, self._body, f"{inner.name}/joined", inner, shape)

    def _stacked(self, *pair: ir.Value, transposed: bool = False) -> ir.Value:
        """A value of each loop, one after the other on a new first axis."""
        g = self._g
        values = [g.transpose(v, (1, 0)) if transposed else v for v in pair]
        return g.op("Concat", *(g.reshape(v, (1, *shape_of(v))) for v in values), axis=0)

    # A step ---------------------------------------------------------------------------------------

    def _append(self, node: ir.Node) -> None:
        """Append a node of the first loop's step, for both loops where they differ."""
        g = self._g
        flags = [v is not None and self._twins.differ(v, self._varying) for v in node.inputs]
        results: Sequence[ir.Value]
        if any(flags) and node.op_type == "Identity" and not node.domain:
            results = [self._operand(input_of(node, 0))]
        elif is_product(node, flags, self._twins):
            results = [self._product(node)]
        else:
            operands = [None if v is None else self._operand(v) for v in node.inputs]
            rule = batch_rule(node, flags)
            with g.inside(self._body), g.scoped(scope_of(node)):
                if rule is not None:
                    results = rule(g, node, operands, flags, 2)
                else:
                    count, attributes = len(node.outputs), attributes_of(node)
                    results = g.ops(
                        node.op_type, *operands, outputs=count, domain=node.domain, **attributes
                    )
        self._values.update(zip(node.outputs, results))
        if any(flags):
            self._varying.update(node.outputs)

    def _operand(self, value: ir.Value, transposed: bool = False) -> ir.Value:
        """A value of the first loop's body, or one that it reads from outside, for both loops."""
        if value in self._values:
            return self._values[value]
        pair = value, self._twins.outer.get(value, value)
        if pair[0] is pair[1]:
            return value
        key = pair, transposed
        if key not in self._outer:
            self._outer[key] = self._stacked(*pair, transposed=transposed)
        return self._outer[key]

    def _product(self, node: ir.Node) -> ir.Value:
        """``a w^T + c`` of both loops: one batched product, which takes no summand."""
        g = self._g
        a, w = input_of(node, 0), input_of(node, 1)
        c = optional_input_of(node, 2)
        weight = self._operand(w, transposed=bool(attr(node, "transB", 0)))
        left, summand = self._operand(a), None if c is None else self._operand(c)
        with g.inside(self._body), g.scoped(scope_of(node)):
            product = g.op("MatMul", left, weight)
            if summand is None or c is None:
                return product
            if self._twins.differ(c, self._varying):
                shape = shape_of(c)
                summand = g.reshape(summand, (2, *[1] * (2 - len(shape)), *shape))
            return g.op("Add", product, summand)

    # What the loops return ------------------------------------------------------------------------

    def _returned(self, initial: list[ir.Value]) -> ir.Node:
        """Append the loop, and let users of the two read its outputs."""
        g, states = self._g, self._states
        ways = [*zip(*map(stack_directions, self._pair))]
        stacked: list[int] = []
        for i, out in enumerate(self._source.outputs):
            value = self._values[out]
            self._body.outputs.append(output_of_body(g, self._body, value))
            if i >= states:
                with g.inside(self._body):
                    self._body.outputs.extend(
                        g.ops("Split", value, g.ints(1, 1), outputs=2, axis=0)
                    )
                stacked += [0, *ways[i - states]]
        results = append_scan(g, self._body, initial, self._sequences, self._directions, stacked)
        for i, pair in enumerate(zip(self._first.outputs, self._second.outputs)):
            if i < states:
                parts = g.ops("Split", results[i], g.ints(1, 1), outputs=2, axis=0)
            else:
                both, *parts = results[states + 3 * (i - states) :][:3]
            one, other = (g.reshape(part, shape_of(pair[0])) for part in parts)
            if i >= states:
                self._stacks[one, other] = Stack(both, ways[i - states])
            for old, new in zip(pair, (one, other)):
                old.replace_all_uses_with(new, replace_graph_outputs=True)
        return producer_of(results[0])
