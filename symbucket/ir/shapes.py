"""Shape and dtype rules of the standard ONNX operators that symbucket emits.

A rule reads the node (inputs have shapes, shape-giving inputs are constants) and returns shape and
dtype of every output. Operators without a rule here, as imported models may bring, are asked of
onnx's own inference, one node at a time.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir

from symbucket.errors import ShapeError
from symbucket.ir.registry import OPSET, TensorType, info_of, mark, shape_rule
from symbucket.types import Shape


def infer_node(node: ir.Node) -> Sequence[TensorType]:
    """Shape and dtype of every output of ``node``; raises ShapeError with the node's name."""
    rule = info_of(node).shape
    try:
        return rule(node) if rule is not None else ask_onnx(node)
    except (ValueError, IndexError, TypeError, KeyError) as error:
        shapes = [None if v is None else tuple(v.shape or ()) for v in node.inputs]
        raise ShapeError(
            f"ONNX node {node.name!r} ({node.op_type}) does not fit its inputs {shapes}: {error}"
        ) from error


def _shape(node: ir.Node, i: int = 0) -> Shape:
    value = node.inputs[i]
    if value is None or value.shape is None:
        raise ValueError(f"input {i} has no shape")
    return value.shape.numpy()


def _dtype(node: ir.Node, i: int = 0) -> ir.DataType:
    value = node.inputs[i]
    if value is None or value.dtype is None:
        raise ValueError(f"input {i} has no dtype")
    return value.dtype


def _attr(node: ir.Node, name: str, default: Any = None) -> Any:
    attribute = node.attributes.get(name)
    return default if attribute is None else attribute.value


def _const(node: ir.Node, i: int) -> list[int] | None:
    if i >= len(node.inputs) or node.inputs[i] is None:
        return None
    value = node.inputs[i]
    assert value is not None
    if value.const_value is None:
        raise ValueError(f"input {i} ({value.name}) must be a constant")
    return [int(v) for v in value.const_value.numpy().reshape(-1)]


def broadcast(*shapes: Shape) -> Shape:
    """The numpy broadcast of shapes; raises ValueError if they do not fit."""
    if all(s == shapes[0] for s in shapes[1:]):
        return shapes[0]
    try:
        return np.broadcast_shapes(*shapes)
    except ValueError:
        raise ValueError(f"shapes {' and '.join(map(str, shapes))} do not broadcast") from None


_UNARY = (
    "Abs Acos Acosh Asin Asinh Atan Atanh Ceil Cos Cosh Elu Erf Exp Floor Gelu HardSigmoid "
    "Identity LeakyRelu Log LogSoftmax Neg Not Reciprocal Relu Round Selu Sigmoid Sign Sin Sinh "
    "Softmax Softplus Softsign Sqrt Tan Tanh Trilu CumSum"
).split()
_BINARY = "Add Sub Mul Div Max Min Sum Mean And Or Xor PRelu Mod".split()
_COMPARE = "Equal Greater GreaterOrEqual Less LessOrEqual".split()

mark(
    *(op for op in _UNARY if op not in ("Softmax", "LogSoftmax", "Trilu", "CumSum")),
    *_BINARY,
    *_COMPARE,
    "Pow",
    "Where",
    "Clip",
    "Cast",
    "IsInf",
    "IsNaN",
    elementwise=True,
)
mark("Add", "Mul", "Sum", "Mean", "And", "Or", "Xor", "Equal", commutative=True)
mark(
    "RandomNormal",
    "RandomUniform",
    "RandomNormalLike",
    "RandomUniformLike",
    "Bernoulli",
    "Multinomial",
    random=True,
)
mark("Dropout", random=True)


@shape_rule(*_UNARY, "Clip", "ScatterND", "ScatterElements", "LpNormalization", "ReverseSequence")
def same_as_first(node: ir.Node) -> list[TensorType]:
    """Return the shape and dtype of the first input, for the only output."""
    return [(_shape(node), _dtype(node))]


@shape_rule(*_BINARY)
def _binary(node: ir.Node) -> list[TensorType]:
    shapes = [_shape(node, i) for i in range(len(node.inputs))]
    _require_one_dtype(node)
    return [(broadcast(*shapes), _dtype(node))]


def _require_one_dtype(node: ir.Node) -> None:
    for i, value in enumerate(node.inputs[1:], 1):
        if value is not None and _dtype(node, i) != _dtype(node):
            raise ValueError(f"dtypes differ: {_dtype(node)} and {_dtype(node, i)}")


@shape_rule("Pow")
def _power(node: ir.Node) -> list[TensorType]:
    return [(broadcast(_shape(node, 0), _shape(node, 1)), _dtype(node))]


@shape_rule(*_COMPARE)
def _compare(node: ir.Node) -> list[TensorType]:
    return [(broadcast(_shape(node, 0), _shape(node, 1)), ir.DataType.BOOL)]


@shape_rule("IsNaN", "IsInf")
def _test(node: ir.Node) -> list[TensorType]:
    return [(_shape(node), ir.DataType.BOOL)]


@shape_rule("Where")
def _where(node: ir.Node) -> list[TensorType]:
    return [(broadcast(_shape(node, 0), _shape(node, 1), _shape(node, 2)), _dtype(node, 1))]


@shape_rule("Cast")
def _cast(node: ir.Node) -> list[TensorType]:
    return [(_shape(node), ir.DataType(_attr(node, "to")))]


@shape_rule("MatMul")
def _matmul(node: ir.Node) -> list[TensorType]:
    a, b = _shape(node, 0), _shape(node, 1)
    if len(a) < 2 or len(b) < 2:
        return ask_onnx(node)
    if a[-1] != b[-2]:
        raise ValueError(f"inner dimensions {a[-1]} and {b[-2]} differ")
    _require_one_dtype(node)
    return [((*broadcast(a[:-2], b[:-2]), a[-2], b[-1]), _dtype(node))]


@shape_rule("Gemm")
def _gemm(node: ir.Node) -> list[TensorType]:
    a, b = _shape(node, 0), _shape(node, 1)
    m, k = (a[1], a[0]) if _attr(node, "transA", 0) else (a[0], a[1])
    k2, n = (b[1], b[0]) if _attr(node, "transB", 0) else (b[0], b[1])
    if k != k2:
        raise ValueError(f"inner dimensions {k} and {k2} differ")
    _require_one_dtype(node)
    return [((m, n), _dtype(node))]


@shape_rule("Transpose")
def _transpose(node: ir.Node) -> list[TensorType]:
    x = _shape(node)
    perm = _attr(node, "perm") or range(len(x) - 1, -1, -1)
    if sorted(perm) != list(range(len(x))):
        raise ValueError(f"perm {list(perm)} is not a permutation of {len(x)} axes")
    return [(tuple(x[p] for p in perm), _dtype(node))]


@shape_rule("Reshape")
def _reshape(node: ir.Node) -> list[TensorType]:
    x, target = _shape(node), _const(node, 1) or []
    zero_is_zero = _attr(node, "allowzero", 0)
    out = [x[i] if d == 0 and not zero_is_zero else d for i, d in enumerate(target)]
    if -1 in out:
        rest = math.prod(d for d in out if d != -1)
        out[out.index(-1)] = math.prod(x) // rest if rest else 0
    if math.prod(out) != math.prod(x):
        raise ValueError(f"cannot reshape {x} into {tuple(target)}")
    return [(tuple(out), _dtype(node))]


@shape_rule("Flatten")
def _flatten(node: ir.Node) -> list[TensorType]:
    x, axis = _shape(node), _attr(node, "axis", 1)
    return [((math.prod(x[:axis]), math.prod(x[axis:])), _dtype(node))]


@shape_rule("Concat")
def _concat(node: ir.Node) -> list[TensorType]:
    shapes = [_shape(node, i) for i in range(len(node.inputs))]
    axis = _attr(node, "axis") % len(shapes[0])
    for s in shapes[1:]:
        if len(s) != len(shapes[0]) or s[:axis] + s[axis + 1 :] != (
            shapes[0][:axis] + shapes[0][axis + 1 :]
        ):
            raise ValueError(f"shapes {shapes[0]} and {s} differ outside axis {axis}")
    total = sum(s[axis] for s in shapes)
    return [((*shapes[0][:axis], total, *shapes[0][axis + 1 :]), _dtype(node))]


@shape_rule("Split")
def _split(node: ir.Node) -> list[TensorType]:
    x = _shape(node)
    axis = _attr(node, "axis", 0) % len(x)
    sizes = _const(node, 1)
    if sizes is None:
        parts = len(node.outputs)
        chunk = -(-x[axis] // parts)
        sizes = [min(chunk, x[axis] - i * chunk) for i in range(parts)]
    if sum(sizes) != x[axis]:
        raise ValueError(f"sizes {sizes} do not add up to {x[axis]}")
    return [((*x[:axis], size, *x[axis + 1 :]), _dtype(node)) for size in sizes]


@shape_rule("Slice")
def _slice(node: ir.Node) -> list[TensorType]:
    x = list(_shape(node))
    starts, ends = _const(node, 1) or [], _const(node, 2) or []
    axes = _const(node, 3) or list(range(len(starts)))
    steps = _const(node, 4) or [1] * len(starts)
    for start, end, axis, step in zip(starts, ends, axes, steps):
        x[axis] = len(sliced(x[axis], start, end, step))
    return [(tuple(x), _dtype(node))]


def sliced(size: int, start: int, end: int, step: int) -> range:
    """Return the positions that Slice takes of an axis of ``size``.

    ONNX clamps as Python does, with two exceptions in a backward slice: a very negative end means
    "through the first element", a very negative start is the first element.
    """
    if step > 0:
        return range(*slice(start, end, step).indices(size))
    stop = None if end < -size else end
    return range(*slice(max(start, -size), stop, step).indices(size))


@shape_rule("Unsqueeze")
def _unsqueeze(node: ir.Node) -> list[TensorType]:
    x, axes = list(_shape(node)), _const(node, 1) or []
    rank = len(x) + len(axes)
    for axis in sorted(a % rank for a in axes):
        x.insert(axis, 1)
    return [(tuple(x), _dtype(node))]


@shape_rule("Squeeze")
def _squeeze(node: ir.Node) -> list[TensorType]:
    x, axes = _shape(node), _const(node, 1)
    removed = (
        {a % len(x) for a in axes} if axes is not None else {i for i, d in enumerate(x) if d == 1}
    )
    if any(x[i] != 1 for i in removed):
        raise ValueError(f"axes {sorted(removed)} of {x} are not all of size 1")
    return [(tuple(d for i, d in enumerate(x) if i not in removed), _dtype(node))]


@shape_rule("Expand")
def _expand(node: ir.Node) -> list[TensorType]:
    return [(broadcast(_shape(node), tuple(_const(node, 1) or ())), _dtype(node))]


@shape_rule("Tile")
def _tile(node: ir.Node) -> list[TensorType]:
    repeats = _const(node, 1) or []
    return [(tuple(d * r for d, r in zip(_shape(node), repeats)), _dtype(node))]


@shape_rule("Pad")
def _pad(node: ir.Node) -> list[TensorType]:
    x, pads = _shape(node), _const(node, 1) or []
    axes = _const(node, 3) or list(range(len(x)))
    out = list(x)
    for i, axis in enumerate(axes):
        out[axis] += pads[i] + pads[i + len(axes)]
    return [(tuple(out), _dtype(node))]


@shape_rule("ConstantOfShape")
def _constant_of_shape(node: ir.Node) -> list[TensorType]:
    value = _attr(node, "value")
    dtype = ir.DataType.FLOAT if value is None else value.dtype
    return [(tuple(_const(node, 0) or ()), dtype)]


@shape_rule("Gather")
def _gather(node: ir.Node) -> list[TensorType]:
    x = _shape(node)
    axis = _attr(node, "axis", 0) % len(x)
    return [((*x[:axis], *_shape(node, 1), *x[axis + 1 :]), _dtype(node))]


@shape_rule("GatherElements")
def _gather_elements(node: ir.Node) -> list[TensorType]:
    return [(_shape(node, 1), _dtype(node))]


@shape_rule("GatherND")
def _gather_nd(node: ir.Node) -> list[TensorType]:
    x, index, batch = _shape(node), _shape(node, 1), _attr(node, "batch_dims", 0)
    return [((*index[:-1], *x[batch + index[-1] :]), _dtype(node))]


@shape_rule("OneHot")
def _one_hot(node: ir.Node) -> list[TensorType]:
    x, depth = list(_shape(node)), (_const(node, 1) or [0])[0]
    axis = _attr(node, "axis", -1) % (len(x) + 1)
    x.insert(axis, depth)
    return [(tuple(x), _dtype(node, 2))]


@shape_rule("ReduceSum", "ReduceMean", "ReduceMax", "ReduceMin", "ReduceProd", "ReduceL2")
def _reduce(node: ir.Node) -> list[TensorType]:
    x, axes = _shape(node), _const(node, 1)
    if not axes and _attr(node, "noop_with_empty_axes", 0):
        return [(x, _dtype(node))]
    removed = {a % len(x) for a in axes} if axes else set(range(len(x)))
    keep = _attr(node, "keepdims", 1)
    return [
        (
            tuple(1 if i in removed else d for i, d in enumerate(x) if keep or i not in removed),
            _dtype(node),
        )
    ]


@shape_rule("ArgMax", "ArgMin")
def _arg(node: ir.Node) -> list[TensorType]:
    x, axis, keep = list(_shape(node)), _attr(node, "axis", 0), _attr(node, "keepdims", 1)
    x[axis % len(x) : axis % len(x) + 1] = [1] if keep else []
    return [(tuple(x), ir.DataType.INT64)]


@shape_rule("RandomUniform", "RandomNormal")
def _random(node: ir.Node) -> list[TensorType]:
    shape = tuple(int(d) for d in _attr(node, "shape"))
    return [(shape, ir.DataType(_attr(node, "dtype", int(ir.DataType.FLOAT))))]


@shape_rule("Dropout")
def _dropout(node: ir.Node) -> list[TensorType]:
    mask: list[TensorType] = [(_shape(node), ir.DataType.BOOL)]
    return [(_shape(node), _dtype(node)), *mask[: len(node.outputs) - 1]]


def ask_onnx(node: ir.Node) -> list[TensorType]:
    """onnx's own inference of one node; slow, for operators without a rule here."""
    proto = ir.serde.serialize_node(node)
    types, data = {}, {}
    for value in node.inputs:
        if value is None:
            continue
        assert value.name is not None
        assert value.dtype is not None
        types[value.name] = onnx.helper.make_tensor_type_proto(
            int(value.dtype), list(value.shape or ())
        )
        if value.const_value is not None:
            data[value.name] = ir.serde.serialize_tensor(value.const_value)
    # Outputs that have no name yet are left out by the serializer.
    del proto.output[:]
    proto.output.extend(out.name or f"__{i}" for i, out in enumerate(node.outputs))
    schema = onnx.defs.get_schema(node.op_type, OPSET, node.domain)
    inferred = onnx.shape_inference.infer_node_outputs(schema, proto, types, data)
    result: list[TensorType] = []
    for name in proto.output:
        if name not in inferred:
            raise ValueError(f"onnx cannot infer the shape of output {name!r} of {node.op_type}")
        tensor = inferred[name].tensor_type
        dims = tuple(int(d.dim_value) for d in tensor.shape.dim)
        if not tensor.HasField("shape") or not all(
            d.HasField("dim_value") for d in tensor.shape.dim
        ):
            raise ValueError(f"output {name!r} of {node.op_type} has no static shape")
        result.append((dims, ir.DataType(tensor.elem_type)))
    return result
