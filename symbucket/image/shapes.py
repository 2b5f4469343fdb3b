"""Augmenters of a picture's size and of what it shows."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from symbucket import seeding
from symbucket.image.augmenter import Augmenter
from symbucket.image.functions import (
    center_crop,
    imresize,
    pixels,
    random_crop,
    random_size_crop,
    resize_short,
)
from symbucket.runtime import NDArray


class ResizeAug(Augmenter):
    """Resizes the shorter edge to ``size`` (:func:`resize_short`)."""

    def __init__(self, size: int, interp: int = 2) -> None:
        super().__init__(size=size, interp=interp)
        self.size, self.interp = size, interp

    def __call__(self, src: NDArray) -> NDArray:
        """Return the picture, resized."""
        return resize_short(src, self.size, self.interp)


class _ToSize(Augmenter):
    """Makes pictures of ``size`` (width, height)."""

    def __init__(self, size: Sequence[int], interp: int = 2) -> None:
        super().__init__(size=size, interp=interp)
        self.size, self.interp = size, interp


class ForceResizeAug(_ToSize):
    """Resizes to ``size`` (width, height), whatever the aspect ratio."""

    def __call__(self, src: NDArray) -> NDArray:
        """Return the picture, resized."""
        return imresize(src, self.size[0], self.size[1], self.interp)


class RandomCropAug(_ToSize):
    """Crops a random part of ``size`` (width, height)."""

    def __call__(self, src: NDArray) -> NDArray:
        """Return the part."""
        return random_crop(src, self.size, self.interp)[0]


class CenterCropAug(_ToSize):
    """Crops the middle, of ``size`` (width, height)."""

    def __call__(self, src: NDArray) -> NDArray:
        """Return the part."""
        return center_crop(src, self.size, self.interp)[0]


class RandomSizedCropAug(Augmenter):
    """Crops a part of random area and aspect ratio, and resizes it (:func:`random_size_crop`)."""

    def __init__(
        self,
        size: Sequence[int],
        area: float | Sequence[float],
        ratio: Sequence[float],
        interp: int = 2,
    ) -> None:
        super().__init__(size=size, area=area, ratio=ratio, interp=interp)
        self.size, self.area, self.ratio, self.interp = size, area, ratio, interp

    def __call__(self, src: NDArray) -> NDArray:
        """Return the part, resized."""
        return random_size_crop(src, self.size, self.area, self.ratio, self.interp)[0]


class HorizontalFlipAug(Augmenter):
    """Mirrors left and right with probability ``p``."""

    def __init__(self, p: float) -> None:
        super().__init__(p=p)
        self.p = p

    def __call__(self, src: NDArray) -> NDArray:
        """Return the picture or its mirror image."""
        if seeding.generator().random() >= self.p:
            return src
        return NDArray.over(np.ascontiguousarray(pixels(src)[:, ::-1]))
