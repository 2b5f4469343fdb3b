"""Equal steps of a recurrence in an unrolled symbol.

A recurrence uses its weights in every step, each use waiting for the one before. Walking up from
these uses in all steps at once shows what a step consists of: an operand is the same in every step
(an invariant), made in the step, made in an earlier one (carried), or another one in every step (a
sequence). Whoever wrote the steps, they are grouped by what they are.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from symbucket.compiler.loops.columns import (
    Column,
    DiffersError,
    Internal,
    Invariant,
    Sequential,
    Source,
    Steps,
    Users,
    alike,
    may_loop,
)
from symbucket.symbol.node import Entry, Node


class Walk:
    """Finds the steps around ``products``, the uses of one weight, in order.

    ``number`` has for every node that depends on the first product how many products are on the
    way to it, less one; ``taken`` the nodes that other loops have.
    """

    def __init__(
        self,
        products: Sequence[Node],
        number: Mapping[Node, int],
        users: Users,
        position: Mapping[Node, int],
        taken: Mapping[Node, object],
    ) -> None:
        self._products, self._number, self._users = products, number, users
        self._position, self._taken = position, taken
        self._count = len(products)
        self._moved: dict[
            Node, int
        ] = {}  # nodes that belong to a later step than their number says

    def steps(self) -> Steps:
        """The steps with all that they are made of."""
        while True:
            self._columns: list[Column] = []
            self._places: dict[Node, tuple[Column, int]] = {}
            self._initial: dict[tuple[Column, int], dict[int, Entry]] = {}
            self._column(dict(enumerate(self._products)))
            for column in self._columns:  # grows
                self._find_sources(column)
            self._fill_last_steps()
            if not self._move_back():
                break
        self._take_neighbours(readers=False)
        self._verify(self._columns)
        return self._sorted()

    def with_readers(self) -> Steps:
        """The steps of ``steps`` and what reads one step each, when all loops are there.

        Raises DiffersError if the steps are none with them; ``steps`` has to be called again then.
        """
        before = {column: list(column.sources) for column in self._columns}
        self._take_neighbours(readers=True)
        self._verify([c for c in self._columns if before.get(c) != c.sources])
        return self._sorted()

    def _sorted(self) -> Steps:
        self._columns.sort(key=lambda column: self._position[self._second(column)])
        return Steps(self._count, self._columns, self._initial, self._places)

    def _verify(self, columns: Sequence[Column]) -> None:
        """Raise DiffersError unless every operand of every node is what the columns say."""
        for column in columns:
            for step, node in column.present():
                for source, entry in zip(column.sources, node.inputs):
                    if isinstance(source, Invariant):
                        expected: Entry | None = source.entry
                    elif isinstance(source, Internal):
                        expected = self._entry(source, step)
                    else:
                        if source.entries[step] is None:
                            source.entries[step] = entry
                        expected = source.entries[step]
                    if expected != entry:
                        raise DiffersError(f"{node.name} reads {entry[0].name} in one step alone")

    def _second(self, column: Column) -> Node:
        """The node of the second step: operands of the same step are at earlier positions."""
        node = column.nodes[1]
        if node is None:
            raise DiffersError(f"{column.model.name} is in the first step alone")
        return node

    # Up from the products ------------------------------------------------------------------------

    def _step_of(self, node: Node) -> int | None:
        moved = self._moved.get(node)
        return self._number.get(node) if moved is None else moved

    def _column(self, nodes: Mapping[int, Node]) -> Column:
        """The column of these nodes, by step: a new one, or the one that has some of them."""
        existing = next((self._places[n][0] for n in nodes.values() if n in self._places), None)
        column = Column([None] * self._count) if existing is None else existing
        model = next(iter(nodes.values())) if existing is None else existing.model
        for step, node in nodes.items():
            if self._places.get(node, (column, step)) != (column, step):
                raise DiffersError(f"{node.name} is read as of different steps")
            if column.nodes[step] not in (None, node):
                raise DiffersError(f"step {step} has {node.name} in two roles")
            if column.nodes[step] is node:
                continue
            self._require_alike(node, model, new=node is model)
            column.nodes[step] = node
            self._places[node] = column, step
        if existing is None:
            if column.nodes[0] is None:
                raise DiffersError(f"the first step has nothing like {model.name}")
            self._columns.append(column)
        return column

    def _require_alike(self, node: Node, model: Node, new: bool) -> None:
        if not alike(node, model):
            raise DiffersError(f"{node.name} is not the operation of {model.name}")
        if new and not may_loop(node):  # and the others are like it
            kind = "a variable" if node.op is None else node.op.op_name
            raise DiffersError(f"{node.name} ({kind}) cannot be part of a loop")
        if node in self._taken:
            raise DiffersError(f"{node.name} belongs to another loop")

    def _find_sources(self, column: Column) -> None:
        present = list(column.present())
        for slot in range(len(column.model.inputs)):
            values = [(step, node.inputs[slot]) for step, node in present]
            column.sources.append(self._source(values))

    def _source(self, values: Sequence[tuple[int, Entry]]) -> Source:
        """Return what an operand is, of which ``values`` are the entries by step."""
        inside = [(t, e, self._step_of(e[0])) for t, e in values]
        internal = [(t, e, number) for t, e, number in inside if number is not None]
        if not internal:
            first = values[0][1]
            if all(entry == first for _, entry in values):
                return Invariant(first)
            entries: list[Entry | None] = [None] * self._count
            for step, entry in values:
                entries[step] = entry
            return Sequential(entries)
        distances = {t - number for t, _, number in internal}
        outputs = {e[1] for _, e, _ in internal}
        if len(distances) != 1 or len(outputs) != 1:
            names = ", ".join(e[0].name for _, e, _ in internal[:3])
            raise DiffersError(f"{names}, ... are operands of different kinds")
        distance, output = distances.pop(), outputs.pop()
        early = [(t, e) for t, e in values if t < distance]
        if distance < 0 or len(internal) + len(early) != len(values):
            raise DiffersError(f"{internal[0][1][0].name} is not there in every step")
        column = self._column({t - distance: e[0] for t, e, _ in internal})
        if distance:
            initial = self._initial.setdefault((column, output), {})
            for t, entry in early:
                if initial.setdefault(t - distance, entry) != entry:
                    raise DiffersError(f"two values stand for {column.model.name} at the start")
        return Internal(column, output, distance)

    # The last steps ------------------------------------------------------------------------------

    def _fill_last_steps(self) -> None:
        """Find the nodes of last steps that no later step reads, from their operands."""
        missing = [
            (column, step)
            for column in self._columns
            for step, node in enumerate(column.nodes)
            if node is None
        ]
        missing.sort(key=lambda one: (one[1], self._position[one[0].model]))
        grown = True
        while grown and missing:
            left = [one for one in missing if not self._fill(*one)]
            grown, missing = len(left) < len(missing), left

    def _fill(self, column: Column, step: int) -> bool:
        operands: list[Entry | None] = []
        anchor: tuple[Node, int] | None = None
        for slot, source in enumerate(column.sources):
            if isinstance(source, Internal):
                entry = self._entry(source, step)
                if entry is None:
                    return False
                anchor = anchor or (entry[0], slot)
                operands.append(entry)
            else:
                operands.append(source.entry if isinstance(source, Invariant) else None)
        if anchor is None:
            return False
        fitting = [
            user
            for user, slot in self._users[anchor[0]]
            if slot == anchor[1]
            and user not in self._places
            and user not in self._taken
            and alike(user, column.model)
            and all(e is None or e == own for e, own in zip(operands, user.inputs))
        ]
        if not fitting or any(user.inputs != fitting[0].inputs for user in fitting):
            return False
        node = fitting[0]
        column.nodes[step] = node
        self._places[node] = column, step
        for source, entry in zip(column.sources, node.inputs):
            if isinstance(source, Sequential):
                source.entries[step] = entry
        return True

    def _entry(self, source: Internal, step: int) -> Entry | None:
        """Return what an operand is in a step; None if no node makes it."""
        step -= source.distance
        if step < 0:
            return self._initial[source.column, source.output].get(step)
        node = source.column.nodes[step]
        return None if node is None else (node, source.output)

    def _move_back(self) -> bool:
        """Look for columns that begin the next step and do not end their own.

        Their last step is not there, and their initial value is made as the others are: a product
        with the state before the step. Returns whether the walk is to be made again.
        """
        moved = False
        for (column, output), initial in self._initial.items():
            first = initial.get(-1)
            if column.nodes[-1] is not None or first is None or len(initial) > 1:
                continue
            node, index = first
            if index != output or node in self._moved or not alike(node, column.model):
                continue
            if node in self._places or node in self._taken or self._step_of(node) is not None:
                continue
            self._moved[node] = 0
            for step, other in column.present():
                self._moved[other] = step + 1
            moved = True
        return moved

    # Beside the walk -----------------------------------------------------------------------------

    def _take_neighbours(self, readers: bool) -> None:
        grown = True
        while grown:
            count = len(self._columns)
            for column in list(self._columns):
                for source in column.sources:
                    if isinstance(source, Sequential):
                        self._take_makers(source)
            for column in list(self._columns) if readers else ():
                self._take_readers(column)
            grown = len(self._columns) > count

    def _take_makers(self, source: Sequential) -> None:
        """Nodes that make an operand of one step each, and that nothing else reads."""
        nodes: dict[int, Node] = {}
        for step, entry in enumerate(source.entries):
            if entry is None:
                continue
            node = entry[0]
            if not may_loop(node) or node in self._places or node in self._taken:
                return
            for user, _ in self._users[node]:
                if self._places.get(user, (None, -1))[1] != step:
                    return
            nodes[step] = node
        self._join(nodes, source)

    def _take_readers(self, column: Column) -> None:
        """Nodes that read one step each, all in the same way."""
        if column.nodes[-1] is None:
            return
        for user, slot in list(self._users[column.model]):
            if not self._may_read(user):
                continue
            output = user.inputs[slot][1]
            nodes: dict[int, Node] = {}
            for step, node in column.present():
                fitting = {
                    other
                    for other, at in self._users[node]
                    if at == slot
                    and other.inputs[slot][1] == output
                    and self._may_read(other)
                    and alike(other, user)
                }
                if len(fitting) == 1:
                    nodes[step] = fitting.pop()
            self._join(nodes, None)

    def _may_read(self, node: Node) -> bool:
        fits = may_loop(node) and node not in self._places and node not in self._taken
        moves = node.op is not None and node.op.moves_only and len(node.inputs) == 1
        return fits and not moves

    def _complete(self, start: int) -> bool:
        """Find the sources of columns from ``start`` on, and of those that come to light by that.

        Returns whether all of them have a node in every step, but perhaps the last one.
        """
        count = start
        while count < len(self._columns):
            self._find_sources(self._columns[count])
            count += 1
        self._fill_last_steps()
        return all(None not in column.nodes[:-1] for column in self._columns[start:])

    def _join(self, nodes: Mapping[int, Node], read: Sequential | None) -> None:
        """Add a column, if ``nodes`` are one."""
        present = list(nodes.values())
        if len(set(present)) != self._count or not present[0].inputs:
            return
        if any(not alike(node, present[0]) for node in present):
            return
        if read is not None:
            outputs = {entry[1] for entry in read.entries if entry is not None}
            if len(outputs) != 1:
                return
        count, initial = len(self._columns), dict(self._initial)
        column = Column([nodes[t] for t in range(self._count)])
        self._columns.append(column)
        for t, node in nodes.items():
            self._places[node] = column, t
        try:
            self._find_sources(column)
            fits = len(self._columns) == count + 1 or (read is None and self._complete(count + 1))
        except DiffersError:
            fits = False
        if not fits or (read is not None and len(self._initial) > len(initial)):
            for one in self._columns[count:]:
                for _, node in one.present():
                    self._places.pop(node, None)
            del self._columns[count:]
            self._initial = initial
            return
        if read is not None:
            for other in self._columns:
                for slot, source in enumerate(other.sources):
                    if not isinstance(source, Sequential):
                        continue
                    entry = source.entries[0]
                    if entry is not None and entry[0] is column.model:
                        other.sources[slot] = Internal(column, entry[1], 0)
