"""Weights of gated cells: stacked gate by gate in one array, or one array a gate."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from symbucket.context import cpu
from symbucket.errors import ParameterError
from symbucket.runtime import NDArray

Arrays = Mapping[str, Any]


def take(args: dict[str, Any], name: str, who: str) -> np.ndarray[Any, Any]:
    """Remove ``name`` from ``args`` and return it as a numpy array."""
    if name not in args:
        names = ", ".join(list(args)[:12]) or "nothing"
        raise ParameterError(
            f"{who} needs {name!r}, which is not among the given arrays: {names}. Pass the "
            "parameters of the network that this cell is part of (pack_weights takes what "
            "unpack_weights gave)."
        )
    return np.asarray(args.pop(name))


def require_shape(
    name: str, array: np.ndarray[Any, Any], shape: Sequence[int | None], who: str
) -> None:
    """Raise ParameterError unless ``array`` has ``shape`` (None: any size)."""
    fits = len(array.shape) == len(shape) and all(
        expected in (None, size) for expected, size in zip(shape, array.shape)
    )
    if not fits:
        said = ", ".join("any" if d is None else str(d) for d in shape)
        raise ParameterError(f"{who}: {name!r} has shape {array.shape}, expected ({said})")


def unpack_gates(
    args: Arrays, prefix: str, gates: Sequence[str], hidden: int, who: str, axes: int = 2
) -> dict[str, Any]:
    """Return a copy of ``args`` with a cell's four stacked arrays split into one NDArray a gate.

    ``axes``: of the weights.
    """
    out = dict(args)
    rows = len(gates) * hidden
    for name, trailing in _stacked(prefix, axes):
        stem, kind = name.rsplit("_", 1)
        whole = take(out, name, who)
        require_shape(name, whole, (rows, *trailing), who)
        for gate, part in zip(gates, np.split(whole, len(gates))):
            out[f"{stem}{gate}_{kind}"] = NDArray.of(part, cpu())
    return out


def pack_gates(
    args: Arrays, prefix: str, gates: Sequence[str], hidden: int, who: str, axes: int = 2
) -> dict[str, Any]:
    """The reverse of ``unpack_gates``."""
    out = dict(args)
    for name, trailing in _stacked(prefix, axes):
        stem, kind = name.rsplit("_", 1)
        parts: list[np.ndarray[Any, Any]] = []
        for gate in gates:
            part_name = f"{stem}{gate}_{kind}"
            part = take(out, part_name, who)
            require_shape(part_name, part, (hidden, *trailing), who)
            if parts:
                require_shape(part_name, part, parts[0].shape, who)
            parts.append(part)
        out[name] = NDArray.of(np.concatenate(parts), cpu())
    return out


def _stacked(prefix: str, axes: int) -> Iterable[tuple[str, tuple[None, ...]]]:
    for group in ("i2h", "h2h"):
        yield f"{prefix}{group}_weight", (None,) * (axes - 1)
        yield f"{prefix}{group}_bias", ()
