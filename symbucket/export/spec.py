"""What a bundle says of itself: networks, their inputs and outputs, stored parameters."""

from __future__ import annotations

import math
import re
from collections.abc import Hashable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from symbucket.export.keys import sizes_of

Mode = Literal["inference", "training"]
INPUT_KINDS = ("data", "label", "state", "head gradient")
OUTPUT_KINDS = ("output", "gradient", "auxiliary state")
PARAMETER_KINDS = ("parameter", "auxiliary state")

ARENA = "symbucket.arena"
"""The entry of a model's metadata that says how many bytes of activations a run takes at a time."""

BATCH = "batch"
KEY = "key"
_FACTOR = re.compile(r"key(\[(0|[1-9][0-9]{0,2})\])?|[1-9][0-9]{0,9}")


def key_factor(key: Hashable, part: int) -> str:
    """How an axis is called whose size is part number ``part`` of the bucket key."""
    return f"{KEY}[{part}]" if isinstance(key, tuple) else KEY


@dataclass(frozen=True)
class TensorSpec:
    """An input or output of a network.

    ``axes`` has one entry an axis: None for a fixed size, ``"batch"`` where rows are samples,
    ``"key"`` (``"key[0]"``, ... where keys are tuples) where the size is the bucket's, or a product
    of these and plain numbers, the slowest first: ``"batch*key"`` is an axis of batch x key rows,
    the rows of the first sample first. ``padding`` fills what a request does not. ``limits`` says
    which integers an input of indices takes: from the first to below the second, and the padding.
    """

    name: str
    kind: str
    dtype: np.dtype[Any]
    shape: tuple[int, ...]
    axes: tuple[str | None, ...]
    padding: float = 0.0
    limits: tuple[int | None, int] | None = None

    def factors(self, axis: int) -> list[str]:
        """The factors of an axis, the slowest first; empty for a fixed one."""
        text = self.axes[axis]
        return [] if text is None else text.split("*")

    @property
    def batch_axis(self) -> int | None:
        """The axis whose size is the number of samples (or a multiple of it)."""
        for axis in range(len(self.axes)):
            if BATCH in self.factors(axis):
                return axis
        return None

    @property
    def nbytes(self) -> int:
        """Bytes of a buffer for it."""
        return int(math.prod(self.shape) * self.dtype.itemsize)


@dataclass(frozen=True)
class NetworkSpec:
    """The network of one bucket key; ``batch`` is the number of samples of a run, if it has any."""

    key: Hashable
    file: str
    nbytes: int
    sha256: str
    batch: int | None
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]

    @property
    def sizes(self) -> tuple[int, ...] | None:
        """The sizes in the key, if requests can be routed by size."""
        return sizes_of(self.key)

    def factor_size(self, factor: str) -> int:
        """The size that a factor of an axis stands for; -1 where the network has none such."""
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
        part = int(factor[len(KEY) + 1 : -1])
        return sizes[part] if isinstance(self.key, tuple) and part < len(sizes) else -1


@dataclass(frozen=True)
class StoredTensor:
    """A parameter's place in the parameter file, in bytes from its start."""

    name: str
    kind: str
    dtype: np.dtype[Any]
    shape: tuple[int, ...]
    offset: int
    length: int


@dataclass(frozen=True)
class Manifest:
    """All that a bundle's ``manifest.json`` says."""

    mode: Mode
    producer: str
    opset: int
    ir_version: int
    default_key: Hashable
    parameter_file: str
    parameter_nbytes: int
    parameter_sha256: str
    parameters: tuple[StoredTensor, ...]
    networks: tuple[NetworkSpec, ...]
    attachments: tuple[tuple[str, int, str], ...] = ()
    """(name, bytes, sha256) of files that only the user understands."""

    @property
    def files(self) -> list[tuple[str, int, str]]:
        """(name, bytes, sha256) of every file that the manifest speaks of."""
        first = (self.parameter_file, self.parameter_nbytes, self.parameter_sha256)
        return [first, *((n.file, n.nbytes, n.sha256) for n in self.networks), *self.attachments]
