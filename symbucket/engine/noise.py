"""The clock of random numbers: which step of which network a run is."""

from __future__ import annotations

from collections import Counter

from symbucket import seeding
from symbucket.runtime.noise import NoiseKey


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
            self._steps.clear()
        return self._steps[is_train]

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
