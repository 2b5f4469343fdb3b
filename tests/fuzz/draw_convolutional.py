"""Draw convolutional networks: layers over pictures, or over rows of one axis, and a loss.

Sizes are small, and channels such that some fill blocks of 8 or 16 and some do not. Every network
draws what its numbers are like: in those of whole numbers, products and sums are exact and many
elements of a window are equal, so that every way of computing must choose the same maximum.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

import symbucket as sb
from symbucket import sym
from symbucket.symbol import Symbol
from symbucket.types import Shape
from tests.fuzz.networks import ROWS, Drawing, Network
from tests.ops.op_cases import Maker, index

CHANNELS = (1, 3, 5, 8, 9, 16, 16, 16, 24, 32, 32, 48)
BATCHES = (1, 2, 2, 3, 5, ROWS, 16)
MOST_ELEMENTS = 20_000
"""In one value."""
MOST_LAYERS = 9
DTYPES = (np.float32,) * 17 + (np.float64, np.float16)


@dataclass
class Pictures(Drawing):
    """A network of values (n, c, h, w) or (n, c, w), and the layers that may follow."""

    whole: bool = False
    """Whether data and weights are small whole numbers."""
    in_blocks: bool = False
    """Whether most values fill blocks of channels, and one layer follows another."""
    shapes: dict[str, Shape] = field(default_factory=dict)
    """Those of the variables."""
    convolutions: dict[Any, list[tuple[Symbol, ...]]] = field(default_factory=dict)
    """Weights and biases by their shapes, for other convolutions that share them."""

    @property
    def channels(self) -> tuple[int, ...]:
        """How many channels layers choose from."""
        return (16, 16, 16, 32) if self.in_blocks else CHANNELS

    def variable(self, make: Maker, differentiable: bool = True) -> Symbol:
        variable = super().variable(make, differentiable)
        self.shapes[variable.name] = np.shape(make(np.random.default_rng(0)))
        return variable

    def shape_of(self, value: Symbol) -> Shape:
        names = value.list_arguments()
        return tuple(value.complete_shapes(**{n: self.shapes[n] for n in names})[1][0])

    def picture(self) -> Symbol:
        """A value, more often a late one."""
        number = max(len(self.values) - int(self.rng.geometric(0.9 if self.in_blocks else 0.6)), 0)
        self.used.add(number)
        return self.values[number]

    def like(self, value: Symbol, fits: Callable[[Shape, Shape], bool]) -> Symbol | None:
        """Another value whose shape fits that of ``value``, if there is one."""
        shape = self.shape_of(value)
        numbers = [
            i for i, v in enumerate(self.values) if v is not value and fits(self.shape_of(v), shape)
        ]
        if not numbers:
            return None
        number = self.choice(numbers)
        self.used.add(number)
        return self.values[number]

    def weight(self, *shape: int) -> Symbol:
        """Weights that keep values of a size; of whole numbers from -2 to 2."""
        if self.whole:
            return self.variable(lambda rng: rng.integers(-2, 3, shape).astype(np.float64))
        scale = 1.0 / math.sqrt(max(1, math.prod(shape[1:])))
        return self.variable(lambda rng: rng.normal(0.0, scale, shape))

    def vector(self, size: int) -> Symbol:
        """One number for each channel; some of them are 0."""
        some = self.chance(0.15)

        def make(rng: np.random.Generator) -> Any:
            numbers = rng.integers(-2, 3, size) * 0.5 if self.whole else rng.normal(0.0, 1.0, size)
            return numbers * (rng.random(size) < 0.6) if some else numbers

        return self.variable(make)

    def scale(self, size: int) -> Symbol:
        """A factor for each channel, of either sign and not 0.

        Where a BatchNorm's is 0 all elements of a pool's window are equal, and which one gets the
        gradient depends on whether the pool comes first (``pool-before-scale``).
        """

        def make(rng: np.random.Generator) -> Any:
            numbers = rng.choice((0.5, 1.0, 2.0), size) if self.whole else rng.uniform(0.2, 2, size)
            return numbers * rng.choice((1.0, 1.0, -1.0), size)

        return self.variable(make)

    def place(self, value: Symbol) -> None:
        """Take a picture that is neither empty nor large."""
        shape = self.shape_of(value)
        if math.prod(shape) and math.prod(shape) <= MOST_ELEMENTS:
            self.values.append(value)


Layer = Callable[[Pictures, Symbol, Shape], Symbol]
LAYERS: list[tuple[float, float, Layer]] = []


def layer(share: float, in_blocks: float = 0.0) -> Callable[[Layer], Layer]:
    """Enter a function that adds one or more operators behind a picture.

    ``in_blocks`` is its share of networks most of whose values fill blocks of channels.
    """

    def enter(function: Layer) -> Layer:
        LAYERS.append((share, in_blocks, function))
        return function

    return enter


def draw_convolutional(seed: int) -> Network:
    """Return convolutional network number ``seed``."""
    rng = np.random.default_rng([seed, 23])
    d = Pictures(rng, DTYPES[int(rng.integers(len(DTYPES)))], whole=rng.random() < 0.3)
    if d.chance(0.5):
        d.in_blocks, d.dtype, d.whole = True, np.float32, d.chance(0.5)
    with sb.NameManager():
        d.values.append(_data(d))
        shares = np.array([share[d.in_blocks] for *share, _ in LAYERS])
        for _ in range(d.integer(2, MOST_LAYERS)):
            add = LAYERS[int(rng.choice(len(LAYERS), p=shares / shares.sum()))][2]
            value = d.picture()
            for result in add(d, value, d.shape_of(value)):
                d.place(result)
        symbol = _heads(d)
    names = symbol.list_inputs()

    def arrays(number: int) -> dict[str, Any]:
        return {n: a for n, a in d.arrays(number).items() if n in names}

    wanted = [n for n in d.wanted if n in names]
    return Network(
        seed, symbol, arrays(seed), wanted, again=arrays, everywhere=bool(rng.random() < 0.8)
    )


def _data(d: Pictures) -> Symbol:
    axes = d.choice((1, 2, 2, 2, 2))
    size = [d.choice((1, 2, 3, 4, 5, 6, 7, 8, 8, 9, 10, 12)) for _ in range(axes)]
    if d.in_blocks and d.chance(0.8):
        size = [d.choice((4, 6, 8, 8, 12, 16)) for _ in range(2)]
    shape = (d.choice(BATCHES), d.choice(d.channels), *size)
    kind = d.choice(("free",) * 5 + ("zeros", "sparse", "large", "small"))

    def make(rng: np.random.Generator) -> Any:
        numbers = rng.normal(size=shape)
        if d.whole:
            numbers = np.round(numbers)
        if kind == "zeros":
            return numbers * 0.0
        if kind == "sparse":
            return numbers * (rng.random(shape) < 0.2)
        return numbers * {"large": 512.0, "small": 2.0**-12}.get(kind, 1.0)

    return d.variable(make, differentiable=d.chance(0.6))


# Convolutions -----------------------------------------------------------------------------------


@layer(5.0, 1.0)
def _convolution(d: Pictures, x: Symbol, shape: Shape) -> Symbol:
    channels, size = shape[1], shape[2:]
    group, filters = _groups(d, channels)
    kernel = tuple(d.choice((1, 1, 2, 3, 3, 3, 4, 5)) for _ in size)
    if d.chance(0.2):
        kernel = (1,) * len(size)
    stride = tuple(d.choice((1, 1, 1, 2, 3)) for _ in size)
    dilate = tuple(d.choice((1, 1, 1, 2, 3)) for _ in size)
    extents = [(k - 1) * t + 1 for k, t in zip(kernel, dilate)]
    least = [max(0, -(-(e - n) // 2)) for e, n in zip(extents, size)]
    same = d.chance(0.5)
    pad = tuple(
        max(low, e // 2) if same else d.integer(low, low + d.choice((0, 1, 2, e + 1)))
        for low, e in zip(least, extents)
    )
    shapes = (filters, channels // group, *kernel)
    no_bias = d.chance(0.4)
    weights = _weights(d, shapes, filters, no_bias)
    return sym.Convolution(
        x,
        *weights,
        kernel=kernel,
        num_filter=filters,
        num_group=group,
        stride=stride,
        dilate=dilate,
        pad=pad,
        no_bias=no_bias,
    )


def _groups(d: Pictures, channels: int) -> tuple[int, int]:
    """Groups and filters: one group, as many as channels, or something between."""
    kind = d.rng.random()
    if kind < 0.65:
        return 1, d.choice(d.channels)
    if kind < 0.88:
        return channels, channels * d.choice((1, 1, 1, 2))
    groups = [g for g in (2, 3, 4, 8) if channels % g == 0]
    group = d.choice(groups or [1])
    return group, group * d.choice((1, 2, 3, 8))


def _weights(d: Pictures, shape: Shape, filters: int, no_bias: bool) -> tuple[Symbol, ...]:
    """A weight and a bias, perhaps those of another convolution."""
    others = d.convolutions.setdefault((shape, filters, no_bias), [])
    if others and d.chance(0.5):
        return d.choice(others)
    weights = (d.weight(*shape), *(() if no_bias else (d.vector(filters),)))
    others.append(weights)
    return weights


@layer(3.0, 4.0)
def _stage(d: Pictures, x: Symbol, shape: Shape) -> Symbol:
    """What networks are mostly made of: a convolution that keeps the size, and what follows it."""
    kernel = tuple(3 if n > 1 else 1 for n in shape[2:])
    filters, no_bias = d.choice((16, 16, 32)), d.chance(0.5)
    y = sym.Convolution(
        x,
        *_weights(d, (filters, shape[1], *kernel), filters, no_bias),
        kernel=kernel,
        pad=tuple(k // 2 for k in kernel),
        num_filter=filters,
        no_bias=no_bias,
    )
    if d.chance(0.2):
        d.place(y)
    if d.chance(0.7):
        return _batch_norm(d, y, d.shape_of(y))
    return _perhaps_activated(d, y)


@layer(1.0, 0.3)
def _again(d: Pictures, x: Symbol, shape: Shape) -> Symbol:
    """A convolution that keeps the shape, twice with one weight."""
    kernel = tuple(d.choice((1, 3)) for _ in shape[2:])
    attrs = {"kernel": kernel, "num_filter": shape[1], "pad": tuple(k // 2 for k in kernel)}
    weights = _weights(d, (shape[1], shape[1], *kernel), shape[1], False)
    y = sym.Convolution(x, *weights, **attrs)
    if d.chance(0.5):
        d.place(y)
    y = sym.Activation(y, act_type=d.choice(("relu", "tanh")))
    return sym.Convolution(y, *weights, **attrs)


@layer(0.8)
def _deconvolution(d: Pictures, x: Symbol, shape: Shape) -> Symbol:
    channels, size = shape[1], shape[2:]
    groups = [1, 1, 1, channels, *(g for g in (2, 4) if channels % g == 0)]
    group = d.choice(groups)
    each = d.choice((1, 2)) if group > 1 else d.choice(d.channels)
    kernel = tuple(d.choice((1, 2, 3, 3, 4)) for _ in size)
    stride = tuple(d.choice((1, 1, 2, 3)) for _ in size)
    dilate = tuple(d.choice((1, 1, 2)) for _ in size)
    extents = [(k - 1) * t + 1 for k, t in zip(kernel, dilate)]
    longest = [(n - 1) * s + e for n, s, e in zip(size, stride, extents)]
    pad = tuple(d.integer(0, min(e, (n - 1) // 2)) for e, n in zip(extents, longest))
    no_bias = d.chance(0.5)
    weight = d.weight(channels, each, *kernel)
    bias = () if no_bias else (d.vector(group * each),)
    return sym.Deconvolution(
        x,
        weight,
        *bias,
        kernel=kernel,
        num_filter=group * each,
        num_group=group,
        stride=stride,
        dilate=dilate,
        pad=pad,
        adj=tuple(d.integer(0, s - 1) for s in stride),
        no_bias=no_bias,
    )


# Normalization ----------------------------------------------------------------------------------


@layer(2.5, 1.0)
def _batch_norm(d: Pictures, x: Symbol, shape: Shape) -> Symbol:
    axis = d.choice((1,) * 9 + (-1, 2, 0))
    size = shape[axis]
    mean = d.variable(lambda rng: rng.normal(size=size), differentiable=False)
    var = d.variable(lambda rng: rng.uniform(0.5, 2.0, size), differentiable=False)
    y = sym.BatchNorm(
        x,
        d.scale(size),
        d.vector(size),
        mean,
        var,
        axis=axis,
        eps=d.choice((1e-3, 1e-2, 2e-5)),
        momentum=d.choice((0.9, 0.5, 0.0)),
        fix_gamma=d.chance(0.35),
        use_global_stats=d.chance(0.15),
    )
    return _perhaps_activated(d, y)


def _perhaps_activated(d: Pictures, y: Symbol) -> Symbol:
    """What mostly follows a normalization: a Relu, a pool, or both in either order."""
    kind = d.choice(("none", "relu", "relu", "pool", "relu and pool", "pool and relu"))
    for name in kind.split(" and "):
        if name == "relu":
            y = sym.Activation(y, act_type="relu")
        elif name == "pool":
            y = _pooling(d, y, d.shape_of(y))
    return y


@layer(0.5)
def _other_norm(d: Pictures, x: Symbol, shape: Shape) -> Symbol:
    kind = d.choice(("instance", "layer", "group", "l2", "lrn"))
    if kind == "instance":
        return sym.InstanceNorm(x, d.vector(shape[1]), d.vector(shape[1]), eps=0.01)
    if kind == "layer":
        axis = d.choice((-1, 1))
        return sym.LayerNorm(x, d.vector(shape[axis]), d.vector(shape[axis]), axis=axis, eps=0.01)
    if kind == "group":
        groups = d.choice([g for g in (1, 2, 3, 4, 8) if shape[1] % g == 0])
        return sym.GroupNorm(x, d.vector(groups), d.vector(groups), num_groups=groups, eps=0.01)
    if kind == "lrn" and len(shape) == 4:
        return sym.LRN(x, nsize=d.choice((1, 3, 5)), alpha=0.1)
    return sym.L2Normalization(x, mode=d.choice(("channel", "instance", "spatial")), eps=0.01)


# Elements ---------------------------------------------------------------------------------------


@layer(2.5, 1.0)
def _activation(d: Pictures, x: Symbol, shape: Shape) -> Symbol:
    kind = d.choice(("relu",) * 4 + ("sigmoid", "tanh", "softrelu", "softsign"))
    y = sym.Activation(x, act_type=kind)
    return _pooling(d, y, shape) if d.chance(0.25) else y


@layer(0.8, 0.3)
def _leaky(d: Pictures, x: Symbol, shape: Shape) -> Symbol:
    kind = d.choice(("leaky", "elu", "selu", "gelu", "prelu", "prelu", "clip"))
    if kind == "clip":
        low, high = d.choice(((0.0, 6.0), (-0.5, 1.0), (-1.0, 1.0)))
        return sym.clip(x, a_min=low, a_max=high)
    if kind == "prelu":
        return sym.LeakyReLU(x, d.vector(shape[1]), act_type=kind)
    return sym.LeakyReLU(x, act_type=kind, slope=0.1)


@layer(0.6, 1.5)
def _arithmetic(d: Pictures, x: Symbol, shape: Shape) -> Symbol:
    column = (1, shape[1], *(1 for _ in shape[2:]))
    each = sym.Reshape(d.scale(shape[1]), shape=column)
    functions: tuple[Callable[[], Symbol], ...] = (
        lambda: x * 0.5 + 1.0,
        lambda: 1.0 - x,
        lambda: sym.broadcast_mul(x, each),
        lambda: sym.broadcast_add(x, each),
        lambda: sym.broadcast_sub(sym.broadcast_mul(x, each), each),
        lambda: sym.broadcast_sub(each, x),
        lambda: sym.tanh(x) * x,
        lambda: sym.square(x) * 0.25,
        lambda: sym.broadcast_sub(x, sym.mean(x, axis=(0, *range(2, len(shape))), keepdims=True)),
        lambda: sym.where(x > 0.1, x, x * 0.5),
        lambda: sym.abs(x),
        lambda: sym.BlockGrad(x) * 0.5 + x,
    )
    y = d.choice(functions)()
    return _pooling(d, y, shape) if d.chance(0.3) else y


@layer(0.25)
def _dropout(d: Pictures, x: Symbol, shape: Shape) -> Symbol:
    axes = tuple(range(2, len(shape))) if d.chance(0.4) else ()
    return sym.Dropout(x, p=d.choice((0.2, 0.5)), axes=axes)


# Several values ---------------------------------------------------------------------------------


@layer(1.6, 1.5)
def _residual(d: Pictures, x: Symbol, shape: Shape) -> Symbol:
    other = d.like(x, lambda a, b: a == b)
    if other is None:
        kernel = tuple(3 for _ in shape[2:])
        other = sym.Convolution(
            x,
            *_weights(d, (shape[1], shape[1], *kernel), shape[1], True),
            kernel=kernel,
            pad=tuple(1 for _ in kernel),
            num_filter=shape[1],
            no_bias=True,
        )
    function = d.choice((sym.elemwise_add,) * 4 + (sym.elemwise_sub, sym.elemwise_mul, sym.add_n))
    y = function(x, sym.tanh(other) if function is sym.elemwise_mul else other)
    return sym.Activation(y, act_type="relu") if d.chance(0.5) else y


@layer(0.7, 0.3)
def _concat(d: Pictures, x: Symbol, shape: Shape) -> Symbol:
    other = d.like(x, lambda a, b: a[0] == b[0] and a[2:] == b[2:])
    return sym.Concat(x, x if other is None else other, dim=1)


@layer(0.6, 0.3)
def _channels(d: Pictures, x: Symbol, shape: Shape) -> Symbol:
    parts = [n for n in (2, 3) if shape[1] % n == 0]
    if parts and d.chance(0.6):
        return sym.SliceChannel(x, num_outputs=d.choice(parts), axis=1)
    starts = [n for n in (0, 1, 8, 16) if n < shape[1]]
    begin = d.choice(starts)
    ends = [n for n in (8, 16, 32, shape[1]) if begin < n <= shape[1]]
    return sym.slice_axis(x, axis=1, begin=begin, end=d.choice(ends))


@layer(0.4, 0.4)
def _gate(d: Pictures, x: Symbol, shape: Shape) -> Symbol:
    """Squeeze and excitation: a factor for each channel of each sample."""
    kind = d.choice(("avg", "avg", "max"))
    one = tuple(1 for _ in shape[2:])
    means = sym.Pooling(x, global_pool=True, pool_type=kind, kernel=one)
    weights = _weights(d, (shape[1], shape[1], *one), shape[1], False)
    gate = sym.Convolution(means, *weights, kernel=one, num_filter=shape[1])
    return sym.broadcast_mul(x, sym.sigmoid(gate))


# Places -----------------------------------------------------------------------------------------


@layer(2.0, 1.0)
def _pooling(d: Pictures, x: Symbol, shape: Shape) -> Symbol:
    size = shape[2:]
    kind = d.choice(("max",) * 4 + ("avg", "avg", "sum", "lp"))
    attrs: dict[str, Any] = {"pool_type": kind}
    if kind == "lp":
        x, attrs["p_value"] = sym.abs(x) + 0.1, d.choice((1, 2, 3))
    if d.chance(0.15):
        return sym.Pooling(x, kernel=(1,) * len(size), global_pool=True, **attrs)
    kernel = tuple(d.integer(1, min(n, 4)) for n in size)
    if d.in_blocks and d.chance(0.7):  # windows side by side, which cover the picture
        kernel = tuple(2 if n % 2 == 0 else 1 for n in size)
        return sym.Pooling(x, kernel=kernel, stride=kernel, **attrs)
    attrs["kernel"] = kernel
    attrs["stride"] = kernel if d.chance(0.5) else tuple(d.integer(1, 3) for _ in size)
    attrs["pooling_convention"] = d.choice(("valid", "valid", "full"))
    attrs["pad"] = tuple(d.integer(0, k // 2) if d.chance(0.3) else 0 for k in kernel)
    if kind == "avg":
        attrs["count_include_pad"] = d.chance(0.5)
    return sym.Pooling(x, **attrs)


@layer(0.3)
def _upsampling(d: Pictures, x: Symbol, shape: Shape) -> Symbol:
    if len(shape) != 4:
        return sym.repeat(x, repeats=2, axis=2)
    if d.chance(0.7):
        return sym.UpSampling(x, scale=d.choice((1, 2, 3)), sample_type="nearest")
    return sym.contrib.BilinearResize2D(x, height=shape[2] + 1, width=shape[3] + 2)


@layer(0.5, 0.2)
def _moved(d: Pictures, x: Symbol, shape: Shape) -> Symbol:
    kind = d.choice(("transpose", "flip", "cut", "pad", "last"))
    last = len(shape) - 1
    if kind == "transpose" and last == 3:
        return sym.transpose(x, axes=(0, 1, 3, 2))
    if kind == "flip":
        return sym.flip(x, axis=last)
    if kind == "pad" and last == 3:
        mode = d.choice(("constant", "edge"))
        return sym.Pad(x, mode=mode, pad_width=(0, 0, 0, 0, d.integer(0, 2), 1, 0, d.integer(0, 2)))
    if kind == "last":  # channels last, and back
        there, back = (0, *range(2, last + 1), 1), (0, last, *range(1, last))
        return sym.transpose(sym.tanh(sym.transpose(x, axes=there)), axes=back)
    return sym.slice_axis(x, axis=last, begin=0, end=max(1, shape[last] - 1))


# Heads ------------------------------------------------------------------------------------------


def _heads(d: Pictures) -> Symbol:
    """Values that nothing reads and some that something does, behind losses or as they are."""
    unread = [v for i, v in enumerate(d.values) if i not in d.used] or [d.values[-1]]
    heads = [_loss(d, unread[-1])]
    for value in unread[-4:-1]:
        heads.append(value if d.chance(0.3) else sym.MakeLoss(sym.sum(sym.tanh(value) * value)))
    if d.chance(0.3):
        inner = d.choice(d.values)
        heads.append(inner if d.chance(0.5) else sym.BlockGrad(inner))
    return sym.Group(heads) if len(heads) > 1 else heads[0]


def _loss(d: Pictures, x: Symbol) -> Symbol:
    shape = d.shape_of(x)
    kind = d.choice(
        ("dense", "dense", "global", "global", "places", "regression", "sum", "plain", "reshaped")
    )
    if kind == "global":
        x = sym.Pooling(x, global_pool=True, pool_type="avg", kernel=(1,) * (len(shape) - 2))
    if kind in ("dense", "global", "reshaped"):
        return _softmax_of_dense(d, x, kind == "reshaped")
    if kind == "places":
        one = tuple(1 for _ in shape[2:])
        scores = sym.Convolution(
            x, d.weight(4, shape[1], *one), d.vector(4), kernel=one, num_filter=4
        )
        label = d.variable(index(4, shape[0], *shape[2:], dtype="float32"), differentiable=False)
        ignore = {"use_ignore": True, "ignore_label": 0} if d.chance(0.3) else {}
        return sym.SoftmaxOutput(
            scores, label, multi_output=True, normalization=_normalization(d), **ignore
        )
    if kind == "regression":
        loss = d.choice(
            (sym.LinearRegressionOutput, sym.LogisticRegressionOutput, sym.MAERegressionOutput)
        )
        label = d.variable(lambda rng: rng.uniform(0.0, 1.0, shape), differentiable=False)
        return loss(x, label, grad_scale=d.choice((1.0, 0.5)))
    if kind == "sum":
        # The gradient of a BatchNorm through x * x alone would be zero.
        return sym.MakeLoss(sym.mean(sym.tanh(x) * x + x * 0.5))
    return x


def _softmax_of_dense(d: Pictures, x: Symbol, reshaped: bool) -> Symbol:
    shape, hidden = d.shape_of(x), d.choice((3, 5, 10))
    wide = math.prod(shape[1:])
    if reshaped:
        x = sym.Reshape(x, shape=(0, -1))
    elif d.chance(0.5):
        x = sym.Flatten(x)
    weights = d.weight(hidden, wide), d.vector(hidden)
    scores = sym.FullyConnected(x, *weights, num_hidden=hidden)
    label = d.variable(index(hidden, shape[0], dtype="float32"), differentiable=False)
    return sym.SoftmaxOutput(scores, label, normalization=_normalization(d))


def _normalization(d: Pictures) -> str:
    return d.choice(("null", "batch", "valid"))
