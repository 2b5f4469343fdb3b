"""Several metrics as one, and metrics from names."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from symbucket.errors import InvalidArgumentError, UnsupportedError
from symbucket.metric.base import EvalMetric, NameValue, alias, register, registry
from symbucket.metric.custom import CustomMetric


def create(metric: Any, *args: Any, **kwargs: Any) -> EvalMetric:
    """A metric from what a user may write.

    Args:
        metric: a registered name (``"acc"``), a function of (label, pred), a ready metric, the
            config of one, or a list of these.
        *args: arguments of the metric's class, for names and functions.
        **kwargs: likewise.
    """
    if isinstance(metric, EvalMetric):
        return registry.create(metric, *args, **kwargs)
    if callable(metric):
        if isinstance(metric, type) and issubclass(metric, EvalMetric):
            raise InvalidArgumentError(
                f"found a metric class, expected a metric; write {metric.__name__}(...)."
            )
        return CustomMetric(metric, *args, **kwargs)
    if isinstance(metric, (list, tuple)):
        return CompositeEvalMetric([create(child, *args, **kwargs) for child in metric])
    return registry.create(metric, *args, **kwargs)


@register
@alias("composite")
class CompositeEvalMetric(EvalMetric):
    """Several metrics that see the same batches.

    Args:
        metrics: what :func:`create` takes, each.
        name, output_names, label_names: as in :class:`EvalMetric`; the names limit what the
            children see.

    A batch that one of the metrics refuses is added to none.
    """

    def __init__(
        self,
        metrics: Sequence[Any] | None = None,
        name: str = "composite",
        output_names: Sequence[str] | None = None,
        label_names: Sequence[str] | None = None,
    ) -> None:
        self.metrics: list[EvalMetric] = [create(metric) for metric in metrics or ()]
        super().__init__(name, output_names, label_names)

    def add(self, metric: Any) -> None:
        """Add a metric (what :func:`create` takes)."""
        self.metrics.append(create(metric))

    def get_metric(self, index: int) -> EvalMetric:
        """The metric number ``index``."""
        try:
            return self.metrics[index]
        except IndexError:
            raise InvalidArgumentError(
                f"there is no metric number {index} among {len(self.metrics)}."
            ) from None

    def leaves(self) -> list[EvalMetric]:
        """Return all metrics below this one that are not composites."""
        return [leaf for metric in self.metrics for leaf in metric.leaves()]

    def _all_or_none(self, step: Callable[[EvalMetric], None]) -> None:
        leaves = self.leaves()
        before = [dict(vars(leaf)) for leaf in leaves]
        try:
            for metric in self.metrics:
                step(metric)
        except Exception:
            for leaf, state in zip(leaves, before):
                vars(leaf).clear()
                vars(leaf).update(state)
            raise

    def update(self, labels: Any, preds: Any) -> None:
        """Add one batch to every metric."""
        self._all_or_none(lambda metric: metric.update(labels, preds))

    def update_dict(self, label: Mapping[str, Any], pred: Mapping[str, Any]) -> None:
        """Add one batch given by name to every metric; each picks its own names."""
        if self.label_names is not None:
            self._picked("label", label, self.label_names)
            label = {key: value for key, value in label.items() if key in self.label_names}
        if self.output_names is not None:
            self._picked("output", pred, self.output_names)
            pred = {key: value for key, value in pred.items() if key in self.output_names}
        self._all_or_none(lambda metric: metric.update_dict(label, pred))

    def update_sums(self, total: Any, count: Any) -> None:
        """Raises: sums belong to one metric."""
        raise UnsupportedError(
            f"metric {self.name!r} has several sums; call update_sums of its metrics "
            f"({', '.join(metric.name for metric in self.metrics)})."
        )

    def state(self) -> dict[str, Any]:
        """Return the states of the metrics, for ``restore``."""
        states = [metric.state() for metric in self.metrics]
        return {"metric": type(self).__name__, "name": self.name, "metrics": states}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on from what ``state()`` returned, or raise InvalidArgumentError."""
        self._check_state(state)
        if len(state["metrics"]) != len(self.metrics):
            raise InvalidArgumentError(
                f"metric {self.name!r}: the state is that of {len(state['metrics'])} metrics, here "
                f"are {len(self.metrics)}"
            )
        for metric, part in zip(self.metrics, state["metrics"]):
            metric.restore(part)

    def reset(self) -> None:
        """Forget everything in every metric."""
        for metric in self.metrics:
            metric.reset()

    def reset_local(self) -> None:
        """Start a new window in every metric."""
        for metric in self.metrics:
            metric.reset_local()

    def get(self) -> NameValue:
        """Return lists of all names and all values over the running window."""
        return _joined([metric.get_name_value() for metric in self.metrics])

    def get_global(self) -> NameValue:
        """Return lists of all names and all values since the last :meth:`reset`."""
        return _joined([metric.get_global_name_value() for metric in self.metrics])

    def get_config(self) -> dict[str, Any]:
        """Return all arguments, with the configs of the metrics."""
        return {**super().get_config(), "metrics": [m.get_config() for m in self.metrics]}


def _joined(groups: list[list[tuple[str, float]]]) -> tuple[list[str], list[float]]:
    pairs = [pair for group in groups for pair in group]
    return [name for name, _ in pairs], [value for _, value in pairs]
