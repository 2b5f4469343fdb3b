"""Nodes of imported models whose gradients are checked, and exact formulas for some of them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from tests.compiler.autodiff.draws import Draw

Node = tuple[list[np.ndarray | None], dict[str, Any]]
"""The inputs and the attributes of a node. Gradients of all floats among the inputs are checked."""


def _unary(**attributes: float) -> Callable[[Draw], Node]:
    return lambda draw: ([draw.apart(draw.shape(1))], attributes)


def _image(draw: Draw) -> np.ndarray:
    return draw.normal((2, 4, *(2 * draw.number(1, 2) for _ in range(2))))


def _scaled(draw: Draw) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    x = draw.normal((draw.number(2, 3), 4, *draw.shape(1, 3, least=2)))
    return x, draw.normal((4,)), draw.normal((4,))


def _group_norm(draw: Draw) -> Node:
    return [*_scaled(draw)], {"num_groups": draw.pick([1, 2, 4]), "epsilon": 0.01}


def _batch_norm(draw: Draw) -> Node:
    mean, var = draw.normal((4,)), draw.uniform((4,), 0.5, 2.0)
    return [*_scaled(draw), mean, var], {"epsilon": 0.01}


def _layer_norm(draw: Draw) -> Node:
    shape = draw.shape(1, least=2)
    axis = draw.axis(len(shape))
    scale, shift = (draw.normal(shape[axis:]) for _ in range(2))
    return [draw.normal(shape), scale, draw.pick([None, shift])], {"axis": axis, "epsilon": 0.01}


def _labelled(draw: Draw) -> Node:
    x = draw.normal((draw.number(1, 3), 4, *draw.shape(0, 2)))
    label = draw.rng.integers(0, 4, size=(len(x), *x.shape[2:]))
    reduction = draw.pick(["none", "sum", "mean"])
    attributes: dict[str, Any] = {"reduction": reduction}
    if draw.coin(0.3):
        attributes["ignore_index"] = 1
        label[0] = 2  # one that counts, so that a mean exists
    return [x, label, draw.pick([None, draw.uniform((4,), 0.5, 2.0)])], attributes


def _center_crop_pad(draw: Draw) -> Node:
    shape = draw.shape(1, 3)
    return [draw.normal(shape), np.array([draw.number(1, 5) for _ in shape])], {}


def _reduce_log_sum(draw: Draw) -> Node:
    shape = draw.shape(1)
    axes = np.array(draw.axes(len(shape), 1), np.int64)
    return [draw.uniform(shape, 0.5, 2.0), axes], {"keepdims": draw.number(0, 1)}


def _affine_grid(draw: Draw) -> Node:
    sizes = np.array([2, 1, *(draw.number(2, 3) for _ in range(draw.number(2, 3)))])
    rank = len(sizes) - 2
    return [draw.normal((2, rank, rank + 1)), sizes], {"align_corners": draw.number(0, 1)}


def _dft(draw: Draw) -> Node:
    size = draw.number(2, 5)
    x = draw.normal((2, size, 3, draw.pick([1, 2])))
    length = draw.pick([None, np.array(size + draw.number(-1, 2))])
    attributes: dict[str, Any] = {"inverse": draw.number(0, 1)}
    if x.shape[-1] == 1 and not attributes["inverse"]:
        attributes["onesided"] = draw.number(0, 1)
    return [x, length, np.array(draw.pick([1, -3]))], attributes


def _stft(draw: Draw) -> Node:
    length, step = draw.number(2, 4), draw.number(1, 3)
    signal = draw.normal((2, draw.number(5, 8), 1))
    window = draw.pick([None, draw.normal((length,))])
    return [signal, np.array(step), window, np.array(length)], {"onesided": draw.number(0, 1)}


def _compress(draw: Draw) -> Node:
    shape = draw.shape(1, least=2)
    axis = draw.pick([None, draw.axis(len(shape))])
    size = int(np.prod(shape)) if axis is None else shape[axis]
    condition = draw.rng.random(draw.number(1, size)) < 0.6
    condition[0] = True
    return [draw.normal(shape), condition], {} if axis is None else {"axis": axis}


def _resize(draw: Draw) -> Node:
    shape = (1, 2, *(draw.number(2, 4) for _ in range(2)))
    mode = draw.pick(["nearest", "linear", "cubic"])
    attributes: dict[str, Any] = {"mode": mode}
    modes = ["half_pixel", "pytorch_half_pixel", "align_corners", "asymmetric"]
    attributes["coordinate_transformation_mode"] = draw.pick(modes)
    if mode == "nearest":
        kinds = ["round_prefer_floor", "round_prefer_ceil", "floor", "ceil"]
        attributes["nearest_mode"] = draw.pick(kinds)
        attributes["coordinate_transformation_mode"] = "asymmetric"
    else:
        attributes["exclude_outside"] = int(mode == "cubic" and draw.coin())
        attributes["antialias"] = draw.number(0, 1)
    if draw.coin():
        sizes = np.array([*shape[:2], *(draw.number(2, 7) for _ in range(2))])
        return [draw.normal(shape), None, None, sizes], attributes
    scales = np.array([1, 1, *(draw.pick([0.5, 0.75, 2, 3]) for _ in range(2))], np.float32)
    return [draw.normal(shape), None, scales], attributes


def _lp_pool(draw: Draw) -> Node:
    attributes: dict[str, Any] = {"kernel_shape": [2, 2], "p": draw.number(1, 3)}
    if draw.coin():
        attributes |= {"strides": [2, 1], "pads": [1, 0, 0, 1]}
    return [draw.apart((1, 2, 3, 3))], attributes


def _max_unpool(draw: Draw) -> Node:
    places = np.array([[[[0, 2], [9, 11]], [[20, 18], [25, 31]]]])
    shape = np.array([1, 2, 5, 4]) if draw.coin() else None
    x = draw.normal((1, 2, 2, 2))
    return [x, places, shape], {"kernel_shape": [2, 2], "strides": [2, 2]}


def _grid_sample(draw: Draw) -> Node:
    rank = draw.number(2, 3)
    mode = draw.pick(["linear", "nearest", "cubic"] if rank == 2 else ["linear", "nearest"])
    padding = draw.pick(["zeros", "border", "reflection"])
    corners = draw.number(0, 1)
    grid = draw.uniform((2, *draw.shape(rank, rank, 2), rank), -1.4, 1.4)
    x = draw.normal((2, 2, *draw.shape(rank, rank, 4, 3)))
    attributes = {"mode": mode, "padding_mode": padding, "align_corners": corners}
    return [x, grid], attributes


def _deform_conv(draw: Draw) -> Node:
    groups, offsets = draw.number(1, 2), draw.number(1, 2)
    x = draw.normal((1, 4, 4, 4))
    weight = draw.normal((2, 4 // groups, 2, 2))
    place = draw.uniform((1, offsets * 8, 3, 3), -0.45, 0.45) + np.float32(0.5)
    mask = draw.pick([None, draw.uniform((1, offsets * 4, 3, 3), 0.2, 1.0)])
    attributes = {"kernel_shape": [2, 2], "group": groups, "offset_group": offsets}
    return [x, weight, place, draw.normal((2,)), mask], attributes


def _roi_align(draw: Draw) -> Node:
    boxes = np.array([[0.3, 0.6, 3.2, 2.9], [1.1, 0.2, 4.7, 3.6]], np.float32)
    boxes += draw.uniform((2, 4), -0.1, 0.1)
    kind = draw.pick(["half_pixel", "output_half_pixel"])
    attributes = {"output_height": 2, "output_width": 2, "sampling_ratio": 2}
    attributes |= {"coordinate_transformation_mode": kind, "spatial_scale": 0.8}
    return [draw.normal((2, 2, 4, 5)), boxes, np.array(draw.pick([[0, 1], [1, 1]]))], attributes


def _einsum(draw: Draw) -> Node:
    equation, *shapes = draw.pick(
        [
            ("ii->i", (3, 3)),
            ("...ii", (2, 3, 3)),
            ("iji,jk->ik", (2, 3, 2), (3, 2)),
            ("i...i,i->...", (2, 3, 2), (2,)),
        ]
    )
    return [draw.normal(shape) for shape in shapes], {"equation": equation}


def _conv_transpose(draw: Draw) -> Node:
    attributes = draw.pick(
        [
            {"auto_pad": "SAME_UPPER", "strides": [2, 1]},
            {"auto_pad": "SAME_LOWER", "strides": [1, 2]},
            {"auto_pad": "VALID"},
        ]
    )
    return [draw.normal((1, 2, 2, 3)), draw.normal((2, 2, 3, 2))], attributes


def _scatter_nd(draw: Draw) -> Node:
    shape = draw.shape(2, 4)
    depth = draw.number(1, len(shape))
    places = [[draw.number(-d, d - 1) for d in shape[:depth]] for _ in range(4)]
    index = np.array([*places, places[0]], np.int64)
    updates = draw.apart((5, *shape[depth:]), 0.31)
    reduction = draw.pick(["add", "mul", "max", "min"])
    return [draw.apart(shape), index, updates], {"reduction": reduction}


CASES: dict[str, Callable[[Draw], Node]] = {
    "AffineGrid": _affine_grid,
    "BatchNormalization": _batch_norm,
    "CastLike": lambda draw: ([draw.normal(draw.shape(1)), np.float32(0.0)], {}),
    "Celu": _unary(alpha=1.5),
    "CenterCropPad": _center_crop_pad,
    "Compress": _compress,
    "ConvTranspose": _conv_transpose,
    "DFT": _dft,
    "DeformConv": _deform_conv,
    "Det": lambda draw: ([draw.normal((draw.number(1, 2), 3, 3))], {}),
    "DepthToSpace": lambda draw: (
        [_image(draw)],
        {"blocksize": 2, "mode": draw.pick(["DCR", "CRD"])},
    ),
    "GlobalMaxPool": lambda draw: ([draw.apart((2, 3, *draw.shape(1, 3)))], {}),
    "Einsum": _einsum,
    "GlobalLpPool": lambda draw: ([draw.apart((2, 2, 3, 2))], {"p": draw.number(1, 3)}),
    "GridSample": _grid_sample,
    "GroupNormalization": _group_norm,
    "HardSwish": _unary(),
    "InstanceNormalization": lambda draw: ([*_scaled(draw)], {"epsilon": 0.01}),
    "LayerNormalization": _layer_norm,
    "LRN": lambda draw: ([draw.normal((2, 4, 2, 1))], {"size": draw.number(2, 5), "alpha": 0.7}),
    "LpPool": _lp_pool,
    "MaxUnpool": _max_unpool,
    "MeanVarianceNormalization": lambda draw: (
        [draw.normal((2, 3, 4, 2))],
        draw.pick([{}, {"axes": [0, 2]}, {"axes": [3]}]),
    ),
    "Mish": _unary(),
    "NegativeLogLikelihoodLoss": _labelled,
    "ReduceLogSum": _reduce_log_sum,
    "ScatterND": _scatter_nd,
    "Shrink": _unary(lambd=0.12, bias=0.1),
    "SoftmaxCrossEntropyLoss": _labelled,
    "Resize": _resize,
    "RoiAlign": _roi_align,
    "STFT": _stft,
    "SpaceToDepth": lambda draw: ([_image(draw)], {"blocksize": 2}),
    "ThresholdedRelu": _unary(alpha=0.12),
}


def _spread(x: np.ndarray, axes: tuple[int, ...], eps: float) -> np.ndarray:
    """Zero mean and unit variance."""
    away = x - x.mean(axes, keepdims=True)
    return away / np.sqrt((away**2).mean(axes, keepdims=True) + eps)


def _grouped(
    x: np.ndarray, scale: np.ndarray, shift: np.ndarray, num_groups: int, epsilon: float
) -> np.ndarray:
    y = _spread(x.reshape(len(x), num_groups, -1), (2,), epsilon).reshape(x.shape)
    column = (-1, *[1] * (x.ndim - 2))
    return y * scale.reshape(column) + shift.reshape(column)


def _local_response(x: np.ndarray, size: int, alpha: float) -> np.ndarray:
    before, channels = (size - 1) // 2, x.shape[1]
    ranges = [range(max(0, c - before), min(channels, c - before + size)) for c in range(channels)]
    squares = np.stack([(x[:, list(r)] ** 2).sum(1) for r in ranges], axis=1)
    return x / (1.0 + alpha / size * squares) ** 0.75


def _scattered(x: np.ndarray, index: np.ndarray, updates: np.ndarray, reduction: str) -> np.ndarray:
    functions = {"add": np.add, "mul": np.multiply, "max": np.maximum, "min": np.minimum}
    y = np.array(x)
    functions[reduction].at(y, tuple(index.T), updates)
    return y


# What onnx's evaluator computes in float32, or not at all, or otherwise than it should.
EXACT: dict[str, Callable[..., np.ndarray]] = {
    "CastLike": lambda x, like: x,
    "GlobalLpPool": lambda x, p: (abs(x) ** p).sum((2, 3), keepdims=True) ** (1 / p),
    "GlobalMaxPool": lambda x: x.max(tuple(range(2, x.ndim)), keepdims=True),
    "GroupNormalization": _grouped,
    "LRN": _local_response,
    "ScatterND": _scattered,
    "MeanVarianceNormalization": lambda x, axes=(0, 2, 3): _spread(x, tuple(axes), 1e-9),
}
