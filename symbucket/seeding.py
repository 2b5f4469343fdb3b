"""The one seed of the library; :mod:`symbucket.random` has it by MXNet's names.

Nothing in symbucket reads numpy's global random state. Two kinds of randomness hang on the seed:

* :func:`generator` is one running generator, for things whose order is part of the program
  (sampling text);
* :func:`stream` gives every *named* thing a generator of its own, so its numbers do not depend on
  what was drawn before it. Initial parameters come from streams: two networks that list the same
  parameters in another order start with the same values. So do the seeds of iterators that are
  given none.

Until :func:`seed` is called the seed is 0, so a program repeats exactly from run to run on one
machine, with one number of threads.
"""

from __future__ import annotations

import hashlib
import operator
from collections import Counter
from collections.abc import Mapping
from typing import Any

import numpy as np

from symbucket.checks import check_integer
from symbucket.errors import InvalidArgumentError

__all__ = ["generator", "next_stream", "seed", "stream"]


def check_seed(value: object) -> int:
    """``value`` as a seed of an iterator or the like: a whole number that is not negative."""
    try:
        number = operator.index(value)  # type: ignore[arg-type]
    except TypeError:
        number = -1
    if number < 0 or isinstance(value, bool):
        raise InvalidArgumentError(
            f"a seed must be a whole number >= 0, found {value!r} of type "
            f"{type(value).__name__}. Pass for example seed(42)."
        )
    return number


class _State:
    """Everything that :func:`seed` sets back."""

    def __init__(self, seed: int, number: int) -> None:
        self.seed = seed
        self.number = number  # of calls of seed() until now
        self.generator = np.random.default_rng(seed if seed >= 0 else _digest(seed, ()))
        self.visits: Counter[tuple[str | int, ...]] = Counter()


_current = [_State(0, 0)]
_worker = [0]


def seed(seed_state: int) -> None:
    """Start all randomness of the library anew from ``seed_state``, a whole number."""
    _current[0] = _State(check_integer(seed_state, "seed"), _current[0].number + 1)


def state() -> dict[str, object]:
    """Return the seed and how far everything that hangs on it has come, for ``restore``."""
    now = _current[0]
    return {
        "seed": now.seed,
        "generator": now.generator.bit_generator.state,
        "visits": dict(now.visits),
    }


def restore(earlier: Mapping[str, Any]) -> None:
    """Go on from a state; what counts runs since a seed was set begins anew if it is another."""
    now = _current[0]
    again = _State(earlier["seed"], now.number + (earlier["seed"] != now.seed))
    again.generator.bit_generator.state = earlier["generator"]
    again.visits = Counter(earlier["visits"])
    _current[0] = again


def current_seed() -> int:
    """The library's seed."""
    return _current[0].seed


def generator() -> np.random.Generator:
    """The library's running generator; :func:`seed` replaces it."""
    return _current[0].generator


def stream(*key: str | int, seed: int | None = None) -> np.random.Generator:
    """A fresh generator that depends on the seed and ``key`` only, not on earlier draws.

    ``seed`` takes the place of the library's seed. The same seed and key always start the same
    stream.
    """
    number = _current[0].seed if seed is None else check_seed(seed)
    return np.random.default_rng(_digest(number, key))


def _digest(number: int, key: tuple[str | int, ...]) -> int:
    # A hash, since Python's own hash() of a string changes from process to process.
    digest = hashlib.blake2b(repr((number, *key)).encode(), digest_size=16).digest()
    return int.from_bytes(digest, "little")


def fast_stream(*key: str | int) -> np.random.Generator:
    """Return a :func:`stream` of numpy's fastest bit generator, SFC64: for masks at every step."""
    return np.random.Generator(np.random.SFC64(_digest(_current[0].seed, key)))


def set_worker(rank: int) -> None:
    """Say which of several workers this process is: their masks differ, as their samples do."""
    _worker[0] = rank


def worker() -> int:
    """The number of this process among several workers, from 0."""
    return _worker[0]


def seedings() -> int:
    """Return how often :func:`seed` was called: counters compare it to start anew."""
    return _current[0].number


def next_stream(*key: str | int) -> np.random.Generator:
    """Return a :func:`stream` that is new at each call for one ``key`` since :func:`seed`.

    So a parameter that is initialised a second time gets new values, and still no other key's
    calls matter.
    """
    return stream(*key, next_visit(*key))


def next_visit(*key: str | int) -> int:
    """Return how many calls for ``key`` there were before this one, since :func:`seed`."""
    visits = _current[0].visits
    visits[key] += 1
    return visits[key] - 1
