"""Which metrics a network can compute in its own graph, and the sums that come of it."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass

from symbucket.compiler import MetricSpec, fits
from symbucket.metric import EvalMetric

Measures = list[tuple[EvalMetric, list[MetricSpec]]]


@dataclass(frozen=True)
class Sums:
    """What a run returned for a metric in place of outputs."""

    metric: EvalMetric
    measures: Measures
    values: Mapping[str, float]

    def add(self) -> None:
        """Add them to the metric."""
        for leaf, specs in self.measures:
            total = sum(self.values[f"{s.name}.total"] for s in specs)
            leaf.update_sums(total, sum(self.values[f"{s.name}.count"] for s in specs))


class MeasureCache:
    """The measures of each metric for each set of shapes, worked out once."""

    def __init__(self) -> None:
        # Kept with the metrics, so that no other one can take the id of a key.
        self._found: dict[tuple[int, Hashable], tuple[EvalMetric, Measures | None]] = {}

    def of(
        self,
        metric: EvalMetric,
        shapes: Hashable,
        outputs: Callable[[], Mapping[str, Sequence[int]]],
        labels: Callable[[], Mapping[str, Sequence[int]]],
    ) -> Measures | None:
        """As of ``graph_measures``; ``outputs`` and ``labels`` are called for new shapes."""
        key = id(metric), shapes
        if key not in self._found:
            self._found[key] = metric, graph_measures(metric, outputs(), labels())
        return self._found[key][1]


def graph_measures(
    metric: EvalMetric,
    outputs: Mapping[str, Sequence[int]],
    labels: Mapping[str, Sequence[int]],
) -> Measures | None:
    """The sums in the graph that give ``metric``, or None where the outputs themselves are needed.

    ``outputs`` and ``labels`` map names to shapes. Each metric beneath a composite is paired with
    the sums to add to it.
    """
    found: Measures = []
    narrowed = type(metric).update_dict is not EvalMetric.update_dict and metric.leaves() == [
        metric
    ]
    for leaf in metric.leaves():
        how = leaf.graph_sum()
        names = leaf.output_names or list(outputs)
        targets = leaf.label_names or list(labels)
        if how is None or narrowed or any(n not in outputs for n in names):
            return None
        if how.kind == "sum":
            found.append((leaf, [MetricSpec("sum", name) for name in names]))
            continue
        if len(names) != 1 or len(targets) != 1 or targets[0] not in labels:
            return None
        spec = MetricSpec(how.kind, names[0], targets[0], how.ignore_label, how.floor, how.eps)
        if not fits(spec, outputs[names[0]], labels[targets[0]]):
            return None
        found.append((leaf, [spec]))
    names_given = metric.output_names is not None or metric.label_names is not None
    if names_given and metric.leaves() != [metric]:
        return None  # a composite that narrows what its children see
    return found or None
