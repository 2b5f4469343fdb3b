"""``module.export_training``: a folder from which a stock ONNX Runtime goes on with training.

ONNX Runtime cannot build training graphs any more; here they are files of standard operators: the
gradient graph of every key, the optimizer's graph, all values, and a description in JSON.
"""

from __future__ import annotations

import copy
import hashlib
import json
import os
from collections.abc import Hashable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir

from symbucket.checks import check_integer, listing
from symbucket.compiler import Program
from symbucket.compiler.update import (
    SCALARS,
    UpdateSpec,
    build_update,
    input_name,
    output_name,
)
from symbucket.errors import BundleError, UnsupportedError
from symbucket.export.bundle_files import resolved
from symbucket.export.keys import encode_key, file_name
from symbucket.export.model import check_model_file
from symbucket.export.networks import ServedNetwork, default_key, networks_of, store_of
from symbucket.files import replaced_folder, write_atomic
from symbucket.ir import OPSET
from symbucket.module.compiled import CompiledModule
from symbucket.optimizer import Optimizer, Updater
from symbucket.types import Array
from symbucket.version import __version__

FORMAT = "symbucket-training-1"
DESCRIPTION_FILE = "training.json"
VALUES_FILE = "values.bin"
SCALARS_FILE = "scalars.bin"
OPTIMIZER_FILE = "optimizer.onnx"
_ALIGNMENT = 64


def export_training(
    module: CompiledModule,
    folder: str | os.PathLike[str],
    keys: Iterable[Hashable] | None = None,
    updates: int = 10_000,
) -> None:
    """Write all that training needs, as ``module.export_training`` does."""
    count = check_integer(updates, "updates", 1)
    target = resolved(folder)
    _check_target(target)
    if not module.optimizer_initialized:
        raise UnsupportedError("export_training: call init_optimizer (or fit) first")
    networks = networks_of(module, keys, "training", None, None)
    trained = _trained(networks)
    try:
        with replaced_folder(target) as temporary:
            _write(temporary, module, networks, trained, count)
    except OSError as error:
        raise BundleError(f"cannot write {str(target)!r}: {error}") from error


def _check_target(target: Path) -> None:
    """Raise BundleError if ``target`` is something that must not be overwritten."""
    if target.is_dir() and (not any(target.iterdir()) or (target / DESCRIPTION_FILE).is_file()):
        return
    if target.exists():
        raise BundleError(
            f"{str(target)!r} exists and is no folder that export_training wrote. It is not "
            "overwritten; choose another folder, or remove it yourself."
        )


def _trained(networks: Sequence[ServedNetwork]) -> list[str]:
    """Return the parameters that every key trains, in the order of the first key."""
    by_key = {n.spec.key: [p.of for p in n.program.outputs if _is_gradient(n, p)] for n in networks}
    first = next(iter(by_key.values()))
    for key, names in by_key.items():
        if {*names} != {*first}:
            other = sorted({*names} ^ {*first})
            raise UnsupportedError(
                f"export_training: bucket key {key!r} does not train the parameters of the first "
                f"key: {listing(map(repr, other))}. One optimizer graph updates all of them; "
                "export keys of one kind at a time (keys=)"
            )
    if not first:
        raise UnsupportedError("export_training: the networks train no parameter")
    return first


def _is_gradient(network: ServedNetwork, port: Any) -> bool:
    return port.name.endswith(".grad") and port.of in network.parameters


def _write(
    folder: Path,
    module: CompiledModule,
    networks: Sequence[ServedNetwork],
    trained: Sequence[str],
    updates: int,
) -> None:
    updater: Updater = module.updater
    store = store_of(module)
    index = {name: i for i, name in enumerate(store.grads)}
    indices = [index[name] for name in trained]
    weights = [store.args[name] for name in trained]
    states = updater.allocate(indices, weights)
    dtype = _dtype_of(trained, weights)
    rows, table = _scalars(updater.optimizer, indices, updates, dtype)
    model = _optimizer_model(updater.optimizer, trained, weights, rows, dtype)
    files = {OPTIMIZER_FILE: model.SerializeToString(), SCALARS_FILE: table.tobytes()}
    steps = []
    for network in networks:
        name = f"step-{file_name(network.spec.key)}"
        files[name] = _step_model(network.program).SerializeToString()
        steps.append(_described_step(name, network))
    used = {name for network in networks for name in network.parameters}
    values: dict[str, tuple[str, str, Array]] = {}
    for kind, arrays in (("parameter", store.args), ("auxiliary state", store.aux)):
        values.update({n: (kind, n, a.asnumpy()) for n, a in arrays.items() if n in used})
    for name, of_parameter in zip(trained, states):
        for state, array in of_parameter.items():
            values[f"{name}.{state}"] = ("optimizer state", name, array.asnumpy())
    files[VALUES_FILE], tensors = _packed(values)
    description = {
        "format": FORMAT,
        "symbucket": __version__,
        "opset": OPSET,
        "default_key": encode_key(default_key(module, [n.spec for n in networks])),
        "steps": steps,
        "optimizer": {
            "file": OPTIMIZER_FILE,
            "name": type(updater.optimizer).__name__,
            "parameters": list(trained),
            "states": list(updater.optimizer.update_states()),
            "scalars": {
                "file": SCALARS_FILE,
                "dtype": dtype.name,
                "updates": updates,
                "width": table.shape[1],
            },
        },
        "values": {"file": VALUES_FILE, "tensors": tensors},
        "files": {n: {"bytes": len(c), "sha256": _digest(c)} for n, c in files.items()},
    }
    for name, content in files.items():
        write_atomic(folder / name, content)
        if name.endswith(".onnx"):
            check_model_file(folder / name, name)
    text = json.dumps(description, indent=1, ensure_ascii=True)
    write_atomic(folder / DESCRIPTION_FILE, text.encode("ascii"))


def _step_model(program: Program) -> onnx.ModelProto:
    model: onnx.ModelProto = program.proto()
    model.producer_name, model.producer_version = "symbucket", __version__
    return model


def _described_step(name: str, network: ServedNetwork) -> dict[str, Any]:
    kinds = {spec.name: spec.kind for spec in network.spec.inputs}
    results = {spec.name: spec.kind for spec in network.spec.outputs}
    inputs, outputs = [], []
    for port in network.program.inputs:
        kind = kinds.get(port.name, "value")
        inputs.append(_tensor(port.name, kind, port.dtype, port.shape))
    for port in network.program.outputs:
        tensor = _tensor(port.name, results[port.name], port.dtype, port.shape)
        outputs.append({**tensor, "of": port.of})
    return {
        "key": encode_key(network.spec.key),
        "file": name,
        "batch": network.spec.batch,
        "inputs": inputs,
        "outputs": outputs,
    }


def _tensor(name: str, kind: str, dtype: Any, shape: Sequence[int]) -> dict[str, Any]:
    return {"name": name, "kind": kind, "dtype": np.dtype(dtype).name, "shape": list(shape)}


def _dtype_of(trained: Sequence[str], weights: Sequence[Any]) -> np.dtype[Any]:
    """Return the dtype of all parameters; raise UnsupportedError if they have several."""
    dtype: np.dtype[Any] = np.dtype(weights[0].dtype)
    for name, weight in zip(trained, weights):
        if weight.dtype != dtype:
            raise UnsupportedError(
                f"export_training: parameter {trained[0]!r} is {dtype}, {name!r} is "
                f"{weight.dtype}. One optimizer graph updates parameters of one dtype; train all "
                "of them in the same"
            )
    return dtype


def _scalars(
    optimizer: Optimizer, indices: Sequence[int], updates: int, dtype: np.dtype[Any]
) -> tuple[tuple[UpdateSpec, ...] | Any, Array]:
    """Return the structure of the rows of scalars, and their numbers for each of the updates.

    They contain the schedule of the learning rate and what depends on the number of the update.
    """
    counted = copy.deepcopy(optimizer)
    lines: list[list[float]] = []
    structure: tuple[Any, Any] | None = None
    for _ in range(updates):
        counted._update_count(list(indices))
        rows, row_of = counted.table(list(indices))
        names = tuple(tuple(row) for row in rows)
        if structure is None:
            structure = names, tuple(row_of)
        elif structure != (names, tuple(row_of)):
            raise UnsupportedError(
                "export_training: the optimizer's formula changes from one update to the next, so "
                f"one graph cannot do all {updates} updates. Give fewer updates="
            )
        lines.append([row[n] for row in rows for n in row])
    table = np.array(lines, dtype.newbyteorder("<")).reshape(updates, -1)
    if not table.shape[1]:
        table = np.zeros((updates, 1), table.dtype)
    return structure, table


def _optimizer_model(
    optimizer: Optimizer,
    trained: Sequence[str],
    weights: Sequence[Any],
    structure: Any,
    dtype: np.dtype[Any],
) -> onnx.ModelProto:
    """Return the optimizer's graph with the names of parameters."""
    names, row_of = structure
    states = tuple(optimizer.update_states())
    onnx_type = ir.DataType.from_numpy(dtype)
    spec = UpdateSpec(tuple(w.shape for w in weights), states, names, row_of, onnx_type)
    model = build_update(spec, optimizer.emit, "optimizer")
    renamed = {}
    for i, parameter in enumerate(trained):
        renamed[input_name("grad", i)] = f"{parameter}.grad"
        for kind in ("weight", *states):
            name = parameter if kind == "weight" else f"{parameter}.{kind}"
            renamed[input_name(kind, i)] = name
            renamed[output_name(kind, i)] = f"{name}.new"
    for value in (*model.graph.inputs, *model.graph.outputs):
        value.name = renamed.get(value.name or "", value.name)
    proto: onnx.ModelProto = ir.to_proto(model)
    if SCALARS not in [v.name for v in proto.graph.input]:
        proto.graph.input.append(onnx.helper.make_tensor_value_info(SCALARS, int(onnx_type), [1]))
    proto.producer_version = __version__
    return proto


def _packed(values: Mapping[str, tuple[str, str, Array]]) -> tuple[bytes, list[dict[str, Any]]]:
    content = bytearray()
    tensors = []
    for name, (kind, of, array) in values.items():
        content += bytes(-len(content) % _ALIGNMENT)
        little = np.ascontiguousarray(array, array.dtype.newbyteorder("<"))
        tensors.append(
            {
                **_tensor(name, kind, array.dtype, array.shape),
                "of": of,
                "offset": len(content),
                "length": little.nbytes,
            }
        )
        content += little.tobytes()
    return bytes(content), tensors


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
