"""Positions of iterators as JSON values: what ``state()`` returns and ``restore()`` takes."""

from __future__ import annotations

import base64
import functools
import hashlib
import logging
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from symbucket.errors import DataError, InvalidArgumentError, SymbucketError, UnsupportedError

State = dict[str, Any]

logger = logging.getLogger("symbucket.io")

_SAMPLED_BYTES = 1 << 26


def data_digest(arrays: Iterable[NDArray[Any]], *labels: object) -> str:
    """Return a hash of data, by which a state tells whether an iterator has other data now.

    Of an array beyond 64 MB, rows at equal distances count, so that it does not take seconds.
    """
    digest = hashlib.sha256(repr(labels).encode())
    for array in arrays:
        digest.update(repr((array.dtype.str, array.shape)).encode())
        step = 1 + array.nbytes // _SAMPLED_BYTES
        digest.update(np.ascontiguousarray(array[::step] if array.ndim else array).data)
    return digest.hexdigest()[:32]


def pack_ids(ids: NDArray[np.int64]) -> str:
    """Return positions of samples as text."""
    return base64.b64encode(np.asarray(ids, "<u4").tobytes()).decode()


def unpack_ids(text: str) -> NDArray[np.int64]:
    """Return the positions in a text of ``pack_ids``."""
    return np.frombuffer(base64.b64decode(text), "<u4").astype(np.int64)


def state_of(iterator: Any) -> State | None:
    """Return an iterator's state, or None if it has none to give."""
    if not hasattr(iterator, "state"):
        return None
    try:
        state: State = iterator.state()
    except UnsupportedError:
        return None
    return state


def check_kind(iterator: object, state: Mapping[str, Any]) -> None:
    """Raise InvalidArgumentError unless ``state`` is that of an iterator of this class."""
    name = type(iterator).__name__
    kind = state.get("iterator") if isinstance(state, Mapping) else None
    if kind != name:
        raise InvalidArgumentError(
            f"{name}.restore: the state is that of {kind or 'no iterator'}; expected what "
            f"{name}.state() returned"
        )


def restores(method: Callable[[Any, Mapping[str, Any]], None]) -> Callable[[Any, Any], None]:
    """Return a ``restore`` that refuses what is no state of its class, and changes nothing then.

    Raises InvalidArgumentError for a state of another class, or one that is damaged.
    """

    @functools.wraps(method)
    def restore(self: Any, state: Any) -> None:
        check_kind(self, state)
        before = dict(vars(self))
        try:
            method(self, state)
        except (KeyError, TypeError, ValueError, AttributeError, IndexError) as error:
            vars(self).clear()
            vars(self).update(before)
            if isinstance(error, SymbucketError):
                raise
            name = type(self).__name__
            raise InvalidArgumentError(
                f"{name}.restore: the state is damaged ({type(error).__name__}: {error}); expected "
                f"what {name}.state() returned"
            ) from error

    return restore


def _other_data(iterator: object) -> DataError:
    name = type(iterator).__name__
    return DataError(
        f"{name}.restore: the state lies in the middle of an epoch over other data (or data cut "
        "differently), so nobody can tell which of these samples had their turn. Restore with the "
        "data of that time, or begin the epoch anew: set state['position'] to 0"
    )


def compare(
    iterator: object, state: Mapping[str, Any], digest: str, layout: Mapping[str, Any]
) -> tuple[bool, list[str]]:
    """Compare an iterator with the one that a state is of.

    Args:
        iterator: the one that goes on.
        state: of an iterator of the same class.
        digest: of the data of ``iterator``.
        layout: what its batches depend on besides. The seed, which goes with the state, is left
            out.

    Returns:
        Whether the data are the same, and all differences in words.

    Raises:
        DataError: the state lies in the middle of an epoch over other data.
    """
    changes = [
        f"{name.replace('_', ' ')} {state.get(name)} is {value} now"
        for name, value in layout.items()
        if name != "seed" and state.get(name) != value
    ]
    same_data = state["data"] == digest
    if not same_data:
        if state["position"] and not state["finished"]:
            raise _other_data(iterator)
        changes.append("the data are other ones")
    return same_data, changes


def tell_changes(iterator: object, epoch: int, left: int, changes: Iterable[str]) -> None:
    """Warn that an iterator goes on with another layout than the one that a state is of."""
    logger.warning(
        "%s: goes on in epoch %d with %d samples that had no turn in it yet: %s",
        type(iterator).__name__,
        epoch,
        left,
        "; ".join(changes),
    )
