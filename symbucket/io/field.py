"""One array of a sample: its name, its shape with axes of any length, and what pads it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from symbucket.casts import check_unmasked, lost_numbers
from symbucket.checks import is_integer
from symbucket.errors import DataError, InvalidArgumentError
from symbucket.io.desc import DataDesc

Sizes = dict[str, int]
"""The size of each named axis."""


class Field:
    """Describes one array of every sample.

    Args:
        name: of the network's input or label.
        shape: of one sample, without the batch axis: sizes, and names for axes whose size differs
            from sample to sample. Axes of one name have one size within a sample.
            ``("T",)`` is a sentence, ``("T", 80)`` a sequence of 80 features, ``(3, "H", "W")`` an
            image, ``()`` a number.
        dtype: of the batches.
        pad: what fills a sample up to the size of its bucket.

    Raises:
        InvalidArgumentError: ``shape`` has an entry that is neither a positive size nor a name, or
            ``dtype`` holds no numbers or cannot hold ``pad``.
    """

    def __init__(
        self,
        name: str,
        shape: Sequence[int | str] = ("T",),
        dtype: DTypeLike = "float32",
        pad: float = 0,
    ) -> None:
        self.name = name
        self.shape: tuple[int | str, ...] = (shape,) if isinstance(shape, str) else tuple(shape)
        for size in self.shape:
            if not (isinstance(size, str) and size) and not (is_integer(size) and int(size) > 0):
                raise InvalidArgumentError(
                    f"field {name!r}: shape has {size!r}; expected a positive size, or a name for "
                    "an axis whose size differs from sample to sample"
                )
        try:
            self.dtype = np.dtype(dtype)
        except TypeError:
            self.dtype = np.dtype(object)
        if self.dtype.kind not in "biuf":
            raise InvalidArgumentError(f"field {name!r}: dtype is {dtype!r}; expected numbers")
        if np.asarray(pad).astype(self.dtype) != pad:
            raise InvalidArgumentError(
                f"field {name!r}: dtype {self.dtype} cannot hold pad={pad!r}; give another one"
            )
        self.pad = pad

    def __repr__(self) -> str:
        return f"Field({self.name!r}, {self.shape}, {self.dtype.name!r}, pad={self.pad!r})"

    @property
    def axes(self) -> tuple[str, ...]:
        """Names of the axes whose size differs."""
        return tuple(size for size in self.shape if isinstance(size, str))

    def array(self, value: Any, sample: int, sizes: Sizes) -> NDArray[Any]:
        """Return a sample's value as an array, and set the sizes of its named axes in ``sizes``.

        Raises:
            DataError: it is no array of numbers of this shape, its dtype loses something, or an
                axis has another size than in a field before.
        """
        check_unmasked(value, f"sample {sample}, {self.name!r}")
        try:
            source = np.asarray(value)
        except (TypeError, ValueError) as error:
            raise DataError(f"sample {sample}, {self.name!r}: {error}") from None
        if source.ndim != len(self.shape) or source.dtype.kind not in "biuf":
            raise DataError(
                f"sample {sample}, {self.name!r}: shape {source.shape} and dtype {source.dtype}; "
                f"expected numbers of shape {self.shape}"
            )
        for size, actual in zip(self.shape, source.shape):
            expected = sizes.setdefault(size, actual) if isinstance(size, str) else size
            if expected != actual or actual == 0:
                raise DataError(
                    f"sample {sample}, {self.name!r}: shape {source.shape} does not fit "
                    f"{self.shape}" + (f" with {size} = {expected}" if actual else "; it is empty")
                )
        lost, example = lost_numbers(source, self.dtype)
        if lost and source.dtype.kind in "iu":
            raise DataError(
                f"sample {sample}, {self.name!r}: dtype {self.dtype} cannot hold its integers "
                f"exactly (from {source.min()} to {source.max()}); give the field a wider dtype"
            )
        if lost:
            what = "numbers beyond its range" if self.dtype.kind == "f" else "fractions"
            raise DataError(
                f"sample {sample}, {self.name!r}: it holds {what}, such as {example}, but the "
                f"field has dtype {self.dtype}"
            )
        # Where the memory is another's, the next sample may be written there.
        shared = source is value or not source.flags.owndata
        return source.astype(self.dtype, copy=shared and source.flags.writeable)

    def desc(self, batch_size: int, sizes: Sizes) -> DataDesc:
        """Return the description of a batch."""
        return DataDesc(self.name, (batch_size, *self._resolved(sizes)), self.dtype)

    def batch(self, arrays: Sequence[NDArray[Any]], rows: int, sizes: Sizes) -> NDArray[Any]:
        """Return samples stacked along a new axis 0 and padded to ``rows``; shape (rows, ...).

        What is longer than ``sizes`` is cut.
        """
        shape = self._resolved(sizes)
        batch = np.full((rows, *shape), self.pad, self.dtype)
        for row, array in enumerate(arrays):
            part = tuple(slice(0, min(a, b)) for a, b in zip(array.shape, shape))
            batch[row, ...][part] = array[part]
        return batch

    def _resolved(self, sizes: Sizes) -> tuple[int, ...]:
        return tuple(sizes[size] if isinstance(size, str) else int(size) for size in self.shape)
