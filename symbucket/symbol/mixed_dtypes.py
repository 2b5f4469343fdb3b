"""What to say of a node whose inputs have several float dtypes: where each of them comes from."""

from __future__ import annotations

from collections.abc import Mapping

from symbucket.checks import listing
from symbucket.symbol.node import Entry, Node
from symbucket.types import DType

_MOST_NAMES = 6


def mixed_dtypes(node: Node, types: Mapping[Entry, DType]) -> str:
    """Return the float dtypes of a node's inputs with what they come from; empty if it is one.

    They come from variables and from nodes without inputs, such as a state of zeros.
    """
    names = sorted({types[entry].name for entry in node.inputs if types[entry].kind == "f"})
    if len(names) < 2:
        return ""
    origins = _origins(node)
    texts = []
    for name in names:
        of_dtype = [one.name for one in origins if types[one, 0].name == name]
        texts.append(f"{name} (of {listing(of_dtype, _MOST_NAMES) or 'inner nodes'})")
    return (
        f"its inputs have the dtypes {' and '.join(texts)}, which must be one: make these "
        "arguments and states in one dtype, or put sym.Cast between"
    )


def _origins(node: Node) -> list[Node]:
    """Return what a node depends on and what depends on nothing, nearest first."""
    seen = {node}
    walk = [node]
    for one in walk:
        for source, _ in one.inputs:
            if source not in seen:
                seen.add(source)
                walk.append(source)
    return [one for one in walk if not one.inputs]
