"""Meaning of a constant's values in an ONNX file: a mask, a table of positions, one number."""

from __future__ import annotations

from typing import Any

import numpy as np

from symbucket.types import Array

LOWEST_MASKED = -1e4
"""A constant of zeros and of numbers up to this one hides scores from a softmax."""


def is_uniform(value: Array) -> bool:
    """Return whether all elements are equal, and there are some."""
    if value.size == 0 or value.flat[0] != value.flat[-1]:  # most weights are told by two numbers
        return False
    return bool((value == value.flat[0]).all())


def is_regular(value: Array) -> bool:
    """Return whether the values are those of constants: whole numbers, one number, a RoPE table."""
    if is_uniform(value) or bool((value == np.round(value)).all()):
        return True
    if value.ndim < 2 or not bool((np.abs(value) <= 1).all()):
        return False
    first: Any = value.reshape(-1, *value.shape[-2:])[0, 0]  # position 0: cos 0 or sin 0
    return bool((first == 1).all() or (first == 0).all())


def is_mask(value: Array) -> bool:
    """Return whether an array has both zeros and very negative numbers, and nothing else."""
    if value.size < 2:
        return False
    hidden = value <= LOWEST_MASKED
    return bool(hidden.any() and (hidden | (value == 0)).all())


def is_sinusoidal(value: Array) -> bool:
    """Return whether rows along the last axis but one are sines and cosines of multiples of it.

    The first two positions tell: sin 0 and cos 0 in equal numbers, then sin 1 and cos 1 for the
    fastest of the frequencies.
    """
    if value.ndim < 2 or value.shape[-2] < 2 or value.shape[-1] < 2:
        return False
    first: Any = value.reshape(-1, *value.shape[-2:])[0, 0].astype(np.float64)
    second: Any = value.reshape(-1, *value.shape[-2:])[0, 1].astype(np.float64)
    cosines, sines = first == 1, first == 0
    return (
        bool((cosines | sines).all())
        and abs(int(cosines.sum()) - int(sines.sum())) <= 1
        and bool(np.isclose(second[sines], np.sin(1), atol=1e-3).any())
        and bool(np.isclose(second[cosines], np.cos(1), atol=1e-3).any())
        and bool((np.abs(value) <= 1 + 1e-3).all())
    )
