"""``module.export_onnx``: one network as one ONNX file, with its parameters in it."""

from __future__ import annotations

import os
from collections.abc import Hashable

import numpy as np
import onnx
from onnx import numpy_helper

from symbucket.checks import check_integer, one_line
from symbucket.errors import BundleError, InvalidArgumentError, UnsupportedError
from symbucket.export.networks import networks_of, store_of
from symbucket.export.write import free_of
from symbucket.files import write_atomic
from symbucket.ir import OPSET
from symbucket.module.bucketing import BucketingModule
from symbucket.module.compiled import CompiledModule
from symbucket.version import __version__

_MOST = 2_000_000_000  # bytes that protobuf can hold


def export_onnx(
    module: CompiledModule,
    path: str | os.PathLike[str],
    key: Hashable = None,
    *,
    batch_size: int | None = None,
    dynamic_batch: bool = False,
    dynamic_length: bool = False,
    carry_states: bool = False,
    opset: int = OPSET,
) -> onnx.ModelProto:
    """Write a network with its parameters, as ``module.export_onnx`` does; return the model."""
    check_integer(opset, "opset", 1)
    if carry_states and not dynamic_length:
        raise InvalidArgumentError("carry_states=True needs dynamic_length=True")
    free = free_of(dynamic_batch, dynamic_length)
    keys = None
    if isinstance(module, BucketingModule) and not dynamic_length:
        keys = [module.default_bucket_key if key is None else key]
    elif key is not None:
        raise InvalidArgumentError(f"key={key!r}: there is one network for all keys; leave key out")
    networks = networks_of(
        module,
        keys,
        "inference",
        batch_size,
        None,
        None,
        free,
        carry=carry_states,
        beyond=True,
    )
    network, store = networks[-1], store_of(module)
    model = network.program.proto()
    model.producer_name, model.producer_version = "symbucket", __version__
    arrays = {**store.args, **store.aux}
    data = [value for value in model.graph.input if value.name not in network.parameters]
    del model.graph.input[:]
    model.graph.input.extend(data)
    size = sum(arrays[name].nbytes for name in network.parameters)
    if size > _MOST:
        raise UnsupportedError(
            f"the parameters have {size} bytes, and one ONNX file holds less than 2 GB; "
            "module.export writes them beside the networks"
        )
    model.graph.initializer.extend(
        numpy_helper.from_array(np.ascontiguousarray(arrays[name].view()), name)
        for name in network.parameters
    )
    model = _with_opset(model, opset)
    try:
        onnx.checker.check_model(model, full_check=True)
    except Exception as error:  # onnx's errors have no common base
        raise UnsupportedError(f"opset={opset}: {one_line(error)}") from None
    try:
        write_atomic(path, model.SerializeToString())
    except (OSError, ValueError) as error:
        raise BundleError(f"cannot write {str(path)!r}: {error}") from None
    return model


def _with_opset(model: onnx.ModelProto, opset: int) -> onnx.ModelProto:
    """Return the model in another version of ONNX's operators.

    Raises UnsupportedError if onnx cannot convert it.
    """
    if opset == OPSET:
        return model
    del model.graph.value_info[:]
    try:
        converted = onnx.version_converter.convert_version(model, opset)
    except Exception as error:  # onnx's errors have no common base
        raise UnsupportedError(
            f"opset={opset}: onnx {onnx.__version__} cannot convert the network from {OPSET}: "
            f"{one_line(error)}. Ask for a newer opset; newer versions of onnx convert more"
        ) from None
    if opset < OPSET:
        converted.ir_version = min(
            converted.ir_version, onnx.helper.find_min_ir_version_for(converted.opset_import)
        )
    return converted
