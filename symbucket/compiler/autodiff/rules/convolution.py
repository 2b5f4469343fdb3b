"""Gradients of convolutions, written as convolutions (Dumoulin and Visin 2016)."""

from __future__ import annotations

from collections.abc import Sequence

import onnx_ir as ir

from symbucket.compiler.autodiff.rules.convolution_weight import weight_gradient
from symbucket.errors import UnsupportedError
from symbucket.ir import Expr, Windows, gradient, transposed_windows_of, windows_of
from symbucket.ir.gradient_rules import Parts


def by_data(dy: Expr, weight: Expr, windows: Windows, size: Sequence[int], *, group: int) -> Expr:
    """The gradient of the data of a convolution whose data has spatial ``size``."""
    equal = windows.begins == windows.ends
    result = dy.op(
        "ConvTranspose",
        weight,
        strides=list(windows.strides),
        dilations=list(windows.dilations),
        pads=windows.pads if equal else None,
        output_padding=list(windows.left_over(size)),
        group=group,
    )
    if equal:
        return result
    # CUDA has no kernel for unequal padding.
    ends = [begin + n for begin, n in zip(windows.begins, size)]
    axes = list(range(2, result.rank))
    return result.op("Slice", list(windows.begins), ends, axes)


def _by_weight(x: Expr, dy: Expr, windows: Windows, weight: Expr, *, group: int) -> Expr:
    """The gradient of the weight (out, in / group, ...) of a convolution from ``x`` to ``dy``."""
    if group == 1:
        return weight_gradient(x, dy, windows)
    return _by_weight_in_groups(x, dy, windows, weight, group=group)


def _by_weight_in_groups(x: Expr, dy: Expr, windows: Windows, weight: Expr, *, group: int) -> Expr:
    """A convolution in which samples take the place of channels, channels that of samples.

    dy takes that of the weight; strides and dilations change places.
    """
    batch, channels, *size = x.shape
    each, spatial = channels // group, list(range(2, x.rank))
    samples = x.reshape((batch, group, each, *size))
    samples = samples.transpose([2, 1, 0, *range(3, x.rank + 1)])
    samples = samples.reshape((each, group * batch, *size))
    dw = samples.op(
        "Conv",
        dy.transpose([1, 0, *spatial]),
        strides=list(windows.dilations),
        dilations=list(windows.strides),
        pads=windows.pads,
        group=group,
    )
    kernel = weight.shape[2:]
    if dw.shape[2:] != kernel:  # what a stride leaves over at the end adds windows
        dw = dw.op("Slice", [0] * len(kernel), kernel, spatial)
    return dw.transpose([1, 0, *spatial])


def _by_bias(dy: Expr) -> Expr:
    return dy.sum([axis for axis in range(dy.rank) if axis != 1])


@gradient("Conv")
def conv(x: Expr, weight: Expr, dy: Expr, node: ir.Node, *, group: int = 1) -> Parts:
    """The transposed convolution of dy, and the convolution of x with dy."""
    windows = windows_of(node)
    return (
        lambda: by_data(dy, weight, windows, x.shape[2:], group=group),
        lambda: _by_weight(x, dy, windows, weight, group=group),
        lambda: _by_bias(dy),
    )


@gradient("ConvTranspose")
def conv_transpose(
    x: Expr,
    weight: Expr,
    dy: Expr,
    node: ir.Node,
    *,
    group: int = 1,
    auto_pad: str = "NOTSET",
    output_shape: Sequence[int] | None = None,
) -> Parts:
    """The convolution of dy, and the convolution of dy with x."""
    if auto_pad != "NOTSET" or output_shape is not None:
        raise UnsupportedError(
            f"{node.name}: the gradient of ConvTranspose needs explicit pads, without auto_pad and "
            "output_shape"
        )
    windows = transposed_windows_of(node)
    return (
        lambda: dy.op(
            "Conv",
            weight,
            strides=list(windows.strides),
            dilations=list(windows.dilations),
            pads=windows.pads,
            group=group,
        ),
        lambda: _by_weight(dy, x, windows, weight, group=group),
        lambda: _by_bias(dy),
    )
