"""Operators with attributes and shapes that are drawn; long, because it is one table."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from symbucket import sym
from symbucket.ops.distributions import DISTRIBUTIONS
from symbucket.symbol import Symbol
from symbucket.types import Shape
from tests.fuzz.networks import Drawing
from tests.ops.op_cases import index

Draw = Callable[[Drawing], Symbol]
DRAWN: dict[str, Draw] = {}


def drawn(*names: str) -> Callable[[Callable[[Drawing, str], Symbol]], Any]:
    """Enter a function that adds one of several operators."""

    def enter(function: Callable[[Drawing, str], Symbol]) -> Any:
        for name in names:
            DRAWN[name] = lambda d, name=name: function(d, name)
        return function

    return enter


def _value(d: Drawing, low: int = 1, high: int = 4) -> tuple[Symbol, Shape]:
    """A value whose rank lies between the two."""
    value = d.value()
    shape = d.shape_of(value)
    if not low <= len(shape) <= high or int(np.prod(shape)) > 200:
        shape = d.shape(low, high)
        value = d.fitted(value, shape)
    return value, shape


def _axes(d: Drawing, shape: Shape, low: int = 1) -> tuple[int, ...]:
    if d.of_rows and len(shape) > 1:
        return tuple(a for a in range(1, len(shape)) if d.chance(0.6)) or (1,)
    count = d.integer(low, len(shape))
    return tuple(sorted(int(a) for a in d.rng.choice(len(shape), count, replace=False)))


@drawn("sum", "mean", "max", "min", "prod")
def _reduce(d: Drawing, name: str) -> Symbol:
    value, shape = _value(d)
    axis: Any = d.choice((None, d.axis(shape), _axes(d, shape)))
    attrs: dict[str, Any] = {"axis": axis, "keepdims": d.chance(0.4)}
    if axis is not None and d.chance(0.2):
        attrs["exclude"] = True
    return getattr(sym, name)(value, **attrs)


@drawn("norm")
def _norm(d: Drawing, name: str) -> Symbol:
    value, shape = _value(d)
    axis = d.choice((None, d.axis(shape), _axes(d, shape)))
    return sym.norm(value, ord=d.choice((1, 2)), axis=axis, keepdims=d.chance(0.4))


@drawn("argmax", "argmin")
def _arg(d: Drawing, name: str) -> Symbol:
    value, shape = _value(d)
    axis = d.choice((None, d.axis(shape)))
    return getattr(sym, name)(value, axis=axis, keepdims=d.chance(0.4))


@drawn("softmax", "log_softmax", "softmin")
def _softmax(d: Drawing, name: str) -> Symbol:
    value, shape = _value(d)
    axis = d.axis(shape)
    attrs: dict[str, Any] = {"axis": axis}
    if d.chance(0.3):
        attrs["temperature"] = d.choice((0.5, 2.0))
    if name == "softmax" and len(shape) > 1 and d.chance(0.4):
        others = [s for i, s in enumerate(shape) if i != axis % len(shape)]
        length = d.variable(index(shape[axis] + 1, *others, low=1, dtype=d.choice(_INDICES)))
        return sym.softmax(value, length=length, use_length=True, **attrs)
    return getattr(sym, name)(value, **attrs)


_INDICES = ("int32", "int64", "float32")
_BROADCAST = (
    "add sub mul div maximum minimum equal not_equal greater greater_equal lesser lesser_equal "
    "logical_and logical_or logical_xor hypot power mod"
).split()


@drawn(*(f"broadcast_{n}" for n in _BROADCAST))
def _broadcast(d: Drawing, name: str) -> Symbol:
    value, shape = _value(d)
    other = tuple(1 if d.chance(0.4) else s for s in shape)
    rhs = d.value(other)
    if name in ("broadcast_div", "broadcast_power", "broadcast_mod"):
        rhs = sym.square(sym.tanh(rhs)) + 0.5
    if name == "broadcast_power":
        value = sym.square(sym.tanh(value)) + 0.3
    if d.chance(0.4) and name not in ("broadcast_div", "broadcast_power", "broadcast_mod"):
        value, rhs = rhs, value
    return getattr(sym, name)(value, rhs)


@drawn("elemwise_add", "elemwise_sub", "elemwise_mul", "add_n", "_maximum", "_minimum", "_hypot")
def _same(d: Drawing, name: str) -> Symbol:
    value, shape = _value(d)
    count = d.integer(1, 4) if name == "add_n" else 2
    others = [value if d.chance(0.2) else d.value(shape) for _ in range(count - 1)]
    return getattr(sym, name)(value, *others)


@drawn("transpose")
def _transpose(d: Drawing, name: str) -> Symbol:
    value, shape = _value(d, high=5)
    axes = tuple(int(a) for a in d.rng.permutation(len(shape)))
    return sym.transpose(value, axes=axes) if d.chance(0.8) else sym.transpose(value)


@drawn("SwapAxis")
def _swap(d: Drawing, name: str) -> Symbol:
    value, shape = _value(d)
    return sym.SwapAxis(value, dim1=d.axis(shape), dim2=d.axis(shape))


@drawn("slice")
def _slice(d: Drawing, name: str) -> Symbol:
    value, shape = _value(d)
    begin: list[int | None] = []
    end: list[int | None] = []
    step: list[int | None] = []
    for size in shape:
        low = d.integer(0, size - 1)
        high = d.integer(low + 1, size)
        if d.chance(0.3):
            begin.append(high - 1)
            end.append(low - 1 if low else None)
            step.append(d.choice((-1, -2)))
        else:
            begin.append(low if d.chance(0.6) or not low else low - size)
            end.append(high if high < size or d.chance(0.5) else None)
            step.append(d.choice((None, 1, 2)))
    return sym.slice(value, begin=tuple(begin), end=tuple(end), step=tuple(step))


@drawn("slice_axis")
def _slice_axis(d: Drawing, name: str) -> Symbol:
    value, shape = _value(d)
    axis = d.axis(shape)
    low = d.integer(0, shape[axis] - 1)
    high = d.integer(low + 1, shape[axis])
    end = None if high == shape[axis] and d.chance(0.5) else high
    return sym.slice_axis(value, axis=axis, begin=low, end=end)


@drawn("SliceChannel")
def _split(d: Drawing, name: str) -> Symbol:
    value, shape = _value(d)
    axis = d.axis(shape)
    counts = [n for n in range(1, shape[axis] + 1) if shape[axis] % n == 0]
    count = d.choice(counts)
    squeeze = shape[axis] == count and len(shape) > 1 and d.chance(0.5)
    return sym.SliceChannel(value, num_outputs=count, axis=axis, squeeze_axis=squeeze)


@drawn("Concat", "stack")
def _join(d: Drawing, name: str) -> Symbol:
    value, shape = _value(d)
    axis = d.axis(shape)
    values = [value]
    for _ in range(d.integer(0, 3)):
        other = list(shape)
        if name == "Concat":
            other[axis] = d.integer(1, 3)
        again = name == "stack" and d.chance(0.2)
        values.append(value if again else d.value(tuple(other)))
    return (
        sym.Concat(*values, dim=axis)
        if name == "Concat"
        else sym.stack(*values, axis=d.integer(-1, len(shape)))
    )


@drawn("tile")
def _tile(d: Drawing, name: str) -> Symbol:
    value, shape = _value(d, high=3)
    return sym.tile(value, reps=tuple(d.integer(1, 3) for _ in range(d.integer(1, len(shape) + 1))))


@drawn("repeat")
def _repeat(d: Drawing, name: str) -> Symbol:
    value, shape = _value(d, high=3)
    return sym.repeat(value, repeats=d.integer(1, 3), axis=d.choice((None, d.axis(shape))))


@drawn("flip")
def _flip(d: Drawing, name: str) -> Symbol:
    value, shape = _value(d)
    return sym.flip(value, axis=_axes(d, shape))


@drawn("Pad")
def _pad(d: Drawing, name: str) -> Symbol:
    value, shape = _value(d)
    mode = d.choice(("constant", "edge", "reflect"))
    limit = [size - 1 if mode == "reflect" else 3 for size in shape]
    widths = [d.integer(0, min(2, most)) for most in limit for _ in range(2)]
    attrs = {"constant_value": 1.5} if mode == "constant" and d.chance(0.5) else {}
    return sym.Pad(value, mode=mode, pad_width=tuple(widths), **attrs)


@drawn("expand_dims")
def _expand(d: Drawing, name: str) -> Symbol:
    value, shape = _value(d)
    return sym.expand_dims(value, axis=d.integer(-len(shape) - 1, len(shape)))


@drawn("broadcast_to")
def _broadcast_to(d: Drawing, name: str) -> Symbol:
    goal = d.shape()
    value = d.value(tuple(1 if d.chance(0.4) else s for s in goal))
    return sym.broadcast_to(value, shape=goal)


@drawn("dot")
def _dot(d: Drawing, name: str) -> Symbol:
    a, b, c = (d.integer(1, 4) for _ in range(3))
    left, right = d.chance(0.5), d.chance(0.5)
    lhs = d.value((b, a) if left else (a, b))
    rhs = d.value((c, b) if right else (b, c))
    return sym.dot(lhs, rhs, transpose_a=left, transpose_b=right)


@drawn("batch_dot")
def _batch_dot(d: Drawing, name: str) -> Symbol:
    n, a, b, c = d.batch(3), *(d.integer(1, 3) for _ in range(3))
    left, right = d.chance(0.5), d.chance(0.5)
    lhs = d.value((n, b, a) if left else (n, a, b))
    rhs = d.value((n, c, b) if right else (n, b, c))
    return sym.batch_dot(lhs, rhs, transpose_a=left, transpose_b=right)


@drawn("FullyConnected")
def _dense(d: Drawing, name: str) -> Symbol:
    value, shape = _value(d, low=2)
    flatten, hidden, no_bias = d.chance(0.6), d.integer(1, 4), d.chance(0.3)
    wide = int(np.prod(shape[1:])) if flatten else shape[-1]
    weight = d.variable(d.free((hidden, wide)))
    bias = () if no_bias else (d.variable(d.free((hidden,))),)
    return sym.FullyConnected(
        value, weight, *bias, num_hidden=hidden, flatten=flatten, no_bias=no_bias
    )


@drawn("Embedding")
def _embedding(d: Drawing, name: str) -> Symbol:
    rows, wide = d.integer(1, 5), d.integer(1, 3)
    data = d.variable(index(rows, *d.shape(1, 3), dtype=d.choice(_INDICES)))
    dtype = np.dtype(d.dtype).name
    weight = d.value((rows, wide))
    return sym.Embedding(data, weight, input_dim=rows, output_dim=wide, dtype=dtype)


@drawn("take")
def _take(d: Drawing, name: str) -> Symbol:
    value, shape = _value(d, high=3)
    axis, mode = d.axis(shape), d.choice(("clip", "wrap"))
    low, high = (-3, shape[axis] + 3) if d.chance(0.5) else (0, shape[axis])
    indices = index(high, *d.shape(1, 2), low=low, dtype=d.choice(_INDICES))
    return sym.take(value, d.variable(indices), axis=axis, mode=mode)


@drawn("pick")
def _pick(d: Drawing, name: str) -> Symbol:
    value, shape = _value(d, low=2, high=3)
    axis = d.axis(shape)
    others = [s for i, s in enumerate(shape) if i != axis % len(shape)]
    indices = index(shape[axis], *others, dtype=d.choice(_INDICES))
    return sym.pick(value, d.variable(indices), axis=axis, keepdims=d.chance(0.4))


@drawn("gather_nd")
def _gather(d: Drawing, name: str) -> Symbol:
    value, shape = _value(d, high=3)
    depth = d.integer(1, len(shape))
    indices = index(min(shape[:depth]), depth, *d.shape(1, 2), dtype=d.choice(_INDICES))
    return sym.gather_nd(value, d.variable(indices))


@drawn("one_hot")
def _one_hot(d: Drawing, name: str) -> Symbol:
    depth = d.integer(1, 4)
    indices = index(depth + 1, *d.shape(1, 3), low=-1, dtype=d.choice(_INDICES))
    values = {"on_value": 2.0, "off_value": -0.5} if d.chance(0.4) else {}
    return sym.one_hot(d.variable(indices), depth=depth, **values)


@drawn("where")
def _where(d: Drawing, name: str) -> Symbol:
    value, shape = _value(d)
    condition = d.variable(index(2, *shape, dtype=d.choice(_INDICES)))
    return sym.where(condition, value, d.value(shape))


@drawn("SequenceMask", "SequenceLast", "SequenceReverse")
def _sequence(d: Drawing, name: str) -> Symbol:
    value, shape = _value(d, low=2, high=4)
    axis = 0 if name == "SequenceReverse" else d.choice((0, 1))
    attrs: dict[str, Any] = {} if name == "SequenceReverse" else {"axis": axis}
    if name == "SequenceMask" and d.chance(0.4):
        attrs["value"] = -1.5
    function = getattr(sym, name)
    if d.chance(0.3):
        return function(value, **attrs)
    low = 0 if name == "SequenceMask" else 1
    length = index(shape[axis] + 1, shape[1 - axis], low=low, dtype=d.choice(_INDICES))
    return function(value, d.variable(length), use_sequence_length=True, **attrs)


@drawn("BatchNorm")
def _batch_norm(d: Drawing, name: str) -> Symbol:
    value, shape = _value(d, low=2, high=4)
    axis = d.choice((1, 1, -1))
    size = shape[axis]
    gamma, beta = d.variable(d.free((size,))), d.variable(d.free((size,)))
    mean = d.variable(lambda rng: rng.normal(size=size), differentiable=False)
    var = d.variable(lambda rng: rng.uniform(0.5, 2.0, size), differentiable=False)
    return sym.BatchNorm(
        value,
        gamma,
        beta,
        mean,
        var,
        axis=axis,
        eps=0.01,
        momentum=d.choice((0.9, 0.5)),
        fix_gamma=d.chance(0.3),
        use_global_stats=d.chance(0.3),
    )


@drawn("LayerNorm")
def _layer_norm(d: Drawing, name: str) -> Symbol:
    value, shape = _value(d)
    axis = d.axis(shape)
    gamma, beta = (d.variable(d.free((shape[axis],))) for _ in range(2))
    return sym.LayerNorm(value, gamma, beta, axis=axis, eps=0.01)


@drawn("InstanceNorm")
def _instance_norm(d: Drawing, name: str) -> Symbol:
    value, shape = _value(d, low=3, high=4)
    gamma, beta = (d.variable(d.free((shape[1],))) for _ in range(2))
    return sym.InstanceNorm(value, gamma, beta, eps=0.01)


@drawn("Convolution")
def _convolution(d: Drawing, name: str) -> Symbol:
    rank, group = d.integer(1, 2), d.choice((1, 1, 2))
    shape = (d.batch(), group * d.integer(1, 2), *(d.integer(3, 5) for _ in range(rank)))
    kernel = tuple(d.integer(1, 3) for _ in range(rank))
    filters = group * d.integer(1, 2)
    dilate = tuple(1 if k * 2 - 1 > 3 else d.integer(1, 2) for k in kernel)
    weight = d.variable(d.free((filters, shape[1] // group, *kernel)))
    no_bias = d.chance(0.4)
    bias = () if no_bias else (d.variable(d.free((filters,))),)
    return sym.Convolution(
        d.value(shape),
        weight,
        *bias,
        kernel=kernel,
        num_filter=filters,
        num_group=group,
        stride=tuple(d.integer(1, 2) for _ in kernel),
        pad=tuple(d.integer(0, 1) for _ in kernel),
        dilate=dilate,
        no_bias=no_bias,
    )


@drawn("Deconvolution")
def _deconvolution(d: Drawing, name: str) -> Symbol:
    rank = d.integer(1, 2)
    shape = (d.batch(), d.integer(1, 2), *(d.integer(2, 4) for _ in range(rank)))
    kernel = tuple(d.integer(2, 3) for _ in range(rank))
    stride = tuple(d.integer(1, 2) for _ in kernel)
    filters = d.integer(1, 2)
    weight = d.variable(d.free((shape[1], filters, *kernel)))
    return sym.Deconvolution(
        d.value(shape),
        weight,
        kernel=kernel,
        num_filter=filters,
        stride=stride,
        pad=tuple(d.integer(0, 1) for _ in kernel),
        adj=tuple(d.integer(0, s - 1) for s in stride),
        no_bias=True,
    )


@drawn("Pooling")
def _pooling(d: Drawing, name: str) -> Symbol:
    rank = d.integer(1, 2)
    value = d.value((d.batch(), d.integer(1, 2), *(d.integer(3, 5) for _ in range(rank))))
    kind = d.choice(("max", "avg", "sum"))
    if d.chance(0.2):
        return sym.Pooling(value, kernel=(1,) * rank, global_pool=True, pool_type=kind)
    attrs = {"count_include_pad": d.chance(0.5)} if kind == "avg" else {}
    return sym.Pooling(
        value,
        kernel=tuple(d.integer(2, 3) for _ in range(rank)),
        stride=tuple(d.integer(1, 2) for _ in range(rank)),
        pad=tuple(d.integer(0, 1) for _ in range(rank)),
        pool_type=kind,
        pooling_convention=d.choice(("valid", "full")),
        **attrs,
    )


@drawn("clip")
def _clip(d: Drawing, name: str) -> Symbol:
    value, _ = _value(d)
    return sym.clip(value, a_min=d.choice((-1.0, -0.25)), a_max=d.choice((0.5, 1.5)))


@drawn("Cast")
def _cast(d: Drawing, name: str) -> Symbol:
    value, _ = _value(d)
    return sym.Cast(value, dtype=d.choice(("float32", "float64", "int32", "int64")))


@drawn("Dropout")
def _dropout(d: Drawing, name: str) -> Symbol:
    value, shape = _value(d)
    axes = _axes(d, shape) if d.chance(0.3) else ()
    return sym.Dropout(value, p=d.choice((0.3, 0.5)), mode=d.choice(_DROPOUT_MODES), axes=axes)


_DROPOUT_MODES = ("training", "training", "always")


@drawn(
    *("_zeros", "_ones", "_full", "_random_normal", "_random_uniform", "_arange", "_eye"),
    "_linspace",
)
def _new(d: Drawing, name: str) -> Symbol:
    value, shape = _value(d)
    dtype = np.dtype(d.dtype).name
    if name == "_arange":
        size = shape[-1]
        constant = sym.arange(start=0.5, stop=0.5 + size, dtype=dtype)
        constant = sym.Reshape(constant, shape=(*(1,) * (len(shape) - 1), size))
    elif name == "_linspace":
        constant = sym.linspace(-1.0, 0.5, shape[-1], dtype=dtype)
        constant = sym.Reshape(constant, shape=(*(1,) * (len(shape) - 1), shape[-1]))
    elif name == "_eye":
        rows, columns = (1, shape[0]) if len(shape) == 1 else shape[-2:]
        constant = sym.eye(rows, columns, k=d.integer(-1, 1), dtype=dtype)
        constant = sym.Reshape(constant, shape=(*(1,) * (len(shape) - 2), *shape[-2:]))
    else:
        attrs: dict[str, Any] = {"shape": shape, "dtype": dtype}
        if name == "_full":
            attrs["value"] = -1.25
        constant = getattr(sym, name)(**attrs)
    return sym.broadcast_add(value, constant)


@drawn(
    *(f"_random_{name}" for name in DISTRIBUTIONS if name not in ("uniform", "normal")),
    "_random_randint",
)
def _random_numbers(d: Drawing, name: str) -> Symbol:
    value, shape = _value(d)
    attrs: dict[str, Any] = {"shape": shape}
    if name == "_random_randint":
        attrs.update(low=-1, high=3)
    drawn_numbers = sym.Cast(getattr(sym, name)(**attrs), dtype=np.dtype(d.dtype).name)
    return sym.broadcast_add(value, drawn_numbers)


@drawn(*(f"_random_{name}_like" for name in DISTRIBUTIONS), "_shuffle")
def _random_like(d: Drawing, name: str) -> Symbol:
    return getattr(sym, name)(_value(d)[0])


@drawn(*(f"_sample_{name}" for name in DISTRIBUTIONS))
def _sample(d: Drawing, name: str) -> Symbol:
    value = sym.sigmoid(_value(d)[0])  # parameters between 0 and 1
    count = len(DISTRIBUTIONS[name.removeprefix("_sample_")].defaults)
    return getattr(sym, name)(*[value] * count, shape=2, dtype=np.dtype(d.dtype).name)


@drawn("_sample_multinomial")
def _multinomial(d: Drawing, name: str) -> Symbol:
    value = sym.softmax(_value(d)[0])
    return sym.sample_multinomial(value, shape=2, dtype=np.dtype(d.dtype).name)


@drawn("_linalg_potrf")
def _cholesky(d: Drawing, name: str) -> Symbol:
    shape = d.shape(2, 3)
    value = sym.tanh(d.fitted(d.value(), shape))
    one = sym.eye(shape[-2], dtype=np.dtype(d.dtype).name)
    return sym.linalg.potrf(sym.broadcast_add(sym.linalg.syrk(value), one))


@drawn("BlockGrad")
def _block(d: Drawing, name: str) -> Symbol:
    return sym.BlockGrad(_value(d)[0])


@drawn("_contrib_round_ste", "_contrib_sign_ste")
def _straight_through(d: Drawing, name: str) -> Symbol:
    return getattr(sym, name)(_value(d)[0])


# Losses -----------------------------------------------------------------------------------------


def _make_loss(d: Drawing, value: Symbol) -> Symbol:
    scale = d.choice((1.0, 0.5))
    normalization = d.choice(("null", "batch", "valid"))
    return sym.MakeLoss(value, grad_scale=scale, normalization=normalization)


def _regression(name: str) -> Callable[[Drawing, Symbol], Symbol]:
    def make(d: Drawing, value: Symbol) -> Symbol:
        label = d.variable(d.free(d.shape_of(value)), differentiable=False)
        return getattr(sym, name)(value, label, grad_scale=d.choice((1.0, 2.0)))

    return make


def _softmax_output(d: Drawing, value: Symbol) -> Symbol:
    shape = d.shape_of(value)
    if not 2 <= len(shape) <= 4 or int(np.prod(shape)) > 200:
        shape = d.shape(2, 3)
        value = d.fitted(value, shape)
    attrs: dict[str, Any] = {"normalization": d.choice(("null", "batch", "valid"))}
    classes, label = int(np.prod(shape[1:])), shape[:1]
    if d.chance(0.3):
        attrs["preserve_shape"], classes, label = True, shape[-1], shape[:-1]
    elif len(shape) > 2 and d.chance(0.5):
        attrs["multi_output"], classes, label = True, shape[1], (shape[0], *shape[2:])
    if d.chance(0.4):
        attrs.update(use_ignore=True, ignore_label=0)
    if d.chance(0.2) and classes > 1:
        attrs["smooth_alpha"] = 0.1
    if d.chance(0.2):
        attrs["grad_scale"] = 0.5
    labels = index(classes, *label, dtype=d.choice(("float32", "int32")))
    return sym.SoftmaxOutput(value, d.variable(labels), **attrs)


def _svm_output(d: Drawing, value: Symbol) -> Symbol:
    shape = d.shape_of(value)
    if not 2 <= len(shape) <= 4 or int(np.prod(shape)) > 200:
        shape = d.shape(2, 3)
        value = d.fitted(value, shape)
    labels = index(int(np.prod(shape[1:])), shape[0], dtype="float32")
    return sym.SVMOutput(value, d.variable(labels), use_linear=d.chance(0.5))


LOSSES: list[Callable[[Drawing, Symbol], Symbol]] = [
    _make_loss,
    _regression("LinearRegressionOutput"),
    _regression("LogisticRegressionOutput"),
    _regression("MAERegressionOutput"),
    _softmax_output,
    _softmax_output,
    _svm_output,
]

DRAWN["MakeLoss"] = lambda d: _make_loss(d, _value(d)[0])
DRAWN["SVMOutput"] = lambda d: _svm_output(d, _value(d)[0])
DRAWN["SoftmaxOutput"] = lambda d: _softmax_output(d, _value(d)[0])
for _name in ("LinearRegressionOutput", "LogisticRegressionOutput", "MAERegressionOutput"):
    DRAWN[_name] = lambda d, _name=_name: _regression(_name)(d, _value(d)[0])
