"""Samples of classes whose frequencies fall as in Zipf's law."""

from __future__ import annotations

from typing import Any

from symbucket import ndarray
from symbucket.runtime import NDArray
from symbucket.symbol.zipfian import zipfian_samples


def rand_zipfian(
    true_classes: NDArray, num_sampled: int, range_max: int, ctx: Any = None
) -> tuple[NDArray, NDArray, NDArray]:
    """Draw classes by Zipf's law and return them with expected counts.

    See :func:`symbucket.symbol.zipfian.zipfian_samples`; ``ctx`` has no effect.
    """
    return zipfian_samples(ndarray, true_classes, num_sampled, range_max)
