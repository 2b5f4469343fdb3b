"""Descriptions of the arrays that a batch holds: name, shape, dtype, layout."""

from __future__ import annotations

import operator
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import DTypeLike

from symbucket.errors import DataError, DescriptionError, NameConflictError

LENGTHS = "valid_length"
"""The name of the input that holds how long each sequence of a batch is."""


class DataDesc(tuple[str, tuple[int, ...]]):
    """Name and shape of one input array, with its dtype and layout.

    It is the pair ``(name, shape)``, as in MXNet: it unpacks, indexes, hashes and compares as one,
    so dtype and layout do not count when two descriptions are compared. Immutable.

    Args:
        name: name of the variable that the array feeds.
        shape: sizes of all axes, batch axis included.
        dtype: element type, anything that ``numpy.dtype`` takes.
        layout: one letter an axis; ``N`` marks the batch axis.

    Raises:
        DataError: the name is not a non-empty string, the shape is not a sequence of sizes, the
            dtype is unknown, or the layout is not a string.
    """

    _dtype: np.dtype[Any]
    _layout: str | None

    def __new__(
        cls,
        name: str,
        shape: Sequence[int],
        dtype: DTypeLike = np.float32,
        layout: str | None = "NCHW",
    ) -> DataDesc:
        """Check the four fields and build the pair."""
        if not isinstance(name, str) or not name:
            raise DataError(
                f"DataDesc: name is {name!r}; expected a non-empty string, as in "
                "DataDesc('data', (32, 10))"
            )
        if layout is not None and not isinstance(layout, str):
            raise DataError(
                f"DataDesc {name!r}: layout is {layout!r}; expected a string such as 'NT', or None"
            )
        self = super().__new__(cls, (name, _checked_shape(name, shape)))
        try:
            self.__dict__["_dtype"] = np.dtype(dtype)
        except (TypeError, ValueError) as error:
            raise DataError(
                f"DataDesc {name!r}: dtype {dtype!r} is not one that numpy knows; "
                "pass one such as 'float32' or numpy.int64"
            ) from error
        self.__dict__["_layout"] = layout
        return self

    @property
    def name(self) -> str:
        """Name of the variable."""
        return self[0]

    @property
    def shape(self) -> tuple[int, ...]:
        """Sizes of all axes."""
        return self[1]

    @property
    def dtype(self) -> np.dtype[Any]:
        """Element type; equal to ``numpy.float32`` and ``'float32'`` alike."""
        return self._dtype

    @property
    def layout(self) -> str | None:
        """One letter an axis, or None."""
        return self._layout

    @property
    def batch_axis(self) -> int:
        """Position of the batch axis: 0 if layout is None, -1 if the layout has no ``N``."""
        return self.get_batch_axis(self._layout)

    def with_shape(self, shape: Sequence[int]) -> DataDesc:
        """Return the same description with another shape."""
        return DataDesc(self.name, shape, self._dtype, self._layout)

    @staticmethod
    def get_batch_axis(layout: str | None) -> int:
        """Position of ``N`` in the layout: 0 if layout is None, -1 if it has no ``N``."""
        return 0 if layout is None else layout.find("N")

    @staticmethod
    def get_list(
        shapes: Mapping[str, Sequence[int]] | Sequence[tuple[str, Sequence[int]]],
        types: Mapping[str, DTypeLike] | Sequence[tuple[str, DTypeLike]] | None,
    ) -> list[DataDesc]:
        """Return descriptions from (name, shape) and (name, dtype) pairs; float32 without dtypes.

        Raises DataError if a name has no dtype.
        """
        dtypes = {} if types is None else dict(types)
        descs = []
        for name, shape in dict(shapes).items():
            if types is not None and name not in dtypes:
                raise DataError(f"DataDesc.get_list: {name!r} has a shape and no dtype in {dtypes}")
            descs.append(DataDesc(name, shape, dtypes.get(name, np.float32)))
        return descs

    def __setattr__(self, attribute: str, value: object) -> None:
        raise AttributeError(f"DataDesc is immutable: build a new one to change {attribute!r}")

    def __getnewargs__(self) -> tuple[Any, ...]:
        return (self.name, self.shape, self._dtype, self._layout)

    def __repr__(self) -> str:
        return f"DataDesc({self.name!r}, {self.shape}, {self._dtype}, {self._layout!r})"


def normalize_descs(descs: Iterable[Any], what: str = "provide_data") -> list[DataDesc]:
    """Turn descriptions in any accepted form into a list of :class:`DataDesc`.

    Args:
        descs: DataDesc objects or tuples ``(name, shape[, dtype[, layout]])``, mixed freely.
        what: how errors call the list.

    Raises:
        DataError: an entry has another form.
        NameConflictError: two entries carry one name.
    """
    hint = "expected a list of DataDesc or (name, shape) tuples, as in [('data', (32, 10))]"
    if isinstance(descs, (str, bytes, DataDesc)) or not isinstance(descs, Iterable):
        raise DataError(f"{what} is {descs!r}; {hint}")
    result = []
    for position, entry in enumerate(descs):
        if isinstance(entry, DataDesc):
            result.append(entry)
        elif isinstance(entry, (tuple, list)) and 2 <= len(entry) <= 4:
            result.append(DataDesc(*entry))
        else:
            raise DataError(f"{what}[{position}] is {entry!r}; {hint}")
    seen: set[str] = set()
    for desc in result:
        if desc.name in seen:
            raise NameConflictError(
                f"{what} has two arrays named {desc.name!r}; give every array its own name"
            )
        seen.add(desc.name)
    return result


def batch_size_of(data: Sequence[DataDesc]) -> int:
    """Return the rows of a batch with these data arrays; 1 if there are none."""
    return data[0].shape[data[0].batch_axis] if data else 1


def _checked_shape(name: str, shape: object) -> tuple[int, ...]:
    message = f"DataDesc {name!r}: shape is {shape!r}; expected a tuple of non-negative integers"
    if isinstance(shape, (str, bytes)) or not isinstance(shape, Iterable):
        raise DescriptionError(message)
    sizes = []
    for size in shape:
        if isinstance(size, (bool, np.bool_)):
            raise DescriptionError(message)
        try:
            sizes.append(operator.index(size))
        except TypeError:
            raise DescriptionError(message) from None
    if any(size < 0 for size in sizes):
        raise DataError(message)
    return tuple(sizes)
