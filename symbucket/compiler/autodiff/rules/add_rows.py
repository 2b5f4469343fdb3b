"""``AddRows(table, rows, values)``: a node of symbucket's own domain that adds rows to a table.

The gradient of a Gather needs it: row numbers may repeat, and then values add up. It is not a
ScatterND, because the runtime's kernel runs that on several threads from some 200,000 elements on,
and additions to one row overwrite each other (seen in onnxruntime 1.19 and 1.31). ScatterElements
adds one after the other.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import onnx_ir as ir

from symbucket.ir import (
    OWN_DOMAIN,
    Builder,
    Expr,
    expansion,
    no_gradient,
    same_as_first,
    shape_of,
    shape_rule,
)

no_gradient("AddRows", domain=OWN_DOMAIN, because="is itself part of a gradient")
shape_rule("AddRows", domain=OWN_DOMAIN)(same_as_first)


def add_rows(values: Expr, rows: Expr, count: int, width: Sequence[int]) -> Expr:
    """Zeros of shape ``(count, *width)`` with ``values`` added at ``rows``, which may repeat."""
    size = math.prod(width)
    zeros = values.filled(0.0, [count, size])
    rows = rows.reshape((rows.size, 1)).cast(ir.DataType.INT64)
    table = zeros.own("AddRows", rows, values.reshape((rows.size, size)))
    return table.reshape((count, *width))


@expansion("AddRows")
def _expand_add_rows(g: Builder, node: ir.Node) -> Sequence[ir.Value]:
    table, rows, values = node.inputs
    assert values is not None
    spread = g.op("Expand", rows, g.ints(*shape_of(values)))
    return [g.op("ScatterElements", table, spread, values, axis=0, reduction="add")]
