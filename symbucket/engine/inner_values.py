"""Values between input and output, for observers of a run.

Compiled networks keep no activation that has no later use. If somebody asks for some, a second
program runs after the first one, over the same arrays and with the same random numbers, that puts
them out.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Protocol

from symbucket.runtime.ndarray import NDArray
from symbucket.runtime.noise import NoiseKey
from symbucket.symbol.node import Entry
from symbucket.symbol.symbol import Symbol, entry_name

if TYPE_CHECKING:
    from symbucket.engine.executor import Executor


class Watcher(Protocol):
    """Observer of the values of forward runs."""

    monitor_all: bool
    """Whether it looks at the inputs of operators too."""

    @property
    def activated(self) -> bool:
        """Whether it looks at the next run."""

    def wants(self, name: str) -> bool:
        """Return whether it looks at a value of this name."""

    def see(self, name: str, array: NDArray) -> None:
        """Look at a value; the array is valid until the next run."""


class Callback:
    """A function that is called with name and array of every value, as a watcher."""

    activated = True

    def __init__(self, function: Callable[[str, NDArray], object], monitor_all: bool) -> None:
        self._function = function
        self.monitor_all = monitor_all

    def wants(self, name: str) -> bool:
        """Return True."""
        return True

    def see(self, name: str, array: NDArray) -> None:
        """Call the function."""
        self._function(name, array)


class InnerValues:
    """The values of an executor's symbol, computed again when somebody watches.

    Names are MXNet's: ``fc_output`` for an output of an operator, ``fc_data`` for one of its
    inputs, and the own name for a variable.
    """

    def __init__(self, executor: Executor) -> None:
        self._executor = executor
        self._programs: dict[tuple[Entry, ...], Executor] = {}

    def show(self, watchers: Sequence[Watcher], is_train: bool, key: NoiseKey) -> None:
        """Let watchers see the values of the executor's last run, inputs before users."""
        seen: list[tuple[Watcher, str, Entry]] = []
        for name, entry, is_input in _named_entries(self._executor.symbol):
            for watcher in watchers:
                if (watcher.monitor_all or not is_input) and watcher.wants(name):
                    seen.append((watcher, name, entry))
        values = self._values(list(dict.fromkeys(entry for _, _, entry in seen)), is_train, key)
        for watcher, name, entry in seen:
            watcher.see(name, values[entry])

    def _values(self, entries: list[Entry], is_train: bool, key: NoiseKey) -> dict[Entry, NDArray]:
        executor = self._executor
        variables = {**executor.arg_dict, **executor.aux_dict}
        values = {e: variables[e[0].name] for e in entries if e[0].op is None}
        heads = executor.symbol.heads
        values |= dict(zip(heads, executor.outputs))
        inner = tuple(entry for entry in entries if entry not in values)
        if inner:
            program = self._programs.get(inner)
            if program is None:
                # With the heads first, nodes have their order, which random numbers go by.
                program = executor.sibling(Symbol([*heads, *inner]))
                self._programs[inner] = program
            program.run(is_train, key)
            values |= dict(zip(inner, program.outputs[len(heads) :]))
        return values


def _named_entries(symbol: Symbol) -> list[tuple[str, Entry, bool]]:
    """Return name and entry of every value, and whether it is an input of an operator."""
    named: list[tuple[str, Entry, bool]] = []
    for node in symbol.nodes():
        if node.op is None:
            continue
        inputs = zip((*node.op.arguments(), *node.op.auxiliary()), node.inputs)
        for argument, entry in inputs:
            if entry[0].op is None:  # under its own name, too, each time that it is read
                named.append((entry[0].name, entry, True))
            named.append((f"{node.name}_{argument}", entry, True))
        outputs = [(node, i) for i in range(node.num_outputs)]
        named += [(entry_name(entry), entry, False) for entry in outputs]
    return named
