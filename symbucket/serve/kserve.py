"""KServe's V2 inference protocol in JSON: requests to samples, answers to responses.

The first axis of every tensor counts samples. See the Open Inference Protocol, version 2.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
import numpy as np

from symbucket.errors import DataError
from symbucket.export.spec import BATCH, KEY, NetworkSpec, TensorSpec
from symbucket.serve.bound_run import Answer
from symbucket.serve.route import Request, required
from symbucket.types import Array

DATATYPES = {
    "BOOL": "bool", "UINT8": "uint8", "UINT16": "uint16", "UINT32": "uint32", "UINT64": "uint64",
    "INT8": "int8", "INT16": "int16", "INT32": "int32", "INT64": "int64",
    "FP16": "float16", "FP32": "float32", "FP64": "float64",
}  # fmt: skip
_NAMES = {np.dtype(dtype): name for name, dtype in DATATYPES.items()}


class InferTensor(msgspec.Struct):
    """A tensor of a request; ``data`` is flat or nested."""

    name: str
    shape: list[int]
    datatype: str
    data: list[Any]


class InferOutput(msgspec.Struct):
    """An output that a request asks for."""

    name: str


class InferRequest(msgspec.Struct):
    """The body of a request; ``parameters`` may hold the bucket ``key`` and a ``timeout``."""

    inputs: list[InferTensor]
    id: str = ""
    outputs: list[InferOutput] | None = None
    parameters: dict[str, Any] = {}


_DECODER = msgspec.json.Decoder(InferRequest)


def parse_request(body: bytes) -> InferRequest:
    """Return the request in a body; DataError says what is wrong with it."""
    try:
        return _DECODER.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise DataError(f"the body is no inference request: {error}") from None


def samples_of(request: InferRequest, max_samples: int) -> list[Request]:
    """Return the samples of a request; DataError if its tensors are not what they say."""
    if not request.inputs:
        raise DataError("the request has no inputs")
    arrays: dict[str, Array] = {}
    for tensor in request.inputs:
        if tensor.name in arrays:
            raise DataError(f"the input {tensor.name!r} is there twice")
        arrays[tensor.name] = _array_of(tensor)
    counts = {name: len(array) for name, array in arrays.items()}
    count = next(iter(counts.values()))
    if len(set(counts.values())) != 1 or not count:
        raise DataError(f"the inputs have {counts} samples along their first axes; expected one")
    if count > max_samples:
        raise DataError(f"the request has {count} samples; at most {max_samples} are answered")
    key = _key_of(request.parameters.get("key"))
    return [Request({name: a[i] for name, a in arrays.items()}, key) for i in range(count)]


def timeout_of(request: InferRequest, longest: float) -> float:
    """Return the seconds that a request has: what it asks for, at most ``longest``."""
    timeout = request.parameters.get("timeout", longest)
    if isinstance(timeout, bool) or not isinstance(timeout, (int, float)) or not timeout > 0:
        raise DataError(f"parameters.timeout is {timeout!r}; expected seconds above 0")
    return min(float(timeout), longest)


def _key_of(value: Any) -> Any:
    return tuple(map(_key_of, value)) if isinstance(value, list) else value


def _array_of(tensor: InferTensor) -> Array:
    dtype = DATATYPES.get(tensor.datatype)
    if dtype is None:
        raise DataError(
            f"{tensor.name}: the datatype is {tensor.datatype!r}; expected one of "
            f"{', '.join(DATATYPES)}"
        )
    if not tensor.shape or any(size < 0 for size in tensor.shape):
        raise DataError(
            f"{tensor.name}: the shape is {tensor.shape}; expected sizes, the first one the "
            "number of samples"
        )
    try:
        array = np.asarray(tensor.data)
    except ValueError as error:
        raise DataError(f"{tensor.name}: the data are no array: {error}") from None
    if array.size and array.dtype.kind not in "biuf":
        raise DataError(f"{tensor.name}: the data are not numbers")
    if array.size != math.prod(tensor.shape):
        raise DataError(
            f"{tensor.name}: there are {array.size} numbers, and the shape is {tensor.shape}"
        )
    target = np.dtype(dtype)
    if target.kind in "iu" and array.size:
        limits = np.iinfo(target)
        if array.dtype.kind == "f" and (array % 1 != 0).any():
            raise DataError(f"{tensor.name}: {tensor.datatype} holds no fractions")
        if array.min() < limits.min or array.max() > limits.max:
            raise DataError(f"{tensor.name}: a number is no {tensor.datatype}")
    with np.errstate(over="ignore"):
        return array.astype(target).reshape(tensor.shape)


def response(
    model: str, version: str, request: InferRequest, answers: Sequence[Answer]
) -> dict[str, Any]:
    """Return the body of a response; a NaN or an infinity becomes null."""
    names = list(answers[0])
    if request.outputs is not None:
        requested = [output.name for output in request.outputs]
        unknown = [name for name in requested if name not in names]
        if unknown:
            raise DataError(f"there is no output {unknown[0]!r}; there are {', '.join(names)}")
        names = requested
    outputs = []
    for name in names:
        values = np.stack([answer[name] for answer in answers])
        outputs.append(
            {
                "name": name,
                "shape": list(values.shape),
                "datatype": _NAMES[values.dtype],
                "data": values.reshape(-1).tolist(),
            }
        )
    body = {"model_name": model, "model_version": version, "outputs": outputs}
    return {**body, "id": request.id} if request.id else body


def metadata(
    model: str, version: str, networks: Mapping[Any, NetworkSpec], default: Any
) -> dict[str, Any]:
    """Return what the protocol says of a model; sizes that requests choose are -1."""
    network = networks[default]
    return {
        "name": model,
        "versions": [version],
        "platform": "onnxruntime_onnx",
        "inputs": [_tensor(t) for t in required(network)],
        "outputs": [_tensor(t) for t in network.outputs],
    }


def _tensor(spec: TensorSpec) -> dict[str, Any]:
    shape = []
    for axis, size in enumerate(spec.shape):
        factors = spec.factors(axis)
        if factors == [BATCH] or (BATCH in factors and len(factors) == 1):
            continue
        shape.append(-1 if any(f.startswith(KEY) for f in factors) else size)
    return {"name": spec.name, "shape": [-1, *shape], "datatype": _NAMES[spec.dtype]}
