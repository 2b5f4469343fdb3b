"""Operators that work element by element; a few of them are linear, and take sums."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import onnx_ir as ir

from symbucket.compiler.shards.labels import SUM, Label, RefusedError
from symbucket.compiler.shards.rules.base import Operands, elementwise_rule
from symbucket.ir import attribute_of, dtype_of


@elementwise_rule
def elementwise(v: Operands) -> Sequence[Label]:
    """Rows are where those of the operands are, after broadcasting."""
    if any(label is not None and label.is_sum for label in v.labels):
        linear = _LINEAR.get(v.node.op_type)
        if linear is None or not linear(v):
            raise RefusedError("it takes a sum over the batch's rows and is not linear in it")
        return [SUM]
    shape = v.out_shape()
    return [v.aligned(range(len(v.labels)), shape).label(shape)]


def _all(v: Operands) -> bool:
    return v.linear(range(len(v.labels)))


def _one_factor(v: Operands) -> bool:
    labels = [label for label in v.labels if label is not None]
    others = [label for label in labels if not label.is_sum]
    return len(labels) - len(others) == 1 and all(label.is_same for label in others)


def _numerator(v: Operands) -> bool:
    return _one_factor(v) and v.is_same(1) and dtype_of(v.node.outputs[0]).is_floating_point()


def _choice(v: Operands) -> bool:
    return v.is_same(0) and v.linear((1, 2))


def _to_floats(v: Operands) -> bool:
    return ir.DataType(attribute_of(v.node, "to")).is_floating_point()


_LINEAR: dict[str, Callable[[Operands], bool]] = {
    "Add": _all,
    "Sub": _all,
    "Sum": _all,
    "Neg": _all,
    "Identity": _all,
    "Cast": _to_floats,
    "Mul": _one_factor,
    "Div": _numerator,
    "Where": _choice,
}
