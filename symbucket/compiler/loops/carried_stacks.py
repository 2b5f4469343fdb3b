"""The states of a Scan as its steps find them: the sequence, shifted by one step.

The gradient of a step reads the state before it, c_(t-1) beside dz_t. The Scan hands that out
itself, as one more output; cut out of the states behind the steps it would be a copy, with the
initial state put in front.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import onnx_ir as ir

from symbucket.compiler.loops.slices import consecutive_slices, slice_of
from symbucket.compiler.rewrite.graph_queries import is_zero
from symbucket.ir import (
    Builder,
    attr,
    attributes_of,
    body_of,
    const_of,
    producer_of,
    shape_of,
    states_of,
)
from symbucket.ir.notes import CarriedStacks, node_notes


def note_states(scan: ir.Node | None, states: Mapping[int, int]) -> None:
    """Note which outputs of a Scan are stacks of which states."""
    assert scan is not None
    node_notes(scan).carried_stacks = CarriedStacks(dict(states))


def copy_in(body: ir.Graph, value: ir.Value, name: str) -> ir.Value:
    """A copy of a value of the body: an output of a body must be made in it, and is one only."""
    node = ir.Node("", "Identity", [value], name=name)
    copy = node.outputs[0]
    copy.name, copy.shape, copy.type = name, value.shape, value.type
    body.append(node)
    return copy


def stack_of_carried(values: Sequence[ir.Value]) -> tuple[ir.Value, bool] | None:
    """``values`` as one tensor, where they are all states of a Scan as its steps find them.

    Gives the tensor (steps, *shape) and whether its order is the reverse of theirs.
    """
    first = slice_of(values[0]) is None  # the initial state comes first, or last
    run = consecutive_slices(values[1:] if first else values[:-1])
    start = values[0] if first else values[-1]
    if run is None:
        return None
    split, at, way = run
    scan = _states_in(split)
    if scan is None or len(values) != len(split.outputs):
        return None
    stack, state, back = scan
    begin = producer_of(stack).inputs[state]
    if begin is not start and not (is_zero(begin) and is_zero(start)):
        return None
    later = -1 if back else 1  # from a step to the next one, in the stack
    lowest = min(at, at + way * (len(values) - 2))
    if lowest != int(back) or first != (way == later) or shape_of(start) != shape_of(values[1]):
        return None
    if shape_of(stack)[1:] != shape_of(start):
        return None
    return _before(stack, state), way < 0


def stack_products(graph: ir.Graph) -> None:
    """The gradient of a recurrent weight: products of pieces put together take the whole stacks.

    ``sum_t dz_t^T h_(t-1)`` may take its terms in any order that both operands have. It leaves out
    the step whose state before is zero, which costs less than cutting both stacks.
    """
    for node in list(graph):
        if node.op_type != "Gemm" or node.domain or len(node.inputs) != 2:
            continue
        if not attr(node, "transA", 0) or attr(node, "transB", 0):
            continue
        left, right = map(_rows, node.inputs)
        if left is None or right is None:
            continue
        found = _whole(left, right) or _shifted(left, right)
        if found is None:
            turned = _shifted(right, left)
            found = None if turned is None else (turned[1], turned[0])
        if found is None:
            continue
        g = Builder(graph, anchor=node)
        with g.beside(node):
            shapes = [shape_of(stack) for stack in found]
            rows = [g.reshape(x, (n * m, k)) for x, (n, m, k) in zip(found, shapes)]
            made = g.op("Gemm", *rows, **attributes_of(node))
        node.outputs[0].replace_all_uses_with(made, replace_graph_outputs=True)
        graph.remove(node, safe=True)


def stack_sums(graph: ir.Graph) -> None:
    """The gradient of a bias: a sum over pieces put together takes the whole stack.

    A sum may take its terms in any order, so the stack may stand in reverse.
    """
    for node in list(graph):
        if node.op_type != "ReduceSum" or node.domain or len(node.inputs) != 2:
            continue
        axes, rows = const_of(node.inputs[1]), _rows(node.inputs[0])
        found = None if rows is None or axes is None or 0 not in axes else _stack(rows)
        if found is None:
            continue
        g = Builder(graph, anchor=node)
        with g.beside(node):
            n, m, k = shape_of(found[0])
            node.replace_input_with(0, g.reshape(found[0], (n * m, k)))


def _rows(value: ir.Value | None) -> list[ir.Value] | None:
    """The matrices that a Concat puts below each other."""
    node = None if value is None else value.producer()
    if node is None or node.op_type != "Concat" or node.domain or attr(node, "axis") != 0:
        return None
    rows = [v for v in node.inputs if v is not None]
    alike = len(rows) > 2 and len({shape_of(v) for v in rows}) == 1
    return rows if alike and len(shape_of(rows[0])) == 2 else None


def _whole(left: Sequence[ir.Value], right: Sequence[ir.Value]) -> tuple[ir.Value, ir.Value] | None:
    """The stacks that both are all the pieces of, in one order."""
    a = _stack(left) or stack_of_carried(left)
    b = _stack(right) or stack_of_carried(right)
    if a is None or b is None or a[1] != b[1] or shape_of(a[0])[:2] != shape_of(b[0])[:2]:
        return None
    return a[0], b[0]


def _stack(values: Sequence[ir.Value]) -> tuple[ir.Value, bool] | None:
    """The stack, made by a Scan, that ``values`` are all the pieces of; and if in reverse."""
    run = consecutive_slices(values)
    if run is None or len(values) != len(run[0].outputs):
        return None
    stack = _cut_by(run[0], values[0])
    return None if stack is None else (stack, run[2] < 0)


def _shifted(
    plain: Sequence[ir.Value], before: Sequence[ir.Value]
) -> tuple[ir.Value, ir.Value] | None:
    """Both stacks, where ``plain`` has all steps but the first, ``before`` their states before."""
    runs = consecutive_slices(plain), consecutive_slices(before)
    if runs[0] is None or runs[1] is None:
        return None
    (split, at, way), (other, start, direction) = runs[0], runs[1]
    count = len(split.outputs)
    if way != direction or len(other.outputs) != count:
        return None
    if len(plain) != count - 1 or len(before) != count - 1:
        return None
    stack, states = _cut_by(split, plain[0]), _states_in(other)
    if stack is None or states is None or _cut_by(other, before[0]) is None:
        return None
    whole, state, back = states
    if at != start + (-1 if back else 1) or not is_zero(producer_of(whole).inputs[state]):
        return None
    return stack, _before(whole, state)


def _cut_by(split: ir.Node, piece: ir.Value) -> ir.Value | None:
    """Return the stack (steps, rows, columns) of a Scan that a Split cuts into pieces like this."""
    stack = split.inputs[0]
    scan = None if stack is None else stack.producer()
    if stack is None or scan is None or scan.op_type != "Scan" or attr(split, "axis", 0):
        return None
    return stack if len(shape_of(stack)) == 3 and shape_of(stack)[1:] == shape_of(piece) else None


def _states_in(split: ir.Node) -> tuple[ir.Value, int, bool] | None:
    """The stack of states that a Split cuts, the number of the state, and whether in reverse."""
    stack = split.inputs[0]
    scan = None if stack is None else stack.producer()
    stacks = None if scan is None else node_notes(scan).carried_stacks
    if scan is None or stack is None or stacks is None or attr(split, "axis", 0):
        return None
    index = stack.index()
    state = None if index is None else stacks.carried.get(index)
    if state is None or index is None:
        return None
    return stack, state, bool(attr(scan, "scan_output_directions")[index - states_of(scan)])


def _before(stack: ir.Value, state: int) -> ir.Value:
    """The states as the steps find them, in the order of ``stack``: an output of the Scan."""
    scan = producer_of(stack)
    stacks = node_notes(scan).carried_stacks
    assert stacks is not None
    made = stacks.initial_included
    if state not in made:
        body = body_of(scan)
        assert body is not None
        name = f"{body.inputs[state].name}/before"
        body.outputs.append(copy_in(body, body.inputs[state], f"{name}/Identity"))
        scan.resize_outputs(len(scan.outputs) + 1)
        out = scan.outputs[-1]
        out.name, out.shape, out.type = name, stack.shape, stack.type
        ways = attr(scan, "scan_output_directions")
        scan.attributes["scan_output_directions"] = ir.AttrInt64s(
            "scan_output_directions", [*ways, ways[0]]
        )
        made[state] = out
    return made[state]
