"""Rows of tables that get no gradient from lookups: ``padding_idx`` of PyTorch's embeddings.

ONNX has no word for them. ``Gather`` nodes get the attribute ``padding_index`` here.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np
import onnx

from symbucket.checks import listing
from symbucket.errors import InvalidArgumentError
from symbucket.ops.foreign.attributes import int_of, set_integers
from symbucket.types import Array

_ATTRIBUTE = "padding_index"


def block_row(node: onnx.NodeProto, row: int) -> None:
    """Keep a row of the table that a Gather reads from getting a gradient; -1 is none."""
    set_integers(node, **{_ATTRIBUTE: row})


def block_rows(
    graph: onnx.GraphProto, padding: Mapping[str, int], values: Mapping[str, Array]
) -> None:
    """Block a row of each table in ``padding``; raise InvalidArgumentError if there is none."""
    tables = dict(_tables(graph))
    for name, row in padding.items():
        if name not in tables:
            raise InvalidArgumentError(
                f"from_onnx: padding has {name!r}; the tables that the file looks rows up in are "
                f"{listing(sorted(tables)) or 'none'}"
            )
        rows = len(values[name]) if name in values else 0
        if not isinstance(row, (int, np.integer)) or not -rows <= row < rows:
            raise InvalidArgumentError(
                f"from_onnx: padding has the row {row!r} for {name!r}; expected an integer from "
                f"{-rows} to {rows - 1}"
            )
        for node in tables[name]:
            block_row(node, int(row) % rows)


def rows_of_zeros(graph: onnx.GraphProto, values: Mapping[str, Array]) -> dict[str, str]:
    """Return tables with one row of zeros, and words for each.

    In a file of PyTorch this may be the row ``padding_idx``, which does not move there.
    """
    doubtful = {}
    for name, nodes in _tables(graph):
        value = values.get(name)
        noted = any(a.name == _ATTRIBUTE for node in nodes for a in node.attribute)
        if value is None or value.ndim != 2 or len(value) < 3 or noted:
            continue
        (rows,) = np.nonzero(~value.any(axis=1))
        if len(rows) == 1:
            doubtful[name] = (
                f"its row {rows[0]} is zero: PyTorch's padding_idx, which gets no gradient? "
                f"padding={{{name!r}: {rows[0]}}} keeps it, params={name!r} trains all rows"
            )
    return doubtful


def _tables(graph: onnx.GraphProto) -> Iterator[tuple[str, list[onnx.NodeProto]]]:
    """Yield the initializers that Gather nodes take rows of, with those nodes."""
    names = {tensor.name for tensor in graph.initializer}
    nodes: dict[str, list[onnx.NodeProto]] = {}
    for node in graph.node:
        along_rows = int_of(node, "axis", 0) == 0
        if node.op_type == "Gather" and along_rows and node.input[0] in names:
            nodes.setdefault(node.input[0], []).append(node)
    yield from nodes.items()
