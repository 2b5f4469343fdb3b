"""Adding rows to a table, and gradients of tables by rows.

``AddRows(table, rows, values)`` of our own domain is what the gradient of a Gather needs: row
numbers may repeat, and then values add up. It is no ScatterND, because the runtime's kernel runs
that on several threads from some 200,000 elements on, and additions to one row overwrite each other
(seen in onnxruntime 1.19 and 1.31); ScatterElements adds one after the other.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

import onnx_ir as ir

from symbucket.compiler.rewrite.graph_queries import is_zero
from symbucket.ir import (
    OWN_DOMAIN,
    Builder,
    dtype_of,
    expansion,
    mark,
    shape_of,
    shape_rule,
)

mark("AddRows", domain=OWN_DOMAIN, no_gradient=True)


@shape_rule("AddRows", domain=OWN_DOMAIN)
def _add_rows_shape(node: ir.Node) -> list[tuple[tuple[int, ...], ir.DataType]]:
    table = node.inputs[0]
    assert table is not None
    return [(shape_of(table), dtype_of(table))]


@expansion("AddRows")
def _expand_add_rows(g: Builder, node: ir.Node) -> Sequence[ir.Value]:
    table, rows, values = node.inputs
    assert values is not None
    spread = g.op("Expand", rows, g.ints(*shape_of(values)))
    return [g.op("ScatterElements", table, spread, values, axis=0, reduction="add")]


def take_rows(g: Builder, gradients: dict[str, ir.Value], names: Collection[str]) -> None:
    """Replace ``P.grad`` by ``P.rows`` (n, 1) and ``P.values`` (n, width) where that is all of it.

    A gradient qualifies that only adds rows to zeros, as that of an Embedding does; the others
    among ``names`` stay as they are.
    """
    for name in names:
        value = gradients.get(f"{name}.grad")
        node = None if value is None else value.producer()
        if value is None or node is None or not _adds_rows_to_zeros(node):
            continue
        rows, values = node.inputs[1:3]
        assert rows is not None
        assert values is not None
        del gradients[f"{name}.grad"]
        gradients[f"{name}.rows"], gradients[f"{name}.values"] = rows, values


def _adds_rows_to_zeros(node: ir.Node) -> bool:
    return node.op_type == "AddRows" and node.domain == OWN_DOMAIN and is_zero(node.inputs[0])
