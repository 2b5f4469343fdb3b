"""Gradients of tables by rows: what an Embedding adds to, as row numbers and values."""

from __future__ import annotations

from collections.abc import Collection

import onnx_ir as ir

from symbucket.compiler.ports import PortId, Role
from symbucket.compiler.rewrite.graph_queries import is_zero
from symbucket.ir import OWN_DOMAIN


def take_rows(outputs: dict[PortId, ir.Value], names: Collection[str]) -> None:
    """Replace the gradients that qualify among ``names`` by ROWS (n, 1) and VALUES (n, width).

    A gradient qualifies that only adds rows to zeros, as that of an Embedding does.
    """
    gradients = [(port, value) for port, value in outputs.items() if port.role is Role.GRAD]
    for port, value in gradients:
        node = value.producer()
        if port.of not in names or node is None or not _adds_rows_to_zeros(node):
            continue
        rows, values = node.inputs[1:3]
        assert rows is not None
        assert values is not None
        del outputs[port]
        outputs[PortId(Role.ROWS, port.of)] = rows
        outputs[PortId(Role.VALUES, port.of)] = values


def _adds_rows_to_zeros(node: ir.Node) -> bool:
    return node.op_type == "AddRows" and node.domain == OWN_DOMAIN and is_zero(node.inputs[0])
