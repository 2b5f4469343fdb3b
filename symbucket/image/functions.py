"""Reading, resizing and cropping single pictures."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from symbucket import seeding
from symbucket.checks import check_integer
from symbucket.errors import DataError, InvalidArgumentError, ShapeError
from symbucket.pictures import INTERPOLATIONS, decode, resize, size_by_short_edge
from symbucket.runtime import NDArray
from symbucket.types import Array

Picture = NDArray
Box = tuple[int, int, int, int]
"""Left, top, width, height, in pixels."""


def pixels(src: Any) -> Array:
    """Return a picture's pixels; raise ShapeError unless it has three axes."""
    values = src.view() if isinstance(src, NDArray) else np.asarray(src)
    if values.ndim != 3 or min(values.shape) < 1:
        raise ShapeError(
            f"a picture has shape (height, width, channels), this one {tuple(values.shape)}"
        )
    return values


def imread(filename: str | os.PathLike[str], flag: int = 1, to_rgb: bool = True) -> Picture:
    """Return the picture of a file: :func:`imdecode` of its bytes.

    Raises DataError if the file cannot be read.
    """
    try:
        content = Path(filename).read_bytes()
    except OSError as error:
        raise DataError(f"imread: cannot read {os.fspath(filename)!r}: {error}") from error
    return _decoded(content, flag, to_rgb, os.fspath(filename))


def imdecode(buf: Any, flag: int = 1, to_rgb: bool = True, out: Picture | None = None) -> Picture:
    """Return the picture in the bytes of a JPEG or PNG file, uint8 (height, width, channels).

    Args:
        buf: bytes, or an array of them.
        flag: 1: three channels; 0: one, of grey.
        to_rgb: red first, not blue.
        out: an array of the picture's shape to write into.
    """
    content = bytes(buf) if isinstance(buf, (bytes, bytearray)) else np.asarray(buf).tobytes()
    picture = _decoded(content, flag, to_rgb, "imdecode")
    if out is None:
        return picture
    out[...] = picture
    return out


def _decoded(content: bytes, flag: int, to_rgb: bool, what: str) -> Picture:
    if flag not in (0, 1):
        raise InvalidArgumentError(f"flag={flag!r} must be 1 (three channels) or 0 (grey)")
    return NDArray.over(decode(content, flag == 1, bool(to_rgb), what))


def _kind(interp: int, rows: int, columns: int, height: int, width: int) -> str:
    """Return the interpolation of MXNet's number; 9 chooses by sizes, 10 by chance."""
    if interp == 9:
        if height > rows and width > columns:
            return "cubic"
        return "area" if height < rows and width < columns else "linear"
    if interp == 10:
        return str(seeding.generator().choice(INTERPOLATIONS))
    if isinstance(interp, bool) or interp not in range(len(INTERPOLATIONS)):
        names = ", ".join(f"{i} ({name})" for i, name in enumerate(INTERPOLATIONS))
        raise InvalidArgumentError(f"interp={interp!r} must be one of {names}, 9 or 10")
    return INTERPOLATIONS[interp]


def imresize(src: Any, w: int, h: int, interp: int = 1) -> Picture:
    """Return a picture of ``w`` columns and ``h`` rows.

    Args:
        src: (height, width, channels).
        w, h: in pixels.
        interp: 0 nearest, 1 linear, 2 cubic, 3 area, 4 Lanczos; 9: cubic to enlarge, area to
            shrink, else linear; 10: any of them, at random.

    Returns:
        The dtype of ``src``; integers may differ from OpenCV's by 1 in some places.
    """
    values = pixels(src)
    width, height = check_integer(w, "imresize: w", 1), check_integer(h, "imresize: h", 1)
    kind = _kind(interp, values.shape[0], values.shape[1], height, width)
    return NDArray.over(resize(values, width, height, kind))


def resize_short(src: Any, size: int, interp: int = 2) -> Picture:
    """Return a picture whose shorter edge has ``size`` pixels, with the same aspect ratio."""
    rows, columns = pixels(src).shape[:2]
    check_integer(size, "resize_short: size", 1)
    return imresize(src, *size_by_short_edge(rows, columns, size), interp)


def scale_down(src_size: Sequence[int], size: Sequence[int]) -> tuple[int, int]:
    """Return the size (width, height) of a crop, made smaller until it fits into ``src_size``."""
    (columns, rows), (w, h) = src_size, size
    width, height = float(w), float(h)
    if rows < height:
        width, height = width * rows / height, float(rows)
    if columns < width:
        width, height = float(columns), height * columns / width
    return int(width), int(height)


def fixed_crop(
    src: Any,
    x0: int,
    y0: int,
    w: int,
    h: int,
    size: Sequence[int] | None = None,
    interp: int = 2,
) -> Picture:
    """Return ``w`` columns from ``x0`` and ``h`` rows from ``y0``, resized to ``size`` (w, h).

    Raises ShapeError if they do not lie within the picture.
    """
    values = pixels(src)
    rows, columns = values.shape[:2]
    if min(x0, y0) < 0 or min(w, h) < 1 or x0 + w > columns or y0 + h > rows:
        raise ShapeError(
            f"{w} columns from {x0} and {h} rows from {y0} do not lie within a picture of "
            f"{columns} columns and {rows} rows"
        )
    part = NDArray.over(np.ascontiguousarray(values[y0 : y0 + h, x0 : x0 + w]))
    if size is None or (w, h) == tuple(size):
        return part
    return imresize(part, size[0], size[1], interp)


def _crop(src: Any, size: Sequence[int], interp: int, share: Any) -> tuple[Picture, Box]:
    rows, columns = pixels(src).shape[:2]
    width, height = scale_down((columns, rows), size)
    box = (share(columns - width), share(rows - height), width, height)
    return fixed_crop(src, *box, size=size, interp=interp), box


def random_crop(src: Any, size: Sequence[int], interp: int = 2) -> tuple[Picture, Box]:
    """Return a random part of ``size`` (w, h), and where it was.

    If the picture is smaller, the largest part of that shape is enlarged.
    """
    generator = seeding.generator()
    return _crop(src, size, interp, lambda rest: int(generator.integers(0, rest + 1)))


def center_crop(src: Any, size: Sequence[int], interp: int = 2) -> tuple[Picture, Box]:
    """Return the middle of a picture, of ``size`` (w, h), and where it was.

    If the picture is smaller, the largest part of that shape is enlarged.
    """
    return _crop(src, size, interp, lambda rest: rest // 2)


def random_size_crop(
    src: Any,
    size: Sequence[int],
    area: float | Sequence[float],
    ratio: Sequence[float],
    interp: int = 2,
) -> tuple[Picture, Box]:
    """Return a random part of random area and aspect ratio, resized to ``size``, and where it was.

    Args:
        src: the picture.
        size: (w, h) of the result.
        area: least and largest share of the picture's area; one number: the least.
        ratio: least and largest width over height.
        interp: as of :func:`imresize`.

    If no such part fits in ten attempts, the middle is taken.
    """
    rows, columns = pixels(src).shape[:2]
    low, high = (area, 1.0) if isinstance(area, (int, float)) else area
    generator = seeding.generator()
    for _ in range(10):
        target = generator.uniform(low, high) * rows * columns
        aspect = math.exp(generator.uniform(math.log(ratio[0]), math.log(ratio[1])))
        width, height = round(math.sqrt(target * aspect)), round(math.sqrt(target / aspect))
        if 0 < width <= columns and 0 < height <= rows:
            x0 = int(generator.integers(0, columns - width + 1))
            y0 = int(generator.integers(0, rows - height + 1))
            part = fixed_crop(src, x0, y0, width, height, size, interp)
            return part, (x0, y0, width, height)
    return center_crop(src, size, interp)


def color_normalize(src: Any, mean: Any, std: Any = None) -> Picture:
    """Return ``(src - mean) / std`` as float32; each a number, or one for each channel, or None."""
    values: Array = pixels(src).astype(np.float32)
    if mean is not None:
        values = values - np.asarray(mean, np.float32)
    if std is not None:
        values = values / np.asarray(std, np.float32)
    return NDArray.over(values)
