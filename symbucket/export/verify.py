"""Opening a bundle: everything is checked before anything is run.

Whoever can write a bundle can write its checksums too, so they only reveal damage. The other checks
are against malice: files are plain files in the folder itself, models read parameters from nowhere
else, use only standard operators, and have the inputs and outputs that the manifest says.
"""

from __future__ import annotations

import hashlib
import math
import mmap
import os
import re
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from google.protobuf.message import DecodeError

from symbucket.errors import BundleError
from symbucket.export import manifest as manifests
from symbucket.export.spec import (
    ARENA,
    MANIFEST_FILE,
    MAX_TENSOR_BYTES,
    BundleFile,
    Manifest,
    NetworkSpec,
    StoredTensor,
    TensorSpec,
)

_CHUNK = 1 << 20
_BLOCK = 256  # what the runtime's arena rounds sizes up to
_BYTES = re.compile(r"0|[1-9][0-9]{0,18}")
_STANDARD = ("", "ai.onnx")


@dataclass(frozen=True)
class Opened:
    """A bundle that passed every check.

    ``models`` are ready for sessions: parameters are inputs. ``needs`` are the bytes of activations
    that a run of each takes at a time. ``arrays`` are the parameters, mapped read-only from the
    same file whose checksum was verified.
    """

    folder: Path
    manifest: Manifest
    models: dict[str, bytes]
    needs: dict[str, int]
    attachments: dict[str, bytes]
    arrays: dict[str, np.ndarray[Any, Any]]


def open_bundle(folder: str | os.PathLike[str]) -> Opened:
    """Read and check a bundle; raise BundleError with the reason if it is refused."""
    path = Path(os.path.realpath(folder))
    manifest = read_manifest(path)
    handles = {}
    try:
        for file in manifest.files():  # all must be there before the first is read
            handles[file.file] = _open_plain(path, file.file, file.nbytes)
        mapped = b""
        models: dict[str, bytes] = {}  # and attachments, until all are read
        for file in manifest.files():
            if file is manifest.parameters:
                mapped = _map(handles[file.file])
                _check_sum(path, file, mapped)
            else:
                models[file.file] = _read(handles[file.file])
                _check_sum(path, file, models[file.file])
    except OSError as error:
        raise BundleError(f"cannot read the bundle {str(path)!r}: {error}") from error
    finally:
        for handle in handles.values():
            os.close(handle)
    stored = {t.name: t for t in manifest.parameters.tensors}
    needs: dict[str, int] = {}
    for network in manifest.networks:
        models[network.file], needs[network.file] = _ready_model(
            models[network.file], network, manifest, stored, str(path / network.file)
        )
    arrays = {t.name: _array(mapped, t) for t in manifest.parameters.tensors}
    attachments = {f.file: models.pop(f.file) for f in manifest.attachments}
    return Opened(path, manifest, models, needs, attachments, arrays)


def read_manifest(folder: Path) -> Manifest:
    """Return the manifest of a bundle, checked by itself."""
    if not folder.is_dir():
        what = "is not a folder" if folder.exists() else "does not exist"
        raise BundleError(f"{str(folder)!r} {what}; a bundle is a folder that export wrote")
    where = str(folder / MANIFEST_FILE)
    try:
        handle = _open_plain(folder, MANIFEST_FILE, None)
        try:
            size = os.fstat(handle).st_size
            if size > manifests.MAX_BYTES:
                raise BundleError(f"{where!r} has {size} bytes; a manifest is far smaller")
            text = _read(handle)
        finally:
            os.close(handle)
    except OSError as error:
        raise BundleError(f"cannot read the bundle {str(folder)!r}: {error}") from error
    return manifests.parse(text, where)


def _open_plain(folder: Path, name: str, nbytes: int | None) -> int:
    """Open a file of the folder that is no link, directory or device, and has its right size."""
    path = folder / name
    try:
        status = os.lstat(path)
    except FileNotFoundError:
        raise BundleError(f"{str(folder)!r} lacks the file {name!r}") from None
    if not stat.S_ISREG(status.st_mode):
        what = "a symbolic link" if stat.S_ISLNK(status.st_mode) else "not a plain file"
        raise BundleError(f"{str(path)!r} is {what}; a bundle's files lie in its folder")
    flags = os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_BINARY", 0)
    handle = os.open(path, flags)
    size = os.fstat(handle).st_size
    if nbytes is not None and size != nbytes:
        os.close(handle)
        raise BundleError(f"{str(path)!r} has {size} bytes, the manifest says {nbytes}")
    return handle


def _read(handle: int) -> bytes:
    with os.fdopen(os.dup(handle), "rb") as file:
        return file.read()


def _map(handle: int) -> Any:
    """Map a file into memory: pages are shared between processes and read when touched."""
    if os.fstat(handle).st_size == 0:
        return b""
    return mmap.mmap(handle, 0, access=mmap.ACCESS_READ)


def _check_sum(folder: Path, file: BundleFile, content: Any) -> None:
    digest = hashlib.sha256()
    with memoryview(content) as view:
        for start in range(0, len(view), _CHUNK):
            digest.update(view[start : start + _CHUNK])
    if digest.hexdigest() != file.sha256:
        raise BundleError(
            f"{str(folder / file.file)!r} is damaged: its SHA-256 is {digest.hexdigest()}, the "
            f"manifest says {file.sha256}"
        )


def _array(mapped: Any, tensor: StoredTensor) -> np.ndarray[Any, Any]:
    if not tensor.length:
        return np.zeros(tensor.shape, tensor.dtype)
    count = math.prod(tensor.shape)
    dtype = tensor.dtype.newbyteorder("<")
    array = np.frombuffer(mapped, dtype, count, tensor.offset).reshape(tensor.shape)
    return array.astype(tensor.dtype, copy=False)


# Models -------------------------------------------------------------------------------------------


def _ready_model(
    content: bytes,
    network: NetworkSpec,
    manifest: Manifest,
    stored: dict[str, StoredTensor],
    where: str,
) -> tuple[bytes, int]:
    """Check a model against the manifest; return it with its parameters as graph inputs.

    Also returns the bytes of activations that a run takes at a time.
    """
    model = onnx.ModelProto()
    try:
        model.ParseFromString(content)
    except DecodeError as error:
        raise BundleError(f"{where!r} is not an ONNX model: {error}") from None
    _check_operators(model, manifest, where)
    graph = model.graph
    external = _external(graph, stored, manifest.parameters.file, where)
    _check_typed(graph.input, network.inputs, "inputs", where)
    _check_typed(graph.output, network.outputs, "outputs", where)
    sizes = []
    for value in graph.value_info:
        shape = [d.dim_value for d in value.type.tensor_type.shape.dim]
        sizes.append(math.prod(shape) * 8)
        if sizes[-1] > MAX_TENSOR_BYTES:
            raise BundleError(f"{where!r}: the value {value.name!r} has the absurd shape {shape}")
    need = _need(model, sum(-(-size // _BLOCK) * _BLOCK for size in sizes), where)
    constants = [t for t in graph.initializer if t.name not in external]
    for name in external:
        tensor = stored[name]
        dtype = onnx.helper.np_dtype_to_tensor_dtype(tensor.dtype)
        graph.input.append(onnx.helper.make_tensor_value_info(name, dtype, tensor.shape))
    del graph.initializer[:]
    graph.initializer.extend(constants)
    ready: bytes = model.SerializeToString()
    return ready, need


def _need(model: onnx.ModelProto, values: int, where: str) -> int:
    """Return the bytes that the model says a run takes, at most those of all its values together.

    0 if it says nothing. Memory is reserved before the first run, so a lie must not cost more than
    a run could.
    """
    texts = [entry.value for entry in model.metadata_props if entry.key == ARENA]
    if not texts:
        return 0
    if len(texts) > 1 or not _BYTES.fullmatch(texts[0]):
        raise BundleError(
            f"{where!r}: its metadata says {ARENA} = {', '.join(s[:80] for s in texts)!r}; "
            "expected one number of bytes"
        )
    return max(0, min(int(texts[0]), values, MAX_TENSOR_BYTES))


def _check_operators(model: onnx.ModelProto, manifest: Manifest, where: str) -> None:
    for entry in model.opset_import:
        if entry.domain not in _STANDARD:
            raise BundleError(f"{where!r} imports the operators of {entry.domain!r}, not standard")
        if entry.version != manifest.opset:
            raise BundleError(
                f"{where!r} has opset {entry.version}, the manifest says {manifest.opset}"
            )
    if model.functions or model.training_info:
        what = "functions" if model.functions else "training graphs"
        raise BundleError(f"{where!r} has {what}; exported networks have none")
    for graph in _graphs(model.graph):
        for node in graph.node:
            if node.domain not in _STANDARD:
                raise BundleError(
                    f"{where!r}: node {node.name!r} is {node.domain}::{node.op_type}, which is not "
                    "a standard operator"
                )


def _graphs(graph: onnx.GraphProto) -> Iterator[onnx.GraphProto]:
    """Yield a graph and those inside its nodes."""
    stack = [graph]
    while stack:
        one = stack.pop()
        yield one
        for node in one.node:
            for attribute in node.attribute:
                stack.extend([attribute.g] if attribute.HasField("g") else [])
                stack.extend(attribute.graphs)


def _tensors(graph: onnx.GraphProto) -> Iterator[tuple[onnx.TensorProto, bool]]:
    """Yield each tensor of a model, and whether it is an initializer of the graph itself."""
    for depth, one in enumerate(_graphs(graph)):
        for tensor in one.initializer:
            yield tensor, depth == 0
        sparse = list(one.sparse_initializer)
        for node in one.node:
            for attribute in node.attribute:
                if attribute.HasField("t"):
                    yield attribute.t, False
                for tensor in attribute.tensors:
                    yield tensor, False
                sparse += [attribute.sparse_tensor] if attribute.HasField("sparse_tensor") else []
                sparse += attribute.sparse_tensors
        for tensor in sparse:
            yield tensor.values, False
            yield tensor.indices, False


def _external(
    graph: onnx.GraphProto, stored: dict[str, StoredTensor], file: str, where: str
) -> list[str]:
    """Return the parameters that the model reads from the parameter file, after a check of each."""
    external: list[str] = []
    for tensor, is_initializer in _tensors(graph):
        is_external = tensor.data_location == onnx.TensorProto.EXTERNAL
        if not is_external and not tensor.external_data:
            continue
        fields = {e.key: e.value for e in tensor.external_data}
        if fields.get("location") != file:
            raise BundleError(
                f"{where!r}: the tensor {tensor.name!r} lies in {fields.get('location')!r}; "
                f"parameters lie in {file!r} and nowhere else"
            )
        expected = stored.get(tensor.name)
        if expected is None or not is_initializer or tensor.name in external:
            raise BundleError(f"{where!r}: the manifest knows no parameter {tensor.name!r}")
        dtype = onnx.helper.np_dtype_to_tensor_dtype(expected.dtype)
        place = {"location": file, "offset": str(expected.offset), "length": str(expected.length)}
        if (
            fields != place
            or tuple(tensor.dims) != expected.shape
            or tensor.data_type != dtype
            or len(fields) != len(tensor.external_data)
        ):
            raise BundleError(
                f"{where!r}: the parameter {tensor.name!r} has shape {list(tensor.dims)} at "
                f"{fields}, the manifest says {list(expected.shape)} at {place}"
            )
        external.append(tensor.name)
    return external


def _check_typed(values: Any, specs: tuple[TensorSpec, ...], what: str, where: str) -> None:
    expected = [(t.name, onnx.helper.np_dtype_to_tensor_dtype(t.dtype), t.shape) for t in specs]
    actual = []
    for value in values:
        kind = value.type.tensor_type
        actual.append((value.name, kind.elem_type, tuple(d.dim_value for d in kind.shape.dim)))
    if actual != expected:
        wrong = next((h for h in actual if h not in expected), None) or next(
            (s for s in expected if s not in actual), "their order"
        )
        raise BundleError(
            f"{where!r}: its {what} are not those of the manifest; they differ in {wrong}"
        )
