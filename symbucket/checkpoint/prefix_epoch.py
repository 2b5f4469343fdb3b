"""MXNet's form of a checkpoint: a symbol file, and files of parameters by epoch.

``prefix-symbol.json`` holds the network in the layout of MXNet's symbol files, and
``prefix-0001.params`` the parameters after epoch 1, under the keys ``arg:NAME`` and ``aux:NAME``:
as safetensors with a checksum, or in MXNet's own format. The first says which network it belongs
to. Either form is read.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from symbucket.checks import check_choice, check_integer
from symbucket.context import cpu
from symbucket.errors import CheckpointError, InvalidArgumentError
from symbucket.files import (
    digest_of_arrays,
    make_folder,
    pack_arrays,
    pack_mxnet,
    read_arrays,
    write_checkpoint,
)
from symbucket.runtime import NDArray
from symbucket.symbol import Symbol, load

Params = dict[str, NDArray]

FORMATS = ("safetensors", "mxnet")

_NETWORK = "network"


class LoadedParams(NamedTuple):
    """The content of a parameter file."""

    args: Params
    aux: Params
    network: str | None
    """The digest of the network that the file belongs to, if it says so."""


def save_params(
    path: str,
    arg_params: Mapping[str, Any],
    aux_params: Mapping[str, Any],
    format: str = "safetensors",
    symbol: Symbol | None = None,
) -> None:
    """Write parameters and auxiliary states to one file, atomically.

    Args:
        path: the file. arg_params, aux_params: arrays by name, which keep their dtypes.
        format: "safetensors", with a checksum; or "mxnet", which MXNet 1.x loads.
        symbol: the network of the parameters; a safetensors file says which it was.
    """
    check_choice(format, "save_params: format", FORMATS)
    arrays = _named(arg_params, aux_params)
    if format == "mxnet":
        write_checkpoint(path, pack_mxnet(arrays))
        return
    network = {} if symbol is None else {_NETWORK: symbol.digest()}
    write_checkpoint(path, pack_arrays(arrays, "symbucket-params", network))


def _named(
    arg_params: Mapping[str, Any], aux_params: Mapping[str, Any]
) -> dict[str, np.ndarray[Any, Any]]:
    arrays = {f"arg:{name}": np.asarray(values) for name, values in arg_params.items()}
    return arrays | {f"aux:{name}": np.asarray(values) for name, values in aux_params.items()}


def parameters_digest(arg_params: Mapping[str, Any], aux_params: Mapping[str, Any]) -> str:
    """Return a SHA-256 over parameters and auxiliary states: what other files refer to."""
    return digest_of_arrays(_named(arg_params, aux_params))


def load_params(path: str) -> tuple[Params, Params]:
    """Return parameters and auxiliary states from a file of either format, as NDArrays by name.

    Raises CheckpointError if the file is missing or damaged.
    """
    loaded = read_params(path)
    return loaded.args, loaded.aux


def read_params(path: str) -> LoadedParams:
    """Return what ``load_params`` does, and which network it belongs to."""
    if not os.path.exists(path):
        raise CheckpointError(f"there is no parameter file {path!r}{_neighbours(path)}")
    arrays, metadata = read_arrays(path)
    loaded = LoadedParams({}, {}, metadata.get(_NETWORK))
    for key, values in arrays.items():
        kind, _, name = key.partition(":")
        if kind not in ("arg", "aux") or not name:
            raise CheckpointError(
                f"{path!r}: strange key {key!r}; expected arg:NAME or aux:NAME. nd.load reads "
                "files of arrays under other names"
            )
        (loaded.args if kind == "arg" else loaded.aux)[name] = NDArray.of(values, cpu())
    return loaded


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
    """Return the path of an epoch's parameters; raise InvalidArgumentError for strange ones."""
    return _path(prefix, epoch, "params")


def states_path(prefix: str, epoch: int) -> str:
    """Return the path of the optimizer's states after an epoch."""
    return _path(prefix, epoch, "states")


def _path(prefix: str, epoch: int, suffix: str) -> str:
    if not isinstance(prefix, (str, os.PathLike)) or not os.fspath(prefix):
        raise InvalidArgumentError(
            f"a checkpoint's prefix is {prefix!r}; expected a path and the beginning of the file "
            "names, as in 'runs/lstm'"
        )
    return f"{os.fspath(prefix)}-{check_integer(epoch, 'epoch', 0):04d}.{suffix}"


def save_checkpoint(
    prefix: str,
    epoch: int,
    symbol: Symbol | None,
    arg_params: Mapping[str, Any],
    aux_params: Mapping[str, Any],
    remove_amp_cast: bool = True,
    format: str = "safetensors",
) -> None:
    """Write ``prefix-symbol.json`` (if there is a symbol) and ``prefix-EPOCH.params``.

    ``format`` is that of ``save_params``; with "mxnet" MXNet 1.x loads both files. The folder is
    made if it is not there. ``remove_amp_cast`` is MXNet's; there are no such casts here.
    """
    path = params_path(prefix, epoch)
    check_choice(format, "save_checkpoint: format", FORMATS)
    if symbol is not None and not isinstance(symbol, Symbol):
        raise InvalidArgumentError(f"save_checkpoint: {symbol!r} is not a Symbol")
    make_folder(path)
    if symbol is not None:
        write_checkpoint(f"{os.fspath(prefix)}-symbol.json", symbol.tojson().encode())
    save_params(path, arg_params, aux_params, format, symbol)
    logging.info('Saved checkpoint to "%s"', path)


def load_checkpoint(prefix: str, epoch: int) -> tuple[Symbol, Params, Params]:
    """Return symbol, parameters and auxiliary states of an epoch; arrays are NDArrays.

    Raises CheckpointError if a file is missing or damaged, or if the symbol file has been
    overwritten with another network than that of the parameters.
    """
    path = params_path(prefix, epoch)
    symbol_path = f"{os.fspath(prefix)}-symbol.json"
    try:
        symbol = load(symbol_path)
    except InvalidArgumentError as error:
        raise CheckpointError(str(error)) from error
    loaded = read_params(path)
    if loaded.network not in (None, symbol.digest()):
        raise CheckpointError(
            f"{path!r} belongs to another network than the one in {symbol_path!r}: one of the two "
            "was written later, or alone. Use the symbol of the program that trained it, with "
            "load_params, or another epoch"
        )
    return symbol, loaded.args, loaded.aux
