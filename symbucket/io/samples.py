"""Samples read from a source a window at a time, checked against the fields of a stream."""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Executor, ProcessPoolExecutor, ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from typing import Any

import numpy as np
from numpy.typing import NDArray

from symbucket.checks import check_integer, check_part
from symbucket.errors import DataError
from symbucket.io.field import Field, Sizes
from symbucket.io.sources import Cursor, Reader, Source

_CHUNKS = 64  # that a window is handed to workers in


@dataclass(frozen=True)
class Sample:
    """A sample's arrays, one for each field, the sizes of its axes, and its number: its
    position in the data set if the source has positions, else in the order of reading.
    """

    arrays: tuple[NDArray[Any], ...]
    sizes: tuple[int, ...]
    number: int

    def packed(self) -> list[Any]:
        """Return the sample as JSON values."""
        arrays = [
            [list(a.shape), base64.b64encode(np.ascontiguousarray(a).tobytes()).decode()]
            for a in self.arrays
        ]
        return [arrays, list(self.sizes), self.number]

    @staticmethod
    def unpacked(packed: Sequence[Any], fields: Sequence[Field]) -> Sample:
        """Return the sample that ``packed`` made JSON values of."""
        arrays = tuple(
            np.frombuffer(base64.b64decode(text), field.dtype).reshape(shape)
            for field, (shape, text) in zip(fields, packed[0])
        )
        return Sample(arrays, tuple(packed[1]), int(packed[2]))


class SampleReader:
    """Reads windows of samples; of several parts, those of one.

    Attributes:
        cursor: where the source is read on, before :meth:`read`.
        ended: whether the source has no more samples.
    """

    def __init__(
        self,
        source: Source,
        fields: Sequence[Field],
        transform: Callable[[Any], Any] | None,
        window: int,
        workers: int,
        processes: bool,
        num_parts: int,
        part_index: int,
    ) -> None:
        self._source, self._fields, self._transform = source, fields, transform
        self.axes = list(dict.fromkeys(axis for field in fields for axis in field.axes))
        self.window = check_integer(window, "window", 1)
        self.num_parts, self.part_index = check_part(num_parts, part_index)
        self._pool = _pool(check_integer(workers, "workers", 0), processes)

    def begin(self, order: np.random.Generator | None, window: int, cursor: Cursor | None) -> None:
        """Go to the beginning of a window, which lies at ``cursor``."""
        self._reader: Reader = self._source.read(order, cursor)
        self._position = window * self.window  # in the source, other parts' samples included
        self._ahead: list[Sample] | None = None
        self.cursor, self.ended = self._reader.cursor, False

    def peek(self) -> list[Sample]:
        """Return the window that the next :meth:`read` returns."""
        if self._ahead is None:
            self._ahead = self._next_window()
        return self._ahead

    def read(self) -> list[Sample]:
        """Return this part's samples of the next window; none at the end of the source."""
        samples = self.peek()
        self._ahead, self.cursor = None, self._reader.cursor
        return samples

    def _next_window(self) -> list[Sample]:
        # One by one, as the source may write the next item to the memory of the last one.
        items = self._own_items()
        transform = self._transform
        if transform is None:
            return [self._sample(item, number) for item, number in items]
        if self._pool is None:
            transformed = ((transform(item), number) for item, number in items)
        else:
            listed = [(_copied(item), number) for item, number in items]
            results = _chunked(self._pool)(transform, [item for item, _ in listed])
            transformed = ((result, number) for result, (_, number) in zip(results, listed))
        return [self._sample(item, number) for item, number in transformed if item is not None]

    def _own_items(self) -> Iterator[tuple[Any, int]]:
        """Yield this part's items of the next window, with their numbers."""
        start = self._position
        for item, row in islice(self._reader, self.window):
            position, self._position = self._position, self._position + 1
            if position % self.num_parts == self.part_index:
                yield item, position if row is None else row
        self.ended = self._position - start < self.window

    def _sample(self, item: Any, number: int) -> Sample:
        if isinstance(item, Mapping):
            missing = [f.name for f in self._fields if f.name not in item]
            if missing:
                raise DataError(
                    f"sample {number} has no {', '.join(map(repr, missing))}; it has "
                    f"{', '.join(map(repr, item))}"
                )
            values: Sequence[Any] = [item[field.name] for field in self._fields]
        else:
            values = item if len(self._fields) > 1 and isinstance(item, (tuple, list)) else (item,)
        if len(values) != len(self._fields):
            raise DataError(
                f"sample {number} has {len(values)} arrays; expected {len(self._fields)}: "
                f"{', '.join(field.name for field in self._fields)}"
            )
        sizes: Sizes = {}
        arrays = tuple(f.array(value, number, sizes) for f, value in zip(self._fields, values))
        return Sample(arrays, tuple(sizes[axis] for axis in self.axes), number)


def _pool(workers: int, processes: bool) -> Executor | None:
    if not workers:
        return None
    return ProcessPoolExecutor(workers) if processes else ThreadPoolExecutor(workers)


def _copied(item: Any) -> Any:
    """Return an item with copies of its arrays."""
    if isinstance(item, Mapping):
        return {name: _copied(value) for name, value in item.items()}
    if type(item) in (list, tuple):
        return type(item)(map(_copied, item))
    return item.copy() if isinstance(item, np.ndarray) else item


def _chunked(pool: Executor) -> Callable[..., Iterator[Any]]:
    def run(function: Callable[[Any], Any], items: Sequence[Any]) -> Iterator[Any]:
        return pool.map(function, items, chunksize=max(1, len(items) // _CHUNKS))

    return run
