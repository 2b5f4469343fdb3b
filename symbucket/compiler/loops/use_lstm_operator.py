"""A Scan whose body is the step of an LSTM becomes the operator LSTM.

The runtime's kernel takes two thirds of the time of a Scan with layers of 200 units, half of it
with 64; with layers of 650 the products take all the time. It returns the outputs and the last
states, but no gates, so this is for inference.
"""

from __future__ import annotations

from dataclasses import dataclass

import onnx_ir as ir

from symbucket.compiler.rewrite.base import Property, graph_pass
from symbucket.compiler.rewrite.graph_queries import is_zero
from symbucket.compiler.rewrite.pattern import Match, Op, Optional, Var, variables
from symbucket.ir import (
    Builder,
    attribute_of,
    body_of,
    dtype_of,
    input_of,
    is_op,
    produced_by,
    shape_of,
)

MAX_UNITS = 512
STEP_NODES = 11  # of an LSTM's step, copies not counted

# c' = f c + i g;  h' = o tanh(c')
last_hidden, last_cell, inputs_share, weight = variables("h", "c", "inputs' share", "weight")
GATES = i, o, f, g = variables("input gate", "output gate", "forget gate", "candidate")
CELL = Op(
    "Add",
    Op("Mul", Op("Sigmoid", f), last_cell, any_order=True),
    Op("Mul", Op("Sigmoid", i), Op("Tanh", g), any_order=True),
    any_order=True,
)
HIDDEN = Op("Mul", Op("Sigmoid", o), Op("Tanh", CELL), any_order=True)
GATE_PRODUCT = Op(
    "Gemm", last_hidden, weight, inputs_share, transA=0, transB=1, alpha=1, beta=1
)  # fmt: skip
GATE_SPLIT = Op("Split", GATE_PRODUCT, Var("sizes"), axis=lambda axis: axis in (1, -1))

# The inputs' share of all steps, for this Scan alone.
x, input_weight = variables("x", "input weight")
bias = Var("bias", where=lambda c: len(shape_of(c)) == 1)
INPUT_PRODUCT = Op(
    "Gemm", x, input_weight, Optional(bias), transA=0, transB=1, alpha=1, beta=1, users=1
)  # fmt: skip
INPUT_STACK = Op("Reshape", INPUT_PRODUCT, Var("shape"), users=1)


@dataclass
class _Step:
    """The step of an LSTM, as a body computes it."""

    weight: ir.Value
    order: list[int]  # places of input, output, forget gate and candidate in the product
    hidden: ir.Value
    cell: ir.Value


@graph_pass("final", introduces=("LSTM",), requires=(Property.STANDARD_ONNX,))
def use_lstm_operator(graph: ir.Graph) -> int:
    """Rewrite every Scan that is an LSTM; returns their number."""
    return sum(_rewrite(graph, scan, body) for scan in list(graph) if (body := body_of(scan)))


def _rewrite(graph: ir.Graph, scan: ir.Node, body: ir.Graph) -> bool:
    if len(scan.inputs) != 3 or attribute_of(scan, "num_scan_inputs") != 1:
        return False
    step = _match_step(body)
    product = INPUT_STACK.match(scan.inputs[2])
    if step is None or product is None or not _returns_outputs_only(scan, body, step):
        return False
    if dtype_of(product[x]) != ir.DataType.FLOAT or shape_of(step.hidden)[1] > MAX_UNITS:
        return False
    g = Builder(graph, anchor=scan)
    with g.beside(scan):
        results = _lstm(g, scan, step, product, swap=step.hidden is not body.outputs[0])
    for old, new in zip(scan.outputs, results):
        old.replace_all_uses_with(new, replace_graph_outputs=True)
    graph.remove(scan, safe=True)
    return True


def _lstm(g: Builder, scan: ir.Node, step: _Step, product: Match, swap: bool) -> list[ir.Value]:
    """Return the outputs of the Scan, computed by an LSTM; ``swap``: its cell comes first."""
    steps, rows, _ = shape_of(input_of(scan, 2))
    hidden = shape_of(step.hidden)[1]
    zeros = g.filled((4 * hidden,), 0.0, dtype_of(step.hidden))
    input_bias = _ordered(g, product[bias], step) if bias in product else zeros
    biases = g.op("Concat", input_bias, zeros, axis=0)
    states = [
        None if is_zero(value) else g.reshape(value, (1, rows, hidden))
        for value in (input_of(scan, 0), input_of(scan, 1))
    ]
    outputs = g.ops(
        "LSTM",
        g.reshape(product[x], (steps, rows, shape_of(product[x])[1])),
        _stacked(g, product[input_weight], step),
        _stacked(g, step.weight, step),
        g.reshape(biases, (1, 8 * hidden)),
        None,
        *(states[::-1] if swap else states),
        outputs=3,
        hidden_size=hidden,
        direction="reverse" if attribute_of(scan, "scan_input_directions")[0] else "forward",
    )
    stack = g.reshape(outputs[0], (steps, rows, hidden))
    finals = [g.reshape(value, (rows, hidden)) for value in outputs[1:]]
    return [*(finals[::-1] if swap else finals), *[stack] * (len(scan.outputs) - 2)]


def _ordered(g: Builder, value: ir.Value, step: _Step) -> ir.Value:
    """Return the rows of a weight or bias in the operator's order of gates."""
    size = shape_of(value)[0] // 4
    parts = g.ops("Split", value, g.ints(*[size] * 4), axis=0, outputs=4)
    return g.op("Concat", *(parts[place] for place in step.order), axis=0)


def _stacked(g: Builder, weight: ir.Value, step: _Step) -> ir.Value:
    return g.reshape(_ordered(g, weight, step), (1, *shape_of(weight)))


def _returns_outputs_only(scan: ir.Node, body: ir.Graph, step: _Step) -> bool:
    """Return whether the Scan returns last states and stacks of the outputs, and no more."""
    outputs = attribute_of(scan, "scan_output_directions") or ()
    directions = {*attribute_of(scan, "scan_input_directions"), *outputs}
    stacked = [_copied(value) for value in body.outputs[2:]]
    return len(directions) == 1 and all(value is step.hidden for value in stacked)


def _copied(value: ir.Value) -> ir.Value | None:
    """Return what an Identity copies; other values as they are."""
    copy = produced_by(value, "Identity")
    return value if copy is None else copy.inputs[0]


def _match_step(body: ir.Graph) -> _Step | None:
    """Return the step if the body is that of an LSTM, whichever of its states comes first."""
    if len(body.inputs) != 3 or sum(not is_op(n, "Identity") for n in body) != STEP_NODES:
        return None
    for hidden, cell in ((0, 1), (1, 0)):
        begin = Match(
            {
                last_hidden: body.inputs[hidden],
                last_cell: body.inputs[cell],
                inputs_share: body.inputs[2],
            }
        )
        match = CELL.match(body.outputs[cell], begin)
        match = match and HIDDEN.match(body.outputs[hidden], match)
        match = match and GATE_SPLIT.match(match[i], match)
        order = None if match is None else _gate_order(match)
        if match is not None and order is not None and _is_outside(match[weight], body):
            return _Step(match[weight], order, match[HIDDEN], match[CELL])
    return None


def _gate_order(match: Match) -> list[int] | None:
    """Return the places of the gates if they are the equal parts of one product."""
    parts = match.node(GATE_SPLIT).outputs
    gates = [match[gate] for gate in GATES]
    if len({shape_of(part) for part in parts}) != 1 or {*gates} != {*parts} or len(parts) != 4:
        return None
    return [parts.index(gate) for gate in gates]


def _is_outside(value: ir.Value, body: ir.Graph) -> bool:
    node = value.producer()
    return value not in body.inputs and (node is None or node.graph is not body)
