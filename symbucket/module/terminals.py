"""``Terminals``: the networks of all keys as terminals of one symbol."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import Any

from symbucket.errors import InvalidArgumentError
from symbucket.symbol import Symbol
from symbucket.symbol.node import Entry

Terminal = str | int | Sequence[str | int]


class Terminals:
    """A ``sym_gen`` over one symbol that holds a subgraph for every key.

    Args:
        group: the symbol, as from ``sym.Group``; every output (or several together) is a terminal.
        terminals: the terminal of every key: the name or number of an output of ``group``, or a
            list of them. Without it, every output is a terminal and its name is its key.
        inputs: which arguments are data and labels: ``{key: (data_names, label_names)}``. Without
            it, the batches tell (``provide_data``, ``provide_label``).

    Called with a key, it returns the subgraph of that key's terminal and nothing else of the group.
    """

    def __init__(
        self,
        group: Symbol,
        terminals: Mapping[Any, Terminal] | None = None,
        inputs: Mapping[Any, tuple[Sequence[str], Sequence[str]]] | None = None,
    ) -> None:
        if not isinstance(group, Symbol):
            raise InvalidArgumentError(
                f"Terminals: the group must be a Symbol, as from sym.Group([...]), not {group!r}"
            )
        if terminals is None:
            terminals = {name: i for i, name in enumerate(group.list_outputs())}
            if len(terminals) != len(group):
                raise InvalidArgumentError(
                    "Terminals: two outputs of the group have one name "
                    f"({', '.join(group.list_outputs())}); give terminals= a number for each key"
                )
        if not isinstance(terminals, Mapping) or not terminals:
            raise InvalidArgumentError(
                f"Terminals: terminals={terminals!r} must map every key to the name of an output "
                f"of the group: {', '.join(group.list_outputs())}"
            )
        self.symbols: dict[Hashable, Symbol] = {}
        """The subgraph of every key."""
        taken: dict[Any, Hashable] = {}
        for key, terminal in terminals.items():
            symbol = self._select(group, key, terminal)
            for head in symbol.heads:
                other = taken.setdefault(head, key)
                if other is not key:
                    raise InvalidArgumentError(
                        f"Terminals: {terminal!r} is the terminal of {other!r} and of {key!r}; "
                        "every key needs its own"
                    )
            self.symbols[key] = symbol
        self._inputs = dict(inputs or {})
        unknown = [key for key in self._inputs if key not in self.symbols]
        if unknown:
            raise InvalidArgumentError(
                f"Terminals: inputs= names {', '.join(map(repr, unknown))}, but {self._key_list()}"
            )

    @staticmethod
    def _select(group: Symbol, key: Hashable, terminal: Terminal) -> Symbol:
        parts = [terminal] if isinstance(terminal, (str, int)) else list(terminal)
        if not parts:
            raise InvalidArgumentError(f"Terminals: the key {key!r} has no terminal")
        heads: list[Entry] = []
        for part in parts:
            try:
                heads += group[part].heads
            except (InvalidArgumentError, IndexError) as error:
                raise InvalidArgumentError(f"Terminals: key {key!r}: {error}") from None
        return Symbol(heads)

    def _key_list(self) -> str:
        keys = list(map(repr, self.symbols))
        more = f", ... ({len(keys)} in all)" if len(keys) > 12 else ""
        return f"the keys with a terminal are {', '.join(keys[:12])}{more}"

    @property
    def keys(self) -> list[Hashable]:
        """The keys, in the order in which they were given."""
        return list(self.symbols)

    @property
    def default_bucket_key(self) -> Hashable:
        """The key with the largest subgraph (most nodes; the first of several)."""
        return max(self.symbols, key=lambda key: len(self.symbols[key].nodes()))

    def __call__(self, key: Hashable) -> Any:
        """Return the network of ``key``, in the form of a ``sym_gen``."""
        if key not in self.symbols:
            raise InvalidArgumentError(
                f"there is no terminal for the key {key!r}; {self._key_list()}"
            )
        symbol = self.symbols[key]
        if key not in self._inputs:
            return symbol
        data, labels = self._inputs[key]
        return symbol, list(data), list(labels)
