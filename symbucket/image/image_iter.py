"""Batches of pictures from files of records or from lists of files."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from symbucket import seeding
from symbucket.checks import check_choice, check_integer, check_part
from symbucket.errors import DataError, InvalidArgumentError
from symbucket.image.augmenter import Augmenter
from symbucket.image.create_augmenter import CreateAugmenter
from symbucket.image.functions import imdecode
from symbucket.image.sources import (
    FileSource,
    PathLike,
    PictureSource,
    RecordSource,
    entries_of,
    read_list,
)
from symbucket.io import DataBatch, DataDesc, DataIter
from symbucket.runtime import NDArray
from symbucket.types import Array


class ImageIter(DataIter):
    """Batches of pictures (batch, channels, height, width), decoded and augmented as they come.

    A subclass may override ``imdecode``, ``augmentation_transform`` or ``postprocess_data``.

    Args:
        batch_size: pictures of a batch.
        data_shape: (channels, height, width) of what augmenters return; 1 or 3 channels.
        label_width: labels of a picture.
        path_imgrec: file of records. path_imgidx: its index, which saves reading the file once.
        path_imglist: file of lines ``id<TAB>label...<TAB>path``: pictures, or labels of records.
        path_root: folder of the paths.
        shuffle: another order for each epoch.
        part_index, num_parts: take one of so many equal parts.
        aug_list: augmenters; None: ``CreateAugmenter(data_shape, **kwargs)``.
        imglist: list of ``[label, ..., path]``, in place of ``path_imglist``.
        data_name, label_name: names of the two.
        dtype: of the data.
        last_batch_handle: "pad" fills the last batch up from the epoch's start, "discard" drops it,
            "roll_over" opens the next epoch with it.

    Raises:
        DataError: a file cannot be read, there are no pictures, or a picture's size or number of
            labels is another one.
        InvalidArgumentError: an option out of range, or no source of pictures.
    """

    def __init__(
        self,
        batch_size: int,
        data_shape: Sequence[int],
        label_width: int = 1,
        path_imgrec: PathLike | None = None,
        path_imglist: PathLike | None = None,
        path_root: PathLike | None = None,
        path_imgidx: PathLike | None = None,
        shuffle: bool = False,
        part_index: int = 0,
        num_parts: int = 1,
        aug_list: Sequence[Augmenter] | None = None,
        imglist: Sequence[Sequence[Any]] | None = None,
        data_name: str = "data",
        label_name: str = "softmax_label",
        dtype: npt.DTypeLike = "float32",
        last_batch_handle: str = "pad",
        **kwargs: Any,
    ) -> None:
        super().__init__(check_integer(batch_size, "ImageIter: batch_size", 1))
        self.data_shape = _checked_shape(data_shape)
        self.label_width = check_integer(label_width, "ImageIter: label_width", 1)
        self.shuffle = bool(shuffle)
        self.dtype = np.dtype(dtype)
        self.last_batch_handle = check_choice(
            last_batch_handle, "last_batch_handle", ("pad", "discard", "roll_over")
        )
        if aug_list is not None and kwargs:
            raise InvalidArgumentError(
                f"ImageIter: give aug_list or the arguments {', '.join(kwargs)} of CreateAugmenter"
            )
        self.auglist = list(
            CreateAugmenter(self.data_shape, **kwargs) if aug_list is None else aug_list
        )
        self._source = _source(path_imgrec, path_imgidx, path_imglist, imglist, path_root)
        parts, part = check_part(num_parts, part_index)
        size = len(self._source) // parts
        self.num_image = size
        if size == 0 or (self.last_batch_handle == "discard" and size < self.batch_size):
            raise DataError(
                f"ImageIter: {len(self._source)} pictures in {parts} part(s) fill no batch of "
                f"{self.batch_size}"
            )
        self._all = np.arange(size) + part * size
        labels = (self.batch_size,) if self.label_width == 1 else (self.batch_size, label_width)
        self.provide_data = [DataDesc(data_name, (self.batch_size, *self.data_shape), self.dtype)]
        self.provide_label = [DataDesc(label_name, labels)]
        self._left = self._all[:0]
        self._begin()

    def _begin(self) -> None:
        order = seeding.generator().permutation(self._all) if self.shuffle else self._all
        self._order = np.concatenate([self._left, order])
        self._left = self._all[:0]
        self._next = 0

    def reset(self) -> None:
        """Begin the next epoch; with "roll_over" at the pictures that the last one left."""
        rest = len(self._order) - self._next
        if self.last_batch_handle == "roll_over" and 0 < rest < self.batch_size:
            self._left = self._order[self._next :]
        self._begin()

    def hard_reset(self) -> None:
        """Begin the next epoch, without pictures that rolled over."""
        self._begin()

    def next(self) -> DataBatch:
        """Return the next batch; raise StopIteration after the last one."""
        rows = self._order[self._next : self._next + self.batch_size]
        pad = self.batch_size - len(rows)
        if len(rows) == 0 or (pad and self.last_batch_handle != "pad"):
            raise StopIteration
        self._next += len(rows)
        rows = np.concatenate([rows, np.resize(self._order, pad)])
        samples = [self._sample(int(row)) for row in rows]
        data = np.stack([picture for picture, _ in samples]).astype(self.dtype)
        label = np.stack([labels for _, labels in samples])
        label = label[:, 0] if self.label_width == 1 else label
        return DataBatch([NDArray.over(data)], [NDArray.over(label)], pad, rows)

    def _sample(self, number: int) -> tuple[Array, Array]:
        labels, content = self._source.read(number)
        if labels.shape != (self.label_width,):
            raise DataError(
                f"picture {number} has {labels.size} labels, and label_width={self.label_width}"
            )
        picture = self.augmentation_transform(self.imdecode(content))
        values = self.postprocess_data(picture).asnumpy()
        if values.shape != self.data_shape:
            raise DataError(
                f"picture {number} has shape {values.shape} after the augmenters, and "
                f"data_shape={self.data_shape}"
            )
        return values, labels

    def imdecode(self, s: bytes) -> NDArray:
        """Return the picture in a file's bytes: (height, width, channels)."""
        return imdecode(s, flag=1 if self.data_shape[0] == 3 else 0)

    def augmentation_transform(self, data: NDArray) -> NDArray:
        """Return the picture after all augmenters."""
        for augment in self.auglist:
            data = augment(data)
        return data

    def postprocess_data(self, datum: NDArray) -> NDArray:
        """Return a picture as the network reads it: channels first."""
        return NDArray.over(np.ascontiguousarray(datum.asnumpy().transpose(2, 0, 1)))


def _checked_shape(shape: Sequence[int]) -> tuple[int, int, int]:
    if len(shape) != 3 or shape[0] not in (1, 3) or min(shape) < 1:
        raise InvalidArgumentError(
            f"data_shape={tuple(shape)} must be (channels, height, width), with 1 or 3 channels"
        )
    channels, height, width = map(int, shape)
    return channels, height, width


def _source(
    records: PathLike | None,
    index: PathLike | None,
    list_path: PathLike | None,
    imglist: Sequence[Sequence[Any]] | None,
    root: PathLike | None,
) -> PictureSource:
    entries = None
    if list_path is not None:
        entries = read_list(list_path)
    elif imglist is not None:
        entries = entries_of(imglist)
    if records is not None:
        by_id = None if entries is None else {number: labels for number, labels, _ in entries}
        return RecordSource(records, index, by_id)
    if entries is None:
        raise InvalidArgumentError(
            "give pictures: path_imgrec, path_imglist with path_root, or imglist"
        )
    return FileSource(root, [(labels, path) for _, labels, path in entries])
