"""Randomness that repeats: an epoch's generator follows from (seed, epoch) alone.

No state runs from epoch to epoch, so epoch 1000 can be rebuilt without replaying the 999 before.
"""

from __future__ import annotations

import numpy as np

from symbucket.io._checks import checked_count


def resolve_seed(seed: int | None) -> int:
    """The given seed, checked, or a fresh one from the operating system."""
    if seed is None:
        entropy = np.random.SeedSequence().entropy
        assert isinstance(entropy, int)
        return entropy
    return checked_count(seed, "seed", minimum=0)


def epoch_generator(seed: int, epoch: int) -> np.random.Generator:
    """A generator of its own for one epoch; numpy's global one is never touched."""
    return np.random.default_rng([seed, epoch])
