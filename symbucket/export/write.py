"""``module.export``: a folder with a network for each key and one file of parameters."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Hashable, Iterable, Mapping, Sequence
from pathlib import Path

import msgspec
import numpy as np

from symbucket.engine.parameters import ParameterStore
from symbucket.errors import BundleError, InvalidArgumentError, ParameterError, UnsupportedError
from symbucket.export import manifest as manifests
from symbucket.export.activations import activation_bytes
from symbucket.export.bundle_files import resolved
from symbucket.export.keys import file_name
from symbucket.export.model import check_model_file, file_model
from symbucket.export.networks import Progress, ServedNetwork, default_key, networks_of, store_of
from symbucket.export.spec import (
    BATCH,
    KEY,
    MANIFEST_FILE,
    BundleFile,
    Free,
    Manifest,
    Mode,
    NetworkSpec,
    ParameterFile,
    StoredTensor,
    is_file_name,
    largest_shapes,
)
from symbucket.files import replaced_folder
from symbucket.ir import IR_VERSION, OPSET
from symbucket.module.compiled import CompiledModule
from symbucket.types import Array
from symbucket.version import __version__

PARAMETER_FILE = "parameters.bin"
SHARED_FILE = "network.onnx"
"""The one network of all keys, if it is of any length."""
_ALIGNMENT = 64
_PAGE = 4096  # ONNX asks for it, so that a runtime may map the file


def export_module(
    module: CompiledModule,
    folder: str | os.PathLike[str],
    keys: Iterable[Hashable] | None = None,
    training: bool = False,
    *,
    batch_size: int | None = None,
    padding: Mapping[str, float] | None = None,
    attach: Mapping[str, bytes] | None = None,
    progress: Progress | None = None,
    dynamic_batch: bool = False,
    dynamic_length: bool = False,
    carry_states: bool = False,
) -> Manifest:
    """Write a bundle, as ``module.export`` does; report to ``progress(what, done, total)``."""
    free = free_of(dynamic_batch, dynamic_length)
    target = resolved(folder)
    check_target(target)
    mode: Mode = "training" if training else "inference"
    for key in keys if isinstance(keys, (list, tuple)) else ():
        file_name(key)  # refuses a key that no file can hold, before anything is compiled
    attached = _attachments(attach or {})
    if training and free:
        raise UnsupportedError(
            "training=True: gradients are those of a whole batch of one size; leave dynamic_batch "
            "and dynamic_length out"
        )
    if carry_states and not dynamic_length:
        raise InvalidArgumentError(
            "carry_states=True needs dynamic_length=True: what a request goes on from must be the "
            "state after its own last step, not after padding"
        )
    networks = networks_of(
        module, keys, mode, batch_size, padding, progress, free, carry=carry_states
    )
    try:
        with replaced_folder(target) as temporary:
            return _write(temporary, networks, module, mode, attached, progress)
    except OSError as error:
        raise BundleError(f"cannot write the bundle {str(target)!r}: {error}") from error


def free_of(dynamic_batch: bool, dynamic_length: bool) -> Free:
    """Return the free axes that the arguments of an export ask for."""
    return (BATCH, KEY) if dynamic_length else (BATCH,) if dynamic_batch else ()


def check_target(target: Path) -> None:
    """Raise BundleError if ``target`` is something that must not be overwritten."""
    if not target.exists():
        return
    if not target.is_dir():
        raise BundleError(f"{str(target)!r} is a file; a bundle is a folder. Choose another name.")
    present = {entry.name for entry in target.iterdir()}
    if not present:
        return
    refusal = "It is not overwritten; choose another folder, or remove it yourself."
    try:
        text = (target / MANIFEST_FILE).read_bytes()
        ours = {MANIFEST_FILE, *(f.file for f in manifests.parse(text).files())}
    except (OSError, BundleError):
        raise BundleError(f"{str(target)!r} exists and is not a bundle. {refusal}") from None
    foreign = sorted(present - ours)
    if foreign:
        raise BundleError(
            f"{str(target)!r} is a bundle, but {foreign[0]!r} in it does not belong to it. "
            f"{refusal}"
        )


def _write(
    folder: Path,
    networks: Sequence[ServedNetwork],
    module: CompiledModule,
    mode: Mode,
    attached: Mapping[str, bytes],
    progress: Progress | None,
) -> Manifest:
    tell = progress or (lambda what, done, total: None)
    names = [SHARED_FILE if KEY in n.spec.free else file_name(n.spec.key) for n in networks]
    if len({n.lower() for n in names}) != len(names) and {*names} != {SHARED_FILE}:
        raise InvalidArgumentError(f"two keys would share a file: {', '.join(sorted(names))}")
    tell("writing parameters", 0, 1)
    used = {name for network in networks for name in network.parameters}
    parameters = _write_parameters(folder, store_of(module), used)
    stored = {t.name: t for t in parameters.tensors}
    specs: list[NetworkSpec] = []
    files: dict[str, BundleFile] = {}
    for i, (network, name) in enumerate(zip(networks, names)):
        tell(f"writing {name}", i, len(networks))
        model = file_model(network, stored, PARAMETER_FILE, mode)
        if name not in files:
            content = model.SerializeToString()
            _write_file(folder / name, content)
            check_model_file(folder / name, f"the network of bucket key {network.spec.key!r}")
            files[name] = _described(name, content)
        spec = msgspec.structs.replace(network.spec, **msgspec.structs.asdict(files[name]))
        need = 0
        if mode == "inference":
            need = activation_bytes(model, largest_shapes(spec), str(folder / name))
        specs.append(msgspec.structs.replace(spec, activations=need))
    manifest = Manifest(
        producer=__version__,
        mode=mode,
        opset=OPSET,
        ir_version=IR_VERSION,
        default_key=default_key(module, specs),
        parameters=parameters,
        networks=tuple(specs),
        attachments=tuple(_described(name, content) for name, content in attached.items()),
    )
    for name, content in attached.items():
        _write_file(folder / name, content)
    _write_file(folder / MANIFEST_FILE, manifests.to_json(manifest).encode("ascii"))
    tell("done", len(networks), len(networks))
    return manifest


def _attachments(attach: Mapping[str, bytes]) -> dict[str, bytes]:
    """Return the attachments; refuse names that are not plain or that the bundle itself uses."""
    for name in attach:
        reserved = name.lower() in (MANIFEST_FILE, PARAMETER_FILE) or name.lower().endswith(".onnx")
        if not is_file_name(name) or reserved:
            raise InvalidArgumentError(
                f"attach: {name!r} cannot be the name of an attachment; use letters, digits, '.', "
                "'_' and '-', and none of the names of the bundle itself"
            )
        # bytes(5) would be five zeros.
        if not isinstance(attach[name], (bytes, bytearray, memoryview)):
            raise InvalidArgumentError(
                f"attach: {name!r} is a {type(attach[name]).__name__}; expected the bytes of a file"
            )
    return {name: bytes(content) for name, content in attach.items()}


def _write_file(path: Path, content: bytes) -> None:
    with path.open("xb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def _described(name: str, content: bytes) -> BundleFile:
    return BundleFile(name, len(content), hashlib.sha256(content).hexdigest())


def _refuse_nan(name: str, kind: str, values: Array) -> None:
    """Raise ParameterError for NaN, of which some kernels would make numbers."""
    if values.dtype.kind == "f" and np.isnan(values).any():
        raise ParameterError(
            f"{kind} {name!r} has NaN, so answers would mean nothing: training has diverged. "
            "Export an earlier checkpoint"
        )


def _write_parameters(folder: Path, store: ParameterStore, used: set[str]) -> ParameterFile:
    """Write the parameters one after the other."""
    tensors: list[StoredTensor] = []
    digest = hashlib.sha256()
    position = 0
    with (folder / PARAMETER_FILE).open("xb") as file:

        def put(content: bytes | memoryview) -> None:
            nonlocal position
            file.write(content)
            digest.update(content)
            position += len(content)

        for kind, arrays in (("parameter", store.args), ("auxiliary state", store.aux)):
            for name, array in arrays.items():
                if name not in used:
                    continue
                values = np.ascontiguousarray(array.view())
                values = values.astype(values.dtype.newbyteorder("<"), copy=False)
                _refuse_nan(name, kind, values)
                put(bytes(-position % (_PAGE if values.nbytes >= _PAGE else _ALIGNMENT)))
                start = position
                put(values.reshape(-1).view(np.uint8).data)
                tensors.append(
                    StoredTensor(name, kind, array.dtype, array.shape, start, values.nbytes)
                )
        file.flush()
        os.fsync(file.fileno())
    return ParameterFile(PARAMETER_FILE, position, digest.hexdigest(), tuple(tensors))
