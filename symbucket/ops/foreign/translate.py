"""Operators of foreign graphs that symbucket writes in its own way."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import onnx_ir as ir

from symbucket.ir import Expr, const_of, dtype_of, shape_of
from symbucket.ops.foreign.call import Call, Results, translation
from symbucket.ops.normalize_nodes import moments, normalize
from symbucket.ops.record import Emitter


@translation("Identity")
def _identity(g: Emitter, call: Call) -> Results:
    return [call.input(0)]


@translation("CastLike")
def _cast_like(g: Emitter, call: Call) -> Results:
    return [g.cast(call.input(0), dtype_of(call.input(1)))]


@translation("Cast")
def _cast(g: Emitter, call: Call) -> Results:
    return [g.cast(call.input(0), ir.DataType(call.attr("to")))]


@translation("Split")
def _split(g: Emitter, call: Call) -> Results:
    sizes = () if call.optional(1) is None else (call.input(1),)
    count = None if sizes else call.outputs  # before opset 18 the outputs alone said how many
    axis = call.attr("axis", 0)
    return g.ops("Split", call.input(0), *sizes, outputs=call.outputs, axis=axis, num_outputs=count)


@translation("MatMul")
def _matmul(g: Emitter, call: Call) -> Results:
    a, b = call.input(0), call.input(1)
    left, right = shape_of(a), shape_of(b)
    if len(left) > 1 and len(right) > 1:
        return [g.op("MatMul", a, b)]
    # Vectors become matrices of one row or column, which the gradient knows.
    a = g.reshape(a, (1, *left)) if len(left) == 1 else a
    b = g.reshape(b, (*right, 1)) if len(right) == 1 else b
    y = g.op("MatMul", a, b)
    shape = list(shape_of(y))
    if len(right) == 1:
        del shape[-1]
    if len(left) == 1:
        del shape[-1 if len(right) == 1 else -2]
    return [g.reshape(y, shape)]


@translation("Gather")
def _gather(g: Emitter, call: Call) -> Results:
    """With ``padding_index``, which is not ONNX's, rows selected by that index get no gradient."""
    data, indices = call.input(0), call.input(1)
    axis = call.attr("axis", 0)
    y = g.op("Gather", data, indices, axis=axis)
    padding = call.attr("padding_index", -1)
    if padding < 0:
        return [y]
    shape = (*shape_of(indices), *(1,) * (len(shape_of(data)) - axis - 1))
    pads = g.op("Equal", g.reshape(indices, shape), g.const(padding, like=indices))
    return [g.op("Where", pads, g.own("BlockGrad", y), y)]


@translation("Dropout")
def _dropout(g: Emitter, call: Call) -> Results:
    """Drop elements while training if the file asks for training mode, else as the file says."""
    x, ratio_input, mode_input = call.input(0), call.optional(1), call.optional(2)
    ratio, mode = const_of(ratio_input), const_of(mode_input)
    call.refuse(mode_input is not None and mode is None, "a training mode computed by the graph")
    active = g.training and mode is not None and bool(mode.reshape(-1)[0])
    call.refuse(
        active and ratio_input is not None and ratio is None, "a ratio computed by the graph"
    )
    share = 0.5 if ratio is None else float(ratio.reshape(-1)[0])
    if not active or not share:
        mask = [g.const(np.full(shape_of(x), True))] if call.outputs > 1 else []
        return [x, *mask]
    keep = g.noise("bernoulli", shape_of(x), probability=1.0 - share)
    return [g.own("Masked", x, keep, scale=1.0 / (1.0 - share)), keep]


# Normalizations ---------------------------------------------------------------------------------


def _affine(
    g: Emitter, y: ir.Value, scale: ir.Value | None, shift: ir.Value | None, shape: tuple[int, ...]
) -> ir.Value:
    if scale is not None:
        y = g.op("Mul", y, g.reshape(scale, shape))
    return y if shift is None else g.op("Add", y, g.reshape(shift, shape))


@translation("LayerNormalization")
def _layer_norm(g: Emitter, call: Call) -> Results:
    x = call.input(0)
    shape = shape_of(x)
    axis = call.attr("axis", -1) % len(shape)
    lead, size = math.prod(shape[:axis]), math.prod(shape[axis:])
    y = normalize(g, g.reshape(x, (lead, size)), [1], call.attr("epsilon", 1e-5))[0]
    statistics = _statistics(Expr(g, x), range(axis, len(shape)), call)
    scale, shift = call.input(1), call.optional(2)
    if math.prod(shape_of(scale)) != size or (
        shift is not None and math.prod(shape_of(shift)) != size
    ):
        y = g.op("Mul", g.reshape(y, shape), scale)
        return [y if shift is None else g.op("Add", y, shift), *statistics]
    return [g.reshape(_affine(g, y, scale, shift, (size,)), shape), *statistics]


def _statistics(x: Expr, axes: Sequence[int], call: Call) -> list[ir.Value]:
    """Mean and inverse standard deviation, as far as the node returns them, with gradients."""
    if call.outputs == 1:
        return []
    _, root, mean, _ = moments(x, axes, call.attr("epsilon", 1e-5))
    return [mean.value, root.value][: call.outputs - 1]


@translation("InstanceNormalization")
def _instance_norm(g: Emitter, call: Call) -> Results:
    x = call.input(0)
    shape = shape_of(x)
    y = g.reshape(x, (*shape[:2], math.prod(shape[2:])))
    y = normalize(g, y, [2], call.attr("epsilon", 1e-5))[0]
    y = _affine(g, y, call.input(1), call.input(2), (shape[1], 1))
    return [g.reshape(y, shape)]


@translation("BatchNormalization")
def _batch_norm(g: Emitter, call: Call) -> Results:
    """With ``training_mode`` and while training: the batch's statistics, states follow them.

    With ``unbiased_variance``, which is not ONNX's, the variance's state follows that of a sample.
    Otherwise the statistics in the file are used and stay as they are.
    """
    x, scale, shift, mean, var = (call.input(i) for i in range(5))
    shape, eps = shape_of(x), call.attr("epsilon", 1e-5)
    joined = g.reshape(x, (*shape[:2], math.prod(shape[2:])))
    column = (shape[1], 1)
    if not (g.training and call.attr("training_mode", 0)):
        root = g.op("Sqrt", g.op("Add", var, g.const(eps, like=var)))
        away = g.op("Sub", joined, g.reshape(mean, column))
        y = g.op("Mul", away, g.reshape(g.op("Reciprocal", root), column))
        states = [mean, var]
    else:
        y, _, batch_mean, batch_var = normalize(g, joined, [0, 2], eps)
        keep = call.attr("momentum", 0.9)
        if call.attr("unbiased_variance", 0):
            count = shape[0] * shape_of(joined)[2]
            batch_var = g.op("Mul", batch_var, g.const(count / max(count - 1, 1), like=batch_var))
        states = []
        for state, batch in ((mean, batch_mean), (var, batch_var)):
            old = g.op("Mul", state, g.const(keep, like=state))
            new = g.op("Mul", batch, g.const(1.0 - keep, like=batch))
            states.append(g.op("Add", old, g.reshape(new, shape_of(state))))
            if state.producer() is None and const_of(state) is None:
                g.update_aux(state, states[-1])
    y = g.reshape(_affine(g, y, scale, shift, column), shape)
    return [y, *states[: call.outputs - 1]]


# Movement ---------------------------------------------------------------------------------------


@translation("DepthToSpace")
def _depth_to_space(g: Emitter, call: Call) -> Results:
    x, size = call.input(0), call.attr("blocksize")
    n, c, h, w = shape_of(x)
    rest = c // (size * size)
    if call.attr("mode", "DCR") == "DCR":
        parts = g.transpose(g.reshape(x, (n, size, size, rest, h, w)), [0, 3, 4, 1, 5, 2])
    else:
        parts = g.transpose(g.reshape(x, (n, rest, size, size, h, w)), [0, 1, 4, 2, 5, 3])
    return [g.reshape(parts, (n, rest, h * size, w * size))]


@translation("SpaceToDepth")
def _space_to_depth(g: Emitter, call: Call) -> Results:
    x, size = call.input(0), call.attr("blocksize")
    n, c, h, w = shape_of(x)
    parts = g.reshape(x, (n, c, h // size, size, w // size, size))
    crd = call.attr("mode", "DCR") == "CRD"  # which of channels and blocks come first
    parts = g.transpose(parts, [0, 1, 3, 5, 2, 4] if crd else [0, 3, 5, 1, 2, 4])
    return [g.reshape(parts, (n, c * size * size, h // size, w // size))]
