"""A batch of one bucket key, padded further to a longer one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from symbucket.checks import is_integer
from symbucket.errors import DataError
from symbucket.io import DataBatch

Pad = float | Mapping[str, float]


def _numbers(key: Any) -> list[int]:
    """Return the integers in a key, in their order."""
    if is_integer(key):
        return [int(key)]
    return [n for part in key for n in _numbers(part)] if isinstance(key, tuple) else []


def lengthen_key(key: Any) -> Any:
    """Return a key with every integer in it made larger by half and two."""
    if isinstance(key, tuple):
        return tuple(map(lengthen_key, key))
    return key + key // 2 + 2 if _numbers(key) else key


def pad_batch(batch: DataBatch, key: Any, longer: Any, pad: Pad) -> DataBatch:
    """Return ``batch``, whose bucket key is ``key``, padded to the key ``longer``.

    Every axis (but the batch axis) whose size is a number of ``key`` grows to that of ``longer``.
    Raises DataError if the keys do not tell the sizes.
    """
    old, new = _numbers(key), _numbers(longer)
    sizes: dict[int, int] = {}
    tells_sizes = len(old) == len(new) and bool(old) and old != new
    for a, b in zip(old, new):
        tells_sizes &= a <= b and sizes.setdefault(a, b) == b
    if not tells_sizes:
        raise DataError(
            f"check_padding: the keys {key!r} and {longer!r} do not tell which axes to pad, "
            "and to what size. Give longer= a DataBatch: the same rows, padded further."
        )
    parts: list[list[Any]] = []
    for descs, values in (
        (batch.provide_data, batch.data),
        (batch.provide_label, batch.label or []),
    ):
        arrays, described = [], []
        for desc, value in zip(descs or [], values):
            array, axis = np.asarray(value), desc.batch_axis
            grown = [
                (0, 0 if i == axis else sizes.get(n, n) - n) for i, n in enumerate(array.shape)
            ]
            fill = pad.get(desc.name, 0) if isinstance(pad, Mapping) else pad
            array = np.pad(array, grown, constant_values=fill)
            arrays.append(array)
            described.append(desc.with_shape(array.shape))
        parts += [arrays, described]
    data, provide_data, label, provide_label = parts
    return DataBatch(
        data,
        label or None,
        bucket_key=longer,
        provide_data=provide_data,
        provide_label=provide_label or None,
    )
