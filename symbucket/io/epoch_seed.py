"""Randomness that repeats: an epoch's generator follows from (seed, epoch) alone.

No state runs from epoch to epoch, so epoch 1000 can be rebuilt without replaying the 999 before.
"""

from __future__ import annotations

import numpy as np

from symbucket import seeding
from symbucket.checks import check_integer


def resolve_seed(seed: int | None) -> int:
    """The given seed, checked, or one that follows :func:`symbucket.random.seed`.

    Each iterator gets another: its place among those made since the library's seed was set counts,
    draws for anything else do not.
    """
    if seed is None:
        return int(seeding.next_stream("iterator").integers(1 << 62))
    return check_integer(seed, "seed", 0)


def epoch_generator(seed: int, epoch: int) -> np.random.Generator:
    """A generator of its own for one epoch; numpy's global one is never touched."""
    return np.random.default_rng([seed, epoch])
