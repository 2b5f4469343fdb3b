"""What a bundle served, counted by key."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass


@dataclass
class KeyStatistics:
    """Of one key: requests served, runs they took, and what was padding.

    ``positions`` counts the elements of data inputs of all runs, ``used`` those that requests
    filled; empty rows of a batch count as padding. ``milliseconds`` is the time of the runs with
    filling and cutting, ``build_milliseconds`` that of making the session.
    """

    requests: int = 0
    runs: int = 0
    positions: int = 0
    used: int = 0
    milliseconds: float = 0.0
    build_milliseconds: float = 0.0

    @property
    def padding_share(self) -> float:
        """The part of the positions, 0 to 1, that no request filled."""
        return 1.0 - self.used / self.positions if self.positions else 0.0

    @property
    def milliseconds_per_request(self) -> float:
        """Mean time of a request in the runs."""
        return self.milliseconds / self.requests if self.requests else 0.0


def format_statistics(found: dict[Hashable, KeyStatistics]) -> str:
    """A table with a line for each key and one of totals."""
    rows: list[tuple[str, ...]] = [("key", "requests", "runs", "padding", "ms", "ms/request")]
    total = KeyStatistics()
    for key, one in found.items():
        rows.append(_row(repr(key), one))
        total.requests += one.requests
        total.runs += one.runs
        total.positions += one.positions
        total.used += one.used
        total.milliseconds += one.milliseconds
    rows.append(_row("total", total))
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    return "\n".join("  ".join(c.rjust(w) for c, w in zip(row, widths)) for row in rows)


def _row(name: str, one: KeyStatistics) -> tuple[str, ...]:
    return (
        name,
        f"{one.requests:,}",
        f"{one.runs:,}",
        f"{one.padding_share:.1%}",
        f"{one.milliseconds:,.1f}",
        f"{one.milliseconds_per_request:.3f}",
    )
