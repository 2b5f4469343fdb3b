"""``manifest.json``: written by export, read with distrust.

Version 1 is one JSON object::

    {
      "format": "symbucket-bundle", "version": 1,
      "symbucket": "0.1.0",                    the version that wrote it
      "mode": "inference",                     or "training"
      "opset": 21, "ir_version": 10,
      "default_key": 60,
      "parameters": {
        "file": "parameters.bin", "bytes": 8128, "sha256": "...",
        "tensors": [{"name": "embed_weight", "kind": "parameter", "dtype": "float32",
                     "shape": [100, 20], "offset": 0, "length": 8000}]},
      "networks": [{
        "key": 60, "file": "key-60.onnx", "bytes": 4711, "sha256": "...", "batch": 32,
        "inputs": [{"name": "data", "kind": "data", "dtype": "float32", "shape": [32, 60],
                    "axes": ["batch", "key"], "padding": 0.0, "limits": [0, 100]}],
        "outputs": [{"name": "softmax_output", "kind": "output", "dtype": "float32",
                     "shape": [1920, 100], "axes": ["batch*key", null]}]}],
      "attachments": [{"file": "vocabulary.json", "bytes": 900, "sha256": "..."}]
    }

Tuples in keys are arrays. ``batch`` is null where a network has no batch axis. Axes, padding and
limits are those of ``TensorSpec``: indices from 0 to 99 here, or null for any numbers. Every field
must be there and no other may be; a later version has another number.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Hashable, Sequence
from typing import Any

import numpy as np

from symbucket.errors import BundleError, InvalidArgumentError
from symbucket.export.keys import decode_key, encode_key
from symbucket.export.spec import (
    BATCH,
    INPUT_KINDS,
    OUTPUT_KINDS,
    PARAMETER_KINDS,
    Manifest,
    NetworkSpec,
    StoredTensor,
    TensorSpec,
)

FORMAT = "symbucket-bundle"
VERSION = 1
NAME = "manifest.json"
MAX_BYTES = 64 << 20
"""Of a manifest; a thousand networks need less than a megabyte."""
MAX_TENSOR = 16 << 30
"""Bytes of one input, output or inner value of a network."""

_DTYPES = ("bool float16 float32 float64 int8 int16 int32 int64 uint8 uint16 uint32 uint64").split()
_FILE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")
_SHA = re.compile(r"[0-9a-f]{64}")
_DIGITS = 20


def to_json(manifest: Manifest) -> str:
    """The text of ``manifest.json``."""
    document = {
        "format": FORMAT,
        "version": VERSION,
        "symbucket": manifest.producer,
        "mode": manifest.mode,
        "opset": manifest.opset,
        "ir_version": manifest.ir_version,
        "default_key": encode_key(manifest.default_key),
        "parameters": {
            "file": manifest.parameter_file,
            "bytes": manifest.parameter_nbytes,
            "sha256": manifest.parameter_sha256,
            "tensors": [
                {
                    **_typed(t),
                    "offset": t.offset,
                    "length": t.length,
                }
                for t in manifest.parameters
            ],
        },
        "networks": [
            {
                "key": encode_key(n.key),
                "file": n.file,
                "bytes": n.nbytes,
                "sha256": n.sha256,
                "batch": n.batch,
                "inputs": [
                    {
                        **_typed(t),
                        "axes": list(t.axes),
                        "padding": t.padding,
                        "limits": None if t.limits is None else list(t.limits),
                    }
                    for t in n.inputs
                ],
                "outputs": [{**_typed(t), "axes": list(t.axes)} for t in n.outputs],
            }
            for n in manifest.networks
        ],
        "attachments": [
            {"file": file, "bytes": nbytes, "sha256": sha256}
            for file, nbytes, sha256 in manifest.attachments
        ],
    }
    return _written(document, "") + "\n"


def _written(value: Any, indent: str) -> str:
    """JSON whose innermost objects and arrays are a line each: good to read and to compare."""
    parts = list(value.values()) if isinstance(value, dict) else value
    inner = isinstance(parts, list) and any(
        isinstance(p, dict) or (isinstance(p, list) and any(isinstance(q, dict) for q in p))
        for p in parts
    )
    if not inner:
        return json.dumps(value, ensure_ascii=True, allow_nan=False)
    deeper = indent + "  "
    lines = [_written(p, deeper) for p in parts]
    if isinstance(value, dict):
        lines = [f"{json.dumps(name)}: {line}" for name, line in zip(value, lines)]
    brackets = "{}" if isinstance(value, dict) else "[]"
    body = ",\n".join(deeper + line for line in lines)
    return f"{brackets[0]}\n{body}\n{indent}{brackets[1]}"


def _typed(t: TensorSpec | StoredTensor) -> dict[str, Any]:
    return {"name": t.name, "kind": t.kind, "dtype": t.dtype.name, "shape": list(t.shape)}


def is_file_name(name: str) -> bool:
    """Whether a name is plain: nothing that could lead out of a folder."""
    return _FILE.fullmatch(name) is not None


def fits(value: float, dtype: np.dtype[Any]) -> bool:
    """Whether a dtype can hold a padding value."""
    if dtype.kind in "iu":
        limits = np.iinfo(dtype)
        return value == int(value) and limits.min <= value <= limits.max
    if dtype.kind == "b":
        return value in (0, 1)
    return abs(value) <= float(np.finfo(dtype).max)


def parse(text: bytes | str, where: str = NAME) -> Manifest:
    """Read a manifest; BundleError says what is wrong with it and at which place."""
    try:
        document = json.loads(
            text,
            object_pairs_hook=_unique,
            parse_constant=_no_constant,
            parse_int=_short_int,
        )
        return _manifest(_Place(document, where))
    except BundleError:
        raise
    except (ValueError, RecursionError) as error:
        said = "it is nested too deeply" if isinstance(error, RecursionError) else str(error)
        raise BundleError(f"{where} is damaged or no manifest: {said}") from None


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        names = [name for name, _ in pairs]
        twice = next(n for n in names if names.count(n) > 1)
        raise ValueError(f"an object has {twice[:80]!r} twice")
    return found


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is no JSON")


def _short_int(digits: str) -> int:
    if len(digits) > _DIGITS:
        raise ValueError(f"a number of {len(digits)} digits")
    return int(digits)


class _Place:
    """A value of the document and where it stands, for messages."""

    def __init__(self, value: Any, path: str) -> None:
        self.value = value
        self.path = path

    def wrong(self, expected: str) -> BundleError:
        said = repr(self.value)
        said = said if len(said) <= 80 else said[:77] + "..."
        return BundleError(f"{self.path} is {said}; expected {expected}")

    def fields(self, *names: str) -> list[_Place]:
        """The values of an object that has exactly these fields."""
        if not isinstance(self.value, dict):
            raise self.wrong("an object")
        missing = [n for n in names if n not in self.value]
        if missing:
            raise BundleError(f"{self.path} lacks {', '.join(missing)}")
        extra = [n for n in self.value if n not in names]
        if extra:
            raise BundleError(
                f"{self.path} has the unknown field {extra[0][:80]!r}; version {VERSION} has "
                f"{', '.join(names)}"
            )
        return [_Place(self.value[n], f"{self.path}: {n}") for n in names]

    def items(self) -> list[_Place]:
        if not isinstance(self.value, list):
            raise self.wrong("an array")
        return [_Place(v, f"{self.path}[{i}]") for i, v in enumerate(self.value)]

    def integer(self, low: int = 0, high: int = 1 << 62) -> int:
        if isinstance(self.value, bool) or not isinstance(self.value, int):
            raise self.wrong("an integer")
        if not low <= self.value <= high:
            raise self.wrong(f"an integer from {low} to {high}")
        return self.value

    def number(self) -> float:
        value = self.value
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            raise self.wrong("a number")
        if not math.isfinite(value):
            raise self.wrong("a finite number")
        return float(value)

    def text(self, limit: int = 1000) -> str:
        if not isinstance(self.value, str) or not 0 < len(self.value) <= limit:
            raise self.wrong(f"a string of 1 to {limit} characters")
        return self.value

    def one_of(self, choices: Sequence[str]) -> str:
        if not isinstance(self.value, str) or self.value not in choices:
            raise self.wrong(" or ".join(map(repr, choices)))
        return self.value

    def file(self) -> str:
        if not isinstance(self.value, str) or not is_file_name(self.value):
            raise self.wrong("a file name without folders, of letters, digits, '.', '_' and '-'")
        return self.value

    def sha256(self) -> str:
        if not isinstance(self.value, str) or not _SHA.fullmatch(self.value):
            raise self.wrong("64 hexadecimal digits")
        return self.value

    def shape(self) -> tuple[int, ...]:
        return tuple(p.integer(0, 1 << 31) for p in self.items())

    def dtype(self) -> np.dtype[Any]:
        return np.dtype(self.one_of(_DTYPES))

    def limits(self) -> tuple[int | None, int] | None:
        if self.value is None:
            return None
        items = self.items()
        if len(items) != 2:
            raise self.wrong("null or [first, end]")
        low = None if items[0].value is None else items[0].integer(-(1 << 53), 1 << 53)
        return low, items[1].integer(-(1 << 53), 1 << 53)

    def key(self) -> Hashable:
        try:
            return decode_key(self.value)
        except InvalidArgumentError:
            raise self.wrong("a bucket key") from None


def _manifest(root: _Place) -> Manifest:
    if not isinstance(root.value, dict) or root.value.get("format") != FORMAT:
        raise BundleError(f'{root.path} is no manifest of a bundle: it has no "format": "{FORMAT}"')
    version = root.value.get("version")
    if version != VERSION or isinstance(version, bool):
        raise BundleError(
            f"{root.path}: version {version!r} of the format is unknown; this symbucket reads "
            f"version {VERSION}. Export the bundle again, or install a symbucket that knows it."
        )
    names = (
        "format version symbucket mode opset ir_version default_key parameters networks attachments"
    ).split()
    _, _, producer, mode, opset, ir_version, default, stored, listed, attached = root.fields(*names)
    file, nbytes, sha256, tensors = stored.fields("file", "bytes", "sha256", "tensors")
    size = nbytes.integer()
    networks = [_network(place) for place in listed.items()]
    manifest = Manifest(
        "inference" if mode.one_of(("inference", "training")) == "inference" else "training",
        producer.text(100),
        opset.integer(1, 1000),
        ir_version.integer(1, 1000),
        default.key(),
        file.file(),
        size,
        sha256.sha256(),
        tuple(_stored(place, size) for place in tensors.items()),
        tuple(networks),
        tuple(_attachment(place) for place in attached.items()),
    )
    if not networks:
        raise listed.wrong("at least one network")
    _no_doubles(listed, "key", [n.key for n in networks])
    _no_doubles(root, "file", [NAME, *(name.lower() for name, _, _ in manifest.files)])
    _no_doubles(tensors, "name", [t.name for t in manifest.parameters])
    if manifest.default_key not in [n.key for n in networks]:
        raise default.wrong("the key of one of the networks")
    end = 0
    for tensor in sorted(manifest.parameters, key=lambda t: (t.offset, t.length)):
        if tensor.offset < end:
            raise BundleError(f"{tensors.path}: {tensor.name!r} overlaps the tensor before it")
        end = tensor.offset + tensor.length
    return manifest


def _attachment(place: _Place) -> tuple[str, int, str]:
    file, nbytes, sha256 = place.fields("file", "bytes", "sha256")
    return file.file(), nbytes.integer(), sha256.sha256()


def _no_doubles(place: _Place, what: str, values: list[Any]) -> None:
    seen = set()
    for value in values:
        if value in seen:
            raise BundleError(f"{place.path}: the {what} {value!r} is there twice")
        seen.add(value)


def _stored(place: _Place, file_size: int) -> StoredTensor:
    name, kind, dtype, shape, offset, length = place.fields(
        "name", "kind", "dtype", "shape", "offset", "length"
    )
    tensor = StoredTensor(
        name.text(),
        kind.one_of(PARAMETER_KINDS),
        dtype.dtype(),
        shape.shape(),
        offset.integer(),
        length.integer(),
    )
    if tensor.length != math.prod(tensor.shape) * tensor.dtype.itemsize:
        raise length.wrong(f"the bytes of shape {list(tensor.shape)} of {tensor.dtype}")
    if tensor.offset + tensor.length > file_size:
        raise offset.wrong(f"a place inside the parameter file of {file_size} bytes")
    if tensor.offset % tensor.dtype.itemsize:
        raise offset.wrong(f"a multiple of {tensor.dtype.itemsize}")
    return tensor


def _network(place: _Place) -> NetworkSpec:
    key, file, nbytes, sha256, batch, inputs, outputs = place.fields(
        "key", "file", "bytes", "sha256", "batch", "inputs", "outputs"
    )
    listed_inputs = [_tensor(p, INPUT_KINDS, padded=True) for p in inputs.items()]
    listed_outputs = [_tensor(p, OUTPUT_KINDS, padded=False) for p in outputs.items()]
    network = NetworkSpec(
        key.key(),
        file.file(),
        nbytes.integer(1),
        sha256.sha256(),
        None if batch.value is None else batch.integer(1, 1 << 31),
        tuple(listed_inputs),
        tuple(listed_outputs),
    )
    if not network.outputs:
        raise outputs.wrong("at least one output")
    for places, tensors in ((inputs, network.inputs), (outputs, network.outputs)):
        _no_doubles(places, "name", [t.name for t in tensors])
        for item, tensor in zip(places.items(), tensors):
            _check_axes(item, tensor, network, plain=places is inputs)
    return network


def _tensor(place: _Place, kinds: Sequence[str], padded: bool) -> TensorSpec:
    names = ["name", "kind", "dtype", "shape", "axes", *(["padding", "limits"] if padded else [])]
    name, kind, dtype, shape, axes, *rest = place.fields(*names)
    tensor = TensorSpec(
        name.text(),
        kind.one_of(kinds),
        dtype.dtype(),
        shape.shape(),
        tuple(None if p.value is None else p.text(100) for p in axes.items()),
        rest[0].number() if padded else 0.0,
        rest[1].limits() if padded else None,
    )
    if tensor.nbytes > MAX_TENSOR:
        raise shape.wrong(f"a shape of at most {MAX_TENSOR} bytes")
    if padded and not fits(tensor.padding, tensor.dtype):
        raise rest[0].wrong(f"a value of {tensor.dtype}")
    if len(tensor.axes) != len(tensor.shape):
        raise axes.wrong(f"an entry for each of the {len(tensor.shape)} axes")
    return tensor


def _check_axes(place: _Place, tensor: TensorSpec, network: NetworkSpec, plain: bool) -> None:
    """Axes must multiply up to the shape. Those of inputs (``plain``) are no products."""
    every = [f for axis in range(len(tensor.axes)) for f in tensor.factors(axis)]
    if every.count(BATCH) > 1:
        raise BundleError(f"{place.path}: axes has two batch axes")
    for axis, size in enumerate(tensor.shape):
        factors = tensor.factors(axis)
        sizes = [network.factor_size(f) for f in factors]
        if any(s < 0 for s in sizes) or (plain and len(factors) > 1):
            raise BundleError(
                f"{place.path}: axis {axis} is {tensor.axes[axis]!r}, which the network of key "
                f"{network.key!r} with batch {network.batch} does not have"
            )
        if factors and math.prod(sizes) != size:
            raise BundleError(
                f"{place.path}: axis {axis} has size {size}, but {tensor.axes[axis]} is "
                f"{math.prod(sizes)} for key {network.key!r} with batch {network.batch}"
            )
