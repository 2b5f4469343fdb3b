"""Counts of what a bundle served, by key."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from dataclasses import dataclass, field

from symbucket.serve.histogram import Histogram
from symbucket.tables import format_table


@dataclass
class KeyStatistics:
    """Of one key: requests served, runs they took, and what was padding.

    ``positions`` counts the elements of data inputs of all runs, ``used`` those that requests
    filled; empty rows of a batch count as padding. ``milliseconds`` is the time of the runs with
    filling and cutting, ``build_milliseconds`` the time to make the session. ``latencies`` are the
    milliseconds that requests waited for their answers, from the call on.
    """

    requests: int = 0
    runs: int = 0
    positions: int = 0
    used: int = 0
    milliseconds: float = 0.0
    build_milliseconds: float = 0.0
    latencies: Histogram = field(default_factory=Histogram)

    def count(self, requests: int, milliseconds: float) -> None:
        """Count requests of a run, with their share of its time."""
        self.requests += requests
        self.milliseconds += milliseconds

    def count_run(self, used: int, positions: int) -> None:
        """Count a run."""
        self.runs += 1
        self.used += used
        self.positions += positions

    @property
    def padding_share(self) -> float:
        """The part of the positions, 0 to 1, that no request filled."""
        return 1.0 - self.used / self.positions if self.positions else 0.0

    @property
    def milliseconds_per_request(self) -> float:
        """Mean time of a request in the runs."""
        return self.milliseconds / self.requests if self.requests else 0.0

    def add(self, other: KeyStatistics) -> None:
        """Add the counts and times of another key."""
        self.requests += other.requests
        self.runs += other.runs
        self.positions += other.positions
        self.used += other.used
        self.milliseconds += other.milliseconds
        self.build_milliseconds += other.build_milliseconds
        self.latencies.add(other.latencies)


def format_statistics(statistics: Mapping[Hashable, KeyStatistics]) -> str:
    """Return a table with a line for each key and one of totals."""
    total = KeyStatistics()
    for counted in statistics.values():
        total.add(counted)
    head = ("key", "requests", "runs", "padding", "ms", "ms/request", "p50", "p99")
    lines = [_row(repr(key), counted) for key, counted in statistics.items()]
    return format_table([head, *lines, _row("total", total)])


def _row(name: str, counted: KeyStatistics) -> tuple[str, ...]:
    return (
        name,
        f"{counted.requests:,}",
        f"{counted.runs:,}",
        f"{counted.padding_share:.1%}",
        f"{counted.milliseconds:,.1f}",
        f"{counted.milliseconds_per_request:.3f}",
        f"{counted.latencies.percentile(50):.2f}",
        f"{counted.latencies.percentile(99):.2f}",
    )
