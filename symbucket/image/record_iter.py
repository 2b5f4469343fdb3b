"""``ImageRecordIter``: batches of pictures from a file of records, under MXNet's older options."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from symbucket.errors import UnsupportedError
from symbucket.image.augmenter import Augmenter
from symbucket.image.colors import CastAug, ColorNormalizeAug
from symbucket.image.image_iter import ImageIter
from symbucket.image.shapes import CenterCropAug, HorizontalFlipAug, RandomCropAug, ResizeAug
from symbucket.image.sources import PathLike

# What tunes threads, queues and logs, and has no effect here.
_TUNING = {"preprocess_threads", "verbose", "prefetch_buffer", "ctx", "device_id", "inter_method"}
_TUNING |= {"shuffle_chunk_size", "shuffle_chunk_seed", "seed", "seed_aug", "round_batch"}
# Values at which MXNet's further augmentations do nothing.
_OFF = {
    "aug_seq": "aug_default",
    "fill_value": 255,
    "max_contrast": 0,
    "max_illumination": 0,
    "max_img_size": 1e10,
    "max_random_area": 1,
    "max_random_scale": 1,
    "mean_img": "",
    "min_aspect_ratio": None,
    "min_random_area": 1,
    "min_random_scale": 1,
    "max_crop_size": -1,
    "min_crop_size": -1,
    "rotate": -1,
}


def ImageRecordIter(  # noqa: N802 - MXNet's name
    path_imgrec: PathLike,
    data_shape: Sequence[int],
    batch_size: int,
    label_width: int = 1,
    path_imglist: PathLike | None = None,
    path_imgidx: PathLike | None = None,
    shuffle: bool = False,
    num_parts: int = 1,
    part_index: int = 0,
    resize: int = -1,
    rand_crop: bool = False,
    rand_mirror: bool = False,
    mirror: bool = False,
    mean_r: float = 0,
    mean_g: float = 0,
    mean_b: float = 0,
    std_r: float = 1,
    std_g: float = 1,
    std_b: float = 1,
    scale: float = 1,
    data_name: str = "data",
    label_name: str = "softmax_label",
    dtype: npt.DTypeLike = "float32",
    **kwargs: Any,
) -> ImageIter:
    """Return an iterator over a file of records: resized, cropped, mirrored, ``(x - mean) / std``.

    Args:
        path_imgrec: the file. path_imgidx: its index. path_imglist: labels in place of its own.
        data_shape: (channels, height, width).
        batch_size: pictures of a batch; the last one is filled up from the epoch's start.
        label_width: labels of a picture.
        shuffle: another order for each epoch.
        num_parts, part_index: take one of so many equal parts.
        resize: the shorter edge is resized to this first, linearly.
        rand_crop: a random part, not the middle.
        rand_mirror, mirror: mirrored left and right half of the time, or always.
        mean_r, mean_g, mean_b, std_r, std_g, std_b: of the channels, 0 to 255.
        scale: factor after that.
        data_name, label_name: names of the two.
        dtype: of the data.
        kwargs: MXNet's options of threads and queues, without effect.

    Raises UnsupportedError for an augmentation that only MXNet has.
    """
    for name, value in kwargs.items():
        if name not in _TUNING and value != _OFF.get(name, 0) and value is not None:
            raise UnsupportedError(
                f"ImageRecordIter: {name}={value!r} is not supported. image.ImageIter with "
                "aug_list=image.CreateAugmenter(...) and augmenters of your own does such things"
            )
    size = (data_shape[2], data_shape[1])
    augmenters: list[Augmenter] = [ResizeAug(resize, 1)] if resize > 0 else []
    augmenters.append((RandomCropAug if rand_crop else CenterCropAug)(size, 1))
    if mirror or rand_mirror:
        augmenters.append(HorizontalFlipAug(1.0 if mirror else 0.5))
    augmenters.append(CastAug())
    channels = data_shape[0]
    mean = np.array([mean_r, mean_g, mean_b], np.float32)[:channels]
    std = np.array([std_r, std_g, std_b], np.float32)[:channels] / np.float32(scale)
    if mean.any() or (std != 1).any():
        augmenters.append(ColorNormalizeAug(mean, std))
    return ImageIter(
        batch_size,
        data_shape,
        label_width,
        path_imgrec=path_imgrec,
        path_imglist=path_imglist or None,
        path_imgidx=path_imgidx or None,
        shuffle=shuffle,
        part_index=part_index,
        num_parts=num_parts,
        aug_list=augmenters,
        data_name=data_name,
        label_name=label_name,
        dtype=dtype,
    )
