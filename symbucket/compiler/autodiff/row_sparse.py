"""Gradients of tables by rows: what an Embedding adds to, as row numbers and values."""

from __future__ import annotations

from collections.abc import Collection

import onnx_ir as ir

from symbucket.compiler.rewrite.graph_queries import is_zero
from symbucket.ir import OWN_DOMAIN, Builder


def take_rows(g: Builder, gradients: dict[str, ir.Value], names: Collection[str]) -> None:
    """Replace each ``P.grad`` that only adds rows to zeros, as that of an Embedding does.

    It becomes ``P.rows`` (n, 1) and ``P.values`` (n, width); other gradients stay.
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
