"""The clock of random numbers: which step of which network a run is."""

from __future__ import annotations

from collections import Counter

from symbucket import seeding
from symbucket.runtime.noise import NoiseKey
from symbucket.symbol.brief import brief
from symbucket.symbol.symbol import Symbol


class NoiseClock:
    """The steps of all executors of one owner: a module with its bucket keys, or an executor.

    Evicting an executor, or running the bucket keys in another order, does not turn the clock
    back. Training and inference count apart, so that scoring in between changes nothing.
    """

    def __init__(self) -> None:
        self._seedings = seeding.seedings()
        self._steps: Counter[bool] = Counter()

    def steps(self, is_train: bool) -> int:
        """Return how many runs there were since the library's seed was set."""
        if self._seedings != seeding.seedings():
            self._seedings = seeding.seedings()
            self._begin_anew()
        return self._steps[is_train]

    def _begin_anew(self) -> None:
        """Forget all runs: the library's seed was set."""
        self._steps.clear()

    def tick(self, is_train: bool) -> int:
        """Count a run; return its number, from 0."""
        step = self.steps(is_train)
        self._steps[is_train] += 1
        return step

    def next_key(self, name: str, is_train: bool) -> NoiseKey:
        """Return the key of the random numbers of a run that is not counted yet."""
        return name, int(is_train), self.steps(is_train)

    def set_steps(self, is_train: bool, steps: int) -> None:
        """Go on as if there had been so many runs, as when training is resumed."""
        self.steps(is_train)
        self._steps[is_train] = steps


class LoneClock(NoiseClock):
    """The steps of an executor that no module owns.

    The first executor of a name that draws after the seed was set has the numbers of that name;
    each further one has others: ``eval`` twice gives two samples, and two executors two masks.
    """

    def __init__(self) -> None:
        super().__init__()
        self._earlier: int | None = None  # executors of the name that drew before this one

    def _begin_anew(self) -> None:
        super()._begin_anew()
        self._earlier = None

    def next_key(self, name: str, is_train: bool) -> NoiseKey:
        """Return the key of the random numbers of a run that is not counted yet."""
        key = super().next_key(name, is_train)
        if self._earlier is None:
            self._earlier = seeding.next_visit("executor", name)
        return (*key, "executor", self._earlier) if self._earlier else key


def lone_clock(symbol: Symbol) -> NoiseClock:
    """Return a clock for an executor of its own."""
    draws = any(node.op is not None and node.op.may_draw for node in brief(symbol).nodes)
    return LoneClock() if draws else NoiseClock()
