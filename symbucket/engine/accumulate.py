"""Adding gradients to what is there: grad_req "add"."""

from __future__ import annotations

from collections.abc import Sequence

import onnx_ir as ir

from symbucket.context import Context
from symbucket.ir import Builder, model_bytes, new_graph
from symbucket.runtime.ndarray import NDArray
from symbucket.runtime.session import Session


class Accumulator:
    """``total += part`` for pairs of arrays, in place, on their device, in one run."""

    def __init__(
        self, pairs: Sequence[tuple[NDArray, NDArray]], context: Context, name: str
    ) -> None:
        g = Builder(new_graph(name))
        for i, (total, _) in enumerate(pairs):
            dtype = ir.DataType.from_numpy(total.dtype)
            values = [g.input(f"{kind}{i}", total.shape, dtype) for kind in ("total", "part")]
            added = g.op("Add", *values)
            added.name = f"new{i}"
            g.graph.outputs.append(added)
        self._session = Session(model_bytes(g.graph), context, name)
        self.bind(pairs)

    def bind(self, pairs: Sequence[tuple[NDArray, NDArray]]) -> None:
        """Use other arrays, of the same shapes and in the same order."""
        totals = {f"total{i}": total for i, (total, _) in enumerate(pairs)}
        self._session.bind_inputs({**totals, **{f"part{i}": p for i, (_, p) in enumerate(pairs)}})
        self._session.bind_outputs({f"new{i}": total for i, (total, _) in enumerate(pairs)})

    def release(self) -> None:
        """Forget all arrays; ``bind`` them again before ``run``."""
        self._session.release()

    def run(self) -> None:
        """Add once."""
        self._session.run()
