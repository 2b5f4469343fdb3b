"""``GraphMetric``: a sum over a batch that a network's own graph can compute for a metric."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property


@dataclass(frozen=True)
class GraphMetric:
    """A sum over a batch and the number of its terms: ``sum_metric`` and ``num_inst`` of a metric.

    A metric describes the sum without ``output`` and ``label``; ``on`` adds them for one network.

    Attributes:
        kind: the formula that the compiler has under this name (``compiler/metrics.py``). "nll":
            the sum of ``-log(max(p, floor) + eps)`` of the label's class over the labels that are
            not ``ignore_label``, with the classes along the last axis. "accuracy": the number of
            rows whose largest entry is at the label. "sum": the sum of all elements; ``label`` is
            not used.
        output: name of the network's output.
        label: name of the label.
        ignore_label, floor, eps: as in ``kind``.
    """

    kind: str
    output: str = ""
    label: str = ""
    ignore_label: float | None = None
    floor: float = 0.0
    eps: float = 0.0

    @cached_property
    def name(self) -> str:
        """Name of the pair of graph outputs ``total_name`` and ``count_name``.

        Sums that differ have different names.
        """
        ignored = "" if self.ignore_label is None else f"-ignore{self.ignore_label!r}"
        guards = [f"-{n}{v!r}" for n, v in (("floor", self.floor), ("eps", self.eps)) if v]
        label = f"/{self.label}" if self.label else ""
        return f"metric/{self.kind}{ignored}{''.join(guards)}/{self.output}{label}"

    @cached_property
    def total_name(self) -> str:
        """Name of the graph output that holds the sum, of shape (1,)."""
        return f"{self.name}.total"

    @cached_property
    def count_name(self) -> str:
        """Name of the graph output that holds the number of terms, of shape (1,)."""
        return f"{self.name}.count"

    def on(self, output: str, label: str = "") -> GraphMetric:
        """Return this sum over one output (and label) of a network."""
        return replace(self, output=output, label=label)

    @property
    def uses_label(self) -> bool:
        """Whether the sum depends on a label."""
        return self.kind != "sum"

    def fits(self, output: Sequence[int], label: Sequence[int] | None) -> bool:
        """Return whether the sum can be computed from an output and a label of these shapes."""
        if not self.uses_label:
            return True
        rows = math.prod(output[:-1])
        return len(output) > 1 and label is not None and math.prod(label) == rows
