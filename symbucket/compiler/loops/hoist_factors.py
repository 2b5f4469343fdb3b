"""What the steps of a Scan compute from their inputs alone is computed for all steps at once.

Backwards, a step multiplies what comes back to it by slopes that the forward steps have left: the
factors are known before the first step runs. Two multiplications, one after the other, become one
by the product of their factors; a Concat of products becomes a product of Concats. What is left in
the step is short, and a Scan pays for every node in every step.
"""

from __future__ import annotations

import math

import onnx_ir as ir

from symbucket.compiler.rewrite.base import Property, graph_pass
from symbucket.compiler.rewrite.graph_queries import only_user
from symbucket.compiler.rewrite.remove_dead_nodes import remove_dead_nodes
from symbucket.ir import (
    Builder,
    attr,
    attributes_of,
    body_of,
    info_of,
    is_op,
    nbytes_of,
    output_of_body,
    producer_of,
    replace_scan,
    shape_of,
    states_of,
)
from symbucket.ir.nodes import scope_of
from symbucket.ir.notes import phase_of, set_phase

Values = dict[ir.Value, None]
"""Values in the order of the body: what is computed from them must not depend on chance."""

MAX_HOISTED_BYTES = 1 << 16  # bytes of a step's value; larger ones are better off in the cache


@graph_pass("final", requires=(Property.STANDARD_ONNX,))
def hoist_factors(graph: ir.Graph) -> int:
    """Rewrite the body of every Scan; gives the number of values that were taken out."""
    return sum(_FactorHoister(graph, scan).take_out() for scan in list(graph) if body_of(scan))


class _FactorHoister:
    def __init__(self, graph: ir.Graph, scan: ir.Node) -> None:
        body = body_of(scan)
        assert body is not None
        self._graph, self._scan, self._body = graph, scan, body
        self._states = states_of(scan)
        ways = attr(scan, "scan_input_directions")
        pieces = body.inputs[self._states :]
        self._way = dict(zip(pieces, ways))
        self._stacks = dict(zip(pieces, scan.inputs[self._states :]))

    def take_out(self) -> int:
        hoistable = self._hoistable()
        while any(self._regroup(node, hoistable) for node in list(self._body)):
            hoistable = self._hoistable()
        hoisted = [
            value
            for value in hoistable
            if value.producer() is not None
            and (
                value in self._body.outputs
                or any(u.outputs[0] not in hoistable for u, _ in value.uses())
            )
        ]
        if not hoisted:
            return 0
        g = Builder(self._graph, anchor=self._scan)
        with g.beside(self._scan):
            for value in hoisted:
                self._take(g, value)
        self._rebuild()
        return len(hoisted)

    def _hoistable(self) -> Values:
        """The values of the body that depend on pieces of one direction and constants alone."""
        hoistable: Values = {v: None for v in self._way if nbytes_of(v) <= MAX_HOISTED_BYTES}
        for node in self._body:
            if self._is_hoistable(node, hoistable):
                out = node.outputs[0]
                hoistable[out] = None
                self._way[out] = next(self._way[v] for v in node.inputs if v in hoistable)
        return hoistable

    def _is_hoistable(self, node: ir.Node, hoistable: Values) -> bool:
        if is_op(node, "Identity"):  # an output of the body that is a slice of a sequence
            return False
        if (
            len(node.outputs) != 1
            or node.domain
            or nbytes_of(node.outputs[0]) > MAX_HOISTED_BYTES * 4
        ):
            return False
        whole = [v for v in node.inputs if v is not None and not _is_scalar(v)]
        if (
            not whole
            or not all(v in hoistable for v in whole)
            or len({self._way[v] for v in whole}) != 1
        ):
            return False
        if node.op_type == "Concat":
            return len(whole) == len(node.inputs)
        traits = info_of(node)
        shape = node.outputs[0].shape
        return traits.elementwise and not traits.random and all(v.shape == shape for v in whole)

    # In the body -----------------------------------------------------------------------------

    def _regroup(self, node: ir.Node, hoistable: Values) -> bool:
        """``(x a) b`` becomes ``x (a b)``, ``[x a, y b]`` becomes ``[x, y] [a, b]``."""
        if node.outputs[0] in hoistable or node.domain:
            return False
        if node.op_type == "Mul":
            outer = self._product(node, hoistable)
            inner = None if outer is None else self._inner(outer[0], node, hoistable)
            if outer is None or inner is None:
                return False
            factor = self._op("Mul", node, inner[1], outer[1])
            node.replace_input_with(0, inner[0])
            node.replace_input_with(1, factor)
            return True
        if node.op_type != "Concat":
            return False
        parts = [self._inner(value, node, hoistable) for value in node.inputs]
        if any(part is None for part in parts):
            return False
        products = [part for part in parts if part is not None]
        axis = attr(node, "axis")
        left = self._op("Concat", node, *(x for x, _ in products), axis=axis)
        right = self._op("Concat", node, *(factor for _, factor in products), axis=axis)
        result = self._op("Mul", node, left, right)
        node.outputs[0].replace_all_uses_with(result, replace_graph_outputs=True)
        self._body.remove(node, safe=True)
        return True

    def _product(self, node: ir.Node, hoistable: Values) -> tuple[ir.Value, ir.Value] | None:
        """The two operands of a Mul of one shape, of which the second can be hoisted."""
        a, b = node.inputs
        if a is None or b is None or a.shape != b.shape or (a in hoistable) == (b in hoistable):
            return None
        return (b, a) if a in hoistable else (a, b)

    def _inner(
        self, value: ir.Value | None, user: ir.Node, hoistable: Values
    ) -> tuple[ir.Value, ir.Value] | None:
        """The operands of the Mul that makes ``value`` for ``user`` alone."""
        node = None if value is None else value.producer()
        if node is None or value is None or node.op_type != "Mul" or node.domain:
            return None
        if node.graph is not self._body or value in self._body.outputs:
            return None
        return self._product(node, hoistable) if only_user(value) is user else None

    def _op(self, op_type: str, before: ir.Node, *inputs: ir.Value, **attributes: int) -> ir.Value:
        """A node of the body."""
        g = Builder(self._graph)
        name = g.unique(f"{scope_of(before)}/{op_type}")
        node = ir.Node(
            "", op_type, inputs, ir.convenience.convert_attributes(attributes), name=name
        )
        shape = list(shape_of(inputs[0]))
        if op_type == "Concat":
            axis = attributes["axis"]
            shape[axis] = sum(shape_of(v)[axis] for v in inputs)
        out = node.outputs[0]
        out.name, out.shape, out.type = name, ir.Shape(shape), inputs[0].type
        set_phase(node, phase_of(before))
        self._body.insert_before(before, node)
        return out

    # Out of it -------------------------------------------------------------------------------

    def _take(self, g: Builder, value: ir.Value) -> None:
        """Make a value of the body a piece of what is computed outside."""
        stack = self._stack(g, value)
        piece = ir.Value(name=g.unique(f"{value.name}/piece"), shape=value.shape, type=value.type)
        self._stacks[piece] = stack
        self._way[piece] = self._way[value]
        self._body.inputs.append(piece)
        for i, output in enumerate(self._body.outputs):
            if output is value:  # runtimes stack wrong numbers if an input is an output
                self._body.outputs[i] = output_of_body(g, self._body, piece)
        value.replace_all_uses_with(piece)

    def _stack(self, g: Builder, value: ir.Value) -> ir.Value:
        """The values of all steps, (steps, *shape)."""
        if value not in self._stacks:
            node = producer_of(value)
            inputs = [
                None if v is None else v if _is_scalar(v) else self._stack(g, v)
                for v in node.inputs
            ]
            attributes = attributes_of(node)
            if node.op_type == "Concat":
                attributes["axis"] = attributes["axis"] % len(shape_of(value)) + 1
            self._stacks[value] = g.op(node.op_type, *inputs, **attributes)
        stack = self._stacks[value]
        assert stack is not None
        return stack

    def _rebuild(self) -> None:
        """The Scan with the pieces that its body reads now."""
        scan, body = self._scan, self._body
        remove_dead_nodes(body)
        pieces = [v for v in body.inputs[self._states :] if v.uses()]
        del body.inputs[self._states :]
        body.inputs.extend(pieces)
        inputs = [*scan.inputs[: self._states], *(self._stacks[v] for v in pieces)]
        ways = [self._way[v] for v in pieces]
        replace_scan(
            scan,
            inputs,
            range(len(scan.outputs)),
            num_scan_inputs=ir.AttrInt64("num_scan_inputs", len(pieces)),
            scan_input_directions=ir.AttrInt64s("scan_input_directions", ways),
        )


def _is_scalar(value: ir.Value) -> bool:
    """A constant of one element, which fits any shape."""
    return value.const_value is not None and math.prod(shape_of(value)) == 1
