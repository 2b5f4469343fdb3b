"""Files: written whole or not at all, and arrays in them with checksums."""

from symbucket.files.arrays import (
    ArrayFile,
    arrays_in,
    digest_of_arrays,
    pack_arrays,
    read_arrays,
    read_bytes,
    read_metadata,
    unpack_arrays,
)
from symbucket.files.atomic import make_folder, sync_folder, write_atomic, write_checkpoint
from symbucket.files.folders import replaced_folder
from symbucket.files.mxnet_arrays import pack_mxnet, unpack_mxnet

__all__ = [
    "ArrayFile",
    "arrays_in",
    "digest_of_arrays",
    "make_folder",
    "pack_arrays",
    "pack_mxnet",
    "read_arrays",
    "read_bytes",
    "read_metadata",
    "replaced_folder",
    "sync_folder",
    "unpack_arrays",
    "unpack_mxnet",
    "write_atomic",
    "write_checkpoint",
]
