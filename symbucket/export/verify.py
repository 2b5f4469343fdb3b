"""Opening a bundle: everything is checked before anything is run.

Whoever can write a bundle can write its checksums too, so they only reveal damage. The other checks
are against malice: files are plain files in the folder itself, models read parameters from nowhere
else, use only standard operators, and have the inputs and outputs that the manifest says.
"""

from __future__ import annotations

import math
import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from google.protobuf.message import DecodeError

from symbucket.checks import one_line
from symbucket.errors import BundleError
from symbucket.export import manifest as manifests
from symbucket.export.activations import activation_bytes
from symbucket.export.bundle_files import (
    identity_of,
    map_file,
    open_plain,
    read_aligned,
    read_all,
    require_sum,
    resolved,
)
from symbucket.export.spec import (
    ARENA,
    MANIFEST_FILE,
    MAX_TENSOR_BYTES,
    Manifest,
    NetworkSpec,
    StoredTensor,
    TensorSpec,
    largest_shapes,
)
from symbucket.types import Array

_MOST_REPLACED = 5  # times that a folder may be replaced while it is read
_BLOCK = 256  # what the runtime's arena rounds sizes up to
_BYTES = re.compile(r"0|[1-9][0-9]{0,18}")
_STANDARD = ("", "ai.onnx")


@dataclass(frozen=True)
class OpenedModel:
    """A model that passed every check.

    Attributes:
        proto: the model as it is written: its parameters are initializers without values.
        parameters: their names.
        need: the bytes of activations that a run takes at a time.
    """

    proto: onnx.ModelProto
    parameters: tuple[str, ...]
    need: int


@dataclass(frozen=True)
class Opened:
    """A bundle that passed every check; ``models`` are by file, ``arrays`` are the parameters."""

    folder: Path
    manifest: Manifest
    models: dict[str, OpenedModel]
    attachments: dict[str, bytes]
    arrays: dict[str, Array]


def open_bundle(folder: str | os.PathLike[str], map_parameters: bool = False) -> Opened:
    """Read and check a bundle; raise BundleError with the reason if it is refused.

    The parameters are read into memory of this process, so whatever happens to the file later
    changes nothing. With ``map_parameters`` they are mapped: processes share the memory, but
    whoever truncates the file ends them all, and whoever writes into it changes their answers.
    If an export takes the folder's place meanwhile, the new bundle is read.
    """
    path = resolved(folder)
    for _ in range(_MOST_REPLACED):
        identity = identity_of(path)
        try:
            return _open_bundle(path, map_parameters)
        except BundleError:
            if identity_of(path) == identity:
                raise
    return _open_bundle(path, map_parameters)


def _open_bundle(path: Path, map_parameters: bool) -> Opened:
    manifest = read_manifest(path)
    handles = {}
    try:
        for file in manifest.files():  # all must be there before the first is read
            handles[file.file] = open_plain(path, file.file, file.nbytes)
        stored_bytes: Any = b""
        contents: dict[str, bytes] = {}
        for file in manifest.files():
            if file is manifest.parameters:
                stored_bytes = (map_file if map_parameters else read_aligned)(handles[file.file])
                require_sum(path, file, stored_bytes)
            else:
                contents[file.file] = read_all(handles[file.file])
                require_sum(path, file, contents[file.file])
    except OSError as error:
        raise BundleError(f"cannot read the bundle {str(path)!r}: {error}") from error
    finally:
        for handle in handles.values():
            os.close(handle)
    stored = {t.name: t for t in manifest.parameters.tensors}
    networks: dict[str, list[NetworkSpec]] = {}
    for network in manifest.networks:
        networks.setdefault(network.file, []).append(network)
    training = manifest.mode == "training"
    models = {
        name: _checked_model(contents[name], members, manifest, stored, str(path / name))
        for name, members in networks.items()
        if not training
    }
    arrays = {t.name: _array(stored_bytes, t) for t in manifest.parameters.tensors}
    attachments = {f.file: contents[f.file] for f in manifest.attachments}
    return Opened(path, manifest, models, attachments, arrays)


def read_manifest(folder: Path) -> Manifest:
    """Return the manifest of a bundle, checked by itself."""
    if not folder.is_dir():
        what = "is not a folder" if folder.exists() else "does not exist"
        raise BundleError(f"{str(folder)!r} {what}; a bundle is a folder that export wrote")
    where = str(folder / MANIFEST_FILE)
    try:
        handle = open_plain(folder, MANIFEST_FILE, None)
        try:
            size = os.fstat(handle).st_size
            if size > manifests.MAX_BYTES:
                raise BundleError(f"{where!r} has {size} bytes; a manifest is far smaller")
            text = read_all(handle)
        finally:
            os.close(handle)
    except OSError as error:
        raise BundleError(f"cannot read the bundle {str(folder)!r}: {error}") from error
    return manifests.parse(text, where)


def _array(mapped: Any, tensor: StoredTensor) -> Array:
    if not tensor.length:
        return np.zeros(tensor.shape, tensor.dtype)
    count = math.prod(tensor.shape)
    dtype = tensor.dtype.newbyteorder("<")
    array = np.frombuffer(mapped, dtype, count, tensor.offset).reshape(tensor.shape)
    array = array.astype(tensor.dtype, copy=False)
    array.flags.writeable = False
    return array


# Models -------------------------------------------------------------------------------------------


def _checked_model(
    content: bytes,
    networks: Sequence[NetworkSpec],
    manifest: Manifest,
    stored: dict[str, StoredTensor],
    where: str,
) -> OpenedModel:
    """Check a model against the manifest; ``networks`` are those whose file it is."""
    model = onnx.ModelProto()
    try:
        model.ParseFromString(content)
        del model.graph.value_info[:]  # every shape is computed here and by the runtime
        _check_operators(model, manifest, where)
        external = _external(model.graph, stored, manifest.parameters.file, where)
    except (DecodeError, UnicodeDecodeError) as error:
        raise BundleError(f"{where!r} is not an ONNX model: {one_line(error)}") from None
    plain = with_inputs(model, {name: stored[name] for name in external})
    for network in networks:
        data = [value for value in plain.graph.input if value.name not in external]
        _check_typed(data, network.inputs, network, "inputs", where)
        _check_typed(plain.graph.output, network.outputs, network, "outputs", where)
    try:
        onnx.checker.check_model(plain)
    except Exception as error:  # onnx's errors have no common base
        raise BundleError(f"{where!r} is not a valid ONNX model: {one_line(error)}") from None
    for network in networks:
        need = activation_bytes(plain, largest_shapes(network), where)
        if need > network.activations:
            raise BundleError(
                f"{where!r}: a run of key {network.key!r} takes {need} bytes of activations; the "
                f"manifest promises at most {network.activations}"
            )
    most = max(network.activations for network in networks) + _BLOCK * len(plain.graph.node)
    return OpenedModel(model, tuple(external), _need(model, most, where))


def with_inputs(model: onnx.ModelProto, tensors: Mapping[str, StoredTensor]) -> onnx.ModelProto:
    """Return a model that takes these parameters as inputs and not from a file."""
    plain = onnx.ModelProto()
    plain.CopyFrom(model)
    graph = plain.graph
    constants = [t for t in graph.initializer if t.name not in tensors]
    for name, tensor in tensors.items():
        dtype = onnx.helper.np_dtype_to_tensor_dtype(tensor.dtype)
        graph.input.append(onnx.helper.make_tensor_value_info(name, dtype, tensor.shape))
    del graph.initializer[:]
    graph.initializer.extend(constants)
    return plain


def _need(model: onnx.ModelProto, most: int, where: str) -> int:
    """Return the bytes that the model says a run takes, at most ``most``; 0 if it says nothing.

    Memory is reserved before the first run, so a lie must not cost more than a run could.
    """
    texts = [entry.value for entry in model.metadata_props if entry.key == ARENA]
    if not texts:
        return 0
    if len(texts) > 1 or not _BYTES.fullmatch(texts[0]):
        raise BundleError(
            f"{where!r}: its metadata says {ARENA} = {', '.join(s[:80] for s in texts)!r}; "
            "expected one number of bytes"
        )
    return max(0, min(int(texts[0]), most, MAX_TENSOR_BYTES))


def _check_operators(model: onnx.ModelProto, manifest: Manifest, where: str) -> None:
    for entry in model.opset_import:
        if entry.domain not in _STANDARD:
            raise BundleError(f"{where!r} imports the operators of {entry.domain!r}, not standard")
        if entry.version != manifest.opset:
            raise BundleError(
                f"{where!r} has opset {entry.version}, the manifest says {manifest.opset}"
            )
    if model.ir_version != manifest.ir_version:
        raise BundleError(
            f"{where!r} has IR version {model.ir_version}, the manifest says {manifest.ir_version}"
        )
    if model.functions or model.training_info:
        what = "functions" if model.functions else "training graphs"
        raise BundleError(f"{where!r} has {what}; exported networks have none")
    for node in model.graph.node:
        if node.domain not in _STANDARD:
            raise BundleError(
                f"{where!r}: node {node.name!r} is {node.domain}::{node.op_type}, which is not a "
                "standard operator"
            )
        if any(a.HasField("g") or a.graphs for a in node.attribute):
            raise BundleError(
                f"{where!r}: node {node.name!r} ({node.op_type}) runs a graph of its own, and for "
                "how long nobody can tell; exported networks have no such nodes"
            )


def _tensors(graph: onnx.GraphProto) -> Iterator[tuple[onnx.TensorProto, bool]]:
    """Yield each tensor of a model, and whether it is an initializer."""
    for tensor in graph.initializer:
        yield tensor, True
    sparse = list(graph.sparse_initializer)
    for node in graph.node:
        for attribute in node.attribute:
            if attribute.HasField("t"):
                yield attribute.t, False
            for tensor in attribute.tensors:
                yield tensor, False
            sparse += [attribute.sparse_tensor] if attribute.HasField("sparse_tensor") else []
            sparse += attribute.sparse_tensors
    for one in sparse:
        yield one.values, False
        yield one.indices, False


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


def _check_typed(
    values: Iterable[onnx.ValueInfoProto],
    specs: tuple[TensorSpec, ...],
    network: NetworkSpec,
    what: str,
    where: str,
) -> None:
    expected: list[tuple[Any, ...]] = []
    for tensor in specs:
        dtype = onnx.helper.np_dtype_to_tensor_dtype(tensor.dtype)
        dims = [None if network.is_free(tensor, i) else d for i, d in enumerate(tensor.shape)]
        expected.append((tensor.name, dtype, tuple(dims)))
    actual: list[tuple[Any, ...]] = []
    for value in values:
        kind = value.type.tensor_type
        dims = [d.dim_value if d.HasField("dim_value") else None for d in kind.shape.dim]
        actual.append((value.name, kind.elem_type, tuple(dims)))
    if actual != expected:
        wrong = next((h for h in actual if h not in expected), None) or next(
            (s for s in expected if s not in actual), "their order"
        )
        raise BundleError(
            f"{where!r}: its {what} are not those of the manifest; they differ in {wrong}"
        )
