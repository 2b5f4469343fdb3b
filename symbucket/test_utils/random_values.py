"""Random shapes and arrays, from the stream of ``symbucket.random``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from symbucket import seeding
from symbucket.errors import InvalidArgumentError
from symbucket.runtime import NDArray
from symbucket.test_utils.settings import default_context, default_dtype
from symbucket.types import Array


def rand_shape_2d(dim0: int = 10, dim1: int = 10, allow_zero_size: bool = False) -> tuple[int, ...]:
    """Return a random shape of two axes of sizes from 1 to ``dim0`` and ``dim1``."""
    return _shape(allow_zero_size, dim0, dim1)


def rand_shape_3d(
    dim0: int = 10, dim1: int = 10, dim2: int = 10, allow_zero_size: bool = False
) -> tuple[int, ...]:
    """Return a random shape of three axes of sizes from 1 to the given ones."""
    return _shape(allow_zero_size, dim0, dim1, dim2)


def rand_shape_nd(num_dim: int, dim: int = 10, allow_zero_size: bool = False) -> tuple[int, ...]:
    """Return a random shape of ``num_dim`` axes of sizes from 1 to ``dim``."""
    return _shape(allow_zero_size, *[dim] * num_dim)


def rand_coord_2d(x_low: int, x_high: int, y_low: int, y_high: int) -> tuple[int, int]:
    """Return two random integers, each from its low to one below its high."""
    generator = seeding.next_stream("test_utils")
    return int(generator.integers(x_low, x_high)), int(generator.integers(y_low, y_high))


def random_arrays(*shapes: Sequence[int]) -> Any:
    """Return float32 arrays of standard normal numbers: one for one shape, else a list."""
    generator = seeding.next_stream("test_utils")
    arrays = [np.asarray(generator.normal(size=tuple(s)), np.float32) for s in shapes]
    return arrays[0] if len(arrays) == 1 else arrays


def random_uniform_arrays(
    *shapes: Sequence[int],
    low: float = 0.0,
    high: float = 1.0,
    dtype: npt.DTypeLike | None = None,
) -> list[Array]:
    """Return an array of uniform numbers in [low, high) for each shape."""
    generator = seeding.next_stream("test_utils")
    wanted_dtype = dtype or default_dtype()
    return [generator.uniform(low, high, tuple(s)).astype(wanted_dtype) for s in shapes]


def random_sample(population: Sequence[Any], k: int) -> list[Any]:
    """Return ``k`` of the elements in random order, none of them twice."""
    if not 0 <= k <= len(population):
        raise InvalidArgumentError(f"k is {k}; the population has {len(population)} elements")
    order = seeding.next_stream("test_utils").permutation(len(population))
    return [population[i] for i in order[:k]]


def rand_ndarray(
    shape: Sequence[int],
    stype: str = "default",
    density: float | None = None,
    dtype: npt.DTypeLike | None = None,
    distribution: str | None = None,
) -> NDArray:
    """Return an NDArray of standard normal numbers on the default context.

    ``density`` and ``distribution`` are for sparse arrays, which do not exist here.
    """
    if stype != "default":
        raise InvalidArgumentError(
            f"rand_ndarray: stype is {stype!r}; there are dense arrays ('default') only"
        )
    values = random_arrays(shape)
    return NDArray.of(values.astype(dtype or default_dtype()), default_context())


def _shape(allow_zero_size: bool, *limits: int) -> tuple[int, ...]:
    generator = seeding.next_stream("test_utils")
    least = 0 if allow_zero_size else 1
    return tuple(int(generator.integers(least, limit + 1)) for limit in limits)
