"""A Scan whose body is the step of an LSTM, a GRU or a plain cell becomes ONNX's operator for it.

Every runtime has these operators. They return the outputs and the last states, but no gates, so
this is for inference. Here the kernel of the LSTM takes two thirds of the time of a Scan with
layers of 200 units, half of it with 64; with layers of 650 the products take all the time.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import onnx_ir as ir

from symbucket.compiler.loops.step_form import (
    BIAS,
    ONE,
    PRODUCT,
    SLICE,
    STATE,
    BodyForms,
    Form,
    is_layer_product,
)
from symbucket.compiler.rewrite.base import PassContext, Property, graph_pass
from symbucket.compiler.rewrite.graph_queries import is_zero, only_user
from symbucket.ir import (
    Builder,
    attribute_of,
    body_of,
    clear_body,
    dtype_of,
    input_of,
    is_op,
    optional_input_of,
    produced_by,
    shape_of,
    states_of,
)

MAX_UNITS = 512
"""Of a layer that is faster as an operator than as a Scan, on the CPU."""

_ACTIVATIONS = ("Tanh", "Relu", "Sigmoid", "Softplus", "Softsign")


@dataclass(frozen=True)
class _Gate:
    """A sum of the input's product, the state's product and biases, before its activation.

    ``state_biases`` are added to the state's product before anything else happens to it.
    """

    inputs: Form
    state: Form
    biases: tuple[Form, ...] = ()
    state_biases: tuple[Form, ...] = ()


@dataclass(frozen=True)
class _Cell:
    """A body as an operator: its type, its gates in the operator's order, its attributes."""

    op_type: str
    gates: tuple[_Gate, ...]
    hidden: int  # the number of the state that is the output
    activations: tuple[str, ...] = ()
    linear_before_reset: int | None = None


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


@graph_pass("final", introduces=("LSTM", "GRU", "RNN"), requires=(Property.STANDARD_ONNX,))
def use_recurrent_operators(graph: ir.Graph, context: PassContext) -> int:
    """Rewrite every Scan that is a recurrent operator; returns their number."""
    always = not context.target.supports_scan
    return sum(
        _rewrite(graph, scan, body, always) for scan in list(graph) if (body := body_of(scan))
    )


def _rewrite(graph: ir.Graph, scan: ir.Node, body: ir.Graph, always: bool) -> bool:
    cell = _match_cell(scan, body)
    if cell is None or not _returns_outputs_only(scan, body, body.outputs[cell.hidden]):
        return False
    rows, units = shape_of(body.outputs[cell.hidden])
    if dtype_of(body.outputs[cell.hidden]) != ir.DataType.FLOAT:
        return False
    if not always and (cell.op_type != "LSTM" or units > MAX_UNITS):
        return False
    sources = [_source_of(scan, body, gate, rows) for gate in cell.gates]
    if any(source is None for source in sources) or len({s.x for s in sources if s}) != 1:
        return False
    g = Builder(graph, anchor=scan)
    with g.beside(scan):
        results = _operator(g, scan, cell, [s for s in sources if s], rows, units)
    for old, new in zip(scan.outputs, results):
        old.replace_all_uses_with(new, replace_graph_outputs=True)
    graph.remove(scan, safe=True)
    clear_body(scan)
    return True


# What the body computes ---------------------------------------------------------------------------


def _match_cell(scan: ir.Node, body: ir.Graph) -> _Cell | None:
    """Return the cell whose step the body is, None if it is another."""
    forms = BodyForms(scan, body)
    carried = states_of(scan)
    shapes = {shape_of(value) for value in body.inputs[:carried]}
    if len(shapes) != 1 or any(len(shape) != 2 for shape in shapes) or carried > 2:
        return None
    ((_, units),) = shapes
    states = [Form(STATE, value=value) for value in body.inputs[:carried]]
    results = [forms.of(value, 0, units) for value in body.outputs[:carried]]
    if carried == 1:
        return _gru(results[0], states[0]) or _rnn(results[0], states[0])
    (new_0, new_1), (old_0, old_1) = results, states
    return _lstm(new_0, new_1, old_0, old_1, 0) or _lstm(new_1, new_0, old_1, old_0, 1)


def _lstm(new_h: Form, new_c: Form, h: Form, c: Form, hidden: int) -> _Cell | None:
    """``c' = sigmoid(f) c + sigmoid(i) tanh(g)``, ``h' = sigmoid(o) tanh(c')``."""
    squashed = Form("Tanh", (new_c,))
    for remembered, added in new_c.pairs("Add"):
        for f in _beside(remembered, c):
            for i, g in _activated(added, "Sigmoid", "Tanh"):
                for o in _beside(new_h, squashed):
                    gates = [_gate(x, h) for x in (i, o.argument("Sigmoid"))]
                    gates += [_gate(f.argument("Sigmoid"), h), _gate(g, h)]
                    whole = tuple(gate for gate in gates if gate is not None)
                    if len(whole) == 4:
                        return _Cell("LSTM", whole, hidden)
    return None


def _gru(new: Form, h: Form) -> _Cell | None:
    """``h' = (1 - z) n + z h``, also written ``n + z (h - n)``, with ``n = tanh(...)``."""
    for candidate, z in _mixtures(new, h):
        n, update = candidate.argument("Tanh"), _gate(z.argument("Sigmoid"), h)
        if n is None or update is None:
            continue
        for reset, last, linear in _resets(n, h):
            gate = _gate(reset, h)
            if gate is not None:
                return _Cell("GRU", (update, gate, last), 0, linear_before_reset=linear)
    return None


def _mixtures(new: Form, h: Form) -> Iterator[tuple[Form, Form]]:
    """Yield the candidate and the update gate of a mixture of candidate and state."""
    for left, right in new.pairs("Add"):
        for z in _beside(right, h):
            rest = Form("Sub", (Form(ONE), z))
            for n in _beside(left, rest):
                yield n, z
        for z, difference in right.pairs("Mul"):
            if difference == Form("Sub", (h, left)):
                yield left, z


def _resets(n: Form, h: Form) -> Iterator[tuple[Form | None, _Gate, int]]:
    """Yield the reset gate, the candidate's sum, and whether the gate acts after the product."""
    terms = n.operands if n.kind == "Add" else (n,)
    for i, term in enumerate(terms):
        outer = _affine(Form("Add", terms[:i] + terms[i + 1 :]), SLICE)
        if outer is None:
            continue
        for r, product in term.pairs("Mul"):
            inner = _affine(product, PRODUCT)
            if inner is not None and inner[0].operands == (h,):
                yield r.argument("Sigmoid"), _Gate(outer[0], inner[0], outer[1], inner[1]), 1
        if term.kind == PRODUCT:
            for r in _beside(term.operands[0], h):
                yield r.argument("Sigmoid"), _Gate(outer[0], term, outer[1]), 0


def _rnn(new: Form, h: Form) -> _Cell | None:
    """``h' = activation(...)``."""
    for activation in _ACTIVATIONS:
        gate = _gate(new.argument(activation), h)
        if gate is not None:
            return _Cell("RNN", (gate,), 0, activations=(activation,))
    return None


def _beside(form: Form, factor: Form) -> Iterator[Form]:
    """Yield what a product multiplies ``factor`` with."""
    for one, other in form.pairs("Mul"):
        if other == factor:
            yield one


def _activated(form: Form, first: str, second: str) -> Iterator[tuple[Form | None, Form | None]]:
    for one, other in form.pairs("Mul"):
        if one.kind == first and other.kind == second:
            yield one.argument(first), other.argument(second)


def _gate(form: Form | None, h: Form) -> _Gate | None:
    """Return a sum of one slice, one product with the state, and biases."""
    products = () if form is None or form.kind != "Add" else _of_kind(form.operands, PRODUCT)
    if form is None or len(products) != 1 or products[0].operands != (h,):
        return None
    rest = _affine(Form("Add", tuple(f for f in form.operands if f is not products[0])), SLICE)
    return None if rest is None else _Gate(rest[0], products[0], rest[1])


def _affine(form: Form, kind: str) -> tuple[Form, tuple[Form, ...]] | None:
    """Return the term and the biases of a sum of one term of this kind and biases."""
    terms = form.operands if form.kind == "Add" else (form,)
    leading, biases = _of_kind(terms, kind), _of_kind(terms, BIAS)
    whole = len(leading) == 1 and len(leading) + len(biases) == len(terms)
    return (leading[0], biases) if whole else None


def _of_kind(forms: Sequence[Form], kind: str) -> tuple[Form, ...]:
    return tuple(form for form in forms if form.kind == kind)


def _returns_outputs_only(scan: ir.Node, body: ir.Graph, hidden: ir.Value) -> bool:
    """Return whether the Scan returns last states and stacks of the outputs, and no more."""
    outputs = attribute_of(scan, "scan_output_directions") or ()
    directions = {*attribute_of(scan, "scan_input_directions"), *outputs}
    axes = [attribute_of(scan, name) or () for name in ("scan_input_axes", "scan_output_axes")]
    stacked = [_copied(value) for value in body.outputs[states_of(scan) :]]
    plain = len(directions) == 1 and not any(map(any, axes))
    return plain and all(value is _copied(hidden) for value in stacked)


def _copied(value: ir.Value) -> ir.Value | None:
    """Return what an Identity copies; other values as they are."""
    copy = produced_by(value, "Identity")
    return value if copy is None else copy.inputs[0]


# What the loop reads ------------------------------------------------------------------------------


def _source_of(scan: ir.Node, body: ir.Graph, gate: _Gate, rows: int) -> _Source | None:
    """Return the product that makes a gate's slices, if this Scan alone reads it."""
    assert gate.inputs.value is not None
    value: ir.Value | None = scan.inputs[body.inputs.index(gate.inputs.value)]
    start, units = gate.inputs.start, shape_of(body.outputs[0])[1]
    steps_and_rows = shape_of(input_of(scan, states_of(scan)))[0] * rows
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


# The operator -------------------------------------------------------------------------------------


def _operator(
    g: Builder, scan: ir.Node, cell: _Cell, sources: Sequence[_Source], rows: int, units: int
) -> list[ir.Value]:
    """Append the operator and return the outputs of the Scan, computed by it."""
    steps = shape_of(input_of(scan, states_of(scan)))[0]
    count = len(cell.gates)

    def weights(parts: Sequence[_Rows]) -> ir.Value:
        joined = _joined(g, parts, units)
        return g.reshape(joined, (1, *shape_of(joined)))

    inputs_biases = [
        (*source.biases, *map(_rows_of, gate.biases)) for source, gate in zip(sources, cell.gates)
    ]
    state_biases = [tuple(map(_rows_of, gate.state_biases)) for gate in cell.gates]
    bias = None
    if any(inputs_biases) or any(state_biases):
        halves = [_summed(g, parts, units) for parts in (inputs_biases, state_biases)]
        bias = g.reshape(g.op("Concat", *halves, axis=0), (1, 2 * count * units))
    order = [cell.hidden] if states_of(scan) == 1 else [cell.hidden, 1 - cell.hidden]
    initial = [input_of(scan, i) for i in order]
    states = [None if is_zero(v) else g.reshape(v, (1, rows, units)) for v in initial]
    x = sources[0].x
    activations = list(cell.activations) if cell.activations not in ((), ("Tanh",)) else None
    outputs = g.ops(
        cell.op_type,
        g.reshape(x, (steps, rows, shape_of(x)[1])),
        weights([source.weight for source in sources]),
        weights([_rows_of(gate.state) for gate in cell.gates]),
        bias,
        None,
        *states,
        outputs=1 + len(order),
        hidden_size=units,
        direction="reverse" if attribute_of(scan, "scan_input_directions")[0] else "forward",
        activations=activations,
        linear_before_reset=cell.linear_before_reset or None,
    )
    stack = g.reshape(outputs[0], (steps, rows, units))
    finals = {i: g.reshape(value, (rows, units)) for i, value in zip(order, outputs[1:])}
    return [*(finals[i] for i in sorted(finals)), *[stack] * (len(scan.outputs) - len(order))]


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
