"""What a forward changes besides its results, so that one that fails can be undone."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from symbucket.engine.noise import NoiseClock
from symbucket.runtime import NDArray
from symbucket.types import Array


@dataclass(frozen=True)
class Snapshot:
    """Auxiliary states, and the steps of the random numbers, before a forward."""

    states: list[tuple[NDArray, Array]]
    clocks: list[tuple[NoiseClock, int]]
    is_train: bool

    @staticmethod
    def take(
        states: Mapping[str, NDArray], clocks: Iterable[NoiseClock], is_train: bool
    ) -> Snapshot:
        """Copy what a forward in this mode may change; inference changes no auxiliary state."""
        arrays = states.values() if is_train else ()
        return Snapshot(
            [(a, a.asnumpy()) for a in arrays], [(c, c.steps(is_train)) for c in clocks], is_train
        )

    def restore(self) -> None:
        """Make everything as it was."""
        for array, values in self.states:
            array[...] = values
        for clock, steps in self.clocks:
            clock.set_steps(self.is_train, steps)
