"""Convolution and Deconvolution over one, two or three spatial axes."""

from __future__ import annotations

import dataclasses
from typing import Any

import onnx_ir as ir

from symbucket.errors import ShapeError
from symbucket.ir import Windows, shape_of
from symbucket.ops.record import Emitter, Operator, operator
from symbucket.ops.shape import unify
from symbucket.types import InferredShapes, Ints, PartialShape

FAMILY = "Convolution and pooling"

_CHANNELS_FIRST = ("NCW", "NCHW", "NCDHW")
_CHANNELS_LAST = ("NWC", "NHWC", "NDHWC")


class Windowed(Operator):
    """Checks of the attributes that convolutions and poolings have, and their layouts."""

    layout: str | None = None

    def check_layout(self) -> None:
        """Raise InvalidArgumentError unless channels are axis 1 or the last one."""
        layouts = (None, "None", *_CHANNELS_FIRST, *_CHANNELS_LAST)
        self.check(
            self.layout in layouts,
            f"layout={self.layout!r} is not one of {', '.join(map(str, layouts[2:]))}",
        )

    @property
    def channels_last(self) -> bool:
        """Whether channels are the last axis."""
        return self.layout in _CHANNELS_LAST

    def first(self, shape: PartialShape) -> PartialShape:
        """Return a shape of the layout with the channels as axis 1."""
        if shape is None or not self.channels_last or len(shape) < 3:
            return shape
        return (shape[0], shape[-1], *shape[1:-1])

    def back(self, shape: PartialShape) -> PartialShape:
        """Return a shape with channels as axis 1 in the layout."""
        if shape is None or not self.channels_last or len(shape) < 3:
            return shape
        return (shape[0], *shape[2:], shape[1])

    def to_first(self, g: Emitter, x: ir.Value) -> ir.Value:
        """Return a value of the layout with the channels as axis 1."""
        rank = len(shape_of(x))
        return g.transpose(x, [0, rank - 1, *range(1, rank - 1)]) if self.channels_last else x

    def to_last(self, g: Emitter, x: ir.Value) -> ir.Value:
        """Return a value with channels as axis 1 in the layout."""
        rank = len(shape_of(x))
        return g.transpose(x, [0, *range(2, rank), 1]) if self.channels_last else x

    def check_windows(self, least: dict[str, int]) -> None:
        """Check that each attribute has one number an axis of ``kernel``, none below ``least``."""
        kernel: Ints = getattr(self, "kernel")  # noqa: B009 - a field of the subclasses
        for name, low in least.items():
            values: Ints = getattr(self, name)
            if name == "kernel":
                self.check(1 <= len(values) <= 3, f"kernel={values} must have one to three axes")
            elif values:
                self.check(
                    len(values) == len(kernel),
                    f"{name}={values} must have one number for each of the {len(kernel)} axes of "
                    f"kernel={kernel}",
                )
            self.check(min(values, default=low) >= low, f"{name}={values} must be {low} or more")

    def check_groups(self, filters: int, groups: int) -> None:
        """``filters`` can be divided into ``groups``."""
        self.check(filters > 0, f"num_filter={filters} must be positive")
        self.check(groups > 0, f"num_group={groups} must be positive")
        self.check(
            filters % groups == 0,
            f"num_filter={filters} cannot be divided into num_group={groups} groups",
        )


def spread_windows(kernel: Ints, stride: Ints, dilate: Ints, pad: Ints) -> Windows:
    """Return the windows that attributes describe; those that are empty have their defaults."""
    ones, zeros = (1,) * len(kernel), (0,) * len(kernel)
    return Windows(kernel, stride or ones, dilate or ones, pad or zeros, pad or zeros)


def check_rank(data: Ints, kernel: Ints) -> None:
    """Raise ShapeError unless data has an axis for each of the kernel, after n and c."""
    if len(data) != len(kernel) + 2:
        raise ShapeError(
            f"kernel={kernel} has {len(kernel)} axes, so data must have {len(kernel) + 2} "
            f"(n, c and one for each of the kernel), it has shape {data}"
        )


def counts_of(windows: Windows, size: Ints) -> Ints:
    """Return the windows on every axis, 0 if the size is unknown; ShapeError if none fits."""
    spare = windows.spare(size)
    for axis, (n, r) in enumerate(zip(size, spare)):
        if n and r < 0:
            raise ShapeError(
                f"the window covers {windows.extents[axis]} elements of spatial axis {axis}, but "
                f"with padding it has only {n + windows.begins[axis] + windows.ends[axis]}"
            )
    return tuple(c if n else 0 for n, c in zip(size, windows.counts(size)))


def attributes_of(windows: Windows) -> dict[str, Any]:
    """Return the attributes of ONNX that describe windows, without dilations."""
    return {
        "kernel_shape": list(windows.kernel),
        "strides": list(windows.strides),
        "pads": windows.pads,
    }


class _Convolution(Windowed):
    """Two or three inputs: data, weight, bias; the weight has the layout of the data."""

    def infer_shape(self, ins: list[PartialShape], outs: list[PartialShape]) -> InferredShapes:
        data, weight, *bias = ins
        plain = [self.first(data), self.first(weight), *bias]
        (data, weight, *bias), (out,) = self.infer_first(plain, self.first(outs[0]))
        return [self.back(data), self.back(weight), *bias], [self.back(out)]

    def infer_first(self, ins: list[PartialShape], out: PartialShape) -> InferredShapes:
        """Infer shapes with the channels as axis 1."""
        raise NotImplementedError

    def emit(
        self, g: Emitter, data: ir.Value, weight: ir.Value, bias: ir.Value | None = None
    ) -> ir.Value:
        data, weight = self.to_first(g, data), self.to_first(g, weight)
        return self.to_last(g, self.emit_first(g, data, weight, bias))

    def emit_first(
        self, g: Emitter, data: ir.Value, weight: ir.Value, bias: ir.Value | None
    ) -> ir.Value:
        """Emit with the channels as axis 1."""
        raise NotImplementedError


@operator("Convolution", "Convolution_v1")
class Convolution(_Convolution):
    """Cross-correlation of (n, c, d1, ...) with ``num_filter`` kernels, plus bias.

    weight is (num_filter, c / num_group, *kernel). ``dilate`` spaces the elements of the kernel,
    ``pad`` zeros stand on both sides; ``num_group`` groups of channels are kept apart. With a
    ``layout`` such as NHWC channels are the last axis of data, weight and output.
    """

    formula = (
        "y[n, f, i] = bias[f] + sum over c, j of weight[f, c, j] x[n, c, i stride + j dilate - pad]"
    )
    example = (
        "Convolution([[[1, 2, 3, 4]]], [[[1, -1]]], [0.5], kernel=(2,), num_filter=1) -> [[[-0.5, "
        "-0.5, -0.5]]]"
    )
    shapes = (
        "(n, c, *d), (num_filter, c / num_group, *kernel), (num_filter,) -> (n, num_filter, *e)"
    )
    implicit = ("weight", "bias")

    kernel: tuple[int, ...]
    num_filter: int
    stride: tuple[int, ...] = ()
    dilate: tuple[int, ...] = ()
    pad: tuple[int, ...] = ()
    num_group: int = 1
    no_bias: bool = False
    layout: str | None = None
    workspace: int = 1024
    cudnn_tune: str | None = None
    cudnn_off: bool = False

    def __post_init__(self) -> None:
        self.check_layout()
        self.check_windows({"kernel": 1, "stride": 1, "dilate": 1, "pad": 0})
        self.check_groups(self.num_filter, self.num_group)

    def arguments(self) -> tuple[str, ...]:
        return ("data", "weight") if self.no_bias else ("data", "weight", "bias")

    def _windows(self) -> Windows:
        return spread_windows(self.kernel, self.stride, self.dilate, self.pad)

    def _sizes_before(self, sizes: Ints) -> Ints:
        """The data's sizes for these of the output; 0 where several would do."""
        windows = self._windows()
        return tuple(
            n + x - 1 - b - e if n and s == 1 else 0
            for n, x, b, e, s in zip(
                sizes, windows.extents, windows.begins, windows.ends, windows.strides
            )
        )

    def infer_first(self, ins: list[PartialShape], out: PartialShape) -> InferredShapes:
        data, weight = ins[:2]
        weight = unify(weight, (self.num_filter, 0, *self.kernel))
        assert weight is not None
        if data is not None:
            check_rank(data, self.kernel)
            if data[1] % self.num_group:
                raise ShapeError(
                    f"{data[1]} channels cannot be divided into num_group={self.num_group} groups"
                )
            weight = unify(weight, (self.num_filter, data[1] // self.num_group, *self.kernel))
            sizes = counts_of(self._windows(), data[2:])
            out = unify(out, (data[0], self.num_filter, *sizes))
        if out is not None:
            check_rank(out, self.kernel)
            assert weight is not None
            data = unify(data, (out[0], weight[1] * self.num_group, *self._sizes_before(out[2:])))
        bias = [] if self.no_bias else [unify(ins[2], (self.num_filter,))]
        return [data, weight, *bias], [out]

    def emit_first(
        self, g: Emitter, data: ir.Value, weight: ir.Value, bias: ir.Value | None
    ) -> ir.Value:
        windows = self._windows()
        return g.op(
            "Conv",
            data,
            weight,
            bias,
            dilations=list(windows.dilations),
            group=self.num_group,
            **attributes_of(windows),
        )


@operator("Deconvolution")
class Deconvolution(_Convolution):
    """The transpose of a convolution: each element spreads a kernel over the output.

    weight is (c, num_filter / num_group, *kernel). The output has ``stride * (n - 1) + kernel - 2 *
    pad + adj`` elements on an axis; ``target_shape`` gives it directly, ``pad`` and ``adj`` follow.
    """

    formula = "y[n, f, i stride + j dilate - pad] += weight[c, f, j] x[n, c, i]"
    example = "Deconvolution([[[1, 2]]], [[[1, 10]]], kernel=(2,), num_filter=1) -> [[[1, 12, 20]]]"
    shapes = (
        "(n, c, *d), (c, num_filter / num_group, *kernel), (num_filter,) -> (n, num_filter, *e)"
    )
    implicit = ("weight", "bias")

    kernel: tuple[int, ...]
    num_filter: int
    stride: tuple[int, ...] = ()
    dilate: tuple[int, ...] = ()
    pad: tuple[int, ...] = ()
    adj: tuple[int, ...] = ()
    target_shape: tuple[int, ...] = ()
    num_group: int = 1
    no_bias: bool = True
    layout: str | None = None
    workspace: int = 512
    cudnn_tune: str | None = None
    cudnn_off: bool = False

    def __post_init__(self) -> None:
        least = {"kernel": 1, "stride": 1, "dilate": 1, "pad": 0, "adj": 0, "target_shape": 0}
        self.check_layout()
        self.check_windows(least)
        self.check_groups(self.num_filter, self.num_group)
        # A target_shape takes the place of pad and adj, as in MXNet.
        adj = () if any(self.target_shape) else self.adj
        for more, stride in zip(adj, self._plain().strides):
            self.check(more < stride, f"adj={self.adj} must be below stride={self.stride or 1}")

    def arguments(self) -> tuple[str, ...]:
        return ("data", "weight") if self.no_bias else ("data", "weight", "bias")

    def _plain(self) -> Windows:
        return spread_windows(self.kernel, self.stride, self.dilate, self.pad)

    def _windows(self, size: Ints) -> tuple[Windows, Ints]:
        """The windows and what is added after the last, for data of spatial ``size``."""
        windows = self._plain()
        if not any(self.target_shape):
            return windows, self.adj or (0,) * len(self.kernel)
        whole = tuple(s * (n - 1) + x for s, n, x in zip(windows.strides, size, windows.extents))
        cut = [w - t for w, t in zip(whole, self.target_shape)]
        if min(cut) < 0:
            raise ShapeError(f"target_shape={self.target_shape} is larger than {whole}")
        pads = tuple((c + 1) // 2 for c in cut)
        return dataclasses.replace(windows, begins=pads, ends=pads), tuple(c % 2 for c in cut)

    def infer_first(self, ins: list[PartialShape], out: PartialShape) -> InferredShapes:
        data, weight = ins[:2]
        filters = self.num_filter // self.num_group
        weight = unify(weight, (0, filters, *self.kernel))
        if data is not None:
            check_rank(data, self.kernel)
            if data[1] % self.num_group:
                raise ShapeError(
                    f"{data[1]} channels cannot be divided into num_group={self.num_group} groups"
                )
            weight = unify(weight, (data[1], filters, *self.kernel))
            out = unify(out, (data[0], self.num_filter, *self._sizes(data[2:])))
            assert weight is not None
            assert out is not None
            data = unify(data, (out[0], weight[0], *[0] * len(self.kernel)))
        bias = [] if self.no_bias else [unify(ins[2], (self.num_filter,))]
        return [data, weight, *bias], [out]

    def _sizes(self, size: Ints) -> Ints:
        if 0 in size:
            return self.target_shape or (0,) * len(size)
        windows, more = self._windows(size)
        sizes = tuple(
            s * (n - 1) + x + m - b - e
            for s, n, x, m, b, e in zip(
                windows.strides, size, windows.extents, more, windows.begins, windows.ends
            )
        )
        if min(sizes) < 1:
            raise ShapeError(f"pad={self.pad} leaves nothing of the output: its sizes are {sizes}")
        return sizes

    def emit_first(
        self, g: Emitter, data: ir.Value, weight: ir.Value, bias: ir.Value | None
    ) -> ir.Value:
        windows, more = self._windows(shape_of(data)[2:])
        return g.op(
            "ConvTranspose",
            data,
            weight,
            bias,
            dilations=list(windows.dilations),
            output_padding=list(more) if any(more) else None,
            group=self.num_group,
            **attributes_of(windows),
        )
