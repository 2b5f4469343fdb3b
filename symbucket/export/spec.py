"""Contents of ``manifest.json``: a bundle's networks, their inputs and outputs, its parameters.

These structs are the format: field names, types and limits are checked when a manifest is read
(``manifest.py``), and each ``__post_init__`` checks what holds between fields whenever a struct is
made.
"""

from __future__ import annotations

import math
import re
from collections.abc import Hashable, Iterable, Iterator, Sequence
from typing import Annotated, Any, Literal, TypeAlias

import numpy as np
from msgspec import Meta, Struct, field

from symbucket.errors import InvalidArgumentError
from symbucket.export.keys import sizes_of

Mode: TypeAlias = Literal["inference", "training"]

Free: TypeAlias = tuple[str, ...]
"""The axes of a network whose size may be smaller than its shapes say: ``batch``, ``key``."""

ARENA = "symbucket.arena"
"""The entry of a model's metadata that says how many bytes of activations a run takes at a time."""
MANIFEST_FILE = "manifest.json"
MAX_TENSOR_BYTES = 16 << 30
"""Of one input, output or inner value of a network."""
DTYPES = "bool float16 float32 float64 int8 int16 int32 int64 uint8 uint16 uint32 uint64".split()

BATCH = "batch"
KEY = "key"
_FACTOR = re.compile(r"key(\[(0|[1-9][0-9]{0,2})\])?|[1-9][0-9]{0,9}")
_FILE_NAME = r"\A[A-Za-z0-9][A-Za-z0-9._-]{0,127}\Z"
_SHA256 = r"\A[0-9a-f]{64}\Z"
_MODE = r"\A(?:inference|training)\Z"
_INPUT_KIND = r"\A(?:data|label|state|head gradient)\Z"
_OUTPUT_KIND = r"\A(?:output|gradient|auxiliary state|state)\Z"
_FREE = r"\A(?:batch|key)\Z"
_PARAMETER_KIND = r"\A(?:parameter|auxiliary state)\Z"

PATTERN_MEANINGS = {
    _FILE_NAME: "a file name without folders, of letters, digits, '.', '_' and '-'",
    _SHA256: "64 hexadecimal digits",
    _MODE: "'inference' or 'training'",
    _INPUT_KIND: "'data', 'label', 'state' or 'head gradient'",
    _OUTPUT_KIND: "'output', 'gradient', 'auxiliary state' or 'state'",
    _FREE: "'batch' or 'key'",
    _PARAMETER_KIND: "'parameter' or 'auxiliary state'",
}
"""What error texts say in place of a regular expression."""

FileName: TypeAlias = Annotated[str, Meta(pattern=_FILE_NAME)]
Size: TypeAlias = Annotated[int, Meta(ge=0, le=1 << 62)]
Dimension: TypeAlias = Annotated[int, Meta(ge=0, le=1 << 31)]
Shape: TypeAlias = Annotated[tuple[Dimension, ...], Meta(max_length=32)]
Name: TypeAlias = Annotated[str, Meta(min_length=1, max_length=1000)]
Axis: TypeAlias = Annotated[str, Meta(min_length=1, max_length=100)]
IndexLimit: TypeAlias = Annotated[int, Meta(ge=-(1 << 53), le=1 << 53)]


def is_file_name(name: str) -> bool:
    """Return whether a name is plain: nothing that could lead out of a folder."""
    return re.match(_FILE_NAME, name) is not None


def fits_dtype(value: float, dtype: np.dtype[Any]) -> bool:
    """Return whether ``dtype`` can hold the padding ``value``."""
    if not math.isfinite(value):
        return False
    if dtype.kind in "iu":
        limits = np.iinfo(dtype)
        return value == int(value) and limits.min <= value <= limits.max
    if dtype.kind == "b":
        return value in (0, 1)
    return abs(value) <= float(np.finfo(dtype).max)


def key_factor(key: Hashable, part: int) -> str:
    """Return the name of an axis whose size is part number ``part`` of the bucket key."""
    return f"{KEY}[{part}]" if isinstance(key, tuple) else KEY


class BundleFile(Struct, frozen=True, forbid_unknown_fields=True):
    """A file of a bundle, with its size and checksum. By itself: an attachment."""

    file: FileName
    nbytes: Size = field(name="bytes")
    sha256: Annotated[str, Meta(pattern=_SHA256)]


class StoredTensor(Struct, frozen=True, forbid_unknown_fields=True):
    """A parameter's place in the parameter file, in bytes from its start."""

    name: Name
    kind: Annotated[str, Meta(pattern=_PARAMETER_KIND)]
    dtype: np.dtype[Any]
    shape: Shape
    offset: Size
    length: Size

    def __post_init__(self) -> None:
        nbytes = math.prod(self.shape) * self.dtype.itemsize
        if self.length != nbytes:
            raise InvalidArgumentError(
                f"length is {self.length}; expected {nbytes}, the bytes of shape "
                f"{list(self.shape)} of {self.dtype}"
            )
        if self.offset % self.dtype.itemsize:
            raise InvalidArgumentError(
                f"offset is {self.offset}; expected a multiple of {self.dtype.itemsize}"
            )


class ParameterFile(BundleFile, frozen=True, forbid_unknown_fields=True):
    """The file with all parameters, and where each of them is in it."""

    tensors: tuple[StoredTensor, ...]

    def __post_init__(self) -> None:
        _check_unique("name", (t.name for t in self.tensors))
        end = 0
        for tensor in sorted(self.tensors, key=lambda t: (t.offset, t.length)):
            if tensor.offset < end:
                raise InvalidArgumentError(f"{tensor.name!r} overlaps the tensor before it")
            end = tensor.offset + tensor.length
            if end > self.nbytes:
                raise InvalidArgumentError(
                    f"{tensor.name!r} ends at byte {end}; expected a place inside the parameter "
                    f"file of {self.nbytes} bytes"
                )


class TensorSpec(Struct, frozen=True, forbid_unknown_fields=True):
    """An input or output of a network.

    ``axes`` has one entry per axis: None for a fixed size; ``"batch"`` if rows are samples;
    ``"key"`` (``"key[0]"``, ... if keys are tuples) if the size is the bucket's; or a product of
    these and plain numbers, the slowest first: ``"batch*key"`` is an axis of batch x key rows, the
    rows of the first sample first.
    """

    name: Name
    kind: str
    dtype: np.dtype[Any]
    shape: Shape
    axes: tuple[Axis | None, ...]

    def __post_init__(self) -> None:
        if len(self.axes) != len(self.shape):
            raise InvalidArgumentError(
                f"axes has {len(self.axes)} entries; expected an entry for each of the "
                f"{len(self.shape)} axes of the shape"
            )
        if self.nbytes > MAX_TENSOR_BYTES:
            raise InvalidArgumentError(
                f"shape {list(self.shape)} of {self.dtype} has {self.nbytes} bytes; expected a "
                f"shape of at most {MAX_TENSOR_BYTES}"
            )

    def factors(self, axis: int) -> list[str]:
        """Return the factors of an axis, the slowest first; none for a fixed axis."""
        text = self.axes[axis]
        return [] if text is None else text.split("*")

    @property
    def batch_axis(self) -> int | None:
        """The axis whose size is the number of samples or a multiple of it."""
        for axis in range(len(self.axes)):
            if BATCH in self.factors(axis):
                return axis
        return None

    @property
    def nbytes(self) -> int:
        """Bytes of a buffer for it."""
        return int(math.prod(self.shape) * self.dtype.itemsize)


class InputSpec(TensorSpec, frozen=True, forbid_unknown_fields=True):
    """An input of a network.

    ``padding`` fills what a request leaves empty. ``limits`` are the integers that an input of
    indices accepts besides the padding: from the first (None: any) to below the second.
    """

    kind: Annotated[str, Meta(pattern=_INPUT_KIND)]
    padding: float
    limits: tuple[IndexLimit | None, IndexLimit] | None

    def __post_init__(self) -> None:
        super().__post_init__()
        if not fits_dtype(self.padding, self.dtype):
            raise InvalidArgumentError(
                f"padding is {self.padding}; expected a finite number that {self.dtype} can hold"
            )


class OutputSpec(TensorSpec, frozen=True, forbid_unknown_fields=True):
    """An output of a network."""

    kind: Annotated[str, Meta(pattern=_OUTPUT_KIND)]


class NetworkSpec(BundleFile, frozen=True, forbid_unknown_fields=True):
    """The network of one bucket key.

    ``batch`` is the number of samples of a run, None if the network has no batch axis. Axes in
    ``free`` may have any smaller size too: shapes, key and batch are then the largest ones, and
    networks of all keys may be one file. ``padding_matters`` says whether padding changes outputs
    (as it does where a network reads its input backwards); if not, requests of different lengths
    may share a run of any length. ``activations`` are the most bytes that the values of a run take
    at a time.
    """

    key: Hashable
    batch: Annotated[int, Meta(ge=1, le=1 << 31)] | None
    free: Annotated[tuple[Annotated[str, Meta(pattern=_FREE)], ...], Meta(max_length=2)]
    padding_matters: bool
    activations: Size
    inputs: tuple[InputSpec, ...]
    outputs: Annotated[tuple[OutputSpec, ...], Meta(min_length=1)]

    def __post_init__(self) -> None:
        if self.free not in ((), (BATCH,), (BATCH, KEY)):
            raise InvalidArgumentError(
                f"free is {list(self.free)}; expected [], ['batch'] or ['batch', 'key']"
            )
        if (BATCH in self.free and self.batch is None) or (KEY in self.free and not self.sizes):
            raise InvalidArgumentError(
                f"free is {list(self.free)}, which the network of key {self.key!r} with batch "
                f"{self.batch} does not have"
            )
        tensors: Sequence[TensorSpec]
        for tensors in (self.inputs, self.outputs):
            _check_unique("name", (t.name for t in tensors))
            for tensor in tensors:
                self._check_axes(tensor)

    def _check_axes(self, tensor: TensorSpec) -> None:
        """Raise InvalidArgumentError unless the axes of ``tensor`` multiply up to its shape."""
        factors = [f for axis in range(len(tensor.axes)) for f in tensor.factors(axis)]
        if factors.count(BATCH) > 1:
            raise InvalidArgumentError(f"{tensor.name!r} has two batch axes")
        for axis, size in enumerate(tensor.shape):
            factors = tensor.factors(axis)
            sizes = [self.factor_size(f) for f in factors]
            is_product = len(factors) > 1
            if any(s < 0 for s in sizes) or (is_product and isinstance(tensor, InputSpec)):
                raise InvalidArgumentError(
                    f"{tensor.name!r}: axis {axis} is {tensor.axes[axis]!r}, which the network of "
                    f"key {self.key!r} with batch {self.batch} does not have"
                )
            if factors and math.prod(sizes) != size:
                raise InvalidArgumentError(
                    f"{tensor.name!r}: axis {axis} has size {size}, but {tensor.axes[axis]} is "
                    f"{math.prod(sizes)} for key {self.key!r} with batch {self.batch}"
                )

    @property
    def sizes(self) -> tuple[int, ...] | None:
        """The sizes in the key; None if requests cannot be routed by size."""
        return sizes_of(self.key)

    def shape_of(self, tensor: TensorSpec, samples: int, length: int) -> tuple[int, ...]:
        """Return the shape of an input or output in a run of so many samples and steps."""
        sizes = {BATCH: samples if BATCH in self.free else self.batch or 1}
        if KEY in self.free:
            sizes[KEY] = length
        shape = []
        for axis, size in enumerate(tensor.shape):
            factors = tensor.factors(axis)
            product = math.prod(sizes.get(f) or self.factor_size(f) for f in factors)
            shape.append(product if factors else size)
        return tuple(shape)

    def is_free(self, tensor: TensorSpec, axis: int) -> bool:
        """Return whether the size of an axis may be smaller than the shape says."""
        return not {*tensor.factors(axis)}.isdisjoint(self.free)

    def factor_size(self, factor: str) -> int:
        """Return the size that a factor of an axis stands for, -1 if the network has no such."""
        sizes = self.sizes
        if factor == BATCH:
            return -1 if self.batch is None else self.batch
        if not _FACTOR.fullmatch(factor):
            return -1
        if factor.isdigit():
            return int(factor)
        if sizes is None:
            return -1
        if factor == KEY:
            return sizes[0] if not isinstance(self.key, tuple) else -1
        part = part_of(factor)
        return sizes[part] if isinstance(self.key, tuple) and part < len(sizes) else -1


def part_of(factor: str) -> int:
    """Return which number of the key a factor of an axis is; -1 if it is none."""
    if factor == KEY:
        return 0
    return int(factor[len(KEY) + 1 : -1]) if factor.startswith(KEY + "[") else -1


class Manifest(Struct, frozen=True, forbid_unknown_fields=True):
    """Everything that ``manifest.json`` says; ``producer`` is the version that wrote it."""

    producer: Annotated[str, Meta(min_length=1, max_length=100)] = field(name="symbucket")
    mode: Annotated[str, Meta(pattern=_MODE)]
    opset: Annotated[int, Meta(ge=1, le=1000)]
    ir_version: Annotated[int, Meta(ge=1, le=1000)]
    default_key: Hashable
    parameters: ParameterFile
    networks: Annotated[tuple[NetworkSpec, ...], Meta(min_length=1)]
    attachments: tuple[BundleFile, ...]
    """Files that only the user understands."""

    def __post_init__(self) -> None:
        _check_unique("key", (n.key for n in self.networks))
        _check_unique("file", (MANIFEST_FILE, *(f.file.lower() for f in self.files())))
        whole = {f.file: f for f in self.files()}
        for network in self.networks:
            file = whole[network.file]
            if (network.nbytes, network.sha256) != (file.nbytes, file.sha256):
                raise InvalidArgumentError(
                    f"the file {network.file!r} has two sizes or checksums; expected one"
                )
        if self.default_key not in [n.key for n in self.networks]:
            raise InvalidArgumentError(
                f"default_key is {self.default_key!r}; expected the key of one of the networks"
            )

    def files(self) -> Iterator[BundleFile]:
        """Yield every file of the bundle besides the manifest."""
        yield self.parameters
        shared: set[str] = set()
        for network in self.networks:
            if KEY not in network.free or network.file not in shared:
                yield network
            if KEY in network.free:
                shared.add(network.file)
        yield from self.attachments


def largest_shapes(network: NetworkSpec) -> dict[str, tuple[int, ...]]:
    """Return the shapes of inputs and outputs, for free axes those of the largest run."""
    return {tensor.name: tensor.shape for tensor in [*network.inputs, *network.outputs]}


def _check_unique(what: str, values: Iterable[Hashable]) -> None:
    seen = set()
    for value in values:
        if value in seen:
            raise InvalidArgumentError(f"the {what} {value!r} is there twice")
        seen.add(value)
