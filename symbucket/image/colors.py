"""Augmenters of a picture's colours; all but CastAug expect float pixels, red first."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt

from symbucket import seeding
from symbucket.image.augmenter import Augmenter, RandomOrderAug
from symbucket.image.functions import color_normalize, pixels
from symbucket.runtime import NDArray
from symbucket.types import Array

_LUMA = np.array([0.299, 0.587, 0.114], np.float32)  # ITU-R BT.601
_GRAY = np.array([0.21, 0.72, 0.07], np.float32)
# RGB to YIQ and back (FCC 1953).
_TO_YIQ = np.array([[0.299, 0.587, 0.114], [0.596, -0.274, -0.321], [0.211, -0.523, 0.311]])
_FROM_YIQ = np.array([[1.0, 0.956, 0.621], [1.0, -0.272, -0.647], [1.0, -1.107, 1.705]])


def _around_one(spread: float) -> np.float32:
    return np.float32(1.0 + seeding.generator().uniform(-spread, spread))


def _as_float(src: NDArray) -> Array:
    return pixels(src).astype(np.float32)


class BrightnessJitterAug(Augmenter):
    """Multiplies by a random factor from ``1 - brightness`` to ``1 + brightness``."""

    def __init__(self, brightness: float) -> None:
        super().__init__(brightness=brightness)
        self.brightness = brightness

    def __call__(self, src: NDArray) -> NDArray:
        """Return the picture, brighter or darker."""
        return NDArray.over(_as_float(src) * _around_one(self.brightness))


class ContrastJitterAug(Augmenter):
    """Moves pixels away from the picture's mean grey, or towards it, by a random factor."""

    def __init__(self, contrast: float) -> None:
        super().__init__(contrast=contrast)
        self.contrast = contrast

    def __call__(self, src: NDArray) -> NDArray:
        """Return the picture with more contrast, or less."""
        values, factor = _as_float(src), _around_one(self.contrast)
        grey = (values @ _LUMA).mean(dtype=np.float32)
        return NDArray.over(values * factor + grey * (1 - factor))


class SaturationJitterAug(Augmenter):
    """Moves each pixel away from its grey, or towards it, by a random factor."""

    def __init__(self, saturation: float) -> None:
        super().__init__(saturation=saturation)
        self.saturation = saturation

    def __call__(self, src: NDArray) -> NDArray:
        """Return the picture with stronger colours, or weaker."""
        values, factor = _as_float(src), _around_one(self.saturation)
        grey = (values @ _LUMA)[:, :, None]
        return NDArray.over(values * factor + grey * (1 - factor))


class HueJitterAug(Augmenter):
    """Turns colours by a random angle of at most ``hue * 180`` degrees, in the plane of YIQ."""

    def __init__(self, hue: float) -> None:
        super().__init__(hue=hue)
        self.hue = hue

    def __call__(self, src: NDArray) -> NDArray:
        """Return the picture with turned colours."""
        angle = seeding.generator().uniform(-self.hue, self.hue) * math.pi
        cos, sin = math.cos(angle), math.sin(angle)
        turn = np.array([[1.0, 0.0, 0.0], [0.0, cos, -sin], [0.0, sin, cos]])
        matrix = (_FROM_YIQ @ turn @ _TO_YIQ).astype(np.float32)
        return NDArray.over(_as_float(src) @ matrix.T)


class ColorJitterAug(RandomOrderAug):
    """Jitter of brightness, contrast and saturation, those that are not 0, in random order."""

    def __init__(self, brightness: float, contrast: float, saturation: float) -> None:
        kinds = (
            (BrightnessJitterAug, brightness),
            (ContrastJitterAug, contrast),
            (SaturationJitterAug, saturation),
        )
        super().__init__([kind(spread) for kind, spread in kinds if spread > 0])


class LightingAug(Augmenter):
    """Adds noise along the principal components of colours (Krizhevsky et al., 2012).

    Args:
        alphastd: standard deviation of the share of each component.
        eigval: (3,), eigenvalues. eigvec: (3, 3), eigenvectors as columns.
    """

    def __init__(self, alphastd: float, eigval: Any, eigvec: Any) -> None:
        super().__init__(alphastd=alphastd, eigval=eigval, eigvec=eigvec)
        self.alphastd = alphastd
        self.eigval = np.asarray(eigval, np.float32)
        self.eigvec = np.asarray(eigvec, np.float32)

    def __call__(self, src: NDArray) -> NDArray:
        """Return the picture with another light."""
        shares = seeding.generator().normal(0, self.alphastd, 3).astype(np.float32)
        return NDArray.over(_as_float(src) + self.eigvec @ (shares * self.eigval))


class ColorNormalizeAug(Augmenter):
    """``(src - mean) / std``, each None or one number a channel."""

    def __init__(self, mean: Any, std: Any) -> None:
        super().__init__(mean=mean, std=std)
        self.mean, self.std = mean, std

    def __call__(self, src: NDArray) -> NDArray:
        """Return the picture, normalized."""
        return color_normalize(src, self.mean, self.std)


class RandomGrayAug(Augmenter):
    """Makes all channels grey with probability ``p``."""

    def __init__(self, p: float) -> None:
        super().__init__(p=p)
        self.p = p

    def __call__(self, src: NDArray) -> NDArray:
        """Return the picture or its grey."""
        if seeding.generator().random() >= self.p:
            return src
        grey = (_as_float(src) @ _GRAY)[:, :, None]
        return NDArray.over(np.repeat(grey, 3, axis=2))


class CastAug(Augmenter):
    """Converts pixels to a dtype."""

    def __init__(self, typ: npt.DTypeLike = "float32") -> None:
        super().__init__(type=np.dtype(typ).name)
        self.typ = typ

    def __call__(self, src: NDArray) -> NDArray:
        """Return the picture in that dtype."""
        return NDArray.over(pixels(src).astype(self.typ))
