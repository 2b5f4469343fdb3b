"""Metrics computed inside the graph, so that a step returns a few numbers and no outputs."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import onnx_ir as ir

from symbucket.ir import (
    OWN_DOMAIN,
    Builder,
    attr,
    dtype_of,
    expansion,
    mark,
    shape_of,
    shape_rule,
)


@dataclass(frozen=True)
class MetricSpec:
    """A sum over a batch and the number of its terms.

    kind "nll": ``-log(max(p, floor) + eps)`` of the label's class over labels that are not
    ``ignore_label``, the classes along the last axis. "accuracy": the number of rows whose largest
    entry is at the label. "sum": the sum of all elements (``label`` is not used).
    """

    kind: Literal["nll", "accuracy", "sum"]
    output: str
    label: str = ""
    ignore_label: float | None = None
    floor: float = 0.0
    eps: float = 0.0

    @property
    def name(self) -> str:
        """What the two outputs are called: ``name.total`` and ``name.count``."""
        ignored = "" if self.ignore_label is None else f"-ignore{self.ignore_label:g}"
        return f"metric/{self.kind}{ignored}/{self.output}"


mark("LabelLoss", domain=OWN_DOMAIN, no_gradient=True)


def fits(spec: MetricSpec, output: Sequence[int], label: Sequence[int] | None) -> bool:
    """Whether a metric can be computed in the graph for these shapes."""
    if spec.kind == "sum":
        return True
    rows = math.prod(output[:-1])
    return len(output) > 1 and label is not None and math.prod(label) == rows


def emit_metrics(
    g: Builder,
    specs: Sequence[MetricSpec],
    outputs: Mapping[str, ir.Value],
    variables: Mapping[str, ir.Value],
) -> dict[str, ir.Value]:
    """Append the nodes of all metrics; gives scalars (shape (1,)) by name."""
    found: dict[str, ir.Value] = {}
    for spec in specs:
        with g.scoped(spec.name):
            total, count = _emit(g, spec, outputs[spec.output], variables.get(spec.label))
        found[f"{spec.name}.total"], found[f"{spec.name}.count"] = total, count
    return found


def _emit(
    g: Builder, spec: MetricSpec, pred: ir.Value, label: ir.Value | None
) -> tuple[ir.Value, ir.Value]:
    shape = shape_of(pred)
    if spec.kind == "sum":
        total = g.reduce_sum(g.reshape(pred, (math.prod(shape),)), [0])
        return total, g.filled((1,), float(math.prod(shape)), dtype_of(pred))
    assert label is not None
    rows = g.reshape(pred, (math.prod(shape[:-1]), shape[-1]))
    label = g.reshape(label, (shape_of(rows)[0],))
    if spec.kind == "accuracy":
        best = g.op("ArgMax", rows, axis=1, keepdims=0)
        hit = g.op("Equal", best, g.cast(label, ir.DataType.INT64))
        total = g.reduce_sum(g.cast(hit, dtype_of(pred)), [0])
        return total, g.filled((1,), float(shape_of(rows)[0]), dtype_of(pred))
    total, count = g.ops(
        "LabelLoss",
        rows,
        label,
        outputs=2,
        domain=OWN_DOMAIN,
        use_ignore=int(spec.ignore_label is not None),
        ignore_label=float(spec.ignore_label or 0.0),
        floor=spec.floor,
        eps=spec.eps,
    )
    return total, count


@shape_rule("LabelLoss", domain=OWN_DOMAIN)
def _label_loss_shape(node: ir.Node) -> list[tuple[tuple[int, ...], ir.DataType]]:
    value = node.inputs[0]
    assert value is not None
    return [((1,), dtype_of(value))] * 2


def negative_log(g: Builder, node: ir.Node, picked: ir.Value) -> ir.Value:
    """-log of picked probabilities with the node's guards against log 0."""
    floor, eps = attr(node, "floor"), attr(node, "eps")
    dtype = picked.dtype
    assert dtype is not None

    def number(value: float) -> ir.Value:
        return g.const(float(value), like=node.inputs[0])

    if floor:
        picked = g.like("Max", picked, picked, number(floor))
    if eps:
        picked = g.like("Add", picked, picked, number(eps))
    return g.like("Neg", picked, g.like("Log", picked, picked))


@expansion("LabelLoss")
def _expand_label_loss(g: Builder, node: ir.Node) -> Sequence[ir.Value]:
    rows, label = node.inputs
    assert rows is not None
    assert label is not None
    count, classes = shape_of(rows)
    index = g.cast(label, ir.DataType.INT64)
    safe = g.op("Clip", index, g.const(0, like=index), g.const(classes - 1, like=index))
    picked = g.op("GatherElements", rows, g.reshape(safe, (count, 1)), axis=1)
    loss = g.reshape(negative_log(g, node, picked), (count,))
    if not attr(node, "use_ignore"):
        return [g.reduce_sum(loss, [0]), g.filled((1,), float(count), dtype_of(rows))]
    same = g.op("Equal", index, g.const(int(attr(node, "ignore_label")), like=index))
    keep = g.op("Not", same)
    # Where, not Mul: an ignored row may hold an infinite loss.
    loss = g.op("Where", keep, loss, g.const(0.0, like=loss))
    return [g.reduce_sum(loss, [0]), g.reduce_sum(g.cast(keep, dtype_of(rows)), [0])]
