"""Batches from local files of MXNet's iterators: comma-separated values, and MNIST's format."""

from __future__ import annotations

import gzip
import os
import struct
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from symbucket import hooks
from symbucket.errors import DataError, UnsupportedError
from symbucket.io.array_iter import NDArrayIter
from symbucket.io.batch import DataBatch
from symbucket.io.iterator import DataIter
from symbucket.runtime import NDArray
from symbucket.types import Array

PathLike = str | os.PathLike[str]

_SINGLE = np.dtype(np.float32)
_IDX_DTYPES = {8: ">u1", 9: ">i1", 11: ">i2", 12: ">i4", 13: ">f4", 14: ">f8"}


class _FileIter(NDArrayIter):
    """An iterator over one array of data and one of labels: as in MXNet, it returns them bare."""

    def getdata(self) -> NDArray:  # type: ignore[override]
        """The data of the current batch, (batch_size, ...)."""
        return super().getdata()[0]

    def getlabel(self) -> NDArray:  # type: ignore[override]
        """The labels of the current batch, (batch_size, ...)."""
        return super().getlabel()[0]

    def next(self) -> DataBatch:
        """The next batch.

        Raises:
            StopIteration: the epoch is over.
        """
        if not self.iter_next():
            raise StopIteration
        return DataBatch([self.getdata()], [self.getlabel()], self.getpad(), self.getindex())


class CSVIter(_FileIter):
    """Batches from a file with a row of numbers, separated by commas, for each example.

    Each epoch begins with the first row, and a last batch is filled up from there; MXNet's begins
    where the filling ended.

    Args:
        data_csv: path of the data. label_csv: path of the labels; None or "NULL": labels are 0.
        data_shape, label_shape: of one example; its numbers in a row are in C order.
        batch_size: rows of a batch.
        round_batch: False: rows that do not fill a batch are still a batch, filled up too.
        data_name, label_name: names of the two.
        dtype: of the data; "int32" and "int64" keep whole numbers that float32 rounds.
        kwargs: MXNet's options of its threads (``prefetch_buffer``, ...), without effect.

    Raises:
        DataError: a file cannot be read, or a row has not as many numbers as its shape says.
    """

    def __init__(
        self,
        data_csv: PathLike,
        data_shape: Sequence[int],
        label_csv: PathLike | None = None,
        label_shape: Sequence[int] = (1,),
        batch_size: int = 1,
        round_batch: bool = True,
        data_name: str = "data",
        label_name: str = "softmax_label",
        dtype: Any = "float32",
        **kwargs: Any,
    ) -> None:
        data = _numbers(data_csv, tuple(data_shape), "data_shape", np.dtype(dtype))
        shape = tuple(label_shape)
        if label_csv is None or label_csv == "NULL":
            label = np.zeros((len(data), *shape), np.float32)
        else:
            label = _numbers(label_csv, shape, "label_shape")
        label = label.reshape(len(label)) if shape == (1,) else label
        single = data.astype(np.float32, copy=False)
        super().__init__(single, label, batch_size, data_name=data_name, label_name=label_name)
        if data.dtype != np.float32:
            self.data = [(data_name, NDArray.over(data))]
            self.provide_data = self._descs(self.data)


def _numbers(
    path: PathLike, shape: tuple[int, ...], option: str, dtype: np.dtype[Any] = _SINGLE
) -> Array:
    try:
        table = np.loadtxt(path, dtype, delimiter=",", ndmin=2)
    except (OSError, ValueError) as error:
        raise DataError(f"CSVIter: cannot read {os.fspath(path)!r}: {error}") from error
    if table.shape[1] != int(np.prod(shape)):
        raise DataError(
            f"CSVIter: a row of {os.fspath(path)!r} has {table.shape[1]} numbers; {option}={shape} "
            f"asks for {int(np.prod(shape))}"
        )
    return table.reshape(len(table), *shape)


class MNISTIter(_FileIter):
    """Batches from files in the format of MNIST (idx, also compressed by gzip).

    Images are divided by 256. Rows that do not fill a batch are left out, as in MXNet.

    Args:
        image, label: paths of the two files.
        batch_size: rows of a batch.
        shuffle: take the rows in a new random order each epoch.
        flat: images are vectors, (batch, height * width), not (batch, 1, height, width).
        seed: of the shuffles, as for ``NDArrayIter``.
        data_name, label_name: names of the two.
        kwargs: MXNet's further options (``silent``, ``input_shape``, ...), without effect.

    Raises:
        DataError: a file cannot be read, or is not in that format.
    """

    def __init__(
        self,
        image: PathLike = "./train-images-idx3-ubyte",
        label: PathLike = "./train-labels-idx1-ubyte",
        batch_size: int = 128,
        shuffle: bool = True,
        flat: bool = False,
        seed: int | None = None,
        data_name: str = "data",
        label_name: str = "softmax_label",
        **kwargs: Any,
    ) -> None:
        images = read_idx(image).astype(np.float32) / 256
        if images.ndim != 3:
            raise DataError(
                f"MNISTIter: {os.fspath(image)!r} has an array of shape {images.shape}; expected "
                "(images, height, width)"
            )
        count, height, width = images.shape
        shape = (count, height * width) if flat else (count, 1, height, width)
        super().__init__(
            images.reshape(shape),
            read_idx(label),
            batch_size,
            bool(shuffle),
            "discard",
            data_name,
            label_name,
            seed=seed,
        )


def read_idx(path: PathLike) -> Array:
    """Return the array in an idx file; its sizes are checked before anything is allocated.

    Raises DataError if it cannot be read or is not one.
    """
    try:
        content = Path(path).read_bytes()
        if content[:2] == b"\x1f\x8b":
            content = gzip.decompress(content)
    except (OSError, EOFError) as error:
        raise DataError(f"MNISTIter: cannot read {os.fspath(path)!r}: {error}") from error
    problem = DataError(f"MNISTIter: {os.fspath(path)!r} is no idx file, or it is cut off")
    if len(content) < 4 or content[:2] != b"\0\0" or content[2] not in _IDX_DTYPES:
        raise problem
    axes = content[3]
    start = 4 + 4 * axes
    if len(content) < start:
        raise problem
    shape = struct.unpack(f">{axes}I", content[4:start])
    dtype = np.dtype(_IDX_DTYPES[content[2]])
    size = dtype.itemsize
    for length in shape:
        size *= length
    if len(content) - start != size:
        raise problem
    values: Array = np.frombuffer(content, dtype, offset=start).reshape(shape)
    return values


def ImageRecordIter(*args: Any, **kwargs: Any) -> DataIter:  # noqa: N802 - MXNet's name
    """Return batches of packed pictures (.rec): :func:`symbucket.image.ImageRecordIter`."""
    batches: DataIter = hooks.image_record_iter(*args, **kwargs)
    return batches


def LibSVMIter(*args: Any, **kwargs: Any) -> NDArrayIter:  # noqa: N802 - MXNet's name
    """Raise UnsupportedError: sparse batches do not exist here."""
    raise UnsupportedError(
        "LibSVMIter makes sparse batches, and arrays are dense here. Read the file with a library "
        "(sklearn.datasets.load_svmlight_file), and give toarray() to NDArrayIter."
    )
