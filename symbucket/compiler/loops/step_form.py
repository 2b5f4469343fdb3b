"""The formula of a loop's body, gate by gate, whichever nodes compute it.

A cell may compute its gates in one product and split them, in several products, or apply one
Sigmoid to two gates at once. The *form* of a block of columns is the same for all of them: splits
and copies are looked through, sums and products are flat, and a product with a weight says which of
its rows belong to the block.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import permutations

import onnx_ir as ir

from symbucket.ir import (
    attribute_of,
    const_of,
    input_of,
    optional_input_of,
    shape_of,
    states_of,
)

STATE, SLICE, PRODUCT, BIAS, ONE, OTHER = "state", "slice", "product", "bias", "one", "other"
_UNARY = ("Sigmoid", "Tanh", "Relu", "Softplus", "Softsign")


@dataclass(frozen=True)
class Form:
    """A formula over one block of columns.

    Attributes:
        kind: an operator (``Add`` and ``Mul`` are flat and have any number of operands), or a leaf:
            ``state`` and ``slice`` are inputs of the body, ``bias`` is a vector from outside,
            ``product`` is its operand times rows of a weight, ``one`` the number 1.
        operands: what it is computed from.
        value: of a leaf its value, of a product the weight.
        start: the first column of the value that belongs to the block, or row of the weight.
    """

    kind: str
    operands: tuple[Form, ...] = ()
    value: ir.Value | None = None
    start: int = 0

    def pairs(self, kind: str) -> Iterator[tuple[Form, Form]]:
        """Yield the two operands in both orders, if it is an operator ``kind`` of two."""
        if self.kind == kind and len(self.operands) == 2:
            yield from permutations(self.operands)

    def argument(self, kind: str) -> Form | None:
        """Return what the function ``kind`` is applied to, None if it is something else."""
        return self.operands[0] if self.kind == kind else None


class BodyForms:
    """The forms of the values of one Scan's body."""

    def __init__(self, scan: ir.Node, body: ir.Graph) -> None:
        carried = states_of(scan)
        self._states, self._slices = body.inputs[:carried], body.inputs[carried:]
        self._body = body
        self._forms: dict[tuple[ir.Value, int, int], Form] = {}

    def of(self, value: ir.Value, start: int, size: int) -> Form:
        """Return the form of ``size`` columns of a matrix, from column ``start`` on."""
        key = value, start, size
        if key not in self._forms:
            self._forms[key] = self._form(value, start, size)
        return self._forms[key]

    def _form(self, value: ir.Value, start: int, size: int) -> Form:
        for kind, inputs in ((STATE, self._states), (SLICE, self._slices)):
            if value in inputs:
                return Form(kind, value=value, start=start)
        node = value.producer()
        if node is None or node.graph is not self._body:
            return _outside(value, start)
        form = None if node.domain else self._computed(node, value, start, size)
        return form or Form(OTHER, value=value, start=start)

    def _computed(self, node: ir.Node, value: ir.Value, start: int, size: int) -> Form | None:
        rank = len(shape_of(value))
        if node.op_type == "Identity":
            return self.of(input_of(node, 0), start, size)
        if node.op_type == "Split" and attribute_of(node, "axis") in (-1, rank - 1):
            before = list(node.outputs)[: node.outputs.index(value)]
            start += sum(shape_of(part)[-1] for part in before)
            return self.of(input_of(node, 0), start, size)
        if node.op_type in _UNARY:
            return Form(node.op_type, (self.of(input_of(node, 0), start, size),))
        if node.op_type in ("Add", "Mul", "Sub"):
            return self._elementwise(node, start, size)
        return self._product(node, start, size) if node.op_type == "Gemm" else None

    def _elementwise(self, node: ir.Node, start: int, size: int) -> Form | None:
        operands = [input_of(node, i) for i in range(2)]
        full = shape_of(node.outputs[0])
        forms = []
        for operand in operands:
            if const_of(operand) is None and shape_of(operand) not in (full, full[-1:]):
                return None
            forms.append(self.of(operand, start, size))
        if node.op_type == "Sub":
            return Form("Sub", tuple(forms))
        return _flat(node.op_type, *forms)

    def _product(self, node: ir.Node, start: int, size: int) -> Form | None:
        if not is_layer_product(node):
            return None
        left, weight, summand = (optional_input_of(node, i) for i in range(3))
        assert left is not None
        assert weight is not None
        producer = weight.producer()
        if weight in self._body.inputs or (producer and producer.graph is self._body):
            return None
        product = Form(PRODUCT, (self.of(left, 0, shape_of(left)[1]),), weight, start)
        if summand is None:
            return product
        if len(shape_of(summand)) == 2 and shape_of(summand) != shape_of(node.outputs[0]):
            return None
        return _flat("Add", product, self.of(summand, start, size))


def is_layer_product(gemm: ir.Node) -> bool:
    """Return whether a Gemm is a fully connected layer: ``x w^T + b``."""
    layer = {"transA": 0, "transB": 1, "alpha": 1.0, "beta": 1.0}
    return all(attribute_of(gemm, name) == value for name, value in layer.items())


def _flat(kind: str, *forms: Form) -> Form:
    """Return the sum or product of forms, whose own sums or products are merged into it."""
    operands: list[Form] = []
    for form in forms:
        operands += form.operands if form.kind == kind else [form]
    return Form(kind, tuple(operands))


def _outside(value: ir.Value, start: int) -> Form:
    array = const_of(value)
    if array is not None and array.size == 1 and bool((array == 1).all()):
        return Form(ONE)
    kind = BIAS if len(shape_of(value)) == 1 and shape_of(value) != (1,) else OTHER
    return Form(kind, value=value, start=start)
