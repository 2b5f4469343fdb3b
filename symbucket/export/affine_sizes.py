"""Sizes of a model as expressions of the numbers of samples and steps."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

BATCH_NAME, LENGTH_NAME = "batch", "length"
"""What the free axes are called in a model."""


@dataclass(frozen=True)
class Affine:
    """A size: ``one + batch B + length T + both B T`` for B samples of T steps."""

    one: int
    batch: int = 0
    length: int = 0
    both: int = 0

    @property
    def is_constant(self) -> bool:
        """Whether it is the same for all sizes."""
        return not (self.batch or self.length or self.both)

    def __call__(self, batch: int, length: int) -> int:
        """Return the size for these numbers of samples and steps."""
        both = self.both * batch * length
        return self.one + self.batch * batch + self.length * length + both

    @property
    def name(self) -> str:
        """What the size of an axis is called in a model; empty if it is a sum."""
        names = {
            (0, 1, 0, 0): BATCH_NAME,
            (0, 0, 1, 0): LENGTH_NAME,
            (0, 0, 0, 1): f"{BATCH_NAME}*{LENGTH_NAME}",
        }
        return names.get((self.one, self.batch, self.length, self.both), "")


def fit(values: Sequence[int], points: Sequence[tuple[int, int]]) -> Affine | None:
    """Return the expression that gives ``values`` at ``points`` (batch, length), None if none does.

    The points must have all combinations of their smallest and largest coordinates.
    """
    at = dict(zip(points, values))
    b0, b1 = min(b for b, _ in points), max(b for b, _ in points)
    t0, t1 = min(t for _, t in points), max(t for _, t in points)
    db, dt = b1 - b0 or 1, t1 - t0 or 1
    both, rest = divmod(at[b1, t1] - at[b0, t1] - at[b1, t0] + at[b0, t0], db * dt)
    batch, more = divmod(at[b1, t0] - at[b0, t0], db)
    length, most = divmod(at[b0, t1] - at[b0, t0], dt)
    if rest or more or most:
        return None
    batch, length = batch - both * t0, length - both * b0
    one = at[b0, t0] - batch * b0 - length * t0 - both * b0 * t0
    affine = Affine(one, batch, length, both)
    fits = all(affine(*point) == value for point, value in zip(points, values))
    return affine if fits else None
