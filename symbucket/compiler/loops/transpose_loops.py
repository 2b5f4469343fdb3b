"""Loops whose samples are columns, because a large weight times a small batch is faster so.

A kernel for products copies its right operand into an order of its own, and reads the left one as
it is. In a step, ``h w^T`` copies a weight of a megabyte to multiply 32 rows with it: a third of
the time. ``w h^T`` copies those rows. So all that is in the loop is transposed, and what goes in or
comes out is read in that form as far as possible: what the forward loop leaves for the backward
loop, the slopes made of it, and the stacks that gradients of weights are products of.
"""

from __future__ import annotations

import math

import onnx_ir as ir

from symbucket.compiler.loops.step_form import is_layer_product
from symbucket.compiler.loops.transposed_body import (
    can_transpose,
    state_products,
    transpose_body,
    transposed,
)
from symbucket.compiler.rewrite.base import PassContext, Property, graph_pass
from symbucket.compiler.rewrite.graph_queries import node_after, only_user
from symbucket.ir import (
    Builder,
    attribute_of,
    attributes_of,
    body_of,
    const_of,
    info_of,
    input_of,
    is_op,
    optional_input_of,
    perm_of,
    produced_by,
    producer_of,
    runs_along_first_axes,
    shape_of,
    states_of,
)

LEAST_WEIGHT = 1 << 16
"""Elements of a weight: the copy of a smaller one takes no time."""

LEAST_WORK = 1 << 21
"""Multiplications of a step, for what has to be transposed outside of the loop."""

MOST_SAMPLES = 64
"""Of a step: with more of them, the copy of the weight is not what takes the time."""

_WIDTH = 16  # of the columns that a kernel computes at once
_SWAPPED = (0, 2, 1)


@graph_pass("final", introduces=("Scan",), requires=(Property.STANDARD_ONNX,))
def transpose_loops(graph: ir.Graph, context: PassContext) -> int:
    """Transpose every loop that multiplies few rows by a large weight; returns their number."""
    if not context.target.copies_weights:
        return 0
    loops = [
        (node, body)
        for node in graph
        if (body := body_of(node)) is not None
        and any(map(is_faster, state_products(body)))
        and runs_along_first_axes(node)
        and can_transpose(body)
    ]
    columns = _Columns()
    for scan, body in loops:
        _transpose(graph, scan, body, columns)
    return len(loops)


def is_faster(product: ir.Node) -> bool:
    """Return whether a step's product with a weight is faster with samples as columns."""
    samples, weight = shape_of(product.outputs[0])[0], input_of(product, 1)
    size = math.prod(shape_of(weight))
    return (
        size >= LEAST_WEIGHT
        and size * samples >= LEAST_WORK
        and samples <= MOST_SAMPLES
        and -samples % _WIDTH <= samples // 4
        and const_of(weight) is None  # runtimes copy a constant beforehand
    )


def _transpose(graph: ir.Graph, scan: ir.Node, body: ir.Graph, columns: _Columns) -> None:
    carried = states_of(scan)
    g = Builder(graph, anchor=scan)
    with g.beside(scan):
        for i in range(len(scan.inputs)):
            value = input_of(scan, i)
            new = transposed(g, value) if i < carried else columns.of(g, value)
            scan.replace_input_with(i, new)
        transpose_body(g, body)
    g = Builder(graph, anchor=node_after(graph, scan))
    with g.beside(scan):
        for i, out in enumerate(scan.outputs):
            perm = (1, 0) if i < carried else _SWAPPED
            out.shape = ir.Shape([shape_of(out)[axis] for axis in perm])
            if out.uses() or out.is_graph_output():
                rows = g.transpose(out, perm)
                out.replace_all_uses_with(rows, replace_graph_outputs=True)
                producer_of(rows).replace_input_with(0, out)
                if i >= carried:
                    _Readers(g, rows, out).rewrite()


# What a loop reads --------------------------------------------------------------------------------


class _Columns:
    """Sequences (steps, samples, n) as (steps, n, samples), each computed once."""

    def __init__(self) -> None:
        self._columns: dict[ir.Value, ir.Value] = {}
        self._from_loops: dict[ir.Value, bool] = {}

    def of(self, g: Builder, value: ir.Value) -> ir.Value:
        """Return a sequence so; nodes that it takes are appended to ``g``."""
        if value not in self._columns:
            self._columns[value] = self._of(g, value)
        return self._columns[value]

    def _of(self, g: Builder, value: ir.Value) -> ir.Value:
        same = _before_reshapes(value)
        if same is not value:
            return self.of(g, same)
        node = value.producer()
        if node is None or node.domain:
            return g.transpose(value, _SWAPPED)
        if node.op_type == "Transpose":
            perm = perm_of(node)
            return g.transpose(input_of(node, 0), [perm[axis] for axis in _SWAPPED])
        if _splits_features(node):
            parts = g.ops(
                "Split",
                self.of(g, input_of(node, 0)),
                *node.inputs[1:],
                outputs=len(node.outputs),
                axis=1,
                num_outputs=attribute_of(node, "num_outputs"),
            )
            self._columns.update(zip(node.outputs, parts))
            return self._columns[value]
        if self._is_from_loops(value):
            operands = [
                None if v is None else self.of(g, v) if len(shape_of(v)) == 3 else transposed(g, v)
                for v in node.inputs
            ]
            options = attributes_of(node)
            if node.op_type == "Concat":
                options["axis"] = 1
            return g.op(node.op_type, *operands, **options)
        return self._product(g, value) or g.transpose(value, _SWAPPED)

    def _is_from_loops(self, value: ir.Value) -> bool:
        """Return whether a value is computed, feature by feature, from what loops return so."""
        if value not in self._from_loops:
            self._from_loops[value] = self._comes_from_loops(value)
        return self._from_loops[value]

    def _comes_from_loops(self, value: ir.Value) -> bool:
        node = value.producer()
        if node is None or node.domain or len(shape_of(value)) != 3:
            return False
        if node.op_type == "Transpose":
            source = input_of(node, 0).producer()
            swaps = tuple(perm_of(node)) == _SWAPPED
            return swaps and source is not None and body_of(source) is not None
        joins = node.op_type == "Concat" and attribute_of(node, "axis") in (2, -1)
        if not (joins or _splits_features(node) or info_of(node).elementwise):
            return False
        return any(v is not None and self._is_from_loops(v) for v in node.inputs)

    def _product(self, g: Builder, value: ir.Value) -> ir.Value | None:
        """``x w^T + b`` of all steps, which nobody else reads, as ``w x^T + b``."""
        reshape = produced_by(value, "Reshape")
        gemm = None if reshape is None else produced_by(input_of(reshape, 0), "Gemm")
        if gemm is None or only_user(value) is None or only_user(gemm.outputs[0]) is not reshape:
            return None
        x, weight, bias = input_of(gemm, 0), input_of(gemm, 1), optional_input_of(gemm, 2)
        steps, samples, size = shape_of(value)
        if not is_layer_product(gemm) or shape_of(gemm.outputs[0]) != (steps * samples, size):
            return None
        if bias is not None and shape_of(bias) != (size,):
            return None
        shape = steps, samples, shape_of(x)[1]
        sequence = _before_reshapes(x, shape)
        sequence = g.reshape(x, shape) if sequence is x else sequence
        product = g.op("MatMul", weight, self.of(g, sequence))
        return product if bias is None else g.op("Add", product, g.reshape(bias, (size, 1)))


def _before_reshapes(value: ir.Value, shape: tuple[int, ...] | None = None) -> ir.Value:
    """Return what ``value`` was before Reshapes, if it had ``shape`` (its own, by default) then."""
    shape = shape or shape_of(value)
    source = value
    while (node := produced_by(source, "Reshape")) is not None:
        source = input_of(node, 0)
        if shape_of(source) == shape:
            return source
    return value


def _splits_features(node: ir.Node) -> bool:
    return is_op(node, "Split") and attribute_of(node, "axis") in (2, -1)


# What reads a loop --------------------------------------------------------------------------------


class _Readers:
    """Readers of ``rows``, the transposed stack ``out`` of a loop, that can read ``out`` itself.

    The matrix of all samples, (steps samples, n), is read by products that make gradients. They
    read its transpose: its rows need not be copied one number at a time.
    """

    def __init__(self, g: Builder, rows: ir.Value, out: ir.Value) -> None:
        self._g, self._rows, self._out = g, rows, out
        self._matrix: ir.Value | None = None

    def rewrite(self) -> None:
        """Rewrite those that can."""
        steps, size, samples = shape_of(self._out)
        for node, _ in list(self._rows.uses()):
            if is_op(node, "Transpose"):
                perm = [_SWAPPED[axis] for axis in perm_of(node)]
                node.replace_input_with(0, self._out)
                node.attributes["perm"] = ir.AttrInt64s("perm", perm)
            elif is_op(node, "Reshape") and shape_of(node.outputs[0]) == (steps * samples, size):
                self._rewrite_matrix(node.outputs[0])

    def _rewrite_matrix(self, matrix: ir.Value) -> None:
        uses = list(matrix.uses())
        if matrix.is_graph_output() or not all(self._can_rewrite(*use) for use in uses):
            return
        for node, i in uses:
            if is_op(node, "ReduceSum"):
                node.replace_input_with(0, self._transposed_matrix())
                node.replace_input_with(1, self._g.ints(1))
            elif i == 1:
                node.replace_input_with(1, self._transposed_matrix())
                node.attributes["transB"] = ir.AttrInt64("transB", 1)
            elif attribute_of(node, "transA"):
                node.replace_input_with(0, self._transposed_matrix())
                node.attributes["transA"] = ir.AttrInt64("transA", 0)
            else:
                self._multiply_in_steps(node)

    def _can_rewrite(self, node: ir.Node, i: int) -> bool:
        if is_op(node, "ReduceSum"):
            axes = const_of(optional_input_of(node, 1))
            return axes is not None and axes.tolist() == [0] and not attribute_of(node, "keepdims")
        if not is_op(node, "Gemm") or i > 1:
            return False
        if i == 1:
            return not attribute_of(node, "transB")
        is_plain = not attribute_of(node, "transB") and attribute_of(node, "alpha") == 1.0
        return bool(attribute_of(node, "transA")) or (
            is_plain and optional_input_of(node, 2) is None
        )

    def _transposed_matrix(self) -> ir.Value:
        if self._matrix is None:
            steps, size, samples = shape_of(self._out)
            by_feature = self._g.transpose(self._out, (1, 0, 2))
            self._matrix = self._g.reshape(by_feature, (size, steps * samples))
        return self._matrix

    def _multiply_in_steps(self, node: ir.Node) -> None:
        """``d w`` of all samples becomes ``w^T d`` of each step."""
        g = Builder(self._g.graph, anchor=node)
        with g.beside(node):
            weight = transposed(g, input_of(node, 1))
            rows = g.transpose(g.op("MatMul", weight, self._out), _SWAPPED)
            result = g.reshape(rows, shape_of(node.outputs[0]))
        node.outputs[0].replace_all_uses_with(result, replace_graph_outputs=True)
        self._g.graph.remove(node, safe=True)
