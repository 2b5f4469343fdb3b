"""The way "PyTorch": a convolutional network by other means, in float64, with PyTorch's gradients.

Where several elements are the largest of a window, the first one has the gradient there too.
"""

from __future__ import annotations

import importlib.util
import itertools
import math
from collections.abc import Callable
from typing import Any

import numpy as np

from tests.fuzz.networks import Network
from tests.fuzz.ways import Results, Skip, way

HAS_TORCH = importlib.util.find_spec("torch") is not None
Compute = Callable[..., Any]
OPERATORS: dict[str, Compute] = {}
"""From an operator's record and its inputs, tensors of float64, to its output or outputs."""


def computes(*names: str) -> Callable[[Compute], Compute]:
    """Enter a function for operators of these names."""

    def enter(function: Compute) -> Compute:
        OPERATORS.update(dict.fromkeys(names, function))
        return function

    return enter


@way("PyTorch", "training")
def by_torch(network: Network) -> Results:
    """Outputs, gradients and next states of a step."""
    if not HAS_TORCH:
        raise Skip("PyTorch is not installed")
    if network.again is None:
        raise Skip("operators have all of their attributes here only in convolutional networks")
    if any(a.dtype == np.float16 for a in network.inputs.values()):
        raise Skip("float16")
    import torch

    unknown = {op.op_name for op in network.operators} - OPERATORS.keys() - LOSSES.keys()
    if unknown:
        raise Skip(f"no {min(unknown)} here")
    tensors = {n: torch.tensor(a.astype(np.float64)) for n, a in network.inputs.items()}
    for name in network.wanted:
        tensors[name].requires_grad_()
    values: dict[Any, Any] = {}
    surrogates: dict[Any, Any] = {}
    states: Results = {n: a.copy() for n, a in network.aux.items()}
    for node in network.symbol.nodes():
        if node.op is None:
            values[node, 0] = tensors[node.name]
            continue
        inputs = [values[source, i] for source, i in node.inputs]
        if node.op.op_name in LOSSES:
            values[node, 0], surrogates[node] = LOSSES[node.op.op_name](node.op, *inputs)
            continue
        results = OPERATORS[node.op.op_name](node.op, *inputs)
        if node.op.op_name == "BatchNorm" and not node.op.use_global_stats:
            for (source, _), statistic in zip(node.inputs[3:], _moments(node.op, inputs[0])):
                share = node.op.momentum
                old = network.inputs[source.name]
                states[source.name] = old * share + _host(statistic).ravel() * (1 - share)
        for i, result in enumerate(results if isinstance(results, tuple) else (results,)):
            values[node, i] = result
    total = sum(surrogates.values(), torch.zeros((), dtype=torch.float64))
    named: Results = {}
    for number, ((node, i), head) in enumerate(zip(network.symbol.heads, network.heads())):
        named[f"output {number}"] = _host(values[node, i])
        if node not in surrogates:
            total = total + (values[node, i] * torch.tensor(head)).sum()
    if total.requires_grad:
        total.backward()
    for name in network.wanted:
        grad = tensors[name].grad
        named[f"gradient of {name}"] = (
            np.zeros(tensors[name].shape) if grad is None else _host(grad)
        )
    return {**named, **{f"next {n}": a for n, a in states.items()}}


def _host(tensor: Any) -> Any:
    return tensor.detach().numpy()


# Losses: the output, and a number whose gradient is that of the loss ------------------------------


def _softmax_output(op: Any, x: Any, label: Any) -> tuple[Any, Any]:
    import torch

    if not op.multi_output and x.dim() > 2:
        raise Skip("softmax over several axes")
    labels = label.long()
    keep = (
        (labels != op.ignore_label).double() if op.use_ignore else torch.ones(labels.shape).double()
    )
    size = math.prod(x.shape[2:])
    norm = {"null": size, "batch": size * x.shape[0], "valid": max(float(keep.sum()), 1.0)}
    logs = torch.log_softmax(x, 1)
    losses = -torch.gather(logs, 1, labels[:, None])[:, 0] * keep
    return logs.exp(), losses.sum() * (op.grad_scale / norm[op.normalization])


def _regression(output: Callable[[Any], Any], loss: Callable[[Any, Any], Any]) -> Compute:
    def compute(op: Any, x: Any, label: Any) -> tuple[Any, Any]:
        each = math.prod(x.shape[1:])
        return output(x), loss(x, label).sum() * (op.grad_scale / each)

    return compute


def _logistic(x: Any, label: Any) -> Any:
    import torch

    return torch.nn.functional.softplus(x) - x * label


LOSSES: dict[str, Compute] = {
    "SoftmaxOutput": _softmax_output,
    "LinearRegressionOutput": _regression(lambda x: x, lambda x, label: (x - label) ** 2 / 2),
    "LogisticRegressionOutput": _regression(lambda x: x.sigmoid(), _logistic),
    "MAERegressionOutput": _regression(lambda x: x, lambda x, label: (x - label).abs()),
    "MakeLoss": lambda op, x: (x, x.sum() * op.grad_scale),
}


# Convolutions -----------------------------------------------------------------------------------


def _each(numbers: tuple[int, ...], op: Any, default: int) -> tuple[int, ...]:
    return tuple(numbers) or (default,) * len(op.kernel)


@computes("Convolution")
def _(op: Any, x: Any, weight: Any, bias: Any = None) -> Any:
    from torch.nn import functional

    function = functional.conv1d if len(op.kernel) == 1 else functional.conv2d
    where = (_each(op.stride, op, 1), _each(op.pad, op, 0), _each(op.dilate, op, 1))
    return function(x, weight, bias, *where, op.num_group)


@computes("Deconvolution")
def _(op: Any, x: Any, weight: Any, bias: Any = None) -> Any:
    """Every element adds the kernel times itself where it stands; then borders are cut off."""
    from torch.nn import functional

    one = len(op.kernel) == 1
    function = functional.conv_transpose1d if one else functional.conv_transpose2d
    stride, dilate = _each(op.stride, op, 1), _each(op.dilate, op, 1)
    y = function(x, weight, None, stride, 0, 0, op.num_group, dilate)
    adj = _each(op.adj, op, 0)
    y = functional.pad(y, [n for a in reversed(adj) for n in (0, a)])
    for axis, pad in enumerate(_each(op.pad, op, 0), 2):
        y = y.narrow(axis, pad, y.shape[axis] - 2 * pad)
    return y if bias is None else y + bias.reshape(1, -1, *[1] * len(op.kernel))


@computes("FullyConnected")
def _(op: Any, x: Any, weight: Any, bias: Any = None) -> Any:
    y = (x.flatten(1) if op.flatten else x) @ weight.T
    return y if bias is None else y + bias


# Normalization ----------------------------------------------------------------------------------


def _column(op: Any, vector: Any, x: Any) -> Any:
    return vector.reshape([-1 if a == op.axis % x.dim() else 1 for a in range(x.dim())])


def _moments(op: Any, x: Any) -> tuple[Any, Any]:
    axes = [a for a in range(x.dim()) if a != op.axis % x.dim()]
    mean = x.mean(axes, keepdim=True)
    return mean, ((x - mean) ** 2).mean(axes, keepdim=True)


@computes("BatchNorm")
def _(op: Any, x: Any, gamma: Any, beta: Any, mean: Any, var: Any) -> Any:
    mean, var = _column(op, mean, x), _column(op, var, x)
    if not op.use_global_stats:
        mean, var = _moments(op, x)
    y = (x - mean) / (var + op.eps).sqrt()
    if not op.fix_gamma:
        y = y * _column(op, gamma, x)
    return y + _column(op, beta, x)


def _normalized(x: Any, axes: list[int], eps: float) -> Any:
    mean = x.mean(axes, keepdim=True)
    return (x - mean) / (((x - mean) ** 2).mean(axes, keepdim=True) + eps).sqrt()


@computes("InstanceNorm")
def _(op: Any, x: Any, gamma: Any, beta: Any) -> Any:
    column = (1, -1, *[1] * (x.dim() - 2))
    y = _normalized(x, list(range(2, x.dim())), op.eps)
    return y * gamma.reshape(column) + beta.reshape(column)


@computes("LayerNorm")
def _(op: Any, x: Any, gamma: Any, beta: Any) -> Any:
    y = _normalized(x, [op.axis], op.eps)
    return y * _column(op, gamma, x) + _column(op, beta, x)


@computes("GroupNorm")
def _(op: Any, x: Any, gamma: Any, beta: Any) -> Any:
    groups = x.reshape(x.shape[0], op.num_groups, -1)
    y = _normalized(groups, [2], op.eps) * gamma.reshape(1, -1, 1) + beta.reshape(1, -1, 1)
    return y.reshape(x.shape)


@computes("L2Normalization")
def _(op: Any, x: Any) -> Any:
    axes = {"instance": range(1, x.dim()), "channel": [1], "spatial": range(2, x.dim())}
    return x / ((x**2).sum(list(axes[op.mode]), keepdim=True) + op.eps).sqrt()


@computes("LRN")
def _(op: Any, x: Any) -> Any:
    from torch.nn import functional

    return functional.local_response_norm(x, op.nsize, op.alpha, op.beta, op.knorm)


# Pools ------------------------------------------------------------------------------------------


@computes("Pooling")
def _(op: Any, x: Any) -> Any:
    import torch

    size = tuple(x.shape[2:])
    kernel, stride, pad = size, (1,) * len(size), (0,) * len(size)
    if not op.global_pool:
        kernel, stride, pad = op.kernel, _each(op.stride, op, 1), _each(op.pad, op, 0)
    rounded = math.ceil if op.pooling_convention == "full" and not op.global_pool else math.floor
    counts = [rounded((n + 2 * p - k) / s) + 1 for n, p, k, s in zip(size, pad, kernel, stride)]
    results = []
    for place in itertools.product(*map(range, counts)):
        begins = [i * s - p for i, s, p in zip(place, stride, pad)]
        ends = [min(b + k, n + p) for b, k, n, p in zip(begins, kernel, size, pad)]
        area = math.prod(e - b for b, e in zip(begins, ends))
        ranges = [range(max(b, 0), min(e, n)) for b, e, n in zip(begins, ends, size)]
        window = x
        for axis, within in enumerate(ranges, 2):
            window = window.narrow(axis, min(within.start, x.shape[axis]), len(within))
        results.append(_pooled(op, window.flatten(2), area))
    return torch.stack(results, 2).reshape(*x.shape[:2], *counts)


def _pooled(op: Any, window: Any, area: int) -> Any:
    if not window.shape[2]:
        return window.sum(2)
    if op.pool_type == "max":
        return window.gather(2, window.argmax(2, keepdim=True))[..., 0]
    if op.pool_type == "lp":
        return (window.abs() ** op.p_value).sum(2) ** (1.0 / op.p_value)
    total = window.sum(2)
    if op.pool_type == "sum":
        return total
    inside = op.global_pool or not op.count_include_pad
    return total / (window.shape[2] if inside else area)


# Elements ---------------------------------------------------------------------------------------


@computes("Activation")
def _(op: Any, x: Any) -> Any:
    from torch.nn import functional

    functions: dict[str, Compute] = {
        "relu": lambda x: x.relu(),
        "sigmoid": lambda x: x.sigmoid(),
        "tanh": lambda x: x.tanh(),
        "softrelu": functional.softplus,
        "softsign": functional.softsign,
    }
    return functions[op.act_type](x)


@computes("LeakyReLU")
def _(op: Any, x: Any, gamma: Any = None) -> Any:
    from torch.nn import functional

    functions: dict[str, Compute] = {
        "leaky": lambda x: functional.leaky_relu(x, op.slope),
        "elu": lambda x: functional.elu(x, op.slope),
        "selu": functional.selu,
        "gelu": functional.gelu,
        "prelu": lambda x: functional.prelu(x, gamma),
    }
    return functions[op.act_type](x)


OPERATORS.update(
    {
        "tanh": lambda op, x: x.tanh(),
        "sigmoid": lambda op, x: x.sigmoid(),
        "abs": lambda op, x: x.abs(),
        "square": lambda op, x: x * x,
        "elemwise_mul": lambda op, x, y: x * y,
        "elemwise_add": lambda op, x, y: x + y,
        "elemwise_sub": lambda op, x, y: x - y,
        "broadcast_mul": lambda op, x, y: x * y,
        "broadcast_add": lambda op, x, y: x + y,
        "broadcast_sub": lambda op, x, y: x - y,
        "add_n": lambda op, *values: sum(values[1:], values[0]),
        "_plus_scalar": lambda op, x: x + op.scalar,
        "_mul_scalar": lambda op, x: x * op.scalar,
        "_rminus_scalar": lambda op, x: op.scalar - x,
        "_greater_scalar": lambda op, x: (x > op.scalar).double(),
        "where": lambda op, c, x, y: (c != 0) * x + (c == 0) * y,
        "clip": lambda op, x: x.clamp(op.a_min, op.a_max),
        "BlockGrad": lambda op, x: x.detach(),
        "Flatten": lambda op, x: x.flatten(1),
        "transpose": lambda op, x: x.permute(op.axes),
    }
)


@computes("sum", "mean")
def _(op: Any, x: Any) -> Any:
    axes = op.axis if op.axis not in (None, ()) else range(x.dim())
    axes = [axes] if isinstance(axes, int) else list(axes)
    y = getattr(x, op.op_name)(axes, keepdim=bool(op.keepdims))
    return y if y.dim() else y.reshape(1)


@computes("Reshape")
def _(op: Any, x: Any) -> Any:
    return x.reshape([x.shape[i] if n == 0 else n for i, n in enumerate(op.shape)])


@computes("Concat")
def _(op: Any, *values: Any) -> Any:
    import torch

    return torch.cat(values, op.dim)


@computes("SliceChannel")
def _(op: Any, x: Any) -> Any:
    return x.chunk(op.num_outputs, op.axis)


@computes("slice_axis")
def _(op: Any, x: Any) -> Any:
    return x.narrow(op.axis, op.begin, (op.end or x.shape[op.axis]) - op.begin)


@computes("UpSampling", "repeat")
def _(op: Any, x: Any) -> Any:
    if op.op_name == "repeat":
        return x.repeat_interleave(op.repeats, op.axis)
    return x.repeat_interleave(op.scale, 2).repeat_interleave(op.scale, 3)


@computes("flip")
def _(op: Any, x: Any) -> Any:
    return x.flip(op.axis)
