"""Write a candidate of steps as a Scan."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import onnx_ir as ir

from symbucket.compiler.loops.carried_stacks import copy_in, note_states, stack_of_carried
from symbucket.compiler.loops.loop import BodyOp, Invariant, LoopCandidate, Scanned, State
from symbucket.compiler.loops.slices import as_stack, mark_alias
from symbucket.ir import Builder, copy_node, dtype_of, own_body, readers, shape_of
from symbucket.ir.nodes import scope_of
from symbucket.ir.notes import phase_of, set_phase


def write_scan(graph: ir.Graph, candidate: LoopCandidate) -> list[ir.Node]:
    """Append a Scan that runs the candidate, and what cuts its outputs into the steps' values.

    Whoever reads a value of the steps reads such a piece afterwards; the candidate's own nodes are
    removed. The new nodes stand at the graph's end: the caller places them. Gives them.
    """
    old = len(graph)
    writer = _Writer(graph, candidate)
    writer.write()
    new = list(graph)[old:]
    graph.remove(list(candidate.places()), safe=True)
    return new


class _Writer:
    def __init__(self, graph: ir.Graph, candidate: LoopCandidate) -> None:
        self._g = Builder(graph)
        self._candidate = candidate
        self._members = set(candidate.places())
        self._body = ir.Graph([], [], nodes=[], opset_imports={}, name=self._scope())
        self._inner: dict[tuple[BodyOp, int], ir.Value] = {}
        self._states: dict[State, ir.Value] = {}
        self._scanned: dict[tuple[ir.Value, ...], ir.Value] = {}
        self._stacks: list[ir.Value] = []
        self._ways: list[int] = []

    def _scope(self) -> str:
        return scope_of(self._candidate.body_ops[0].model) or "steps"

    def write(self) -> None:
        g, candidate = self._g, self._candidate
        with g.scoped(self._scope(), phase_of(candidate.body_ops[0].model)):
            initial = []
            for (body_op, output), value in candidate.initial.items():
                like = body_op.model.outputs[output]
                initial.append(
                    g.filled(shape_of(like), 0.0, dtype_of(like)) if value is None else value
                )
                self._states[body_op, output] = self._input("state", like)
            for body_op in candidate.body_ops:
                self._copy(body_op)
            for body_op, output in self._states:
                self._give(self._inner[body_op, output])
            wanted = self._wanted()
            for body_op, output in wanted:
                self._give(self._inner[body_op, output])
            if not self._stacks:
                self._count()
            self._body.inputs.extend([*self._states.values(), *self._scanned.values()])
            back = int(any(self._ways))
            results = self._scan(initial, len(wanted), back)
            states = list(self._states)
            note_states(
                results[0].producer(),
                {
                    len(states) + i: states.index(one)
                    for i, one in enumerate(wanted)
                    if one in self._states
                },
            )
            finals = dict(zip(self._states, results))
            for (body_op, output), stack in zip(wanted, results[len(initial) :]):
                self._cut(body_op, output, stack, bool(back))
            for (body_op, output), final in finals.items():
                node = body_op.nodes[-1]
                if node is not None and (body_op, output) not in wanted:
                    self._replace(node.outputs[output], final)

    def _input(self, kind: str, like: ir.Value) -> ir.Value:
        name = self._g.unique(f"{self._scope()}/{kind}")
        return ir.Value(
            name=name, shape=ir.Shape(shape_of(like)), type=ir.TensorType(dtype_of(like))
        )

    def _copy(self, body_op: BodyOp) -> None:
        """The body operation's node in the body."""
        model = body_op.model
        inputs: list[ir.Value | None] = []
        for source in body_op.sources:
            if isinstance(source, Invariant):
                inputs.append(source.value)
            elif isinstance(source, Scanned):
                inputs.append(self._piece(source))
            elif source.before:
                inputs.append(self._states[source.body_op, source.output])
            else:
                inputs.append(self._inner[source.body_op, source.output])
        node = copy_node(model, inputs)
        for i, made in enumerate(node.outputs):
            self._inner[body_op, i] = made
        self._body.append(node)

    def _piece(self, source: Scanned) -> ir.Value:
        """The step's part of what all steps are given."""
        values = _without_gaps(source.values)
        key = tuple(values)
        if key not in self._scanned:
            g = self._g
            found = as_stack(g, values) or stack_of_carried(values)
            if found is None:
                rows = [g.reshape(v, (1, *shape_of(v))) for v in values]
                found = g.op("Concat", *rows, axis=0), False
            self._stacks.append(found[0])
            self._ways.append(int(found[1]))
            self._scanned[key] = self._input("piece", values[0])
        return self._scanned[key]

    def _count(self) -> None:
        """Something to read in every step: the runtime takes the number of steps from it."""
        stack = self._g.filled((self._candidate.steps, 1), 0.0, ir.DataType.FLOAT)
        self._stacks.append(stack)
        self._ways.append(0)
        self._scanned[(stack,)] = ir.Value(
            name=self._g.unique(f"{self._scope()}/count"),
            shape=ir.Shape((1,)),
            type=ir.TensorType(ir.DataType.FLOAT),
        )

    def _give(self, value: ir.Value) -> None:
        """Make a value an output of the body; a value can be that only once, an input never."""
        if value in self._body.outputs:
            value = copy_in(self._body, value, self._g.unique(f"{self._scope()}/Identity"))
        self._body.outputs.append(value)

    def _wanted(self) -> list[State]:
        """What others read of the steps: all but what only the last step hands on as a state."""
        found = []
        for body_op in self._candidate.body_ops:
            for output in range(len(body_op.model.outputs)):
                steps = [
                    step
                    for step, node in body_op.present()
                    if self._read_outside(node.outputs[output])
                ]
                state = (body_op, output) in self._states
                if steps and not (state and steps == [self._candidate.steps - 1]):
                    found.append((body_op, output))
        return found

    def _read_outside(self, value: ir.Value) -> bool:
        return value.is_graph_output() or any(u not in self._members for u in readers(value))

    def _scan(self, initial: Sequence[ir.Value], stacked: int, back: int) -> list[ir.Value]:
        """The Scan itself; its outputs are the last states, then the stacks."""
        body, states = self._body, len(initial)
        name = self._g.unique(f"{self._scope()}/Scan")
        node = ir.Node(
            "",
            "Scan",
            [*initial, *self._stacks],
            [
                ir.AttrGraph("body", body),
                ir.AttrInt64("num_scan_inputs", len(self._stacks)),
                ir.AttrInt64s("scan_input_directions", self._ways),
                ir.AttrInt64s("scan_output_directions", [back] * stacked),
            ],
            num_outputs=states + stacked,
            name=name,
        )
        for i, (out, inner) in enumerate(zip(node.outputs, body.outputs)):
            shape = shape_of(inner)
            out.shape = ir.Shape(shape if i < states else (self._candidate.steps, *shape))
            out.type = inner.type
            out.name = name if i == 0 else self._g.unique(f"{name}:{i}")
        set_phase(node, self._g.phase)
        self._g.graph.append(node)
        own_body(node)
        return list(node.outputs)

    def _cut(self, body_op: BodyOp, output: int, stack: ir.Value, back: bool) -> None:
        """Give every reader the piece of its step."""
        g, steps = self._g, self._candidate.steps
        parts = g.ops("Split", stack, g.ints(*[1] * steps), axis=0, outputs=steps)
        if back:
            parts = parts[::-1]
        for step, node in body_op.present():
            value = node.outputs[output]
            if self._read_outside(value):
                shape = shape_of(value)
                self._replace(value, g.typed("Reshape", shape, parts[step], g.ints(*shape)))
        if body_op in self._candidate.instead:
            shape = shape_of(body_op.model.outputs[output])
            mark_alias(self._candidate.instead[body_op], g.reshape(parts[0], shape))

    def _replace(self, old: ir.Value, new: ir.Value) -> None:
        if self._read_outside(old):
            old.replace_all_uses_with(new, replace_graph_outputs=True)


def _without_gaps(values: Iterable[ir.Value | None]) -> list[ir.Value]:
    """Steps without the node that reads the value get a neighbour's: nobody reads the result."""
    found = list(values)
    known = [i for i, v in enumerate(found) if v is not None]
    return [
        value if value is not None else found[min(known, key=lambda k: abs(k - i))]  # type: ignore[misc]
        for i, value in enumerate(found)
    ]
