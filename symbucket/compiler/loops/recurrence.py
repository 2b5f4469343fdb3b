"""A Scan as one of ONNX's recurrent operators: what it reads, and the operator in its place."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import onnx_ir as ir

from symbucket.compiler.loops.recurrent_cells import Cell, Gate, match_cell
from symbucket.compiler.loops.step_form import Form, is_layer_product
from symbucket.compiler.rewrite.graph_queries import is_zero, only_user
from symbucket.ir import (
    Builder,
    attribute_of,
    dtype_of,
    input_of,
    is_op,
    optional_input_of,
    produced_by,
    read_directions,
    runs_along_first_axes,
    shape_of,
    stack_directions,
    states_of,
    steps_of,
)


@dataclass(frozen=True)
class _Rows:
    """The rows of a weight, or elements of a bias, that belong to one gate."""

    value: ir.Value
    start: int


@dataclass(frozen=True)
class _Source:
    """The product of all steps' inputs with a gate's rows of the weight."""

    x: ir.Value
    weight: _Rows
    biases: tuple[_Rows, ...]


@dataclass(frozen=True)
class Recurrence:
    """A Scan that does what one of ONNX's recurrent operators does."""

    scan: ir.Node
    body: ir.Graph
    cell: Cell
    sources: tuple[_Source, ...]

    @property
    def op_type(self) -> str:
        """The operator."""
        return self.cell.op_type

    @property
    def units(self) -> int:
        """How many units the layer has."""
        return shape_of(self.body.outputs[self.hidden])[1]

    @property
    def hidden(self) -> int:
        """The number of the state that is the output."""
        return self.cell.hidden

    def is_output(self, stack: ir.Value) -> bool:
        """Return whether a result of the body is the output, or a copy of it."""
        return _copied(stack) is _copied(self.body.outputs[self.hidden])

    def returns_outputs_only(self) -> bool:
        """Return whether the Scan returns last states and stacks of the outputs, and no more."""
        return all(map(self.is_output, self.body.outputs[states_of(self.scan) :]))

    def append(self, g: Builder) -> tuple[list[ir.Value], ir.Value]:
        """Append the operator; return the last states of the Scan, and the stack of outputs."""
        scan, cell, sources = self.scan, self.cell, self.sources
        steps = steps_of(scan)
        rows, units = shape_of(scan.outputs[cell.hidden])
        order = [cell.hidden] if states_of(scan) == 1 else [cell.hidden, 1 - cell.hidden]
        bias = self._bias(g)
        initial = [input_of(scan, i) for i in order]
        states = [None if is_zero(v) else g.reshape(v, (1, rows, units)) for v in initial]
        x = sources[0].x
        activations = list(cell.activations) if cell.activations not in ((), ("Tanh",)) else None
        outputs = g.ops(
            cell.op_type,
            g.reshape(x, (steps, rows, shape_of(x)[1])),
            self._weight(g, [source.weight for source in sources]),
            self._weight(g, [_rows_of(gate.state) for gate in cell.gates]),
            bias,
            None,
            *states,
            outputs=1 + len(order),
            hidden_size=units,
            direction="reverse" if read_directions(scan)[0] else "forward",
            activations=activations,
            linear_before_reset=cell.linear_before_reset or None,
        )
        stack = g.reshape(outputs[0], (steps, rows, units))
        finals = {i: g.reshape(value, (rows, units)) for i, value in zip(order, outputs[1:])}
        return [finals[i] for i in sorted(finals)], stack

    def _weight(self, g: Builder, parts: Sequence[_Rows]) -> ir.Value:
        """Return the rows of all gates (1, rows, columns)."""
        joined = _joined(g, parts, self.units)
        return g.reshape(joined, (1, *shape_of(joined)))

    def _bias(self, g: Builder) -> ir.Value | None:
        """Return what is added to the inputs' products, then to the states'; None if nothing."""
        gates = self.cell.gates
        of_inputs = [
            (*source.biases, *map(_rows_of, gate.biases))
            for source, gate in zip(self.sources, gates)
        ]
        of_states = [tuple(map(_rows_of, gate.state_biases)) for gate in gates]
        if not any(of_inputs) and not any(of_states):
            return None
        halves = [_summed(g, parts, self.units) for parts in (of_inputs, of_states)]
        return g.reshape(g.op("Concat", *halves, axis=0), (1, 2 * len(gates) * self.units))


def recurrence_of(scan: ir.Node, body: ir.Graph) -> Recurrence | None:
    """Return how a Scan is a recurrent operator, None if it is none."""
    cell = match_cell(scan, body)
    if cell is None or not _runs_one_way(scan):
        return None
    hidden = body.outputs[cell.hidden]
    if dtype_of(hidden) != ir.DataType.FLOAT:
        return None
    sources = [_source_of(scan, body, gate, shape_of(hidden)[0]) for gate in cell.gates]
    whole = tuple(source for source in sources if source is not None)
    if len(whole) < len(sources) or len({source.x for source in whole}) != 1:
        return None
    return Recurrence(scan, body, cell, whole)


def _runs_one_way(scan: ir.Node) -> bool:
    """Return whether all sequences begin with the same step, along the first axis."""
    directions = {*read_directions(scan), *stack_directions(scan)}
    return len(directions) == 1 and runs_along_first_axes(scan)


def _copied(value: ir.Value) -> ir.Value | None:
    """Return what an Identity copies; other values as they are."""
    copy = produced_by(value, "Identity")
    return value if copy is None else copy.inputs[0]


# What the loop reads ------------------------------------------------------------------------------


def _source_of(scan: ir.Node, body: ir.Graph, gate: Gate, rows: int) -> _Source | None:
    """Return the product that makes a gate's slices, if this Scan alone reads it."""
    assert gate.inputs.value is not None
    value: ir.Value | None = scan.inputs[body.inputs.index(gate.inputs.value)]
    start, units = gate.inputs.start, shape_of(body.outputs[0])[1]
    steps_and_rows = steps_of(scan) * rows
    while value is not None and (node := value.producer()) is not None and not node.domain:
        if only_user(value) is None and any(user is not scan for user, _ in value.uses()):
            return None
        if is_op(node, "Split") and attribute_of(node, "axis") in (-1, len(shape_of(value)) - 1):
            before = list(node.outputs)[: node.outputs.index(value)]
            start += sum(shape_of(part)[-1] for part in before)
        elif is_op(node, "Reshape"):
            if shape_of(input_of(node, 0))[-1] != shape_of(value)[-1]:
                return None
        elif is_op(node, "Gemm"):
            return _product(node, start, units, steps_and_rows)
        else:
            return None
        value = node.inputs[0]
    return None


def _product(node: ir.Node, start: int, units: int, rows: int) -> _Source | None:
    x, weight, bias = input_of(node, 0), input_of(node, 1), optional_input_of(node, 2)
    if not is_layer_product(node):
        return None
    if shape_of(x)[0] != rows or (bias is not None and len(shape_of(bias)) != 1):
        return None
    if start + units > shape_of(weight)[0]:
        return None
    biases = () if bias is None else (_Rows(bias, start),)
    return _Source(x, _Rows(weight, start), biases)


# Weights and biases -----------------------------------------------------------------------------


def _rows_of(form: Form) -> _Rows:
    assert form.value is not None
    return _Rows(form.value, form.start)


def _joined(g: Builder, parts: Sequence[_Rows], units: int) -> ir.Value:
    """Return the rows of all gates, one gate after the other; neighbours are one slice."""
    runs: list[tuple[ir.Value, int, int]] = []
    for part in parts:
        if runs and runs[-1][0] is part.value and runs[-1][2] == part.start:
            runs[-1] = part.value, runs[-1][1], part.start + units
        else:
            runs.append((part.value, part.start, part.start + units))
    pieces = [_sliced(g, *run) for run in runs]
    return pieces[0] if len(pieces) == 1 else g.op("Concat", *pieces, axis=0)


def _sliced(g: Builder, value: ir.Value, start: int, stop: int) -> ir.Value:
    if (start, stop) == (0, shape_of(value)[0]):
        return value
    return g.op("Slice", value, g.ints(start), g.ints(stop), g.ints(0))


def _summed(g: Builder, parts: Sequence[Sequence[_Rows]], units: int) -> ir.Value:
    """Return the sum of the biases of each gate, one gate after the other."""
    columns = {tuple(rows.value for rows in gate) for gate in parts}
    if len(columns) == 1:  # all gates have the same biases: add first, and slice less
        sums = [_joined(g, same, units) for same in zip(*parts)]
        return _added(g, sums) if sums else _zeros(g, len(parts) * units)
    each = [[_joined(g, [rows], units) for rows in gate] for gate in parts]
    return g.op("Concat", *(_added(g, gate) if gate else _zeros(g, units) for gate in each), axis=0)


def _zeros(g: Builder, size: int) -> ir.Value:
    return g.filled((size,), 0.0, ir.DataType.FLOAT)


def _added(g: Builder, values: Sequence[ir.Value]) -> ir.Value:
    total = values[0]
    for value in values[1:]:
        total = g.op("Add", total, value)
    return total
