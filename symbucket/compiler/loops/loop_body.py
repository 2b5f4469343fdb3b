"""The body of a loop: nodes of the first step that read carried values, slices and invariants."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from symbucket.compiler.loops.columns import Column, Invariant, Sequential, Steps
from symbucket.compiler.loops.loop_operators import Loop
from symbucket.ops.slicing import SliceChannel
from symbucket.symbol.node import Entry, Node

Output = tuple[Column, int]


@dataclass(eq=False)
class LoopSequence:
    """A sequence that a loop reads: entries by step, and the body's variable for a slice."""

    entries: tuple[Entry, ...]
    variable: Node
    source: Entry | None = None  # in the new network
    direction: int = 0


@dataclass(eq=False)
class LoopPlan:
    """A loop to be: its outputs in order, and the operator when all that it reads is there."""

    steps: Steps
    carried: list[tuple[Output, int]]
    stacked: list[Output]
    sequences: list[LoopSequence]
    direction: int | None = None
    node: Node | None = None
    cuts: dict[Output, Node] = field(default_factory=dict)


class LoopBody:
    """Copies the first step's nodes into a body; ``name`` begins the names of its variables."""

    def __init__(self, plan: LoopPlan, name: str) -> None:
        self._plan, self._name = plan, name
        self.invariants: list[Entry] = []
        self._variables: dict[Entry, Node] = {}
        self._states: dict[tuple[Output, int], Node] = {}
        self._copies: dict[Column, Node] = {}

    def operator(self) -> Loop:
        """Return the operator; what it reads from outside is in ``invariants`` afterwards."""
        plan = self._plan
        for i, key in enumerate(plan.carried):
            self._states[key] = Node(None, f"{self._name}/carried{i}")
        slices = {s.entries: s.variable for s in plan.sequences}
        for column in plan.steps.columns:
            inputs: list[Entry] = []
            for source in column.sources:
                if isinstance(source, Invariant):
                    inputs.append((self._invariant(source.entry), 0))
                elif isinstance(source, Sequential):
                    inputs.append((slices[complete_entries(source.entries)], 0))
                elif source.distance:
                    key = (source.column, source.output), source.distance
                    inputs.append((self._states[key], 0))
                else:
                    inputs.append((self._copies[source.column], source.output))
            model = column.model
            self._copies[column] = Node(model.op, model.name, tuple(inputs), model.attrs)
        carried = []
        for output, distance in plan.carried:
            following = (
                (self._copies[output[0]], output[1])
                if distance == 1
                else (self._states[output, distance - 1], 0)
            )
            carried.append((self._states[output, distance], following))
        sequences = tuple((s.variable, s.direction) for s in plan.sequences)
        variables = [*self._states.values(), *(v for v, _ in sequences), *self._variables.values()]
        return Loop(
            steps=plan.steps.count,
            nodes=(*variables, *self._copies.values()),
            carried=tuple(carried),
            sequences=sequences,
            invariants=tuple(self._variables.values()),
            stacked=tuple((self._copies[column], output) for column, output in plan.stacked),
            direction=plan.direction or 0,
            drawing={
                self._copies[column]: _without_gaps(column.nodes)
                for column in plan.steps.columns
                if column.model.op is not None and column.model.op.may_draw
            },
        )

    def _invariant(self, entry: Entry) -> Node:
        if entry not in self._variables:
            self._variables[entry] = Node(None, f"{self._name}/invariant{len(self._variables)}")
            self.invariants.append(entry)
        return self._variables[entry]


def _without_gaps(nodes: Sequence[Node | None]) -> tuple[Node, ...]:
    """Last steps without a node take the one of the step before: nobody reads the result."""
    complete: list[Node] = []
    for node in nodes:
        complete.append(complete[-1] if node is None else node)
    return tuple(complete)


def complete_entries(entries: Sequence[Entry | None]) -> tuple[Entry, ...]:
    """Steps that need no value get the one that a sequence goes on with, or the one before."""
    complete: list[Entry] = []
    for entry in entries:
        if entry is None:
            node, index = complete[-1]
            way = index - complete[-2][1] if len(complete) > 1 else 0
            goes_on = isinstance(node.op, SliceChannel) and 0 <= index + way < node.num_outputs
            entry = (node, index + way) if goes_on else complete[-1]
        complete.append(entry)
    return tuple(complete)
