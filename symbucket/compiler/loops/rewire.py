"""Put loops into a network in the place of their steps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from symbucket.compiler.loops.columns import Invariant, Sequential, Steps, Users
from symbucket.compiler.loops.loop_body import (
    LoopBody,
    LoopPlan,
    LoopSequence,
    Output,
    complete_entries,
)
from symbucket.compiler.loops.sequence_operators import (
    CutSteps,
    JoinSteps,
    SelectStep,
    SelectSteps,
    StackSteps,
    UnstackSteps,
)
from symbucket.ops.reshape import ExpandDims
from symbucket.ops.slicing import Concat, SliceChannel
from symbucket.symbol.node import Entry, Node


@dataclass(frozen=True)
class Rewired:
    """A network's nodes with loops in it, inputs first, and its outputs.

    ``written`` has for nodes that read something else now the node that was written, ``loops`` the
    steps of each loop.
    """

    nodes: list[Node]
    heads: list[Entry]
    written: dict[Node, Node]
    loops: dict[Node, Steps]


def rewire(
    groups: Sequence[Steps], taken: Mapping[Node, Steps], users: Users, heads: Sequence[Entry]
) -> Rewired | None:
    """Return the network with loops in place of ``groups``; None if two wait for each other."""
    return _Rewiring(groups, taken, users, heads).run()


_NONE: frozenset[int] = frozenset()


class _Rewiring:
    def __init__(
        self,
        groups: Sequence[Steps],
        taken: Mapping[Node, Steps],
        users: Users,
        heads: Sequence[Entry],
    ) -> None:
        self._taken, self._users, self._heads = taken, users, heads
        self._head_outputs: dict[Node, set[int]] = {}
        for node, output in heads:
            self._head_outputs.setdefault(node, set()).add(output)
        self._read_steps: dict[Steps, dict[Output, list[int]]] = {}
        self._plans: dict[Steps, LoopPlan] = {}
        self._new: dict[Node, Node] = {}
        self._order: list[Node] = []
        self._shared_nodes: dict[object, Node] = {}
        for group in groups:
            self._plans[group] = self._plan(group)

    # What a loop reads and returns ---------------------------------------------------------------

    def _plan(self, group: Steps) -> LoopPlan:
        carried = [
            (output, distance)
            for output, initial in group.initial.items()
            for distance in range(1, 1 - min(initial))
        ]
        stacked: list[Output] = []
        counts: dict[Output, list[int]] = {}
        for column in group.columns:
            by_output: dict[int, list[int]] = {}
            for step, node in column.present():
                for output in self._read_outputs(group, node):
                    by_output.setdefault(output, []).append(step)
            for output, steps in sorted(by_output.items()):
                counts[column, output] = steps
                if not ((column, output) in group.initial and steps == [group.count - 1]):
                    stacked.append((column, output))
        self._read_steps[group] = counts
        name = group.columns[0].model.name
        sequences: dict[tuple[Entry, ...], LoopSequence] = {}
        for column in group.columns:
            for source in column.sources:
                if isinstance(source, Sequential):
                    entries = complete_entries(source.entries)
                    if entries not in sequences:
                        variable = Node(None, f"{name}/slice{len(sequences)}")
                        sequences[entries] = LoopSequence(entries, variable)
        return LoopPlan(group, carried, stacked, list(sequences.values()))

    def _read_outputs(self, group: Steps, node: Node) -> set[int]:
        """The outputs of a node that something outside of its loop reads."""
        outputs = {
            user.inputs[slot][1]
            for user, slot in self._users.get(node, ())
            if self._taken.get(user) is not group
        }
        return outputs | self._head_outputs.get(node, _NONE)

    # The new network -----------------------------------------------------------------------------

    def run(self) -> Rewired | None:
        stack: list[tuple[Node | Steps, bool]] = []
        done: set[Node | Steps] = set()
        open_: set[Node | Steps] = set()
        for head in self._heads:
            stack.append((self._unit(head), False))
            while stack:
                unit, ready = stack.pop()
                if unit in done:
                    continue
                if ready:
                    done.add(unit)
                    self._make(unit)
                    continue
                if unit in open_:
                    return None
                open_.add(unit)
                stack.append((unit, True))
                stack += [(u, False) for u in reversed(self._needs(unit)) if u not in done]
        heads = [self._entry(head) for head in self._heads]
        loops = {plan.node: group for group, plan in self._plans.items() if plan.node is not None}
        return Rewired(self._order, heads, {new: old for old, new in self._new.items()}, loops)

    def _unit(self, entry: Entry) -> Node | Steps:
        return self._taken.get(entry[0], entry[0])

    def _needs(self, unit: Node | Steps) -> list[Node | Steps]:
        if isinstance(unit, Node):
            joined = self._joined(unit)
            entries = unit.inputs if joined is None else joined[1][:1]
            return list(dict.fromkeys(map(self._unit, entries)))
        units = [self._unit(e) for one in unit.initial.values() for e in one.values()]
        for sequence in self._plans[unit].sequences:
            run = _cut(sequence.entries)
            if run is not None and run[0] not in self._taken:
                units.append(self._unit(run[0].inputs[0]))  # the array itself, not its parts
            else:
                units += map(self._unit, sequence.entries)
        for column in unit.columns:
            units += [self._unit(s.entry) for s in column.sources if isinstance(s, Invariant)]
        return list(dict.fromkeys(units))

    def _make(self, unit: Node | Steps) -> None:
        if isinstance(unit, Steps):
            self._make_loop(unit)
            return
        joined = self._joined(unit)
        if joined is not None:
            op, entries = joined
            self._new[unit] = self._add(op, unit.name, [self._stack(entries)])
            return
        inputs = tuple(self._entry(entry) for entry in unit.inputs)
        same = inputs == unit.inputs
        node = unit if same else Node(unit.op, unit.name, inputs, unit.attrs)
        self._new[unit] = node
        self._order.append(node)

    def _add(self, op: object, name: str, inputs: Sequence[Entry]) -> Node:
        node = Node(op, name, tuple(inputs))  # type: ignore[arg-type]
        self._order.append(node)
        return node

    def _make_loop(self, group: Steps) -> None:
        plan = self._plans[group]
        name = group.columns[0].model.name
        for sequence in plan.sequences:
            sequence.source, sequence.direction = self._sequence(name, sequence.entries)
        self._direction(plan)
        body = LoopBody(plan, name)
        loop = body.operator()
        inputs = [
            *(self._entry(group.initial[output][-distance]) for output, distance in plan.carried),
            *(s.source for s in plan.sequences if s.source is not None),
            *(self._entry(entry) for entry in body.invariants),
        ]
        plan.node = self._add(loop, name, inputs)

    def _direction(self, plan: LoopPlan) -> int:
        """1 if a loop's stacks have the last step first: if it reads a sequence in reverse."""
        if plan.direction is None:
            plan.direction = 0  # while others are asked
            for sequence in plan.sequences:
                run = _cut(sequence.entries)
                if run is not None and run[0] not in self._taken:
                    way = run[2]
                else:
                    stacked = self._run_of_loop(sequence.entries)
                    way = 1 if stacked is None else stacked[3]
                if way < 0:
                    plan.direction = 1
        return plan.direction

    def _sequence(self, name: str, entries: tuple[Entry, ...]) -> tuple[Entry, int]:
        """Return an array of the values of all steps, and whether the last step comes first."""
        run = _cut(entries)
        if run is not None and run[0] not in self._taken:
            node, start, way = run
            op = node.op
            assert isinstance(op, SliceChannel)
            low = min(start, start + way * (len(entries) - 1))
            cut = CutSteps(op.axis, op.num_outputs, bool(op.squeeze_axis), low, len(entries))
            source = self._entry(node.inputs[0])
            return (self._shared(cut, f"{node.name}/steps", source), 0), int(way < 0)
        stacked = self._run_of_loop(entries)
        if stacked is not None:
            plan, output, start, way = stacked
            whole = self._stack_entry(plan, output)
            count = plan.steps.count
            if len(entries) < count:
                low = min(start, start + way * (len(entries) - 1))
                cut_op = SelectSteps(count, low, len(entries))
                whole = self._shared(cut_op, f"{name}/part", whole), 0
            return whole, int(way < 0)
        inputs = [self._entry(entry) for entry in entries]
        return (self._add(StackSteps(len(entries)), f"{name}/stack", inputs), 0), 0

    def _shared(self, op: object, name: str, source: Entry) -> Node:
        """A node of this operator over ``source``, which others may have asked for before."""
        key = (op, source)
        if key not in self._shared_nodes:
            self._shared_nodes[key] = self._add(op, name, [source])
        return self._shared_nodes[key]

    # Values of steps -----------------------------------------------------------------------------

    def _place(self, entry: Entry) -> tuple[LoopPlan, Output, int] | None:
        """Return where a loop returns an entry: its output, and the position in the stack."""
        group = self._taken.get(entry[0])
        if group is None:
            return None
        column, step = group.places[entry[0]]
        plan = self._plans[group]
        position = group.count - 1 - step if self._direction(plan) else step
        return plan, (column, entry[1]), position

    def _run_of_loop(self, entries: Sequence[Entry]) -> tuple[LoopPlan, Output, int, int] | None:
        """The stack of a loop that ``entries`` are consecutive slices of."""
        places = [self._place(entry) for entry in entries]
        if places[0] is None or len(places) < 2:
            return None
        plan, output, start = places[0]
        way = 0
        for i, place in enumerate(places[1:], 1):
            if place is None or place[0] is not plan or place[1] != output:
                return None
            way = way or place[2] - start
            if abs(way) != 1 or place[2] != start + way * i:
                return None
        return plan, output, start, way

    def _stack_entry(self, plan: LoopPlan, output: Output) -> Entry:
        assert plan.node is not None
        return plan.node, len(plan.carried) + plan.stacked.index(output)

    def _stack(self, entries: Sequence[Entry]) -> Entry:
        run = self._run_of_loop(entries)
        assert run is not None
        return self._stack_entry(run[0], run[1])

    def _entry(self, entry: Entry) -> Entry:
        """The entry in the new network that has the value of an old one."""
        place = self._place(entry)
        if place is None:
            return self._new[entry[0]], entry[1]
        plan, output, position = place
        assert plan.node is not None
        count = plan.steps.count
        _, step = plan.steps.places[entry[0]]
        if step == count - 1 and output in plan.steps.initial:
            return plan.node, plan.carried.index((output, 1))
        whole = self._stack_entry(plan, output)
        name = output[0].model.name
        if len(self._read_steps[plan.steps][output]) <= 2:
            return self._shared(SelectStep(count, position), f"{name}/step", whole), 0
        if output not in plan.cuts:
            plan.cuts[output] = self._add(UnstackSteps(count), f"{name}/steps", [whole])
        return plan.cuts[output], position

    def _joined(self, node: Node) -> tuple[JoinSteps, list[Entry]] | None:
        """Return what puts a loop's values of all steps together, if that is what a node does."""
        op = node.op
        if not isinstance(op, Concat) or len(node.inputs) < 2:
            return None
        if self._taken.get(node) is not None:
            return None
        entries = list(node.inputs)
        new_axis = False
        first = entries[0][0].op
        if isinstance(first, ExpandDims) and first.axis == op.dim:
            if any(e[0].op != first or e[0] in self._taken for e in entries):
                return None
            entries = [e[0].inputs[0] for e in entries]
            new_axis = True
        group = self._taken.get(entries[0][0])
        if group is None or len(entries) != group.count:
            return None
        run = self._run_of_loop(entries)
        if run is None or run[3] < 0:
            return None
        return JoinSteps(op.dim, new_axis), entries


def _cut(entries: Sequence[Entry]) -> tuple[Node, int, int] | None:
    """The node that cuts an array into parts of which ``entries`` are consecutive ones.

    Returns also the first one's number, and 1 or -1.
    """
    node, start = entries[0]
    if not isinstance(node.op, SliceChannel) or len(entries) < 2:
        return None
    way = entries[1][1] - start
    if way not in (1, -1):
        return None
    if any(e[0] is not node or e[1] != start + way * i for i, e in enumerate(entries)):
        return None
    return node, start, way
