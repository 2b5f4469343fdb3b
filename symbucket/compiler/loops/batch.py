"""Operators of a loop's body, applied to all steps at once.

``stack_t(f(x_t)) = f(stack_t(x_t))``: with the steps as a first axis, elementwise operators stay as
they are, others get their axes shifted, and a product with an invariant has the rows of all steps.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import onnx_ir as ir

from symbucket.ir import Builder, attr, attributes_of, const_of, info_of, perm_of, shape_of

Operands = Sequence[ir.Value | None]
Batch = Callable[[Builder, ir.Node, Operands, Sequence[bool], int], Sequence[ir.Value]]
"""``batch(g, node, operands, varying, steps)`` appends the node for all steps, returns its outputs.

``operands`` are the stacks of those operands that vary, the others as they are.
"""


def batch_rule(node: ir.Node, varying: Sequence[bool]) -> Batch | None:
    """Return how a node of a body is done for all steps at once; None if it cannot be.

    ``varying`` says which operands differ from step to step.
    """
    if not any(varying) or info_of(node).random:
        return None
    if info_of(node).elementwise and len(node.outputs) == 1:
        return _elementwise
    if node.domain:
        return None
    rule = _RULES.get(node.op_type)
    if rule is None:
        return None
    fits, batch = rule
    return batch if fits(node, varying) else None


def is_product(node: ir.Node) -> bool:
    """Return whether a node done for all steps at once saves more than the start of kernels."""
    return not node.domain and node.op_type in ("Gemm", "MatMul", "Gather")


def _elementwise(
    g: Builder, node: ir.Node, operands: Operands, varying: Sequence[bool], steps: int
) -> Sequence[ir.Value]:
    rank = len(shape_of(node.outputs[0]))
    inputs: list[ir.Value | None] = []
    for value, varies in zip(operands, varying):
        if value is not None and varies and len(shape_of(value)) <= rank:
            shape = shape_of(value)
            value = g.reshape(value, (steps, *[1] * (rank + 1 - len(shape)), *shape[1:]))
        elif (
            value is not None and not varies and node.domain and not inputs
        ):  # it gives the result its shape
            value = g.op("Expand", value, g.ints(steps, *shape_of(value)))
        inputs.append(value)
    return g.ops(node.op_type, *inputs, outputs=1, domain=node.domain, **attributes_of(node))


def _first_alone(node: ir.Node, varying: Sequence[bool]) -> bool:
    return varying[0] and not any(varying[1:])


def _constant_rest(node: ir.Node, varying: Sequence[bool]) -> bool:
    return _first_alone(node, varying) and all(
        v is None or const_of(v) is not None for v in node.inputs[1:]
    )


def _axes_of(node: ir.Node, slot: int) -> list[int] | None:
    """The axes that a constant operand names, counted from the first one."""
    value = node.inputs[slot] if len(node.inputs) > slot else None
    array = const_of(value)
    first = node.inputs[0]
    assert first is not None
    rank = len(shape_of(first))
    return None if array is None else [int(a) % rank for a in array.reshape(-1)]


def _gemm_fits(node: ir.Node, varying: Sequence[bool]) -> bool:
    if not varying[0] or varying[1] or attr(node, "transA", 0):
        return False
    if len(node.inputs) < 3 or node.inputs[2] is None:
        return True
    shape = shape_of(node.inputs[2])
    if varying[2]:
        return shape == shape_of(node.outputs[0])
    return len(shape) < 2 or shape[0] == 1


def _gemm(
    g: Builder, node: ir.Node, operands: Operands, varying: Sequence[bool], steps: int
) -> Sequence[ir.Value]:
    rows, columns = shape_of(node.outputs[0])
    inputs = list(operands)
    for i, varies in enumerate(varying):
        value = inputs[i]
        if varies and value is not None:
            inputs[i] = g.reshape(value, (steps * rows, shape_of(value)[2]))
    product = g.op("Gemm", *inputs, **attributes_of(node))
    return [g.reshape(product, (steps, rows, columns))]


def _matmul_fits(node: ir.Node, varying: Sequence[bool]) -> bool:
    a, b = (len(shape_of(v)) if v is not None else 0 for v in node.inputs)
    return min(a, b) >= 2 and (a == b or (a > b and not varying[1]) or (b > a and not varying[0]))


def _same(
    g: Builder, node: ir.Node, operands: Operands, varying: Sequence[bool], steps: int
) -> Sequence[ir.Value]:
    return g.ops(node.op_type, *operands, outputs=1, **attributes_of(node))


def _shifted_axis(
    g: Builder, node: ir.Node, operands: Operands, varying: Sequence[bool], steps: int
) -> Sequence[ir.Value]:
    first = node.inputs[0]
    assert first is not None
    default = {"Softmax": -1, "LogSoftmax": -1}.get(node.op_type, 0)
    axis = attr(node, "axis", default) % len(shape_of(first)) + 1
    attributes = {**attributes_of(node), "axis": axis}
    return g.ops(node.op_type, *operands, outputs=len(node.outputs), **attributes)


def _to_shape(
    g: Builder, node: ir.Node, operands: Operands, varying: Sequence[bool], steps: int
) -> Sequence[ir.Value]:
    assert operands[0] is not None
    return [g.reshape(operands[0], (steps, *shape_of(node.outputs[0])))]


def _transpose(
    g: Builder, node: ir.Node, operands: Operands, varying: Sequence[bool], steps: int
) -> Sequence[ir.Value]:
    assert operands[0] is not None
    return [g.transpose(operands[0], [0, *(p + 1 for p in perm_of(node))])]


def _reduce(
    g: Builder, node: ir.Node, operands: Operands, varying: Sequence[bool], steps: int
) -> Sequence[ir.Value]:
    axes = _axes_of(node, 1)
    assert axes is not None
    shifted = g.ints(*(a + 1 for a in axes))
    return g.ops(node.op_type, operands[0], shifted, outputs=1, **attributes_of(node))


def _slice(
    g: Builder, node: ir.Node, operands: Operands, varying: Sequence[bool], steps: int
) -> Sequence[ir.Value]:
    axes = _axes_of(node, 3)
    assert axes is not None
    shifted = g.ints(*(a + 1 for a in axes))
    return g.ops("Slice", *operands[:3], shifted, *operands[4:], outputs=1)


_MOVES: tuple[Callable[[ir.Node, Sequence[bool]], bool], Batch] = (_constant_rest, _to_shape)
_RULES: dict[str, tuple[Callable[[ir.Node, Sequence[bool]], bool], Batch]] = {
    "Gemm": (_gemm_fits, _gemm),
    "MatMul": (_matmul_fits, _same),
    "Gather": (
        lambda node, varying: varying[1] and not varying[0] and attr(node, "axis", 0) == 0,
        _same,
    ),
    "Concat": (lambda node, varying: all(varying), _shifted_axis),
    "Split": (_constant_rest, _shifted_axis),
    "Softmax": (_first_alone, _shifted_axis),
    "LogSoftmax": (_first_alone, _shifted_axis),
    "Reshape": _MOVES,
    "Squeeze": _MOVES,
    "Unsqueeze": _MOVES,
    "Flatten": _MOVES,
    "Transpose": (_first_alone, _transpose),
    "Slice": (
        lambda node, varying: _constant_rest(node, varying) and len(node.inputs) > 3,
        _slice,
    ),
    **dict.fromkeys(
        ("ReduceSum", "ReduceMean", "ReduceMax", "ReduceMin", "ReduceProd", "ReduceL1"),
        (
            lambda node, varying: _constant_rest(node, varying) and len(node.inputs) > 1,
            _reduce,
        ),
    ),
}
