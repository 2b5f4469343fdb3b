"""Checkpoints: a symbol file and a parameter file, written atomically and without pickle.

``prefix-symbol.json`` holds the network in the layout of MXNet's symbol files, and
``prefix-0001.params`` the parameters after epoch 1 in the safetensors format, under the keys
``arg:NAME`` and ``aux:NAME``.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

import numpy as np
import safetensors
from safetensors.numpy import save as to_bytes

from symbucket.context import cpu
from symbucket.errors import CheckpointError, InvalidArgumentError
from symbucket.files import write_checkpoint
from symbucket.runtime import NDArray
from symbucket.symbol import Symbol, load

Params = dict[str, NDArray]


def _plain(values: Any) -> np.ndarray[Any, Any]:
    return np.ascontiguousarray(np.asarray(values))


def save_params(path: str, arg_params: Mapping[str, Any], aux_params: Mapping[str, Any]) -> None:
    """Write parameters and auxiliary states to one file."""
    arrays = {f"arg:{name}": _plain(values) for name, values in arg_params.items()}
    arrays.update({f"aux:{name}": _plain(values) for name, values in aux_params.items()})
    write_checkpoint(path, to_bytes(arrays, {"format": "symbucket-params", "version": "1"}))


def load_params(path: str) -> tuple[Params, Params]:
    """Return parameters and auxiliary states from a file, as NDArrays by name.

    Raises CheckpointError if the file is missing or damaged.
    """
    if not os.path.exists(path):
        raise CheckpointError(f"there is no parameter file {path!r}{_neighbours(path)}")
    arg_params: Params = {}
    aux_params: Params = {}
    try:
        with safetensors.safe_open(path, "numpy") as file:
            for key in file.keys():  # noqa: SIM118 - the file is no dict
                kind, _, name = key.partition(":")
                if kind not in ("arg", "aux") or not name:
                    raise CheckpointError(f"{path!r}: strange key {key!r}; expected arg:NAME")
                array = NDArray.of(file.get_tensor(key), cpu())
                (arg_params if kind == "arg" else aux_params)[name] = array
    except (safetensors.SafetensorError, OSError) as error:
        raise CheckpointError(f"{path!r} is damaged or no parameter file: {error}") from error
    return arg_params, aux_params


def _neighbours(path: str) -> str:
    folder, name = os.path.split(os.path.abspath(path))
    prefix = name.rpartition("-")[0]
    if not prefix or not os.path.isdir(folder):
        return ""
    checkpoints = sorted(
        f for f in os.listdir(folder) if f.startswith(prefix + "-") and f.endswith(".params")
    )
    return f"; found there: {', '.join(checkpoints)}" if checkpoints else ""


def params_path(prefix: str, epoch: int) -> str:
    """The parameter file of an epoch."""
    return f"{prefix}-{epoch:04d}.params"


def save_checkpoint(
    prefix: str,
    epoch: int,
    symbol: Symbol | None,
    arg_params: Mapping[str, Any],
    aux_params: Mapping[str, Any],
    remove_amp_cast: bool = True,
) -> None:
    """Write ``prefix-symbol.json`` (where there is a symbol) and ``prefix-EPOCH.params``.

    ``remove_amp_cast`` is MXNet's; there are no such casts here.
    """
    if symbol is not None:
        if not isinstance(symbol, Symbol):
            raise InvalidArgumentError(f"save_checkpoint: {symbol!r} is not a Symbol")
        write_checkpoint(f"{prefix}-symbol.json", symbol.tojson().encode())
    save_params(params_path(prefix, epoch), arg_params, aux_params)


def load_checkpoint(prefix: str, epoch: int) -> tuple[Symbol, Params, Params]:
    """Return symbol, parameters and auxiliary states of an epoch; arrays are NDArrays."""
    try:
        symbol = load(f"{prefix}-symbol.json")
    except InvalidArgumentError as error:
        raise CheckpointError(str(error)) from error
    arg_params, aux_params = load_params(params_path(prefix, epoch))
    return symbol, arg_params, aux_params
