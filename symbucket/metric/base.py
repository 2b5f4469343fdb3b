"""The base of all metrics and their registry."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from symbucket.errors import DataError, InvalidArgumentError, UnsupportedError
from symbucket.metric.graph_metric import GraphMetric
from symbucket.plain_values import from_plain, to_plain
from symbucket.registry import Registry

_CONFIGURATION = ("name", "output_names", "label_names", "_kwargs")

NameValue = tuple[str, float] | tuple[list[str], list[float]]


class EvalMetric:
    """Base of all metrics.

    Args:
        name: shown next to the value.
        output_names: outputs that :meth:`update_dict` passes on, in this order; all by default.
        label_names: likewise for labels.
        **kwargs: what :meth:`get_config` adds.

    ``sum_metric`` and ``num_inst`` are those of the running window. :meth:`reset_local` starts a
    new window and keeps the old one for :meth:`get_global`, so that a progress message covers
    its own batches while the epoch's value stays right. :meth:`reset` forgets everything.
    A subclass defines :meth:`update` and adds to ``sum_metric`` and ``num_inst`` in it.
    """

    def __init__(
        self,
        name: str,
        output_names: Sequence[str] | None = None,
        label_names: Sequence[str] | None = None,
        **kwargs: Any,
    ) -> None:
        self.name = str(name)
        self.output_names = output_names
        self.label_names = label_names
        self._kwargs = kwargs
        self.sum_metric = 0.0
        self.num_inst: float = 0
        self._past_sum = 0.0
        self._past_num: float = 0
        self.reset()

    def __str__(self) -> str:
        return f"EvalMetric: {dict(self.get_name_value())}"

    def get_config(self) -> dict[str, Any]:
        """Return all arguments, so that ``metric.create(config)`` makes an equal metric."""
        return {
            **self._kwargs,
            "metric": type(self).__name__,
            "name": self.name,
            "output_names": self.output_names,
            "label_names": self.label_names,
        }

    def update(self, labels: Any, preds: Any) -> None:
        """Add one batch.

        Args:
            labels: list of arrays (anything ``np.asarray`` takes).
            preds: list of as many arrays, the model's outputs.
        """
        raise UnsupportedError(
            f"{type(self).__name__} has no update(labels, preds); a metric must define it."
        )

    def update_dict(self, label: Mapping[str, Any], pred: Mapping[str, Any]) -> None:
        """Add one batch given by name, picking ``label_names`` and ``output_names`` from it."""
        self.update(
            self._picked("label", label, self.label_names),
            self._picked("output", pred, self.output_names),
        )

    def _picked(
        self, what: str, arrays: Mapping[str, Any], names: Sequence[str] | None
    ) -> list[Any]:
        if names is None:
            return list(arrays.values())
        for name in names:
            if name not in arrays:
                raise DataError(
                    f"metric {self.name!r} wants the {what} {name!r}, but the batch has "
                    f"{', '.join(map(repr, arrays)) or 'none'}; correct {what}_names."
                )
        return [arrays[name] for name in names]

    def leaves(self) -> list[EvalMetric]:
        """Return the metrics that keep sums: this one, or a composite's children."""
        return [self]

    def graph_metric(self) -> GraphMetric | None:
        """Return the sum that ``fit`` may compute in the graph, or None if it needs the outputs.

        The sum and its count go to ``update_sums``. A subclass that defines more than ``__init__``
        has no sum in the graph unless it defines this too.
        """
        return None

    def state(self) -> dict[str, Any]:
        """Return what was added since ``reset``, as JSON values, for ``restore``."""
        sums = {}
        for name, value in vars(self).items():
            if name not in _CONFIGURATION:
                with contextlib.suppress(UnsupportedError):  # a function, say: no sum
                    sums[name] = to_plain(value)
        return {"metric": type(self).__name__, "name": self.name, "sums": sums}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on from what ``state()`` returned; raise InvalidArgumentError if it is another's."""
        self._check_state(state)
        for name, value in state["sums"].items():
            setattr(self, name, from_plain(value))

    def _check_state(self, state: Mapping[str, Any]) -> None:
        if (state["metric"], state["name"]) != (type(self).__name__, self.name):
            raise InvalidArgumentError(
                f"the state of a metric is that of {state['metric']} {state['name']!r}, this one "
                f"is {type(self).__name__} {self.name!r}"
            )

    def trusted_graph_metric(self) -> GraphMetric | None:
        """Return ``graph_metric()``, or None if a subclass may have changed what is summed."""
        for cls in type(self).__mro__:
            if "graph_metric" in vars(cls):
                return self.graph_metric()
            if any(not name.startswith("__") for name in vars(cls)):
                return None
        return None

    def update_sums(self, total: Any, count: Any) -> None:
        """Add ``total`` over ``count`` instances that were summed elsewhere.

        Both are numbers or arrays of one element. What the sums must be is the metric's own:
        correct answers and samples for Accuracy, sum of -log p and labels not ignored for
        Perplexity and the like. A NaN total makes the value NaN.
        """
        total, count = self._scalar("total", total), self._scalar("count", count)
        if not (math.isfinite(count) and count >= 0):
            raise DataError(
                f"metric {self.name!r}: a count must be a finite number >= 0, found {count}."
            )
        self._add(total, int(count) if count == int(count) else count)

    def _scalar(self, what: str, value: Any) -> float:
        array = np.asarray(value)
        if array.size != 1 or array.dtype.kind in "OSUc":
            raise DataError(
                f"metric {self.name!r}: {what} must be one number, found shape {array.shape} of "
                f"{array.dtype}."
            )
        return float(array.reshape(()))

    def _add(self, total: float, count: float) -> None:
        self.sum_metric += total
        self.num_inst += count

    def reset(self) -> None:
        """Forget everything."""
        self.sum_metric, self.num_inst = 0.0, 0
        self._past_sum, self._past_num = 0.0, 0

    def reset_local(self) -> None:
        """Start a new window; :meth:`get_global` still covers the old one."""
        self._past_sum += self.sum_metric
        self._past_num += self.num_inst
        self.sum_metric, self.num_inst = 0.0, 0

    @property
    def global_sum_metric(self) -> float:
        """Sum since the last :meth:`reset`."""
        return self._past_sum + self.sum_metric

    @global_sum_metric.setter
    def global_sum_metric(self, value: float) -> None:
        """Let metrics written for MXNet keep both sums: this one follows from ``sum_metric``.

        Setting it to 0, as their ``reset`` does, forgets the windows before.
        """
        if value == 0:
            self._past_sum = 0.0

    @property
    def global_num_inst(self) -> float:
        """Count since the last :meth:`reset`."""
        return self._past_num + self.num_inst

    @global_num_inst.setter
    def global_num_inst(self, value: float) -> None:
        """See ``global_sum_metric``."""
        if value == 0:
            self._past_num = 0

    def value_of(self, total: float, count: float) -> float:
        """Return the measure of ``count`` instances with sum ``total``; NaN if there are none."""
        return total / count if count else math.nan

    def get(self) -> NameValue:
        """Return name and value over the running window; NaN if nothing was added."""
        return self.name, self.value_of(self.sum_metric, self.num_inst)

    def get_global(self) -> NameValue:
        """Return name and value since the last :meth:`reset`."""
        return self.name, self.value_of(self.global_sum_metric, self.global_num_inst)

    def get_name_value(self) -> list[tuple[str, float]]:
        """Return :meth:`get` as a list of (name, value)."""
        return _pairs(self.get())

    def get_global_name_value(self) -> list[tuple[str, float]]:
        """Return :meth:`get_global` as a list of (name, value)."""
        return _pairs(self.get_global())


def _pairs(named: NameValue) -> list[tuple[str, float]]:
    names, values = named
    if isinstance(names, list) and isinstance(values, list):
        if len(names) != len(values):
            raise InvalidArgumentError(
                f"a metric's get() returned {len(names)} names and {len(values)} values."
            )
        return list(zip(names, values))
    return [(names, values)]  # type: ignore[list-item]


registry: Registry[EvalMetric] = Registry(EvalMetric, "metric")
register = registry.register
alias = registry.alias
