"""How many updates each parameter had."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from symbucket.optimizer.hyperparameters import Index


class UpdateCounts:
    """Counts of updates, by which schedules and bias corrections go.

    Attributes:
        begin_num_update: the number of updates that count as made already.
        num_update: the most updates that a parameter had.
    """

    begin_num_update: int
    num_update: int
    _index_update_count: dict[Index, int]
    _index_begin: dict[Index, int]  # counts before the first update, where they are not 0

    def _update_count(self, index: Index | Sequence[Index]) -> None:
        """Count one more update of one or several parameters."""
        for i in [index] if isinstance(index, (int, str)) else index:
            if self.begin_num_update and i not in self._index_update_count:
                self._index_begin[i] = self.begin_num_update
            count = self._index_update_count.get(i, self.begin_num_update) + 1
            self._index_update_count[i] = count
            self.num_update = max(self.num_update, count)

    def is_counted(self, index: Index) -> bool:
        """Return whether a parameter had an update."""
        return self._index_update_count.get(index, 0) > 0

    def updates_of(self, index: Index) -> int:
        """Return how many updates a parameter had, without those that count as made already."""
        return self._index_update_count.get(index, 0) - self._index_begin.get(index, 0)

    def counters(self) -> dict[str, Any]:
        """Return what Python counts while training, as JSON values, for ``set_counters``."""
        begins = [[i, n] for i, n in self._index_begin.items()]
        return {
            "num_update": self.num_update,
            "index_update_count": [[i, n] for i, n in self._index_update_count.items()],
            **({"index_begin": begins} if begins else {}),
        }

    def set_counters(self, counters: Mapping[str, Any]) -> None:
        """Continue from ``counters``."""
        self.num_update = int(counters["num_update"])
        self._index_update_count = {i: int(n) for i, n in counters["index_update_count"]}
        self._index_begin = {i: int(n) for i, n in counters.get("index_begin", [])}
