"""What the tables of cases draw: shapes, values away from kinks, axes, indices."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


class Draw:
    """A seeded generator of shapes and values."""

    def __init__(self, *seed: int) -> None:
        self.rng = np.random.default_rng(seed)

    def coin(self, share: float = 0.5) -> bool:
        """Return True with probability ``share``."""
        return bool(self.rng.random() < share)

    def number(self, low: int, high: int) -> int:
        """An integer from ``low`` to ``high``, both included."""
        return int(self.rng.integers(low, high + 1))

    def pick(self, options):
        """One of the options."""
        return options[self.number(0, len(options) - 1)]

    def shape(self, low: int = 0, high: int = 5, most: int = 3, least: int = 1) -> tuple[int, ...]:
        """A shape of rank ``low`` to ``high`` with sizes from ``least`` to ``most``."""
        return tuple(self.number(least, most) for _ in range(self.number(low, high)))

    def broadcasting(self, count: int) -> list[tuple[int, ...]]:
        """``count`` shapes that broadcast together."""
        whole = self.shape()
        shapes = []
        for _ in range(count):
            part = whole[self.number(0, len(whole)) :] if self.coin(0.3) else whole
            shapes.append(tuple(1 if self.coin(0.25) else d for d in part))
        return shapes

    def axis(self, rank: int) -> int:
        """An axis, counted from either end."""
        return self.number(-rank, rank - 1)

    def axes(self, rank: int, least: int = 0) -> list[int]:
        """Some of the axes, in any order, counted from either end."""
        count = self.number(min(least, rank), rank)
        chosen = self.rng.permutation(rank)[:count]
        return [int(a) - (rank if self.coin(0.3) else 0) for a in chosen]

    def normal(self, shape: Sequence[int], scale: float = 1.0) -> np.ndarray:
        """Normal numbers."""
        return np.asarray(self.rng.normal(size=shape) * scale, np.float32)

    def uniform(self, shape: Sequence[int], low: float, high: float) -> np.ndarray:
        """Equally distributed numbers."""
        return np.asarray(self.rng.uniform(low, high, size=shape), np.float32)

    def apart(self, shape: Sequence[int], gap: float = 0.1) -> np.ndarray:
        """Different numbers, at least half a gap from each other and from 0."""
        size = int(np.prod(shape))
        places = self.rng.permutation(size) - size // 2
        return np.asarray((places + 0.5).reshape(shape) * gap, np.float32)

    def tied(self, shape: Sequence[int]) -> np.ndarray:
        """Numbers of which many are equal, zero among them."""
        return np.asarray(self.rng.integers(-1, 2, size=shape), np.float32)

    def index(self, shape: Sequence[int], size: int, negative: bool = True) -> np.ndarray:
        """Indices into an axis of ``size``, some counted from its end."""
        low = -size if negative else 0
        return self.rng.integers(low, size, size=shape).astype(np.int64)
