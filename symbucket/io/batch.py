"""One batch of data, as iterators hand it to a module."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Sequence
from itertools import groupby
from typing import Any

import numpy as np

from symbucket.errors import DataError
from symbucket.io.desc import DataDesc, normalize_descs


class DataBatch:
    """Arrays of one step with what a module needs to know about them.

    Args:
        data: list of input arrays, in the order of ``provide_data``.
        label: list of label arrays, in the order of ``provide_label``, or None.
        pad: number of rows at the end that only fill the batch up; None means unknown.
        index: for each row, its position in the data set, or None.
        bucket_key: key of the network that this batch is for; any hashable object.
        provide_data: descriptions of ``data``: DataDesc or ``(name, shape)`` tuples.
        provide_label: likewise for ``label``.

    Raises:
        DataError: ``data`` or ``label`` is no list, ``pad`` no count, ``bucket_key`` not hashable,
            or a description is malformed.
        NameConflictError: two descriptions in a list carry one name.
    """

    def __init__(
        self,
        data: Sequence[Any],
        label: Sequence[Any] | None = None,
        pad: int | None = None,
        index: Any = None,
        bucket_key: Hashable = None,
        provide_data: Iterable[Any] | None = None,
        provide_label: Iterable[Any] | None = None,
    ) -> None:
        self.data: list[Any] = _array_list(data, "data")
        self.label: list[Any] | None = None if label is None else _array_list(label, "label")
        if pad is not None and (
            isinstance(pad, bool) or not isinstance(pad, (int, np.integer)) or pad < 0
        ):
            raise DataError(
                f"DataBatch: pad is {pad!r}; expected the number of padded rows (0 or more) or None"
            )
        self.pad: int | None = None if pad is None else int(pad)
        self.index = index
        try:
            hash(bucket_key)
        except TypeError:
            raise DataError(
                f"DataBatch: bucket_key {bucket_key!r} is not hashable; "
                "use an int, a string or a tuple of them"
            ) from None
        self.bucket_key = bucket_key
        self.provide_data: list[DataDesc] | None = (
            None if provide_data is None else normalize_descs(provide_data, "provide_data")
        )
        self.provide_label: list[DataDesc] | None = (
            None if provide_label is None else normalize_descs(provide_label, "provide_label")
        )

    @classmethod
    def of(cls, batch: Any) -> DataBatch:
        """Return any batch object as a DataBatch; a DataBatch is returned itself.

        As in MXNet, an object with ``data`` alone will do, and descriptions may be tuples.

        Raises:
            DataError: there is no ``data``, or as the constructor.
        """
        if isinstance(batch, cls) and batch.is_described:
            return batch
        if not hasattr(batch, "data"):
            raise DataError(
                f"expected a batch, an object with a list of arrays as data, not {batch!r}"
            )
        names = ("label", "pad", "index", "bucket_key", "provide_data", "provide_label")
        return cls(batch.data, **{name: getattr(batch, name, None) for name in names})

    @property
    def is_described(self) -> bool:
        """Whether all descriptions are DataDescs; they may have been assigned as tuples."""
        descs = [*(self.provide_data or ()), *(self.provide_label or ())]
        return all(isinstance(desc, DataDesc) for desc in descs)

    def __repr__(self) -> str:
        parts = [f"data={_summary(self.data)}"]
        if self.label is not None:
            parts.append(f"label={_summary(self.label)}")
        if self.bucket_key is not None:
            parts.append(f"bucket_key={self.bucket_key!r}")
        if self.pad is not None:
            parts.append(f"pad={self.pad}")
        return f"DataBatch({', '.join(parts)})"

    def __str__(self) -> str:
        shapes = [
            None if arrays is None else [tuple(array.shape) for array in arrays]
            for arrays in (self.data, self.label)
        ]
        return f"DataBatch: data shapes: {shapes[0]} label shapes: {shapes[1]}"


def _array_list(arrays: object, what: str) -> list[Any]:
    if not isinstance(arrays, (list, tuple)):
        raise DataError(
            f"DataBatch: {what} is a {type(arrays).__name__}; expected a list of arrays "
            f"(put a single array in brackets: {what}=[array])"
        )
    return list(arrays)


def _summary(arrays: list[Any]) -> str:
    """Shapes and dtypes; a run of like arrays (one Variable per time step) is told once."""
    parts = []
    for text, run in groupby(_describe(array) for array in arrays):
        count = sum(1 for _ in run)
        parts.append(text if count == 1 else f"{count} x {text}")
    return f"[{', '.join(parts)}]"


def _describe(array: Any) -> str:
    shape, dtype = getattr(array, "shape", None), getattr(array, "dtype", None)
    if shape is None:
        return type(array).__name__
    sizes = tuple(shape() if callable(shape) else shape)
    return f"{sizes}" if dtype is None else f"{sizes} {np.dtype(dtype)}"
