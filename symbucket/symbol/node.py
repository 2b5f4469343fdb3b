"""The graph of a symbol: nodes that are variables or operators, and walks over them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from symbucket.errors import InvalidArgumentError, NameConflictError
from symbucket.ops.record import Operator
from symbucket.types import Array

NO_ATTRIBUTES: Mapping[str, str] = MappingProxyType({})
"""The attributes of nodes that have none: one object, because there are many such nodes."""


@dataclass(frozen=True, eq=False, slots=True)
class Node:
    """A variable (``op`` is None) or one application of an operator.

    ``inputs`` are (node, output index) pairs: arguments first, then auxiliary states. ``attrs``
    are the user's string attributes; the operator's own attributes are in ``op``. ``value`` is what
    a variable from an ONNX file starts at.
    """

    op: Operator | None
    name: str
    inputs: tuple[Entry, ...] = ()
    attrs: Mapping[str, str] = field(default_factory=lambda: NO_ATTRIBUTES)
    value: Array | None = None

    @property
    def num_outputs(self) -> int:
        """Number of outputs."""
        return 1 if self.op is None else len(self.op.outputs())

    def changed(self, name: str | None = None, inputs: tuple[Entry, ...] | None = None) -> Node:
        """Return a node like this one with another name or other inputs."""
        name = self.name if name is None else name
        inputs = self.inputs if inputs is None else inputs
        return Node(self.op, name, inputs, self.attrs, self.value)


Entry = tuple[Node, int]


def checked_name(name: object, what: str = "a node") -> str:
    """Return ``name`` if it can be the name of a node: a non-empty string that has a UTF-8 form.

    Raises InvalidArgumentError, which calls the node ``what``.
    """
    if not isinstance(name, str) or not name:
        raise InvalidArgumentError(f"The name of {what} must be a non-empty string, not {name!r}")
    if not name.isascii():
        try:
            name.encode()
        except UnicodeEncodeError as error:
            raise InvalidArgumentError(
                f"The name {name!r} of {what} cannot be written as UTF-8: its character "
                f"{error.start} is half of a surrogate pair"
            ) from None
    return name


def topological(heads: Iterable[Entry]) -> list[Node]:
    """Return every node that ``heads`` depend on, inputs before users, in depth-first order.

    Iterative, because an unrolled network is deeper than Python's recursion limit.
    """
    order: list[Node] = []
    seen: set[int] = set()
    for head, _ in heads:
        stack: list[tuple[Node, int]] = [(head, 0)]
        while stack:
            node, next_input = stack.pop()
            if next_input == 0:
                if id(node) in seen:
                    continue
                seen.add(id(node))
            for i in range(next_input, len(node.inputs)):
                child = node.inputs[i][0]
                if id(child) not in seen:
                    stack.append((node, i + 1))
                    stack.append((child, 0))
                    break
            else:
                order.append(node)
    return order


def auxiliary_states(nodes: Iterable[Node]) -> set[Node]:
    """Return the variables that an operator takes as auxiliary states."""
    states: set[Node] = set()
    for node in nodes:
        if node.op is not None and node.op.auxiliary():
            entries = node.inputs[len(node.op.arguments()) :]
            states.update(child for child, _ in entries if child.op is None)
    return states


def check_names(nodes: Iterable[Node]) -> None:
    """Raise NameConflictError if two different variables have the same name."""
    seen: dict[str, Node] = {}
    for node in nodes:
        if node.op is not None:
            continue
        other = seen.setdefault(node.name, node)
        if other is not node:
            raise NameConflictError(
                f"Two different variables are both named {node.name!r}. Make the variable once and "
                "use it in both places (cells share through RNNParams), or rename one of them."
            )


def substitute(heads: Iterable[Entry], replacements: Mapping[str, Entry]) -> list[Entry]:
    """Return ``heads`` on a copy of the graph in which other outputs stand for some variables.

    ``replacements``: variable name -> output. Nodes that read none of them are shared.
    """
    heads = list(heads)
    replaced: dict[Node, Entry] = {}
    for node in topological(heads):
        if node.op is None:
            replaced[node] = replacements.get(node.name, (node, 0))
            continue
        inputs = tuple(_replace(entry, replaced) for entry in node.inputs)
        same = all(a[0] is b[0] and a[1] == b[1] for a, b in zip(inputs, node.inputs))
        replaced[node] = (node if same else node.changed(inputs=inputs), 0)
    return [_replace(head, replaced) for head in heads]


def _replace(entry: Entry, replaced: Mapping[Node, Entry]) -> Entry:
    node, index = entry
    return replaced[node] if node.op is None else (replaced[node][0], index)
