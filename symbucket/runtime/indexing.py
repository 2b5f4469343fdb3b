"""Keys of arrays, by MXNet's rules.

Numbers, slices, ``None`` and ``...`` select a part; where it is contiguous in memory it is a view.
Lists and arrays are row numbers, also those of float32, and give a copy. Masks are refused: MXNet
has none here, and takes True and False in a list for the row numbers 1 and 0.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from symbucket.errors import IndexingError

_MASK = (
    "an array of bool is no index (MXNet has no masks here, and a comparison of arrays gives "
    "numbers, which are row numbers). Use x.asnumpy() with a mask, or nd.where"
)


def numpy_key(key: Any, arrays: tuple[type, ...]) -> tuple[Any, bool]:
    """Return a key for numpy, and whether it selects by row numbers.

    With ``...`` in it numpy returns an array, also where numbers stand for all axes. ``arrays``:
    the types that hold row numbers, besides lists and numpy arrays. Raises IndexingError if the key
    is none.
    """
    if type(key) is int:
        return (key, ...), False
    if type(key) is slice or key is Ellipsis:
        return key, False
    plain = [_part(part, arrays) for part in (key if isinstance(key, tuple) else (key,))]
    if not any(part is Ellipsis for part in plain):
        plain.append(Ellipsis)
    return tuple(plain), any(isinstance(part, np.ndarray) for part in plain)


def _part(part: Any, arrays: tuple[type, ...]) -> Any:
    if part is None or part is Ellipsis or isinstance(part, slice):
        return part
    if isinstance(part, (bool, np.bool_)):
        raise IndexingError(_MASK)
    if isinstance(part, (int, np.integer)):
        return int(part)
    if not isinstance(part, (list, range, np.ndarray, *arrays)):
        raise IndexingError(
            f"{part!r} of type {type(part).__name__} is no index; expected numbers, slices, None, "
            "..., or lists and arrays of row numbers"
        )
    numbers = np.asarray(part)
    if numbers.dtype == bool:
        raise IndexingError(_MASK)
    if numbers.size and numbers.dtype.kind not in "iuf":
        raise IndexingError(f"an array of {numbers.dtype} is no index; expected row numbers")
    return numbers.astype(np.int64)
