"""``RunRecord``: what happened in a run of ``fit``, for the bar, for curves, and for its report."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from symbucket.callback.tokens import TokenCounter
from symbucket.metric import EvalMetric, Perplexity

_RESOLUTION = 200
"""A window of a curve is this part of the steps so far, so a long run has few points too."""

FORMAT = "symbucket-run-1"


@dataclass
class BucketUse:
    """What a bucket key took; ``positions`` and ``tokens`` are 0 if nobody knows them."""

    batches: int = 0
    samples: int = 0
    positions: int = 0
    tokens: float = 0.0
    seconds: float = 0.0

    @property
    def padding(self) -> float | None:
        """Share, 0 to 1, of the positions that holds no token."""
        return 1 - self.tokens / self.positions if self.positions and self.tokens else None

    def add(self, samples: int, positions: int, tokens: float, seconds: float) -> None:
        """Count a batch."""
        self.batches += 1
        self.samples += samples
        self.positions += positions
        self.tokens += tokens
        self.seconds += seconds


@dataclass
class Point:
    """Values of metrics after ``step`` batches of the run: over a window, or of an epoch."""

    step: int
    epoch: int
    seconds: float
    values: dict[str, float]


@dataclass
class RunRecord:
    """What a run of ``fit`` did.

    Attributes:
        module: the name of its class. config: the optimizer and its numbers.
        epochs_planned: epochs at the end of which training would have ended.
        started: seconds since 1970.
        state: "running", "finished", or the name of the exception that ended it.
        windows: curves over batches; each value is over the batches since the point before.
        epochs: values at the end of each epoch, ``train-NAME``, ``val-NAME``, ``learning_rate``.
        perplexities: names of metrics whose logarithm is a loss.
        buckets: what each bucket key took, by its ``repr``; seconds are those of steps.
        seconds: where the time of this and earlier calls of ``fit`` went.
        memory: bytes at the end.
    """

    module: str = ""
    config: dict[str, Any] = field(default_factory=dict)
    epochs_planned: int = 0
    started: float = 0.0
    state: str = "running"
    windows: list[Point] = field(default_factory=list)
    epochs: list[Point] = field(default_factory=list)
    perplexities: list[str] = field(default_factory=list)
    buckets: dict[str, BucketUse] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)
    memory: dict[str, int] = field(default_factory=dict)

    step = 0
    """Batches of the run so far."""

    def begin_epoch(self, epoch: int) -> None:
        """Count anew what the bar says of an epoch."""
        self.epoch, self.in_epoch, self.bucket = epoch, BucketUse(), ""

    def batch_done(self, key: Any, counter: TokenCounter, batch: Any, seconds: float) -> None:
        """Count a batch whose step took ``seconds``."""
        self.step += 1
        self.bucket = "" if key is None else repr(key)
        counts = counter.count(batch, key)
        self.in_epoch.add(*counts, seconds)
        self.buckets.setdefault(self.bucket, BucketUse()).add(*counts, seconds)

    @property
    def window_is_due(self) -> bool:
        """Whether the curve over batches wants a point now."""
        last = self.windows[-1].step if self.windows else 0
        return self.step - last >= max(1, self.step // _RESOLUTION)

    def add_window(self, values: Mapping[str, float]) -> None:
        """Add a point of the curve over batches."""
        self.windows.append(Point(self.step, self.epoch, self.total_seconds, dict(values)))

    def add_epoch(self, values: Mapping[str, float]) -> None:
        """Add the values of an epoch."""
        self.epochs.append(Point(self.step, self.epoch, self.total_seconds, dict(values)))

    @property
    def total_seconds(self) -> float:
        """Seconds of all that was done."""
        return sum(self.seconds.values())

    # Files -----------------------------------------------------------------------------------

    def as_dict(self) -> dict[str, Any]:
        """Return everything as JSON values; numbers that are not finite are None."""
        plain = {**vars(self), "format": FORMAT, "step": self.step}
        for name in ("windows", "epochs"):
            plain[name] = [
                [p.step, p.epoch, round(p.seconds, 3), {n: _plain(v) for n, v in p.values.items()}]
                for p in plain[name]
            ]
        plain["buckets"] = {key: vars(use) for key, use in self.buckets.items()}
        for name in ("epoch", "in_epoch", "bucket"):
            plain.pop(name, None)
        return plain

    @classmethod
    def from_dict(cls, plain: Mapping[str, Any]) -> RunRecord:
        """Return what ``as_dict`` was called on; raise KeyError, TypeError or ValueError."""
        if plain["format"] != FORMAT:
            raise ValueError(f"format {plain['format']!r}")
        fields = {n: v for n, v in plain.items() if n not in ("format", "step")}
        for name in ("windows", "epochs"):
            fields[name] = [
                Point(s, e, t, {n: math.nan if v is None else v for n, v in values.items()})
                for s, e, t, values in fields[name]
            ]
        fields["buckets"] = {key: BucketUse(**use) for key, use in fields["buckets"].items()}
        record = cls(**fields)
        record.step = int(plain["step"])
        return record

    def go_back(self, epoch: int, batches: int) -> None:
        """Forget what came after so many batches of an epoch: the run goes on from there."""
        self.epochs = [p for p in self.epochs if p.epoch < epoch]
        self.step = (self.epochs[-1].step if self.epochs else 0) + batches
        self.windows = [p for p in self.windows if p.step <= self.step]


def _plain(value: float) -> float | None:
    return float(f"{value:.6g}") if math.isfinite(value) else None


class MetricWindow:
    """Values of a running metric over what was added to it since the last call."""

    def __init__(self, metric: EvalMetric) -> None:
        self._metric = metric
        self._before: dict[int, tuple[float, float]] = {}

    def values(self) -> dict[str, float]:
        """Return the values by name; metrics that keep no plain sums have that of the epoch."""
        named: dict[str, float] = {}
        for i, leaf in enumerate(self._metric.leaves()):
            cls = type(leaf)
            if cls.get_global is not EvalMetric.get_global or cls.get is not EvalMetric.get:
                named.update(leaf.get_global_name_value())
                continue
            total, count = leaf.global_sum_metric, leaf.global_num_inst
            past_total, past_count = self._before.get(i, (0.0, 0.0))
            if count < past_count:  # reset: a new epoch
                past_total, past_count = 0.0, 0.0
            self._before[i] = total, count
            if count > past_count:
                named[leaf.name] = leaf.value_of(total - past_total, count - past_count)
        return named


def perplexities(*metrics: EvalMetric) -> list[str]:
    """Return the names of metrics that are perplexities."""
    leaves = [leaf for metric in metrics for leaf in metric.leaves()]
    return list(dict.fromkeys(leaf.name for leaf in leaves if isinstance(leaf, Perplexity)))
