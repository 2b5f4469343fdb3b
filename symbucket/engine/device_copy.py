"""Copies between arrays of one device that do not pass through the host."""

from __future__ import annotations

from collections.abc import Sequence

import onnx_ir as ir

from symbucket.context import Context
from symbucket.ir import Builder, model_bytes, new_graph
from symbucket.runtime.ndarray import NDArray
from symbucket.runtime.session import Session


class DeviceCopy:
    """``target[...] = source`` for pairs of arrays of the same shapes, in one run.

    The runtime has no call for it, but an Identity between two arrays of a device is such a copy.
    """

    def __init__(
        self, pairs: Sequence[tuple[NDArray, NDArray]], context: Context, name: str
    ) -> None:
        g = Builder(new_graph(name))
        for i, (_, source) in enumerate(pairs):
            dtype = ir.DataType.from_numpy(source.dtype)
            result = g.op("Identity", g.input(f"source{i}", source.shape, dtype))
            result.name = f"target{i}"
            g.graph.outputs.append(result)
        self._session = Session(model_bytes(g.graph), context, name)
        self._session.bind_inputs({f"source{i}": source for i, (_, source) in enumerate(pairs)})
        self._session.bind_outputs({f"target{i}": target for i, (target, _) in enumerate(pairs)})

    def run(self) -> None:
        """Copy once."""
        self._session.run()
