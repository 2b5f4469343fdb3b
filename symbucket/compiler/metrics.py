"""Metrics computed inside the graph, so that a step returns a few numbers and no outputs."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import onnx_ir as ir

from symbucket.ir import (
    OWN_DOMAIN,
    Builder,
    attr,
    dtype_of,
    expansion,
    no_gradient,
    shape_of,
    shape_rule,
)
from symbucket.metric import GraphMetric

no_gradient("LabelLoss", domain=OWN_DOMAIN, because="measures and does not train")


def emit_metrics(
    g: Builder,
    metrics: Sequence[GraphMetric],
    outputs: Mapping[str, ir.Value],
    variables: Mapping[str, ir.Value],
) -> dict[str, ir.Value]:
    """Append the nodes of all metrics, and return their totals and counts (shape (1,)) by name."""
    sums: dict[str, ir.Value] = {}
    for metric in metrics:
        with g.scoped(metric.name):
            total, count = _emit(g, metric, outputs[metric.output], variables.get(metric.label))
        sums[metric.total_name], sums[metric.count_name] = total, count
    return sums


def _emit(
    g: Builder, metric: GraphMetric, pred: ir.Value, label: ir.Value | None
) -> tuple[ir.Value, ir.Value]:
    shape = shape_of(pred)
    if metric.kind == "sum":
        total = g.reduce_sum(g.reshape(pred, (math.prod(shape),)), [0])
        return total, g.filled((1,), float(math.prod(shape)), dtype_of(pred))
    assert label is not None
    rows = g.reshape(pred, (math.prod(shape[:-1]), shape[-1]))
    label = g.reshape(label, (shape_of(rows)[0],))
    if metric.kind == "accuracy":
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
        use_ignore=int(metric.ignore_label is not None),
        ignore_label=float(metric.ignore_label or 0.0),
        floor=metric.floor,
        eps=metric.eps,
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
