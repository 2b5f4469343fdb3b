"""Random numbers by MXNet's names (``mx.random``), and the one seed of the library.

What :mod:`symbucket.seeding` explains holds for all of them: until :func:`seed` is called the seed
is 0, so a program repeats exactly from run to run on one machine. With other numbers of threads the
last bits of sums may differ; ``sb.runtime.set_threads(1)`` fixes that.
"""

from __future__ import annotations

from symbucket import seeding
from symbucket.context import Context
from symbucket.ndarray.random import (
    exponential,
    gamma,
    generalized_negative_binomial,
    multinomial,
    negative_binomial,
    normal,
    poisson,
    randint,
    randn,
    shuffle,
    uniform,
)
from symbucket.seeding import generator, next_stream, stream

__all__ = [
    "exponential",
    "gamma",
    "generalized_negative_binomial",
    "generator",
    "multinomial",
    "negative_binomial",
    "next_stream",
    "normal",
    "poisson",
    "randint",
    "randn",
    "seed",
    "shuffle",
    "stream",
    "uniform",
]


def __dir__() -> list[str]:
    return __all__


def seed(seed_state: int, ctx: Context | str = "all") -> None:
    """Start all randomness of the library anew from ``seed_state``, a whole number.

    There is one seed for all devices, so ``ctx`` makes no difference.
    """
    seeding.seed(seed_state)
