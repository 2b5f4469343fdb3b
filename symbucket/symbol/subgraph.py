"""``Subgraph``: nodes of a symbol that an operator runs, as the body of a loop or a branch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import onnx_ir as ir

from symbucket.ir import dtype_of, shape_of
from symbucket.ops.record import Emitter
from symbucket.ops.shape import unify
from symbucket.symbol import serialize
from symbucket.symbol.infer import ShapeTable, infer_types, propagate_shapes, propagate_types
from symbucket.symbol.lower_nodes import lower_nodes
from symbucket.symbol.node import Entry, Node, topological
from symbucket.types import PartialDType, PartialShape

_ROUNDS = 4  # of carrying what is known of a state back to the start of the step
Carried = Sequence[tuple[int, int]]
"""States: the number of the variable, and of the output that is its value in the next step."""


@dataclass(frozen=True, eq=False, repr=False)
class Subgraph:
    """Outputs of nodes over variables; equal if they compute the same, whatever the names.

    Attributes:
        variables: the inputs, in the order of the values that they get.
        heads: the outputs.
    """

    variables: tuple[Node, ...]
    heads: tuple[Entry, ...]

    @cached_property
    def nodes(self) -> list[Node]:
        """All nodes, the variables first."""
        own = set(self.variables)
        return [*self.variables, *(n for n in topological(self.heads) if n not in own)]

    @cached_property
    def content(self) -> str:
        """Everything that it computes, with all names, as text."""
        return repr(([v.name for v in self.variables], serialize.graph_of(self.heads)))

    def __repr__(self) -> str:
        return self.content

    @cached_property
    def _structure(self) -> tuple[object, ...]:
        place = {node: i for i, node in enumerate(self.nodes)}

        def places(entries: Sequence[Entry]) -> tuple[tuple[int, int], ...]:
            return tuple((place[node], i) for node, i in entries)

        steps = tuple((n.op, places(n.inputs)) for n in self.nodes[len(self.variables) :])
        return len(self.variables), steps, places(self.heads)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Subgraph) and self._structure == other._structure

    def __hash__(self) -> int:
        return hash(self._structure)

    def arguments(self) -> list[int]:
        """Return the numbers of the variables in the order in which a symbol file lists them."""
        place = {variable: i for i, variable in enumerate(self.variables)}
        return [place[n] for n in topological(self.heads) if n.op is None]

    def draws(self, training: bool) -> int:
        """Return how many random draws one run makes."""
        return sum(n.op.draws(training) for n in self.nodes if n.op is not None and n.op.random)

    def infer_shape(
        self, ins: Sequence[PartialShape], outs: Sequence[PartialShape], carried: Carried = ()
    ) -> tuple[list[PartialShape], list[PartialShape]]:
        """Return the shapes of variables and outputs, completed from each other."""
        table = ShapeTable(self.nodes)
        for variable, shape in zip(self.variables, ins):
            table.set((variable, 0), shape)
        for head, shape in zip(self.heads, outs):
            table.set(head, shape)
        for _ in range(_ROUNDS):
            propagate_shapes(table, self.nodes)
            changed = False
            for i, out in carried:
                entries = (self.variables[i], 0), self.heads[out]
                shape = unify(*map(table.shape_of, entries))
                for entry in entries:
                    changed |= table.set(entry, shape)
            if not changed:
                break
        variables = [table.shape_of((v, 0)) for v in self.variables]
        return variables, [table.shape_of(head) for head in self.heads]

    def infer_type(
        self, ins: Sequence[PartialDType], carried: Carried = ()
    ) -> tuple[list[PartialDType], list[PartialDType]]:
        """Return the dtypes of variables and outputs, as far as they are known."""
        table: dict[Entry, PartialDType] = {}
        for variable, dtype in zip(self.variables, ins):
            table[variable, 0] = dtype
        for _ in range(_ROUNDS):
            changed = propagate_types(table, [n for n in self.nodes if n.op is not None])
            for i, out in carried:
                entry = self.variables[i], 0
                if table.get(entry) is None and table.get(self.heads[out]) is not None:
                    table[entry], changed = table[self.heads[out]], True
            if not changed:
                break
        variables = [table.get((v, 0)) for v in self.variables]
        return variables, [table.get(head) for head in self.heads]

    def emit(self, g: Emitter, values: Sequence[ir.Value], draws: Sequence[int]) -> list[ir.Value]:
        """Append what the nodes compute from the values of the variables; return the outputs.

        ``draws`` has the number of the first random draw, in the body of a loop one for each step.
        """
        table = ShapeTable(self.nodes)
        for variable, value in zip(self.variables, values):
            table.set((variable, 0), shape_of(value))
        propagate_shapes(table, self.nodes)
        table.require_complete()
        dtypes = {v.name: dtype_of(x).numpy() for v, x in zip(self.variables, values)}
        types = infer_types(self.nodes, dtypes)
        entries: dict[Entry, ir.Value] = dict(zip(((v, 0) for v in self.variables), values))
        offsets = self._offsets(g.training)

        def numbers(node: Node) -> tuple[int, ...]:
            return tuple(number + offsets[node] for number in draws)

        lower_nodes(g, self.nodes, entries, table.shape_of, types, numbers)
        return [entries[head] for head in self.heads]

    def _offsets(self, training: bool) -> Mapping[Node, int]:
        offsets, count = {}, 0
        for node in self.nodes:
            if node.op is not None and node.op.random:
                offsets[node] = count
                count += node.op.draws(training)
        return offsets
