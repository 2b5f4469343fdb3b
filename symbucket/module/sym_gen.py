"""What ``sym_gen`` returns for a key, in one form."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from symbucket.compiler.gc_pause import paused_collector
from symbucket.errors import InvalidArgumentError
from symbucket.name import NameManager
from symbucket.symbol import Symbol
from symbucket.symbol.onnx.importer import as_symbol

SymGen = Callable[[Any], Any]


@dataclass(frozen=True)
class GeneratedNetwork:
    """The network of a key; ``data_names`` is None if ``sym_gen`` returned a symbol only."""

    symbol: Symbol
    data_names: Sequence[str] | None = None
    label_names: Sequence[str] | None = None


def generate(sym_gen: SymGen, key: Hashable) -> GeneratedNetwork:
    """Call ``sym_gen`` for a key; an ONNX model or its path becomes a symbol.

    Raises InvalidArgumentError for anything but a symbol, or (symbol, data_names, label_names).
    """
    # A manager of its own, so that automatic names are the same for all keys.
    with NameManager(), paused_collector():
        result = sym_gen(key)
    if isinstance(result, tuple) and len(result) == 3:
        network = GeneratedNetwork(as_symbol(result[0]), *result[1:])
    else:
        network = GeneratedNetwork(as_symbol(result))
    if not isinstance(network.symbol, Symbol):
        raise InvalidArgumentError(
            f"sym_gen({key!r}) must give a Symbol or (symbol, data_names, label_names), not "
            f"{result!r}. In place of the symbol, an ONNX model or the path of a file *.onnx will "
            "do."
        )
    return network


def with_symbols(
    sym_gen: SymGen, symbols: Mapping[Hashable, Symbol], default_key: Hashable
) -> SymGen:
    """Return a sym_gen whose networks for some keys are ``symbols``.

    Their inputs have the names that ``sym_gen`` gives for the default key.
    """

    def replaced(key: Hashable) -> Any:
        if key not in symbols:
            return sym_gen(key)
        network = generate(sym_gen, default_key)
        return symbols[key], network.data_names, network.label_names

    return replaced


def label_names_by_suffix(symbol: Symbol) -> list[str]:
    """Return the arguments that are labels by their names alone."""
    return [name for name in symbol.list_arguments() if name.endswith("label")]
