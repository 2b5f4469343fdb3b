"""From a Python function over symbols to a ``Subgraph``: nested lists, and what is read outside."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from symbucket.attribute import AttrScope
from symbucket.errors import InvalidArgumentError, UnsupportedError
from symbucket.name import NameManager
from symbucket.ops.record import Operator
from symbucket.symbol.compose import apply
from symbucket.symbol.node import Entry, Node, auxiliary_states, topological
from symbucket.symbol.subgraph import Subgraph
from symbucket.symbol.symbol import Symbol, entry_name

_SCOPE = "__subgraph_name__"  # the attribute of nodes that a function made; MXNet's name
Form = int | list[Any]
"""The shape of a nested list: a number of outputs, or a list of forms."""


def flatten(what: str, nested: Any) -> tuple[list[Symbol], Form]:
    """Return the symbols of a nested list, each of one output, and its form.

    A symbol of several outputs is as many symbols. Raises InvalidArgumentError for anything else.
    """
    if isinstance(nested, Symbol):
        return list(nested), 0 if len(nested) == 1 else len(nested)
    if not isinstance(nested, (list, tuple)):
        raise InvalidArgumentError(
            f"{what} must be a Symbol or a (nested) list of Symbols, not {nested!r}"
        )
    flat: list[Symbol] = []
    forms: list[Any] = []
    for item in nested:
        symbols, form = flatten(what, item)
        flat += symbols
        forms.append(form)
    return flat, forms


def regroup(flat: Sequence[Symbol], form: Form) -> Any:
    """Return symbols in the form of the nested list that ``flatten`` took apart."""
    rest = list(flat)
    result = _take(rest, form)
    assert not rest, "more symbols than the form has"
    return result


def _take(rest: list[Symbol], form: Form) -> Any:
    if isinstance(form, list):
        return [_take(rest, part) for part in form]
    count = form or 1
    taken = [rest.pop(0) for _ in range(count)]
    return Symbol([head for symbol in taken for head in symbol.heads])


@contextmanager
def subgraph_scope(name: str) -> Iterator[str]:
    """Mark the nodes that are made inside; the value is the mark, a new one for every scope."""
    around = AttrScope.current.get(None).get(_SCOPE)
    mark = NameManager.current.get(None, name)
    if mark == around:  # counted by a NameManager of its own
        mark = f"{mark}_"
    with AttrScope(**{_SCOPE: mark}):
        yield mark


def placeholders(symbols: Sequence[Symbol], taken: set[str]) -> list[Symbol]:
    """Return new variables that stand for ``symbols`` inside a function."""
    variables = []
    for symbol in symbols:
        node, index = symbol.heads[0]
        name = f"{node.name}-{index}"
        while name in taken:
            name = f"{name}-"
        taken.add(name)
        attrs = AttrScope.current.get(None)
        variables.append(Symbol([(Node(None, name, (), attrs), 0)]))
    return variables


@dataclass(frozen=True)
class Captured:
    """A function as a graph, and what it reads from outside.

    The variables of ``graph`` are those that the function was given, then one for each of
    ``outside``.
    """

    graph: Subgraph
    outside: tuple[Entry, ...]


def capture(
    operator: str, mark: str, given: Sequence[Symbol], outputs: Sequence[Symbol]
) -> Captured:
    """Cut the nodes that a function made from those that were there before.

    Args:
        operator: for messages.
        mark: that of the scope in which the function ran, which is still open.
        given: the variables that the function was given.
        outputs: what it returned, each of one output.
    """
    variables = [symbol.heads[0][0] for symbol in given]
    heads = _distinct(outputs, set(variables))
    order = topological(heads)
    inside = [n for n in order if n.op is not None and n.attrs.get(_SCOPE) == mark]
    states = auxiliary_states(inside)
    if states:
        names = ", ".join(sorted(node.name for node in states))
        raise UnsupportedError(
            f"{operator}: the function has operators with auxiliary states ({names}), which a loop "
            "or branch cannot update; apply them outside"
        )
    python = [n.name for n in inside if n.op is not None and n.op.runs_python]
    if python:
        raise UnsupportedError(
            f"{operator}: the function has operators in Python ({', '.join(python)}), at which "
            "networks are cut; apply them outside"
        )
    copies: dict[Node, Node] = {variable: variable for variable in variables}
    outside: dict[Entry, Node] = {}
    taken = {variable.name for variable in variables}

    def read(entry: Entry) -> Entry:
        node, _ = entry
        if node in copies:
            return copies[node], entry[1]
        if entry not in outside:
            name = entry_name(entry)
            while name in taken:
                name = f"{name}-"
            taken.add(name)
            attrs = node.attrs if node.op is None else {}
            outside[entry] = Node(None, name, (), {k: v for k, v in attrs.items() if k != _SCOPE})
        return outside[entry], 0

    for node in inside:
        copies[node] = Node(node.op, node.name, tuple(map(read, node.inputs)), node.attrs)
    results = tuple(map(read, heads))
    return Captured(Subgraph((*variables, *outside.values()), results), tuple(outside))


def _distinct(outputs: Sequence[Symbol], variables: set[Node]) -> list[Entry]:
    """The outputs' entries, each computed by the function and none of them twice."""
    heads: list[Entry] = []
    for output in outputs:
        node, _ = entry = output.heads[0]
        if entry in heads or node in variables or node.op is None:
            entry = apply("identity", [output], {}).heads[0]
        heads.append(entry)
    return heads


def apply_loop(op: Operator, called: str, entries: Sequence[Entry]) -> list[Symbol]:
    """Return the outputs of a loop or branch over ``entries``."""
    name = NameManager.current.get(None, called)
    node = Node(op, name, tuple(entries), AttrScope.current.get(None))
    return [Symbol([(node, i)]) for i in range(node.num_outputs)]


def call(operator: str, function: Any, *arguments: Any) -> Any:
    """Call a user's function; raises InvalidArgumentError if it is none."""
    if not callable(function):
        raise InvalidArgumentError(f"{operator} needs a function of Symbols, not {function!r}")
    return function(*arguments)


def require_form(operator: str, what: str, form: Form, expected: Form) -> None:
    """Raise InvalidArgumentError unless nested lists have one form."""
    if form != expected:
        raise InvalidArgumentError(
            f"{operator}: {what} must come as one nested list: {_text(expected)}, not {_text(form)}"
        )


def _text(form: Form) -> str:
    if isinstance(form, list):
        return f"[{', '.join(map(_text, form))}]"
    return "a Symbol" if not form else f"a Symbol of {form} outputs"


Function = Callable[..., Any]
