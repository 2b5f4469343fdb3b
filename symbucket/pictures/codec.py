"""Bytes of JPEG, PNG and other files to arrays and back, by Pillow."""

from __future__ import annotations

import importlib
import io
from typing import Any

import numpy as np

from symbucket.errors import DataError, RuntimeMissingError
from symbucket.types import Array

_FORMATS = {".jpg": "JPEG", ".jpeg": "JPEG", ".png": "PNG"}


def _pillow() -> Any:
    try:
        return importlib.import_module("PIL.Image")
    except ImportError as error:
        raise RuntimeMissingError(
            "Files of pictures are decoded by Pillow, which is not installed: pip install pillow. "
            "Arrays need no decoder (io.NDArrayIter)"
        ) from error


def decode(content: bytes, color: bool = True, rgb: bool = True, what: str = "picture") -> Array:
    """Return a picture as uint8 (height, width, channels).

    Args:
        content: of a file.
        color: three channels; otherwise one, of grey.
        rgb: channels in this order, not blue first.
        what: how errors call the picture.

    Raises:
        DataError: it is no picture, or cut off.
        RuntimeMissingError: Pillow is not installed.
    """
    pillow = _pillow()
    try:
        with pillow.open(io.BytesIO(content)) as picture:
            values = np.asarray(picture.convert("RGB" if color else "L"), np.uint8)
    except (OSError, ValueError, SyntaxError) as error:
        raise DataError(f"{what}: {len(content)} bytes are no picture: {error}") from error
    if not color:
        return values[:, :, None]
    return values if rgb else np.ascontiguousarray(values[:, :, ::-1])


def encode(values: Array, quality: int = 95, img_fmt: str = ".jpg") -> bytes:
    """Return the file of a uint8 picture (height, width[, 1 or 3]), red first.

    Args:
        values: the pixels.
        quality: of JPEG, 1 to 100; of PNG how much it is compressed, 0 to 9.
        img_fmt: ".jpg" or ".png".

    Raises:
        DataError: another format, dtype or shape.
        RuntimeMissingError: Pillow is not installed.
    """
    kind = _FORMATS.get(img_fmt.lower())
    if kind is None:
        raise DataError(f"a picture is written as one of {', '.join(_FORMATS)}, not {img_fmt!r}")
    pixels = values[:, :, 0] if values.ndim == 3 and values.shape[2] == 1 else values
    if pixels.dtype != np.uint8 or pixels.ndim not in (2, 3) or pixels.shape[2:] not in ((), (3,)):
        raise DataError(
            f"a picture is uint8 of shape (height, width) or (height, width, 1 or 3); found "
            f"{values.dtype} of shape {values.shape}"
        )
    options = {"quality": quality} if kind == "JPEG" else {"compress_level": min(quality, 9)}
    out = io.BytesIO()
    _pillow().fromarray(pixels).save(out, kind, **options)
    return out.getvalue()
