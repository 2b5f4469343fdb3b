"""Metrics computed inside the graph, so that a step returns a few numbers and no outputs.

Each kind of ``GraphMetric`` is a formula here, from the network's output and label to the sum and
the number of its terms.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence

import onnx_ir as ir

from symbucket.checks import did_you_mean
from symbucket.errors import UnsupportedError
from symbucket.ir import (
    OWN_DOMAIN,
    Builder,
    Expr,
    attr,
    dtype_of,
    expansion,
    no_gradient,
    shape_rule,
)
from symbucket.ir.expr import clip, has_nan, where
from symbucket.metric import GraphMetric

Formula = Callable[[GraphMetric, Expr, Expr], tuple[Expr, Expr]]
"""``formula(metric, output, label)`` returns the total and the count, each of shape (1,).

``label`` is the output itself if the metric uses no label.
"""

FORMULAS: dict[str, Formula] = {}


def graph_formula(kind: str) -> Callable[[Formula], Formula]:
    """Register the formula of a kind of graph metric."""

    def decorate(formula: Formula) -> Formula:
        FORMULAS[kind] = formula
        return formula

    return decorate


def emit_metrics(
    g: Builder,
    metrics: Sequence[GraphMetric],
    outputs: Mapping[str, ir.Value],
    variables: Mapping[str, ir.Value],
) -> dict[str, tuple[ir.Value, ir.Value]]:
    """Append the nodes of all metrics; return total and count (shape (1,)) by metric name."""
    sums: dict[str, tuple[ir.Value, ir.Value]] = {}
    for metric in metrics:
        if metric.kind not in FORMULAS:
            raise UnsupportedError(
                f"graph metric {metric.name!r} has the kind {metric.kind!r}, which has no formula; "
                f"known are {', '.join(FORMULAS)}{did_you_mean(metric.kind, FORMULAS)}"
            )
        with g.scoped(metric.name):
            output = outputs[metric.output]
            label = variables.get(metric.label, output)
            total, count = FORMULAS[metric.kind](metric, Expr(g, output), Expr(g, label))
        sums[metric.name] = total.value, count.value
    return sums


def class_rows(output: Expr, label: Expr) -> tuple[Expr, Expr]:
    """Return the output as (rows, classes) and the label as (rows,)."""
    *axes, classes = output.shape
    rows = output.reshape((math.prod(axes), classes))
    return rows, label.reshape((rows.shape[0],))


def sum_over_rows(values: Expr) -> Expr:
    """Return the sum of (n,) values, of shape (1,)."""
    return values.sum(0, keepdims=True)


@graph_formula("sum")
def element_sum(metric: GraphMetric, output: Expr, label: Expr) -> tuple[Expr, Expr]:
    """The sum of all elements."""
    total = sum_over_rows(output.reshape((output.size,)))
    return total, output.filled(float(output.size), (1,))


@graph_formula("accuracy")
def correct_rows(metric: GraphMetric, output: Expr, label: Expr) -> tuple[Expr, Expr]:
    """The number of rows whose largest entry is at the label; NaN if an entry is."""
    rows, label = class_rows(output, label)
    best = rows.op("ArgMax", axis=1, keepdims=0)
    hit = best == label.cast(ir.DataType.INT64)
    hits = where(has_nan(rows, [1]), output.const(math.nan), hit.cast(output.dtype))
    return sum_over_rows(hits), output.filled(float(rows.shape[0]), (1,))


@graph_formula("nll")
def negative_log_likelihood(metric: GraphMetric, output: Expr, label: Expr) -> tuple[Expr, Expr]:
    """The sum of -log of the label's probability: one node, which the output layer may absorb."""
    rows, label = class_rows(output, label)
    total, count = rows.ops(
        "LabelLoss",
        label,
        outputs=2,
        domain=OWN_DOMAIN,
        use_ignore=int(metric.ignore_label is not None),
        ignore_label=float(metric.ignore_label or 0.0),
        floor=metric.floor,
        eps=metric.eps,
    )
    return total, count


no_gradient("LabelLoss", domain=OWN_DOMAIN, because="measures and does not train")


@shape_rule("LabelLoss", domain=OWN_DOMAIN)
def _label_loss_shape(node: ir.Node) -> list[tuple[tuple[int, ...], ir.DataType]]:
    value = node.inputs[0]
    assert value is not None
    return [((1,), dtype_of(value))] * 2


def negative_log(g: Builder, node: ir.Node, picked: ir.Value) -> ir.Value:
    """Return -log of picked probabilities, with the node's guards against log 0."""
    floor, eps = attr(node, "floor"), attr(node, "eps")

    def number(value: float) -> ir.Value:
        return g.const(float(value), like=node.inputs[0])

    if floor:
        picked = g.like("Max", picked, picked, number(floor))
    if eps:
        picked = g.like("Add", picked, picked, number(eps))
    return g.like("Neg", picked, g.like("Log", picked, picked))


@expansion("LabelLoss")
def _expand_label_loss(g: Builder, node: ir.Node) -> Sequence[ir.Value]:
    rows, label = (Expr(g, v) for v in node.inputs if v is not None)
    count, classes = rows.shape
    index = label.cast(ir.DataType.INT64)
    row_index = clip(index, 0, classes - 1).reshape((count, 1))
    picked = rows.op("GatherElements", row_index, axis=1)
    loss = Expr(g, negative_log(g, node, picked.value)).reshape((count,))
    if not attr(node, "use_ignore"):
        return [sum_over_rows(loss).value, rows.filled(float(count), (1,)).value]
    keep = index != int(attr(node, "ignore_label"))
    # where, not a product: an ignored row may hold an infinite loss.
    loss = where(keep, loss, 0.0)
    return [sum_over_rows(loss).value, sum_over_rows(keep.cast(rows.dtype)).value]
