"""The numbers of random draws in the steps of a loop, of which there may be any number."""

from __future__ import annotations

from collections.abc import Sequence

_STRIDE = 1 << 32  # more draws than a network has outside of the loop


def numbers_of_steps(first: Sequence[int], steps: Sequence[int]) -> tuple[int, ...]:
    """Return the numbers of the first draws of some steps; ``first`` are those of step 0."""
    return tuple(number + step * _STRIDE for step in steps for number in first)
