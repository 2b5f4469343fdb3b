"""Random numbers of a run: a function of the seed, the network's name, the step and the node."""

from __future__ import annotations

import numpy as np

from symbucket import seeding
from symbucket.compiler import NoiseInput
from symbucket.runtime.ndarray import NDArray
from symbucket.runtime.providers import provider_of
from symbucket.types import Array

_CHUNK = 1 << 16  # elements drawn at a time for masks: they stay in the cache


NoiseKey = tuple[str | int, ...]
"""What sets one run apart from all others: the executor's name, the mode, and the step."""


def draw(noise: NoiseInput, target: NDArray, key: NoiseKey) -> None:
    """Fill ``target`` with what ``noise`` asks for; equal keys give a worker equal numbers.

    The generator is SFC64, seeded with a hash of the library's seed, the key and the stream: it
    takes a tenth of the time of the runtime's own.
    """
    on_host = provider_of(target.context).host_memory
    worker = ("worker", seeding.worker()) if seeding.worker() else ()
    out = target.view() if on_host else np.empty(target.shape, target.dtype)
    _fill(noise, out.reshape(-1), seeding.fast_stream("noise", *worker, *key, noise.stream))
    if not on_host:
        target[...] = out


def _fill(noise: NoiseInput, flat: Array, generator: np.random.Generator) -> None:
    if noise.distribution == "uniform":
        generator.random(out=flat, dtype=np.float32)
    elif noise.distribution == "normal":
        generator.standard_normal(out=flat, dtype=np.float32)
    else:
        threshold = np.float32(noise.probability)
        chunk = np.empty(min(_CHUNK, flat.size), np.float32)
        for start in range(0, flat.size, _CHUNK):
            part = chunk[: flat.size - start]
            generator.random(out=part, dtype=np.float32)
            np.less(part, threshold, out=flat[start : start + part.size])
