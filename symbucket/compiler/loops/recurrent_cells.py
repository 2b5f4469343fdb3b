"""Bodies of loops that are the step of an LSTM, a GRU or a plain cell: which one, gate by gate."""

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
)
from symbucket.ir import shape_of, states_of

_ACTIVATIONS = ("Tanh", "Relu", "Sigmoid", "Softplus", "Softsign")


@dataclass(frozen=True)
class Gate:
    """A sum of the input's product, the state's product and biases, before its activation.

    ``state_biases`` are added to the state's product before anything else happens to it.
    """

    inputs: Form
    state: Form
    biases: tuple[Form, ...] = ()
    state_biases: tuple[Form, ...] = ()


@dataclass(frozen=True)
class Cell:
    """A body as an operator: its type, its gates in the operator's order, its attributes."""

    op_type: str
    gates: tuple[Gate, ...]
    hidden: int  # the number of the state that is the output
    activations: tuple[str, ...] = ()
    linear_before_reset: int | None = None


def match_cell(scan: ir.Node, body: ir.Graph) -> Cell | None:
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


def _lstm(new_h: Form, new_c: Form, h: Form, c: Form, hidden: int) -> Cell | None:
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
                        return Cell("LSTM", whole, hidden)
    return None


def _gru(new: Form, h: Form) -> Cell | None:
    """``h' = (1 - z) n + z h``, also written ``n + z (h - n)``, with ``n = tanh(...)``."""
    for candidate, z in _mixtures(new, h):
        n, update = candidate.argument("Tanh"), _gate(z.argument("Sigmoid"), h)
        if n is None or update is None:
            continue
        for reset, last, linear in _resets(n, h):
            gate = _gate(reset, h)
            if gate is not None:
                return Cell("GRU", (update, gate, last), 0, linear_before_reset=linear)
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


def _resets(n: Form, h: Form) -> Iterator[tuple[Form | None, Gate, int]]:
    """Yield the reset gate, the candidate's sum, and whether the gate acts after the product."""
    terms = n.operands if n.kind == "Add" else (n,)
    for i, term in enumerate(terms):
        outer = _affine(Form("Add", terms[:i] + terms[i + 1 :]), SLICE)
        if outer is None:
            continue
        for r, product in term.pairs("Mul"):
            inner = _affine(product, PRODUCT)
            if inner is not None and inner[0].operands == (h,):
                yield r.argument("Sigmoid"), Gate(outer[0], inner[0], outer[1], inner[1]), 1
        if term.kind == PRODUCT:
            for r in _beside(term.operands[0], h):
                yield r.argument("Sigmoid"), Gate(outer[0], term, outer[1]), 0


def _rnn(new: Form, h: Form) -> Cell | None:
    """``h' = activation(...)``."""
    for activation in _ACTIVATIONS:
        gate = _gate(new.argument(activation), h)
        if gate is not None:
            return Cell("RNN", (gate,), 0, activations=(activation,))
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


def _gate(form: Form | None, h: Form) -> Gate | None:
    """Return a sum of one slice, one product with the state, and biases."""
    products = () if form is None or form.kind != "Add" else _of_kind(form.operands, PRODUCT)
    if form is None or len(products) != 1 or products[0].operands != (h,):
        return None
    rest = _affine(Form("Add", tuple(f for f in form.operands if f is not products[0])), SLICE)
    return None if rest is None else Gate(rest[0], products[0], rest[1])


def _affine(form: Form, kind: str) -> tuple[Form, tuple[Form, ...]] | None:
    """Return the term and the biases of a sum of one term of this kind and biases."""
    terms = form.operands if form.kind == "Add" else (form,)
    leading, biases = _of_kind(terms, kind), _of_kind(terms, BIAS)
    whole = len(leading) == 1 and len(leading) + len(biases) == len(terms)
    return (leading[0], biases) if whole else None


def _of_kind(forms: Sequence[Form], kind: str) -> tuple[Form, ...]:
    return tuple(form for form in forms if form.kind == kind)
