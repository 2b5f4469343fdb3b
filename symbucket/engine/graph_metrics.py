"""Metrics that a network computes in its own graph, as sums over the batch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from symbucket.metric import EvalMetric, GraphMetric

Shapes = Mapping[str, Sequence[int]]


@dataclass(frozen=True)
class MetricSums:
    """The sums in a network's graph that a metric needs in place of outputs.

    ``leaves`` pairs each metric below ``metric`` (itself, or a composite's children) with its sums.
    """

    metric: EvalMetric
    leaves: tuple[tuple[EvalMetric, tuple[GraphMetric, ...]], ...]

    @cached_property
    def graph_metrics(self) -> tuple[GraphMetric, ...]:
        """The sums that the graph has to compute, each once."""
        return tuple(dict.fromkeys(g for _, graph_metrics in self.leaves for g in graph_metrics))

    def add(self, values: Mapping[str, float]) -> None:
        """Add a run's totals and counts, by the names of its outputs, to the metrics."""
        for leaf, graph_metrics in self.leaves:
            total = sum(values[g.total_name] for g in graph_metrics)
            leaf.update_sums(total, sum(values[g.count_name] for g in graph_metrics))


def metric_sums(metric: EvalMetric, outputs: Shapes, labels: Shapes) -> MetricSums | None:
    """Return the sums that make up ``metric``, or None if it needs the outputs themselves.

    ``outputs`` and ``labels`` map the network's names to shapes.
    """
    leaves = metric.leaves()
    composite = leaves != [metric]
    overridden = type(metric).update_dict is not EvalMetric.update_dict and not composite
    selects = metric.output_names is not None or metric.label_names is not None
    if overridden or (composite and selects):  # the children see less than the network's outputs
        return None
    pairs = []
    for leaf in leaves:
        graph_metrics = _leaf_sums(leaf, outputs, labels)
        if graph_metrics is None:
            return None
        pairs.append((leaf, graph_metrics))
    return MetricSums(metric, tuple(pairs)) if pairs else None


def _leaf_sums(leaf: EvalMetric, outputs: Shapes, labels: Shapes) -> tuple[GraphMetric, ...] | None:
    graph_metric = leaf.trusted_graph_metric()
    output_names = leaf.output_names or list(outputs)
    label_names = leaf.label_names or list(labels)
    if graph_metric is None or any(n not in outputs for n in output_names):
        return None
    if not graph_metric.uses_label:
        return tuple(graph_metric.on(name) for name in output_names)
    if len(output_names) != 1 or len(label_names) != 1 or label_names[0] not in labels:
        return None
    (output,), (label,) = output_names, label_names
    if not graph_metric.fits(outputs[output], labels[label]):
        return None
    return (graph_metric.on(output, label),)
