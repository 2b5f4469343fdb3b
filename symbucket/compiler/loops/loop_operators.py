"""``Loop``: an operator of symbols whose body is one step; it becomes a Scan.

Only the compiler makes it: users' symbols hold the steps one by one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

import onnx_ir as ir

from symbucket.ir import append_scan, dtype_of, input_of_body, new_body, output_of_body, shape_of
from symbucket.ops.loop_body import LoopBodyWriter
from symbucket.ops.record import Emitter, Operator
from symbucket.ops.shape import unify
from symbucket.symbol.infer import ShapeTable, infer_types, propagate_shapes, propagate_types
from symbucket.symbol.lower_nodes import lower_nodes
from symbucket.symbol.node import Entry, Node
from symbucket.types import InferredShapes, InferredTypes, PartialDType, PartialShape

_ROUNDS = 4  # of carrying what is known of a carried value back to the start of the step


@dataclass(frozen=True, eq=False)
class Loop(Operator):
    """``steps`` runs of a body.

    Inputs are the initial carried values, then the sequences (steps, ...), then the invariants;
    outputs are the carried values after the last step, then stacks (steps, ...).

    Attributes:
        nodes: the body, inputs first. Its variables stand for what the step reads.
        carried: variables, each with the entry that is its value in the next step.
        sequences: variables, each with 1 if the last slice is read first, else 0.
        invariants: variables that are the same in every step.
        stacked: the entries that are returned for all steps.
        direction: 1 if stacks have the last step first, else 0.
        drawing: for each body node that may draw random numbers the nodes of all steps; of few
            steps if the loop was told from these.
    """

    steps: int
    nodes: tuple[Node, ...]
    carried: tuple[tuple[Node, Entry], ...]
    sequences: tuple[tuple[Node, int], ...]
    invariants: tuple[Node, ...]
    stacked: tuple[Entry, ...]
    direction: int
    drawing: Mapping[Node, tuple[Node, ...]]

    op_name: ClassVar[str] = "Loop"

    def arguments(self) -> tuple[str, ...]:
        return tuple(node.name for node in self._variables())

    def outputs(self) -> tuple[str, ...]:
        count = len(self.carried) + len(self.stacked)
        return tuple(f"output{i}" for i in range(count))

    def _variables(self) -> list[Node]:
        carried = [node for node, _ in self.carried]
        return [*carried, *(node for node, _ in self.sequences), *self.invariants]

    def infer_shape(self, ins: list[PartialShape], outs: list[PartialShape]) -> InferredShapes:
        table = self._shapes(ins)
        carried, sequences = len(self.carried), len(self.sequences)
        for i, (entry, shape) in enumerate(zip(self._results(), outs)):
            table.set(entry, shape if i < carried else _slice(shape))
        self._propagate(table)
        shapes = [table.shape_of((node, 0)) for node in self._variables()]
        shapes[carried : carried + sequences] = map(self._stack, shapes[carried:][:sequences])
        states = [table.shape_of(entry) for _, entry in self.carried]
        return shapes, [*states, *(self._stack(table.shape_of(e)) for e in self.stacked)]

    def infer_type(self, ins: list[PartialDType], outs: list[PartialDType]) -> InferredTypes:
        table: dict[Entry, PartialDType] = {}
        for node, dtype in zip(self._variables(), ins):
            table[node, 0] = dtype
        for entry, dtype in zip(self._results(), outs):
            if table.get(entry) is None:
                table[entry] = dtype
        for _ in range(_ROUNDS):
            changed = propagate_types(table, [n for n in self.nodes if n.op is not None])
            for node, entry in self.carried:
                dtype = table.get((node, 0)) or table.get(entry)
                changed |= dtype is not None and None in (table.get((node, 0)), table.get(entry))
                table[node, 0] = table[entry] = dtype
            if not changed:
                break
        dtypes = [table.get((node, 0)) for node in self._variables()]
        return dtypes, [table.get(entry) for entry in self._results()]

    def _results(self) -> list[Entry]:
        return [*(entry for _, entry in self.carried), *self.stacked]

    def _shapes(self, ins: Sequence[PartialShape]) -> ShapeTable:
        """Return what is known of shapes in the body from those of the inputs."""
        table = ShapeTable(self.nodes)
        carried, sequences = len(self.carried), len(self.sequences)
        for i, (node, shape) in enumerate(zip(self._variables(), ins)):
            table.set((node, 0), _slice(shape) if carried <= i < carried + sequences else shape)
        return table

    def _propagate(self, table: ShapeTable) -> None:
        for _ in range(_ROUNDS):
            propagate_shapes(table, self.nodes)
            changed = False
            for node, entry in self.carried:
                shape = unify(table.shape_of((node, 0)), table.shape_of(entry))
                changed |= table.set((node, 0), shape)
                changed |= table.set(entry, shape)
            if not changed:
                break

    def _stack(self, shape: PartialShape) -> PartialShape:
        return None if shape is None else (self.steps, *shape)

    def emit(self, g: Emitter, *inputs: ir.Value) -> ir.Value | Sequence[ir.Value]:
        table = self._shapes([shape_of(value) for value in inputs])
        self._propagate(table)
        variables = self._variables()
        names = {node.name: dtype_of(v).numpy() for node, v in zip(variables, inputs)}
        types = infer_types(self.nodes, names)
        carried, sequences = len(self.carried), len(self.sequences)
        outer = carried + sequences
        body = new_body(g.root, g.scope)
        values: dict[Entry, ir.Value] = {}
        for i, (node, value) in enumerate(zip(variables, inputs)):
            if i < outer:
                shape = table.shape_of((node, 0))
                assert shape is not None
                values[node, 0] = input_of_body(g, body, node.name, value, shape)
            else:
                values[node, 0] = value
        stacks = list(inputs[carried:outer])
        directions = [direction for _, direction in self.sequences]
        writer = LoopBodyWriter(g, body, stacks, directions)
        g.loop = writer
        with g.inside(body):
            lower_nodes(g, self.nodes, values, table.shape_of, types, g.first_draws.__getitem__)
        g.loop = None
        for entry in self._results():
            body.outputs.append(output_of_body(g, body, values[entry]))
        if not stacks:  # the number of steps is the length of what is read
            writer.slice_of(g.filled((self.steps, 1), 0.0, ir.DataType.FLOAT))
        return append_scan(
            g,
            body,
            inputs[:carried],
            stacks,
            directions,
            [self.direction] * len(self.stacked),
        )


def _slice(shape: PartialShape) -> PartialShape:
    return None if shape is None else shape[1:]
