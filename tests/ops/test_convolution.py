"""Convolution and Deconvolution, against reimplementations in numpy."""

from __future__ import annotations

import itertools

import numpy as np
import onnx_ir as ir
import pytest

import symbucket as sb
from symbucket.compiler.autodiff.differentiate import differentiate
from symbucket.errors import InvalidArgumentError, ShapeError, UnsupportedError
from symbucket.ir import Builder, new_graph, shape_of
from symbucket.ir.shapes import ask_onnx
from tests.ops.differences import apply, check, draw

# Reimplementations -------------------------------------------------------------------------------


def full(value, rank, default):
    return tuple(value) if value else (default,) * rank


def correlate(x, w, stride=(), dilate=(), pad=(), num_group=1):
    """(n, c, ...) with (f, c / groups, *kernel), position by position."""
    kernel = w.shape[2:]
    rank = len(kernel)
    stride, dilate, pad = full(stride, rank, 1), full(dilate, rank, 1), full(pad, rank, 0)
    x = np.pad(x, [(0, 0), (0, 0), *((p, p) for p in pad)])
    extents = [(k - 1) * d + 1 for k, d in zip(kernel, dilate)]
    counts = [(n - e) // s + 1 for n, e, s in zip(x.shape[2:], extents, stride)]
    out = np.zeros((x.shape[0], w.shape[0], *counts))
    filters, each = w.shape[0] // num_group, w.shape[1]
    for place in np.ndindex(*counts):
        view = tuple(
            slice(p * s, p * s + e, d) for p, s, e, d in zip(place, stride, extents, dilate)
        )
        for group in range(num_group):
            rows = slice(group * filters, (group + 1) * filters)
            seen = x[(slice(None), slice(group * each, (group + 1) * each), *view)]
            product = seen.reshape(len(x), -1) @ w[rows].reshape(filters, -1).T
            out[(slice(None), rows, *place)] = product
    return out


def spread(x, w, stride=(), dilate=(), pad=(), adj=(), num_group=1):
    """The transpose of ``correlate``: every element adds its kernel to the output."""
    kernel = w.shape[2:]
    rank = len(kernel)
    stride, dilate = full(stride, rank, 1), full(dilate, rank, 1)
    pad, adj = full(pad, rank, 0), full(adj, rank, 0)
    extents = [(k - 1) * d + 1 for k, d in zip(kernel, dilate)]
    size = [(n - 1) * s + e + a for n, s, e, a in zip(x.shape[2:], stride, extents, adj)]
    filters, each = w.shape[1], x.shape[1] // num_group
    out = np.zeros((x.shape[0], filters * num_group, *size))
    for place in np.ndindex(*x.shape[2:]):
        view = tuple(
            slice(p * s, p * s + e, d) for p, s, e, d in zip(place, stride, extents, dilate)
        )
        for group in range(num_group):
            channels = slice(group * each, (group + 1) * each)
            given = x[(slice(None), channels, *place)]
            rows = slice(group * filters, (group + 1) * filters)
            out[(slice(None), rows, *view)] += np.tensordot(given, w[channels], 1)
    keep = tuple(slice(p, n - p) for p, n in zip(pad, size))
    return out[(slice(None), slice(None), *keep)]


def biased(y, bias):
    return y if bias is None else y + bias.reshape((1, -1) + (1,) * (y.ndim - 2))


# Convolution -------------------------------------------------------------------------------------

CONVOLUTIONS = [
    ((2, 3, 7), {"kernel": 3, "num_filter": 4}),
    ((2, 3, 7), {"kernel": (3,), "num_filter": 4, "stride": 2, "pad": 1, "no_bias": True}),
    ((1, 2, 9), {"kernel": (2,), "num_filter": 3, "stride": 3, "dilate": 2}),  # 1 element left over
    ((2, 4, 8), {"kernel": (2,), "num_filter": 6, "num_group": 2, "dilate": (3,), "pad": (2,)}),
    ((1, 2, 5, 6), {"kernel": (3, 2), "num_filter": 3, "pad": (1, 0)}),
    ((2, 2, 6, 5), {"kernel": (2, 3), "num_filter": 2, "stride": (3, 2), "pad": (0, 2)}),
    ((1, 4, 6, 6), {"kernel": (3, 3), "num_filter": 4, "num_group": 4, "stride": (2, 2)}),
    ((2, 4, 5, 5), {"kernel": (2, 2), "num_filter": 2, "num_group": 2, "dilate": (2, 3)}),
    ((1, 2, 4, 4), {"kernel": (1, 1), "num_filter": 3, "stride": (3, 3)}),
    ((1, 2, 3, 4, 3), {"kernel": (2, 2, 2), "num_filter": 2, "pad": (0, 1, 0)}),
]


@pytest.mark.parametrize(("shape", "attributes"), CONVOLUTIONS)
def test_convolution(shape, attributes):
    kernel = np.atleast_1d(attributes["kernel"])
    filters, groups = attributes["num_filter"], attributes.get("num_group", 1)
    data, weight, bias = draw(1, shape, (filters, shape[1] // groups, *kernel), (filters,))
    inputs = {"data": data, "weight": weight}
    if not attributes.get("no_bias"):
        inputs["bias"] = bias
    settings = {
        k: tuple(np.atleast_1d(attributes[k]))
        for k in ("stride", "dilate", "pad")
        if k in attributes
    }

    def reference(data, weight, bias=None):
        return biased(correlate(data, weight, **settings, num_group=groups), bias)

    check(apply("Convolution", inputs, **attributes), reference, inputs, list(inputs))


def test_convolution_shapes_and_names():
    symbol = sb.sym.Convolution(
        sb.sym.Variable("data"), kernel=(3, 5), num_filter=8, num_group=2, pad=(1, 0), name="conv"
    )
    assert symbol.list_arguments() == ["data", "conv_weight", "conv_bias"]
    args, outs, _ = symbol.infer_shape(data=(4, 6, 10, 9))
    assert args == [(4, 6, 10, 9), (8, 3, 3, 5), (8,)]
    assert outs == [(4, 8, 10, 5)]
    args, outs, _ = symbol.infer_shape_partial(data=(0, 6, 10, 0))
    assert args == [(0, 6, 10, 0), (8, 3, 3, 5), (8,)]
    assert outs == [(0, 8, 10, 0)]
    args, _, _ = symbol.infer_shape_partial(data=(4, 0, 10, 9), conv_weight=(8, 3, 3, 5))
    assert args[0] == (4, 6, 10, 9)


def test_settings_of_other_kernels_are_accepted():
    symbol = sb.sym.Convolution(
        sb.sym.Variable("data"),
        kernel="(3, 3)",
        num_filter="2",
        workspace=256,
        cudnn_tune="off",
        cudnn_off=True,
        layout="NCHW",
    )
    assert symbol.infer_shape(data=(1, 1, 4, 4))[1] == [(1, 2, 2, 2)]


@pytest.mark.parametrize(
    ("attributes", "message"),
    [
        ({"num_filter": 2}, r"attribute 'kernel' is missing; it must be a tuple of an integer"),
        ({"kernel": (3,)}, r"attribute 'num_filter' is missing"),
        ({"kernel": (1, 1, 1, 1), "num_filter": 2}, r"must have one to three axes"),
        ({"kernel": (0,), "num_filter": 2}, r"kernel=\(0,\) must be 1 or more"),
        ({"kernel": (3, 3), "num_filter": 0}, r"num_filter=0 must be positive"),
        (
            {"kernel": (3, 3), "num_filter": 2, "stride": (1, 2, 1)},
            r"Convolution: stride=\(1, 2, 1\) must have one number for each of the 2 axes of",
        ),
        ({"kernel": (3, 3), "num_filter": 2, "pad": (-1, 0)}, r"pad=\(-1, 0\) must be 0 or more"),
        ({"kernel": (3,), "num_filter": 2, "dilate": 0}, r"dilate=\(0,\) must be 1 or more"),
        ({"kernel": (3,), "num_filter": 3, "num_group": 2}, r"num_filter=3 cannot be divided into"),
    ],
)
def test_wrong_attributes_of_a_convolution(attributes, message):
    with pytest.raises(InvalidArgumentError, match=message):
        sb.sym.Convolution(sb.sym.Variable("data"), **attributes)


def test_an_unknown_layout_is_refused():
    for op in (sb.sym.Convolution, sb.sym.Deconvolution):
        with pytest.raises(InvalidArgumentError, match=r"layout='NHCW' is not one of NCW, NCHW"):
            op(sb.sym.Variable("data"), kernel=(3, 3), num_filter=2, layout="NHCW")
    with pytest.raises(InvalidArgumentError, match=r"Pooling: layout='NHCW'"):
        sb.sym.Pooling(sb.sym.Variable("data"), global_pool=True, layout="NHCW")


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        ((2, 4, 8), r"kernel=\(3, 3\) has 2 axes, so data must have 4 .* it has shape \(2, 4, 8\)"),
        ((2, 3, 8, 8), r"3 channels cannot be divided into num_group=2 groups"),
        (
            (2, 4, 8, 2),
            r"the window covers 5 elements of spatial axis 1, but with padding .* only 4",
        ),
    ],
)
def test_data_that_does_not_fit_a_convolution(shape, message):
    symbol = sb.sym.Convolution(
        sb.sym.Variable("data"),
        kernel=(3, 3),
        num_filter=2,
        num_group=2,
        dilate=(1, 2),
        pad=(0, 1),
        name="conv",
    )
    with pytest.raises(ShapeError, match=r"Node 'conv' \(Convolution; .*" + message):
        symbol.infer_shape(data=shape)


# Deconvolution -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("shape", "attributes"),
    [
        ((2, 3, 4), {"kernel": (3,), "num_filter": 2}),
        ((1, 2, 4), {"kernel": (3,), "num_filter": 2, "stride": (3,), "pad": (1,), "adj": (2,)}),
        ((1, 2, 3, 3), {"kernel": (3, 2), "num_filter": 3, "stride": (2, 1), "no_bias": False}),
        ((2, 4, 3, 2), {"kernel": (2, 2), "num_filter": 2, "num_group": 2, "stride": (2, 2)}),
        ((1, 2, 3, 3), {"kernel": (2, 2), "num_filter": 2, "dilate": (2, 3), "pad": (1, 1)}),
    ],
)
def test_deconvolution(shape, attributes):
    filters, groups = attributes["num_filter"], attributes.get("num_group", 1)
    kernel = attributes["kernel"]
    data, weight, bias = draw(2, shape, (shape[1], filters // groups, *kernel), (filters,))
    inputs = {"data": data, "weight": weight}
    if not attributes.get("no_bias", True):
        inputs["bias"] = bias
    names = ("stride", "dilate", "pad", "adj")
    settings = {k: attributes[k] for k in names if k in attributes}

    def reference(data, weight, bias=None):
        return biased(spread(data, weight, **settings, num_group=groups), bias)

    check(apply("Deconvolution", inputs, **attributes), reference, inputs, list(inputs))


@pytest.mark.parametrize("target", [(9, 8), (10, 10), (7, 8)])
def test_deconvolution_to_a_target_shape(target):
    data, weight = draw(3, (1, 2, 4, 4), (2, 1, 4, 4))
    inputs = {"data": data, "weight": weight}
    settings = {"kernel": (4, 4), "num_filter": 1, "stride": (2, 2)}
    symbol = apply("Deconvolution", inputs, target_shape=target, **settings)
    assert symbol.infer_shape(data=(1, 2, 4, 4))[1] == [(1, 1, *target)]
    cut = [10 - t for t in target]
    pad, adj = tuple((c + 1) // 2 for c in cut), tuple(c % 2 for c in cut)

    def reference(data, weight):
        return spread(data, weight, stride=(2, 2), pad=pad, adj=adj)

    check(symbol, reference, inputs, ["data", "weight"])


def test_deconvolution_shapes_and_errors():
    data = sb.sym.Variable("data")
    symbol = sb.sym.Deconvolution(data, kernel=(4,), num_filter=6, num_group=2, stride=2, name="up")
    assert symbol.list_arguments() == ["data", "up_weight"]
    args, outs, _ = symbol.infer_shape_partial(data=(0, 4, 5))
    assert args == [(0, 4, 5), (4, 3, 4)]
    assert outs == [(0, 6, 12)]
    with pytest.raises(ShapeError, match=r"3 channels cannot be divided into num_group=2"):
        symbol.infer_shape(data=(1, 3, 5))
    with pytest.raises(InvalidArgumentError, match=r"adj=\(2,\) must be below stride=\(2,\)"):
        sb.sym.Deconvolution(data, kernel=(4,), num_filter=6, stride=2, adj=2)
    with pytest.raises(ShapeError, match=r"target_shape=\(20,\) is larger than \(12,\)"):
        sb.sym.Deconvolution(
            data, kernel=(4,), num_filter=6, stride=2, target_shape=20
        ).infer_shape(data=(1, 4, 5))
    with pytest.raises(ShapeError, match=r"pad=\(3,\) leaves nothing of the output"):
        sb.sym.Deconvolution(data, kernel=(3,), num_filter=6, pad=3).infer_shape(data=(1, 4, 2))


# A small network ---------------------------------------------------------------------------------


def test_a_network_of_all_of_them_learns():
    # Which half of the picture is bright? Batches of one seed, plain gradient descent.
    x = sb.sym.Variable("data")
    x = sb.sym.Convolution(x, kernel=(3, 3), num_filter=4, pad=(1, 1), name="conv")
    x = sb.sym.BatchNorm(x, name="bn")
    x = sb.sym.LeakyReLU(x, act_type="prelu", name="act")
    x = sb.sym.Pooling(x, kernel=(2, 2), stride=(2, 2), name="pool")
    x = sb.sym.FullyConnected(x, num_hidden=2, name="fc")
    net = sb.sym.SoftmaxOutput(x, sb.sym.Variable("label"), name="softmax", normalization="batch")
    executor = net.simple_bind(None, "write", data=(16, 1, 6, 6), label=(16,))
    generator = np.random.default_rng(0)
    for name, array in executor.arg_dict.items():
        if name not in ("data", "label"):
            array[:] = generator.normal(size=array.shape).astype(np.float32) * 0.3
    executor.aux_dict["bn_moving_var"][:] = 1.0
    losses = []
    for _ in range(40):
        label = generator.integers(0, 2, 16)
        data = generator.normal(size=(16, 1, 6, 6)).astype(np.float32)
        for i, side in enumerate(label):
            data[i, :, :, 3 * side : 3 * side + 3] += 1.0
        prob = executor.forward(is_train=True, data=data, label=label.astype(np.float32))[0]
        losses.append(-np.log(prob.asnumpy()[np.arange(16), label]).mean())
        executor.backward()
        for name, grad in executor.grad_dict.items():
            if name not in ("data", "label"):
                executor.arg_dict[name][:] = (
                    executor.arg_dict[name].asnumpy() - 0.3 * grad.asnumpy()
                )
    assert np.mean(losses[-5:]) < 0.2 < 0.5 < losses[0]


def test_gradients_that_foreign_nodes_do_not_have():
    g = Builder(new_graph("refused"))
    x = g.input("x", (1, 2, 5), ir.DataType.FLOAT)
    w = g.input("w", (2, 3, 3), ir.DataType.FLOAT)
    pooled = g.op("AveragePool", x, kernel_shape=[2], strides=[2], ceil_mode=1)
    grown = g.op("ConvTranspose", x, w, strides=[2], auto_pad="SAME_UPPER")
    with pytest.raises(UnsupportedError, match=r"AveragePool needs ceil_mode=0; pad the data"):
        differentiate(g, [pooled], {pooled: pooled}, [x])
    with pytest.raises(UnsupportedError, match=r"ConvTranspose needs explicit pads"):
        differentiate(g, [grown], {grown: grown}, [x])


@pytest.mark.parametrize(
    "attributes", [{"auto_pad": a} for a in ("SAME_UPPER", "SAME_LOWER", "VALID")] + [{}]
)
def test_padding_of_foreign_models_agrees_with_onnx(attributes):
    for size, kernel, stride in itertools.product((5, 6, 7), (2, 3), (1, 2, 3)):
        g = Builder(new_graph("pads"))
        x = g.input("x", (1, 2, size), ir.DataType.FLOAT)
        w = g.input("w", (3, 2, kernel), ir.DataType.FLOAT)
        for y in (
            g.op("Conv", x, w, strides=[stride], **attributes),
            g.op("AveragePool", x, kernel_shape=[kernel], strides=[stride], **attributes),
            g.op("MaxPool", x, kernel_shape=[kernel], strides=[stride], **attributes),
            g.op("ConvTranspose", x, g.input("v", (2, 3, kernel), ir.DataType.FLOAT)),
        ):
            node = y.producer()
            assert node is not None
            assert [shape_of(y)] == [shape for shape, _ in ask_onnx(node)]
