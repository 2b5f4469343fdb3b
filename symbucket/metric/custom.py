"""Metrics made from a function."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from symbucket.errors import InvalidArgumentError, UnsupportedError
from symbucket.metric.arrays import array_list, pairs
from symbucket.metric.base import EvalMetric, register


@register
class CustomMetric(EvalMetric):
    """The mean of ``feval(label, pred)`` over all pairs of labels and outputs.

    Args:
        feval: takes two numpy arrays; returns a number, or (sum, count) for exact averages.
        name: the function's name by default.
        allow_extra_outputs: outputs without a label are left out instead of refused.
        output_names, label_names: as in :class:`EvalMetric`.
    """

    def __init__(
        self,
        feval: Callable[[Any, Any], Any],
        name: str | None = None,
        allow_extra_outputs: bool = False,
        output_names: Sequence[str] | None = None,
        label_names: Sequence[str] | None = None,
    ) -> None:
        if not callable(feval):
            raise InvalidArgumentError(
                f"CustomMetric needs a function of (label, pred), found {feval!r}."
            )
        if name is None:
            name = getattr(feval, "__name__", type(feval).__name__)
            if "<" in name:  # a lambda has no name to show
                name = f"custom({name})"
        self._feval = feval
        self._allow_extra_outputs = allow_extra_outputs
        super().__init__(name, output_names, label_names)

    def update(self, labels: Any, preds: Any) -> None:
        """Add one batch."""
        labels, preds = array_list(labels), array_list(preds)
        if self._allow_extra_outputs:
            preds = preds[: len(labels)]
        total, count = 0.0, 0.0
        for label, pred in pairs(self.name, labels, preds):
            result = self._feval(label, pred)
            part, number = result if isinstance(result, tuple) else (result, 1)
            total += self._scalar("what the function returned", part)
            count += self._scalar("the count that the function returned", number)
        self.update_sums(total, count)

    def get_config(self) -> dict[str, Any]:
        """Raises: a function cannot be written down."""
        raise UnsupportedError(
            f"metric {self.name!r} is made from a function and has no config; register a subclass "
            "of EvalMetric instead."
        )


def np(
    numpy_feval: Callable[[Any, Any], Any],
    name: str | None = None,
    allow_extra_outputs: bool = False,
) -> CustomMetric:
    """A metric from a function of numpy arrays (label, pred); see :class:`CustomMetric`."""
    return CustomMetric(numpy_feval, name, allow_extra_outputs=allow_extra_outputs)
