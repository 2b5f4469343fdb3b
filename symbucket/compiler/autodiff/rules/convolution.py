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
    plain = set(windows.strides) <= {1} and not any(windows.pads)
    if group == 1 and plain and set(windows.kernel) <= {1}:  # a product, whose kernel is faster
        filters, channels = weight.shape[:2]
        turned = weight.reshape((filters, channels)).transpose([1, 0])
        return dy.op("Conv", turned.reshape((channels, filters, *weight.shape[2:])))
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


def _by_bias(dy: Expr) -> Expr:
    return dy.sum([axis for axis in range(dy.rank) if axis != 1])


@gradient("Conv")
def conv(x: Expr, weight: Expr, dy: Expr, node: ir.Node, *, group: int = 1) -> Parts:
    """The transposed convolution of dy, and the convolution of x with dy."""
    windows = windows_of(node)
    return (
        lambda: by_data(dy, weight, windows, x.shape[2:], group=group),
        lambda: weight_gradient(x, dy, windows, group),
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
        lambda: weight_gradient(dy, x, windows, group),
        lambda: _by_bias(dy),
    )
