"""Files of arrays."""

from __future__ import annotations

from collections.abc import Mapping

from symbucket.checks import check_choice
from symbucket.errors import CheckpointError, InvalidArgumentError
from symbucket.files import (
    ArrayFile,
    arrays_in,
    pack_arrays,
    pack_mxnet,
    read_arrays,
    write_checkpoint,
)
from symbucket.ndarray.create import holding
from symbucket.runtime import NDArray

_FORMAT = "symbucket-nd"


def save(
    fname: str,
    data: NDArray | list[NDArray] | tuple[NDArray, ...] | Mapping[str, NDArray],
    format: str = "safetensors",
) -> None:
    """Write one array, a list or a dict of arrays to a file, atomically.

    A single array is written as a list of one. ``format`` is "safetensors", with a checksum, or
    "mxnet", which ``mx.nd.load`` of MXNet 1.x reads. Raises InvalidArgumentError, with nothing
    written, where ``data`` holds something else.
    """
    check_choice(format, "nd.save: format", ("safetensors", "mxnet"))
    if isinstance(data, NDArray):
        data = [data]
    if isinstance(data, Mapping):
        kind, named = "dict", dict(data)
    elif isinstance(data, (list, tuple)):
        kind, named = "list", {str(i): value for i, value in enumerate(data)}
    else:
        raise InvalidArgumentError(
            f"nd.save: data is a {type(data).__name__}; expected an NDArray, a list or a dict"
        )
    for name, value in named.items():
        if not isinstance(name, str) or name == "__metadata__":
            raise InvalidArgumentError(
                f"nd.save: the key {name!r} cannot name an array; use another string"
            )
        if not isinstance(value, NDArray):
            raise InvalidArgumentError(
                f"nd.save: the entry {name!r} is a {type(value).__name__}; expected an NDArray "
                "(nd.array makes one)"
            )
    plain = {name: value.view() for name, value in named.items()}
    if format == "mxnet":
        content = pack_mxnet(plain if kind == "dict" else list(plain.values()))
    else:
        content = pack_arrays(plain, _FORMAT, {"kind": kind})
    write_checkpoint(fname, content)


def load(fname: str) -> list[NDArray] | dict[str, NDArray]:
    """Read what ``save`` or MXNet wrote: a list or a dict, in host memory.

    Other safetensors files, such as a checkpoint's ``.params``, give a dict. Raises CheckpointError
    where there is no such file or it is damaged.
    """
    return _arrays(read_arrays(fname, "file of arrays"), f"nd.load: {fname!r}")


def load_frombuffer(buf: bytes) -> list[NDArray] | dict[str, NDArray]:
    """Return what :func:`load` would of a file with this content; errors alike."""
    if not isinstance(buf, (bytes, bytearray, memoryview)):
        raise InvalidArgumentError(
            f"nd.load_frombuffer: buf is a {type(buf).__name__}; expected the bytes of a file"
        )
    where = "nd.load_frombuffer: the buffer"
    return _arrays(arrays_in(bytes(buf), where, "file of arrays"), where)


def _arrays(file: ArrayFile, where: str) -> list[NDArray] | dict[str, NDArray]:
    loaded, about = file
    arrays = {name: holding(values, None) for name, values in loaded.items()}
    if about.get("kind") != "list":
        return arrays
    try:
        return [arrays[str(i)] for i in range(len(arrays))]
    except KeyError as error:
        raise CheckpointError(
            f"{where} holds a list of {len(arrays)} arrays, but entry {error} is missing"
        ) from None
