"""What does not wait for the step before leaves the loop.

A value of the body that depends on invariants alone is computed once, before the loop. One that
depends on the step's slices as well is computed for all steps at once: the products of a cell's
inputs become one product over the whole sequence. What only stacked outputs need is computed after
the loop, of the stacks: the output layer of a step is one product too.
"""

from __future__ import annotations

import onnx_ir as ir

from symbucket.compiler.loops.batch import batch_rule, is_product
from symbucket.compiler.loops.free_values import (
    find_free,
    is_inside,
    is_worth_hoisting,
    slice_directions,
)
from symbucket.compiler.rewrite.base import graph_pass
from symbucket.compiler.rewrite.graph_queries import node_after, only_user
from symbucket.compiler.rewrite.merge_common_subexpressions import merge_common_subexpressions
from symbucket.compiler.rewrite.remove_dead_nodes import remove_dead_nodes
from symbucket.ir import (
    Builder,
    attr,
    attributes_of,
    body_of,
    input_of_body,
    nbytes_of,
    output_of_body,
    producer_of,
    replace_scan,
    shape_of,
    stack_directions,
    stack_output,
    states_of,
    steps_of,
    trim_scan,
)
from symbucket.ir.nodes import scope_of
from symbucket.ir.notes import graph_notes, phase_of


@graph_pass("forward", "joint", "final")
def hoist_products(graph: ir.Graph) -> int:
    """Take out of every loop what can be; returns the number of nodes that left a body."""
    return sum(_hoist(graph, node) for node in list(graph) if body_of(node) is not None)


def _hoist(graph: ir.Graph, scan: ir.Node) -> int:
    body = body_of(scan)
    assert body is not None
    merge_common_subexpressions(body)
    loop = _Loop(graph, scan)
    loop.add_products_to_carried()
    moved = loop.move_before()
    loop.trim()
    while left := loop.move_after():
        moved += left
        loop.trim()
    return moved


class _Loop:
    def __init__(self, graph: ir.Graph, scan: ir.Node) -> None:
        body = body_of(scan)
        assert body is not None
        self._graph, self.scan, self._body = graph, scan, body
        self._carried = states_of(scan)
        self._steps = steps_of(scan)
        slices = body.inputs[self._carried :]
        self._direction = slice_directions(scan)
        self._stacks: dict[ir.Value, ir.Value] = {
            one: stack for one, stack in zip(slices, scan.inputs[self._carried :]) if stack
        }
        self._g = Builder(graph, anchor=scan)
        self._g.scope = scan.name or ""

    # What is there before the loop ---------------------------------------------------------------

    def _is_inside(self, value: ir.Value) -> bool:
        return is_inside(value, self._body, self._inputs)

    def _find_free(self) -> None:
        self._inputs = set(self._body.inputs)
        find_free(self._body, self._direction)

    def add_products_to_carried(self) -> None:
        """``(x w^T + a) + (h r^T + b)`` becomes ``h r^T + (x w^T + (a + b))``, h being carried.

        So the sum costs nothing in the step, and all that it adds to leaves the loop.
        """
        self._find_free()
        for node in list(self._body):
            if node.op_type != "Add" or node.domain:
                continue
            for mine, other in (node.inputs, node.inputs[::-1]):
                if mine is None or other is None or mine.shape != other.shape:
                    continue
                product = self._product(mine, node)
                if product is None or mine in self._direction or not self._is_free(other):
                    continue
                self._add_to(node, product, other)
                break
        self._find_free()

    def _is_free(self, value: ir.Value) -> bool:
        return value in self._direction or not self._is_inside(value)

    def _product(self, value: ir.Value, user: ir.Node) -> ir.Node | None:
        """The product ``a b + c`` that makes ``value`` for ``user`` alone, c a vector at most."""
        node = value.producer()
        if node is None or node.op_type != "Gemm" or node.domain or node.graph is not self._body:
            return None
        if only_user(value) is not user or value in self._body.outputs:
            return None
        if attr(node, "beta", 1.0) != 1.0:
            return None
        summand = node.inputs[2] if len(node.inputs) > 2 else None
        if summand is None:
            return node
        return node if len(shape_of(summand)) == 1 and self._is_free(summand) else None

    def _add_to(self, add: ir.Node, product: ir.Node, other: ir.Value) -> None:
        g = Builder(self._body, anchor=add)
        bias = product.inputs[2] if len(product.inputs) > 2 else None
        inner = self._product(other, add)
        with g.scoped(scope_of(product)):
            if bias is not None and inner is not None:
                second = inner.inputs[2] if len(inner.inputs) > 2 else None
                both = bias if second is None else g.op("Add", second, bias)
                other = g.op("Gemm", *inner.inputs[:2], both, **attributes_of(inner))
            elif bias is not None:
                other = g.op("Add", other, bias)
            total = g.op("Gemm", *product.inputs[:2], other, **attributes_of(product))
        add.outputs[0].replace_all_uses_with(total, replace_graph_outputs=True)
        dead = [add, product, *([] if bias is None or inner is None else [inner])]
        for node in dead:
            self._body.remove(node, safe=True)

    # Before the loop -----------------------------------------------------------------------------

    def move_before(self) -> int:
        """Compute free values outside; the body reads slices of them."""
        outputs = set(self._body.outputs)
        hoisted = []
        for node in self._body:
            if any(out not in self._direction for out in node.outputs):
                continue
            for out in node.outputs:
                waiting = any(
                    any(o not in self._direction for o in user.outputs) for user, _ in out.uses()
                )
                if (waiting or out in outputs) and is_worth_hoisting(
                    out, self._body, self._direction
                ):
                    hoisted.append(out)
        if not hoisted:
            return 0
        moved = len(list(self._body))
        for value in hoisted:
            self._replace(value)
        self._rebuild()
        remove_dead_nodes(self._body)
        return moved - len(list(self._body))

    def _replace(self, value: ir.Value) -> None:
        stack = self._outside(value)
        new = stack
        if self._direction[value] is not None:
            new = input_of_body(self._g, self._body, f"{value.name}/slice", value)
            self._stacks[new] = stack
            self._direction[new] = self._direction[value]
            self._inputs.add(new)
        for i, out in enumerate(self._body.outputs):
            if out is value:
                self._body.outputs[i] = output_of_body(self._g, self._body, new)
        value.replace_all_uses_with(new)

    def _outside(self, value: ir.Value) -> ir.Value:
        """The value for all steps, or an invariant as it is."""
        if not self._is_inside(value):
            return value
        if value not in self._stacks:
            node = producer_of(value)
            operands = [None if v is None else self._outside(v) for v in node.inputs]
            varying = [v is not None and self._direction.get(v) is not None for v in node.inputs]
            with self._g.scoped(node.name or ""):
                if any(varying):
                    rule = batch_rule(node, varying)
                    assert rule is not None
                    results = rule(self._g, node, operands, varying, self._steps)
                else:
                    results = self._g.ops(
                        node.op_type,
                        *operands,
                        outputs=len(node.outputs),
                        domain=node.domain,
                        **attributes_of(node),
                    )
            self._stacks.update(zip(node.outputs, results))
        return self._stacks[value]

    def _rebuild(self) -> None:
        """The Scan with the slices that its body reads now."""
        scan, body, carried = self.scan, self._body, self._carried
        slices = list(body.inputs[carried:])
        self.scan = replace_scan(
            scan,
            [*scan.inputs[:carried], *(self._stacks[v] for v in slices)],
            [self._direction[v] or 0 for v in slices],
            range(len(scan.outputs)),
            stack_directions(scan),
        )
        self._inputs = set(body.inputs)

    def trim(self) -> None:
        """Remove what nobody reads any more; the Scan may be another node afterwards."""
        trim_scan(self.scan, remove_dead_nodes)
        scan = graph_notes(self._body).enclosing_node
        assert scan is not None
        self.scan = scan

    # After the loop ------------------------------------------------------------------------------

    def move_after(self) -> int:
        """Compute what only stacked outputs need from stacks."""
        moved = 0
        directions = stack_directions(self.scan)
        for index in range(len(self.scan.outputs) - 1, self._carried - 1, -1):
            while self._move_output(index, directions[index - self._carried]):
                moved += 1
        return moved

    def _move_output(self, index: int, direction: int) -> bool:
        value, out = self._body.outputs[index], self.scan.outputs[index]
        node = value.producer()
        if node is None or node.graph is not self._body or len(node.outputs) != 1:
            return False
        if value.uses() or list(self._body.outputs).count(value) > 1 or out.is_graph_output():
            return False
        if not out.uses() or (node.op_type == "Identity" and node.inputs[0] not in self._direction):
            return False
        varying = [v is not None and self._is_inside(v) for v in node.inputs]
        rule = batch_rule(node, varying)
        if rule is None:
            return False
        operands = [v for v, varies in zip(node.inputs, varying) if varies and v is not None]
        missing = [v for v in dict.fromkeys(operands) if self._stack(v, direction) is None]
        size = sum(map(nbytes_of, missing))
        if len(missing) > 1 or (size > nbytes_of(value) and not is_product(node)):
            return False
        g = Builder(self._graph, anchor=node_after(self._graph, self.scan))
        inputs: list[ir.Value | None] = []
        for v, varies in zip(node.inputs, varying):
            if v is None or not varies:
                inputs.append(v)
                continue
            stack = self._stack(v, direction)
            inputs.append(stack or stack_output(g, self.scan, v, direction))
        with g.scoped(node.name or "", phase_of(self.scan)):
            (result,) = rule(g, node, inputs, varying, self._steps)
        out.replace_all_uses_with(result)
        return True

    def _stack(self, value: ir.Value, direction: int) -> ir.Value | None:
        """The stack of a value, if there is one in this direction."""
        if self._direction.get(value) == direction and value in self._body.inputs:
            return self._stacks[value]
        directions = stack_directions(self.scan)
        for i, out in enumerate(self._body.outputs):
            if i < self._carried or directions[i - self._carried] != direction:
                continue
            node = out.producer()
            copied = node is not None and node.op_type == "Identity" and node.inputs[0] is value
            if out is value or copied:
                return self.scan.outputs[i]
        return None
