"""Adding gradients to what is there: grad_req "add"."""

from __future__ import annotations

from collections.abc import Sequence

import onnx_ir as ir

from symbucket.context import Context
from symbucket.ir import IR_VERSION, Builder, new_graph
from symbucket.runtime.ndarray import NDArray
from symbucket.runtime.session import Session


class Accumulator:
    """``total += part`` for pairs of arrays, in place, on their device, in one run."""

    def __init__(
        self, pairs: Sequence[tuple[NDArray, NDArray]], context: Context, name: str
    ) -> None:
        g = Builder(new_graph(name))
        inputs: dict[str, NDArray] = {}
        outputs: dict[str, NDArray] = {}
        for i, (total, part) in enumerate(pairs):
            dtype = ir.DataType.from_numpy(total.dtype)
            names = (f"total{i}", f"part{i}")
            values = [g.input(n, total.shape, dtype) for n in names]
            inputs.update(zip(names, (total, part)))
            added = g.op("Add", *values)
            added.name = f"new{i}"
            outputs[f"new{i}"] = total
            g.graph.outputs.append(added)
        model = ir.serde.serialize_model(ir.Model(g.graph, ir_version=IR_VERSION))
        self._session = Session(model.SerializeToString(), context, name)
        self._session.bind_inputs(inputs)
        self._session.bind_outputs(outputs)

    def run(self) -> None:
        """Add once."""
        self._session.run()
