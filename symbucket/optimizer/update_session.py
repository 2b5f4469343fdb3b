"""Sessions that update parameters in place: all of them in one graph, or a table by rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import onnx_ir as ir

from symbucket.compiler.update import (
    SCALARS,
    Emit,
    UpdateSpec,
    build_update,
    input_name,
    output_name,
)
from symbucket.context import Context
from symbucket.errors import InvalidArgumentError
from symbucket.ir import IR_VERSION, Builder, new_graph
from symbucket.runtime import RowSparse
from symbucket.runtime.ndarray import NDArray
from symbucket.runtime.session import Session, threads


class UpdateGraph:
    """A session that runs ``emit`` for every parameter of ``spec`` on one context."""

    def __init__(self, spec: UpdateSpec, emit: Emit, context: Context, name: str) -> None:
        self.spec = spec
        self.model = build_update(spec, emit, name)
        self._session = Session(ir.to_proto(self.model).SerializeToString(), context, name)
        self._table = NDArray.zeros((max(1, sum(map(len, spec.scalars))),), np.float32, context)
        self._session.bind_inputs({SCALARS: self._table})
        self._bound: list[NDArray] = []

    def bind(
        self,
        weights: Sequence[NDArray],
        grads: Sequence[NDArray],
        states: Sequence[Mapping[str, NDArray]],
    ) -> None:
        """Bind the buffers of every parameter; nothing happens where they are bound already."""
        buffers = [*weights, *(s[name] for s in states for name in self.spec.states)]
        arrays = [*buffers, *grads]
        if len(arrays) == len(self._bound) and all(a is b for a, b in zip(arrays, self._bound)):
            return
        if len({id(a) for a in buffers}) != len(buffers) or any(
            g is b for g in grads for b in buffers
        ):
            raise InvalidArgumentError(
                f"{self._session.name}: one array stands for two things among the weights, "
                "gradients and states. An update in place needs a buffer of its own for each; "
                "list a shared parameter once."
            )
        inputs: dict[str, NDArray] = {}
        outputs: dict[str, NDArray] = {}
        for i, (weight, grad, state) in enumerate(zip(weights, grads, states)):
            inputs[input_name("grad", i)] = grad
            for kind, array in {"weight": weight, **state}.items():
                inputs[input_name(kind, i)] = outputs[output_name(kind, i)] = array
        self._session.bind_inputs(inputs)
        self._session.bind_outputs(outputs)
        self._bound = arrays

    def run(self, table: Sequence[Mapping[str, float]]) -> None:
        """One update of all parameters; ``table`` has the values of every row of scalars."""
        values = [row[n] for row, names in zip(table, self.spec.scalars) for n in names]
        if values:
            self._table[...] = np.array(values, dtype=np.float32)
        self._session.run()


class RowUpdate:
    """``table[rows] -= step * values``, in place: one small session for any number of rows."""

    def __init__(self, weight: NDArray, name: str) -> None:
        graph = new_graph(name)
        g = Builder(graph)
        table = g.input("table", weight.shape, ir.DataType.FLOAT)
        values = ir.Value(
            name="values",
            shape=ir.Shape(["n", *weight.shape[1:]]),
            type=ir.TensorType(ir.DataType.FLOAT),
        )
        rows = ir.Value(
            name="rows", shape=ir.Shape(["n", 1]), type=ir.TensorType(ir.DataType.INT64)
        )
        graph.inputs.extend([rows, values])
        step = g.input("step", (1,), ir.DataType.FLOAT)
        scaled = g.typed("Mul", ["n", *weight.shape[1:]], values, step)
        # On one thread: on several, ScatterND loses additions to rows that repeat, see
        # autodiff/rules/add_rows.py. It takes a tenth of ScatterElements' time.
        new = g.typed("ScatterND", weight.shape, table, rows, scaled, reduction="add")
        new.name = "new"
        graph.outputs.append(new)
        model = ir.Model(graph, ir_version=IR_VERSION, producer_name="symbucket")
        with threads(1):
            self._session = Session(ir.to_proto(model).SerializeToString(), weight.context, name)
        self._step = NDArray.zeros((1,), np.float32, weight.context)
        self._session.bind_inputs({"table": weight, "step": self._step})
        self._session.bind_outputs({"new": weight})

    def run(self, grad: RowSparse, step: float) -> None:
        """One update; duplicate rows add up."""
        self._session.bind_inputs({"rows": grad.rows, "values": grad.values})
        self._step[...] = -step
        self._session.run()
