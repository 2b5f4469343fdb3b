"""Sessions that update parameters in place: all of them in one graph, or a table by rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

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
from symbucket.compiler.update_pieces import Piece, in_pieces, pieces_of, whole_parameters
from symbucket.context import Context
from symbucket.errors import InvalidArgumentError
from symbucket.ir import IR_VERSION, Builder, new_graph
from symbucket.runtime import RowSparse
from symbucket.runtime.ndarray import NDArray
from symbucket.runtime.providers import provider_of
from symbucket.runtime.session import Session
from symbucket.runtime.threads import threads


class _Receipt:
    """Tells whether a session's last run ended, also if an exception came out of it.

    The session copies one number, a new one for each run, into an output.
    """

    def __init__(self, context: Context) -> None:
        self._number = NDArray.zeros((1,), np.int64, context)
        self._copy = NDArray.zeros((1,), np.int64, context)
        self._count = 0

    @staticmethod
    def serialize(model: ir.Model) -> bytes:
        """Return a model with the receipt in it."""
        proto = ir.to_proto(model)
        for values, name in ((proto.graph.input, "number"), (proto.graph.output, "receipt")):
            value = values.add(name=name)
            value.type.tensor_type.elem_type = int(ir.DataType.INT64)
            value.type.tensor_type.shape.dim.add(dim_value=1)
        proto.graph.node.add(op_type="Identity", input=["number"], output=["receipt"])
        return bytes(proto.SerializeToString())

    def bind(self, session: Session) -> None:
        session.bind_inputs({"number": self._number})
        session.bind_outputs({"receipt": self._copy})

    def renew(self) -> None:
        """Prepare the next run."""
        self._count += 1
        self._number[...] = self._count

    @property
    def received(self) -> bool:
        """Whether the run after the last ``renew`` ended."""
        return bool(self._copy.asscalar() == self._count)


class UpdateGraph:
    """A session that runs ``emit`` for every parameter of ``spec`` on one context.

    Large parameters are bound in pieces if the formula and the context allow it.
    """

    def __init__(self, spec: UpdateSpec, emit: Emit, context: Context, name: str) -> None:
        self.spec = spec
        self._pieces = (
            pieces_of(spec, emit) if provider_of(context).host_memory else whole_parameters(spec)
        )
        self.model = build_update(in_pieces(spec, self._pieces), emit, name)
        self._session = Session(_Receipt.serialize(self.model), context, name)
        self.receipt = _Receipt(context)
        self.receipt.bind(self._session)
        dtype = spec.dtype.numpy()
        self._table = NDArray.zeros((max(1, sum(map(len, spec.scalars))),), dtype, context)
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
        for i, piece in enumerate(self._pieces):
            inputs[input_name("grad", i)] = _part(grads[piece.parameter], piece)
            kinds = {"weight": weights[piece.parameter], **states[piece.parameter]}
            for kind, array in kinds.items():
                part = _part(array, piece)
                inputs[input_name(kind, i)] = outputs[output_name(kind, i)] = part
        self._bound = []  # whatever comes between, the next call binds all
        self._session.bind_inputs(inputs)
        self._session.bind_outputs(outputs)
        self._bound = arrays

    def run(self, table: Sequence[Mapping[str, float]]) -> None:
        """Update all parameters; ``table`` has the values of every row of scalars."""
        values = [row[n] for row, names in zip(table, self.spec.scalars) for n in names]
        if values:
            self._table[...] = np.array(values, dtype=self._table.dtype)
        self._session.run()


def _part(array: NDArray, piece: Piece) -> NDArray:
    """The elements of a piece, in the array's own memory."""
    if piece.start is None:
        return array
    return NDArray.over(array.view().reshape(-1)[piece.start : piece.stop])


@dataclass(frozen=True)
class DenseRun:
    """One run of an UpdateGraph. It cannot be undone, so it comes last in a step."""

    graph: UpdateGraph
    table: Sequence[Mapping[str, float]]

    def __post_init__(self) -> None:
        self.graph.receipt.renew()

    def run(self) -> None:
        """Run once."""
        self.graph.run(self.table)

    @property
    def ended(self) -> bool:
        """Whether the run has ended, with or without an exception after it."""
        return self.graph.receipt.received

    def undo(self) -> None:
        """Do nothing: if the run failed, it has changed nothing."""


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
            self._session = Session(_Receipt.serialize(model), weight.context, name)
        self.weight = weight
        self.receipt = _Receipt(weight.context)
        self.receipt.bind(self._session)
        self._step = NDArray.zeros((1,), np.float32, weight.context)
        self._session.bind_inputs({"table": weight, "step": self._step})
        self._session.bind_outputs({"new": weight})

    def run(self, grad: RowSparse, step: float) -> None:
        """Update the table; duplicate rows add up."""
        self._session.bind_inputs({"rows": grad.rows, "values": grad.values})
        self._step[...] = -step
        self._session.run()


class RowRun:
    """One run of a RowUpdate, which can be undone as long as no other run changes the table.

    On other devices than the CPU it cannot: the table would have to come to the host.
    """

    def __init__(self, update: RowUpdate, grad: RowSparse, step: float) -> None:
        self._update, self._grad, self._step = update, grad, step
        update.receipt.renew()
        self._saved: tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]] | None = None
        if provider_of(update.weight.context).host_memory:
            rows = grad.rows.view()[:, 0].copy()
            self._saved = rows, update.weight.view().take(rows, axis=0)

    def run(self) -> None:
        """Run once."""
        self._update.run(self._grad, self._step)

    @property
    def ended(self) -> bool:
        """Whether the run has ended, with or without an exception after it."""
        return self._update.receipt.received

    def undo(self) -> None:
        """Write back the rows as they were."""
        if self._saved is not None:
            rows, values = self._saved
            self._update.weight.view()[rows] = values
