"""The numbers of random draws in the steps of a loop, of which there may be any number."""

from __future__ import annotations

from collections.abc import Sequence

_STRIDE = 1 << 32  # more draws than a network has outside of the loop


def numbers_of_step(first: Sequence[int], step: int) -> tuple[int, ...]:
    """Return the numbers of a step's first draw; ``first`` are those of step 0."""
    return tuple(number + step * _STRIDE for number in first)
