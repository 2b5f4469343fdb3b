"""Models as files: parameters become initializers, stored in one file next to the models."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import onnx

from symbucket.errors import SymbucketError
from symbucket.export.keys import encode_key
from symbucket.export.networks import ServedNetwork
from symbucket.export.spec import ARENA, KEY, Mode, StoredTensor
from symbucket.version import __version__


def file_model(
    network: ServedNetwork, stored: Mapping[str, StoredTensor], parameter_file: str, mode: Mode
) -> onnx.ModelProto:
    """Return the model of a network as it is written.

    symbucket's programs have parameters as inputs, since training changes them. In a file nothing
    does, so they are initializers, and any runtime may fold and pack them.
    """
    model = network.program.proto()
    model.producer_name, model.producer_version = "symbucket", __version__
    entries: list[tuple[str, str]] = [("symbucket.mode", mode)]
    if KEY in network.spec.free:
        model.doc_string = f"The {mode} graph of all bucket keys."
    else:
        key = json.dumps(encode_key(network.spec.key), ensure_ascii=True)
        model.doc_string = f"The {mode} graph of bucket key {key}."
        entries.insert(0, ("symbucket.key", key))
    if network.program.plan is not None:
        entries.append((ARENA, str(network.program.plan.arena)))
    for name, value in entries:
        entry = model.metadata_props.add()
        entry.key, entry.value = name, value
    graph = model.graph
    inputs = [v for v in graph.input if v.name not in stored]
    parameters = [v.name for v in graph.input if v.name in stored]
    del graph.input[:]
    graph.input.extend(inputs)
    for name in parameters:
        tensor = stored[name]
        initializer = graph.initializer.add()
        initializer.name = name
        initializer.data_type = onnx.helper.np_dtype_to_tensor_dtype(np.dtype(tensor.dtype))
        initializer.dims.extend(tensor.shape)
        initializer.data_location = onnx.TensorProto.EXTERNAL
        place = {"location": parameter_file, "offset": tensor.offset, "length": tensor.length}
        for field, number in place.items():
            entry = initializer.external_data.add()
            entry.key, entry.value = field, str(number)
    return model


def check_model_file(path: Path, what: str) -> None:
    """Raise SymbucketError if ONNX's checker finds a written model bad; ``what`` names it."""
    try:
        onnx.checker.check_model(str(path), full_check=True)
    except Exception as error:
        raise SymbucketError(f"internal: {what} fails ONNX's check: {error}") from error
