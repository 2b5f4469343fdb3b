"""A Scan whose body is the step of an LSTM becomes the operator LSTM, where nothing else is read.

The runtime's kernel takes two thirds of the time of a Scan with layers of 200 units, half of it
with 64; with layers of 650 the products are all. It hands out the outputs and the last states, but
no gates: so this is for inference.
"""

from __future__ import annotations

from dataclasses import dataclass

import onnx_ir as ir

from symbucket.compiler.rewrite.base import Property, graph_pass
from symbucket.compiler.rewrite.graph_queries import is_zero, only_user
from symbucket.ir import Builder, attr, body_of, dtype_of, shape_of

_LARGEST = 512  # units
_NODES = 11


@dataclass
class _Step:
    """What the body of an LSTM's step tells: the weight of the state, and where its gates stand."""

    weight: ir.Value
    order: list[int]  # of the input, output, forget gate and the candidate among the parts
    hidden: ir.Value
    cell: ir.Value


@graph_pass("final", introduces=("LSTM",), requires=(Property.STANDARD_ONNX,))
def use_lstm_operator(graph: ir.Graph) -> int:
    """Rewrite every Scan that is an LSTM; gives their number."""
    return sum(_rewrite(graph, scan) for scan in list(graph) if body_of(scan) is not None)


def _rewrite(graph: ir.Graph, scan: ir.Node) -> bool:
    body = body_of(scan)
    assert body is not None
    if len(scan.inputs) != 3 or attr(scan, "num_scan_inputs") != 1:
        return False
    step = _step(body)
    product = None if step is None else _product(scan)
    if step is None or product is None or not _gives_outputs_only(scan, body, step):
        return False
    x, weight = product.inputs[:2]
    bias = product.inputs[2] if len(product.inputs) > 2 else None
    steps, rows, _ = shape_of(scan.inputs[2])  # type: ignore[arg-type]
    hidden = shape_of(step.hidden)[1]
    if hidden > _LARGEST or x is None or weight is None:
        return False
    back = bool(attr(scan, "scan_input_directions")[0])
    g = Builder(graph, anchor=scan)
    with g.beside(scan):
        zeros = g.filled((4 * hidden,), 0.0, dtype_of(step.hidden))
        both = g.op("Concat", zeros if bias is None else _ordered(g, bias, step), zeros, axis=0)
        states = [
            None if value is None or is_zero(value) else g.reshape(value, (1, rows, hidden))
            for value in scan.inputs[:2]
        ]
        if step.hidden is not body.outputs[0]:
            states.reverse()
        outputs = g.ops(
            "LSTM",
            g.reshape(x, (steps, rows, shape_of(x)[1])),
            g.reshape(_ordered(g, weight, step), (1, 4 * hidden, shape_of(weight)[1])),
            g.reshape(_ordered(g, step.weight, step), (1, 4 * hidden, hidden)),
            g.reshape(both, (1, 8 * hidden)),
            None,
            *states,
            outputs=3,
            hidden_size=hidden,
            direction="reverse" if back else "forward",
        )
        stack = g.reshape(outputs[0], (steps, rows, hidden))
        finals = [g.reshape(value, (rows, hidden)) for value in outputs[1:]]
        if step.hidden is not body.outputs[0]:
            finals.reverse()
    for old, new in zip(scan.outputs, [*finals, *[stack] * (len(scan.outputs) - 2)]):
        old.replace_all_uses_with(new, replace_graph_outputs=True)
    graph.remove(scan, safe=True)
    return True


def _ordered(g: Builder, value: ir.Value, step: _Step) -> ir.Value:
    """Rows of a weight or bias in the operator's order of gates."""
    size = shape_of(value)[0] // 4
    parts = g.ops("Split", value, g.ints(*[size] * 4), axis=0, outputs=4)
    return g.op("Concat", *(parts[i] for i in step.order), axis=0)


def _product(scan: ir.Node) -> ir.Node | None:
    """The product that makes the inputs' share of all steps, for this Scan alone."""
    stack = scan.inputs[2]
    node = None if stack is None or only_user(stack) is not scan else stack.producer()
    source = None if node is None or node.op_type != "Reshape" else node.inputs[0]
    product = None if source is None else source.producer()
    if product is None or source is None or only_user(source) is not node:
        return None
    right = product.op_type == "Gemm" and not product.domain and _is_plain(product)
    bias = product.inputs[2] if len(product.inputs) > 2 else None
    flat = bias is None or len(shape_of(bias)) == 1
    return product if right and flat and dtype_of(source) == ir.DataType.FLOAT else None


def _is_plain(gemm: ir.Node) -> bool:
    """``a W^T + c``."""
    return (
        bool(attr(gemm, "transB", 0))
        and not attr(gemm, "transA", 0)
        and attr(gemm, "alpha", 1.0) == 1.0
        and attr(gemm, "beta", 1.0) == 1.0
    )


def _gives_outputs_only(scan: ir.Node, body: ir.Graph, step: _Step) -> bool:
    """Whether the Scan gives the states' last values and stacks of the outputs, and no more."""
    ways = {*attr(scan, "scan_input_directions"), *attr(scan, "scan_output_directions", [])}
    stacks = [_plain(value) for value in body.outputs[2:]]
    return len(ways) == 1 and all(value is step.hidden for value in stacks)


def _plain(value: ir.Value) -> ir.Value | None:
    node = value.producer()
    return node.inputs[0] if node is not None and node.op_type == "Identity" else value


def _made(value: ir.Value | None, op_type: str) -> ir.Node | None:
    node = None if value is None else value.producer()
    return node if node is not None and node.op_type == op_type and not node.domain else None


def _step(body: ir.Graph) -> _Step | None:
    """Match ``c' = f c + i g;  h' = o tanh(c')`` with gates cut out of ``h R^T + x``."""
    if sum(node.op_type != "Identity" for node in body) != _NODES or len(body.inputs) != 3:
        return None
    for h, c in ((0, 1), (1, 0)):
        hidden, cell = body.outputs[h], body.outputs[c]
        out, total = _made(hidden, "Mul"), _made(cell, "Add")
        if out is None or total is None:
            continue
        for o, squashed in (out.inputs, out.inputs[::-1]):
            tanh = _made(squashed, "Tanh")
            if tanh is None or tanh.inputs[0] is not cell:
                continue
            for kept, added in (total.inputs, total.inputs[::-1]):
                gates = _gates(kept, added, o, body.inputs[c])
                found = None if gates is None else _parts(gates, body, h)
                if found is not None:
                    return _Step(found[0], found[1], hidden, cell)
    return None


def _gates(
    kept: ir.Value | None, added: ir.Value | None, o: ir.Value | None, before: ir.Value
) -> list[ir.Node] | None:
    """The activations of input, output, forget gate and candidate."""
    keep, add, out = _made(kept, "Mul"), _made(added, "Mul"), _made(o, "Sigmoid")
    if keep is None or add is None or out is None or before not in keep.inputs:
        return None
    f = _made(next((v for v in keep.inputs if v is not before), None), "Sigmoid")
    for i, g in (add.inputs, add.inputs[::-1]):
        opened, candidate = _made(i, "Sigmoid"), _made(g, "Tanh")
        if f is not None and opened is not None and candidate is not None:
            return [opened, out, f, candidate]
    return None


def _maker(value: ir.Value) -> object:
    """The graph in which a node makes a value."""
    node = value.producer()
    return None if node is None else node.graph


def _parts(gates: list[ir.Node], body: ir.Graph, h: int) -> tuple[ir.Value, list[int]] | None:
    """The weight and the order of gates, where all four are cut out of one product."""
    values = [gate.inputs[0] for gate in gates]
    split = _made(values[0], "Split")
    if split is None or any(_made(v, "Split") is not split for v in values):
        return None
    order = [v.index() for v in values if v is not None]
    product = _made(split.inputs[0], "Gemm")
    even = len({shape_of(out) for out in split.outputs}) == 1 and attr(split, "axis", 0) in (1, -1)
    if product is None or not even or sorted(i for i in order if i is not None) != [0, 1, 2, 3]:
        return None
    state, weight = product.inputs[:2]
    own = len(product.inputs) == 3 and product.inputs[2] is body.inputs[2]
    outside = weight is not None and weight not in body.inputs and _maker(weight) is not body
    if not own or state is not body.inputs[h] or not outside or not _is_plain(product):
        return None
    assert weight is not None
    return weight, [i for i in order if i is not None]
