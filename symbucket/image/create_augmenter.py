"""The usual list of augmenters for training on photographs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from symbucket.errors import InvalidArgumentError
from symbucket.image.augmenter import Augmenter
from symbucket.image.colors import (
    CastAug,
    ColorJitterAug,
    ColorNormalizeAug,
    HueJitterAug,
    LightingAug,
    RandomGrayAug,
)
from symbucket.image.shapes import (
    CenterCropAug,
    HorizontalFlipAug,
    RandomCropAug,
    RandomSizedCropAug,
    ResizeAug,
)

# Of the colours of ImageNet, 0 to 255.
_MEAN = (123.68, 116.28, 103.53)
_STD = (58.395, 57.12, 57.375)
_EIGENVALUES = np.array([55.46, 4.794, 1.148])
_EIGENVECTORS = np.array(
    [
        [-0.5675, 0.7192, 0.4009],
        [-0.5808, -0.0045, -0.8140],
        [-0.5836, -0.6948, 0.4203],
    ]
)


def CreateAugmenter(  # noqa: N802 - MXNet's name
    data_shape: Sequence[int],
    resize: int = 0,
    rand_crop: bool = False,
    rand_resize: bool = False,
    rand_mirror: bool = False,
    mean: Any = None,
    std: Any = None,
    brightness: float = 0,
    contrast: float = 0,
    saturation: float = 0,
    hue: float = 0,
    pca_noise: float = 0,
    rand_gray: float = 0,
    inter_method: int = 2,
) -> list[Augmenter]:
    """Return augmenters that make pictures of ``data_shape`` (channels, height, width).

    Args:
        data_shape: of the results.
        resize: the shorter edge is resized to this first; 0: not at all.
        rand_crop: a random part, not the middle.
        rand_resize: a part of random area (8 % and more) and aspect ratio; needs ``rand_crop``.
        rand_mirror: mirrored left and right, half of the time.
        mean, std: one number a channel; True: those of ImageNet; None: pixels stay as they are.
        brightness, contrast, saturation, hue: spread of random factors and of the angle.
        pca_noise: standard deviation of noise along ImageNet's principal components.
        rand_gray: probability of grey.
        inter_method: as ``interp`` of :func:`imresize`.
    """
    augmenters: list[Augmenter] = [ResizeAug(resize, inter_method)] if resize > 0 else []
    size = (data_shape[2], data_shape[1])
    if rand_resize:
        if not rand_crop:
            raise InvalidArgumentError("CreateAugmenter: rand_resize=True needs rand_crop=True")
        augmenters.append(RandomSizedCropAug(size, 0.08, (3.0 / 4.0, 4.0 / 3.0), inter_method))
    else:
        augmenters.append((RandomCropAug if rand_crop else CenterCropAug)(size, inter_method))
    if rand_mirror:
        augmenters.append(HorizontalFlipAug(0.5))
    augmenters.append(CastAug())
    if brightness or contrast or saturation:
        augmenters.append(ColorJitterAug(brightness, contrast, saturation))
    if hue:
        augmenters.append(HueJitterAug(hue))
    if pca_noise > 0:
        augmenters.append(LightingAug(pca_noise, _EIGENVALUES, _EIGENVECTORS))
    if rand_gray > 0:
        augmenters.append(RandomGrayAug(rand_gray))
    mean, std = _numbers(mean, _MEAN, "mean"), _numbers(std, _STD, "std")
    if mean is not None or std is not None:
        augmenters.append(ColorNormalizeAug(mean, std))
    return augmenters


def _numbers(value: Any, usual: Sequence[float], name: str) -> Any:
    if value is None or value is False:
        return None
    numbers = np.asarray(usual if value is True else value, np.float32)
    if numbers.shape not in ((1,), (3,)):
        raise InvalidArgumentError(
            f"CreateAugmenter: {name} has shape {numbers.shape}; expected 1 or 3 numbers"
        )
    return numbers
