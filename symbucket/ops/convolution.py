"""Convolution, Deconvolution and Pooling over one, two or three spatial axes."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from functools import reduce
from typing import Any, Literal

import numpy as np
import onnx_ir as ir

from symbucket.errors import InvalidArgumentError, ShapeError, UnsupportedError
from symbucket.ir import Windows, covered, dtype_of, shape_of, takes_places_from_values
from symbucket.ops.record import Emitter, Operator, operator
from symbucket.ops.shape import unify
from symbucket.types import InferredShapes, Ints, PartialShape

FAMILY = "Convolution and pooling"

_LAYOUTS = (None, "NCW", "NCHW", "NCDHW")


class _Windowed(Operator):
    """Checks of the attributes that all three have."""

    def check_layout(self, layout: str | None) -> None:
        """Channels are axis 1."""
        if layout not in _LAYOUTS:
            raise UnsupportedError(
                f"{self.op_name}: layout={layout!r} is not supported, channels are axis 1 (NCW, "
                "NCHW, NCDHW). Use sym.transpose before and after."
            )

    def check_windows(self, least: dict[str, int]) -> None:
        """Each attribute has one number an axis of ``kernel``, none below ``least``."""
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


def _windows(kernel: Ints, stride: Ints, dilate: Ints, pad: Ints) -> Windows:
    ones, zeros = (1,) * len(kernel), (0,) * len(kernel)
    return Windows(kernel, stride or ones, dilate or ones, pad or zeros, pad or zeros)


def _check_rank(data: Ints, kernel: Ints) -> None:
    if len(data) != len(kernel) + 2:
        raise ShapeError(
            f"kernel={kernel} has {len(kernel)} axes, so data must have {len(kernel) + 2} "
            f"(n, c and one for each of the kernel), it has shape {data}"
        )


def _counts(windows: Windows, size: Ints) -> Ints:
    """Windows on every axis, 0 if the size is unknown; ShapeError if none fits."""
    spare = windows.spare(size)
    for axis, (n, r) in enumerate(zip(size, spare)):
        if n and r < 0:
            raise ShapeError(
                f"the window covers {windows.extents[axis]} elements of spatial axis {axis}, but "
                f"with padding it has only {n + windows.begins[axis] + windows.ends[axis]}"
            )
    return tuple(c if n else 0 for n, c in zip(size, windows.counts(size)))


def _attributes(windows: Windows) -> dict[str, Any]:
    return {
        "kernel_shape": list(windows.kernel),
        "strides": list(windows.strides),
        "pads": windows.pads,
    }


def _areas(counts: Sequence[Ints]) -> np.ndarray[Any, np.dtype[np.float64]]:
    """Return the number of elements under each window, from the numbers on each axis."""
    return reduce(np.multiply.outer, [np.array(c, dtype=np.float64) for c in counts])


@operator("Convolution")
class Convolution(_Windowed):
    """Cross-correlation of (n, c, d1, ...) with ``num_filter`` kernels, plus bias.

    weight is (num_filter, c / num_group, *kernel). ``dilate`` spaces the elements of the kernel,
    ``pad`` zeros stand on both sides; ``num_group`` groups of channels are kept apart.
    """

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
        self.check_layout(self.layout)
        self.check_windows({"kernel": 1, "stride": 1, "dilate": 1, "pad": 0})
        self.check_groups(self.num_filter, self.num_group)

    def arguments(self) -> tuple[str, ...]:
        return ("data", "weight") if self.no_bias else ("data", "weight", "bias")

    def _windows(self) -> Windows:
        return _windows(self.kernel, self.stride, self.dilate, self.pad)

    def _sizes_before(self, sizes: Ints) -> Ints:
        """The data's sizes for these of the output; 0 where several would do."""
        windows = self._windows()
        return tuple(
            n + x - 1 - b - e if n and s == 1 else 0
            for n, x, b, e, s in zip(
                sizes, windows.extents, windows.begins, windows.ends, windows.strides
            )
        )

    def infer_shape(self, ins: list[PartialShape], outs: list[PartialShape]) -> InferredShapes:
        data, weight, out = ins[0], ins[1], outs[0]
        weight = unify(weight, (self.num_filter, 0, *self.kernel))
        assert weight is not None
        if data is not None:
            _check_rank(data, self.kernel)
            if data[1] % self.num_group:
                raise ShapeError(
                    f"{data[1]} channels cannot be divided into num_group={self.num_group} groups"
                )
            weight = unify(weight, (self.num_filter, data[1] // self.num_group, *self.kernel))
            sizes = _counts(self._windows(), data[2:])
            out = unify(out, (data[0], self.num_filter, *sizes))
        if out is not None:
            _check_rank(out, self.kernel)
            assert weight is not None
            data = unify(data, (out[0], weight[1] * self.num_group, *self._sizes_before(out[2:])))
        bias = [] if self.no_bias else [unify(ins[2], (self.num_filter,))]
        return [data, weight, *bias], [out]

    def emit(
        self, g: Emitter, data: ir.Value, weight: ir.Value, bias: ir.Value | None = None
    ) -> ir.Value:
        windows = self._windows()
        return g.op(
            "Conv",
            data,
            weight,
            bias,
            dilations=list(windows.dilations),
            group=self.num_group,
            **_attributes(windows),
        )


@operator("Deconvolution")
class Deconvolution(_Windowed):
    """The transpose of a convolution: each element spreads a kernel over the output.

    weight is (c, num_filter / num_group, *kernel). The output has ``stride * (n - 1) + kernel - 2 *
    pad + adj`` elements on an axis; ``target_shape`` gives it directly, ``pad`` and ``adj`` follow.
    """

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
        self.check_layout(self.layout)
        self.check_windows(least)
        self.check_groups(self.num_filter, self.num_group)
        for more, stride in zip(self.adj, self._plain().strides):
            self.check(more < stride, f"adj={self.adj} must be below stride={self.stride or 1}")

    def arguments(self) -> tuple[str, ...]:
        return ("data", "weight") if self.no_bias else ("data", "weight", "bias")

    def _plain(self) -> Windows:
        return _windows(self.kernel, self.stride, self.dilate, self.pad)

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

    def infer_shape(self, ins: list[PartialShape], outs: list[PartialShape]) -> InferredShapes:
        data, weight, out = ins[0], ins[1], outs[0]
        filters = self.num_filter // self.num_group
        weight = unify(weight, (0, filters, *self.kernel))
        if data is not None:
            _check_rank(data, self.kernel)
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

    def emit(
        self, g: Emitter, data: ir.Value, weight: ir.Value, bias: ir.Value | None = None
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
            **_attributes(windows),
        )


@operator("Pooling")
class Pooling(_Windowed):
    """The largest, the average or the sum of the elements under each window.

    ``pooling_convention`` "valid" leaves out a last window that does not fit, "full" cuts it off at
    the end of the padded data. ``count_include_pad`` counts padding in the average. ``global_pool``
    takes all spatial axes as one window, whatever the other attributes say.
    """

    shapes = "(n, c, *d) -> (n, c, *e)"

    kernel: tuple[int, ...] = ()
    pool_type: Literal["max", "avg", "sum"] = "max"
    global_pool: bool = False
    pooling_convention: Literal["valid", "full"] = "valid"
    stride: tuple[int, ...] = ()
    pad: tuple[int, ...] = ()
    count_include_pad: bool = True
    layout: str | None = None
    cudnn_off: bool = False

    def __post_init__(self) -> None:
        self.check_layout(self.layout)
        if self.global_pool:
            return
        if not self.kernel:
            raise InvalidArgumentError(
                "Pooling: attribute 'kernel' is missing; it must be a tuple with one number a "
                "spatial axis (or set global_pool=True)"
            )
        self.check_windows({"kernel": 1, "stride": 1, "pad": 0})
        for pad, size in zip(self.pad, self.kernel):
            self.check(
                pad < size,
                f"pad={self.pad} must be below kernel={self.kernel}: a window would see padding "
                "only",
            )

    def infer_shape(self, ins: list[PartialShape], outs: list[PartialShape]) -> InferredShapes:
        data, out = ins[0], outs[0]
        if data is None:
            return ins, outs
        if self.global_pool:
            if len(data) < 3:
                raise ShapeError(f"data must be (n, c, d1, ...), it has shape {data}")
            sizes: Ints = (1,) * (len(data) - 2)
        else:
            _check_rank(data, self.kernel)
            sizes = _counts(self._windows(data[2:]), data[2:])
        out = unify(out, (*data[:2], *sizes))
        assert out is not None
        return [unify(data, (*out[:2], *[0] * len(sizes)))], [out]

    def _windows(self, size: Ints) -> Windows:
        """The windows, with more padding at the end if "full" keeps a window that sticks out."""
        plain = _windows(self.kernel, self.stride, (), self.pad)
        if self.pooling_convention == "valid":
            return plain
        more = [-r % s for r, s in zip(plain.spare(size), plain.strides)]
        for axis, (n, m) in enumerate(zip(size, more)):
            end = plain.ends[axis] + m
            if n and end >= self.kernel[axis]:
                raise ShapeError(
                    f"pooling_convention='full' makes a last window on spatial axis {axis} that "
                    f"lies behind all {n} elements; use 'valid', or a stride no larger than "
                    "kernel - pad"
                )
        return dataclasses.replace(plain, ends=tuple(e + m for e, m in zip(plain.ends, more)))

    def emit(self, g: Emitter, data: ir.Value) -> ir.Value:
        size = shape_of(data)[2:]
        axes = g.ints(*range(2, len(size) + 2))
        if self.global_pool:
            if self.pool_type == "max":
                return self._max(g, data, _windows(size, (), (), ()))
            return g.op("ReduceSum" if self.pool_type == "sum" else "ReduceMean", data, axes)
        windows = self._windows(size)
        if self.pool_type == "max":
            return self._max(g, data, windows)
        # Divided by the elements inside the data alone, and put right by a product: with
        # count_include_pad some versions of the runtime are wrong (docs/runtimes.md).
        y = g.op("AveragePool", data, **_attributes(windows))
        plain = _windows(self.kernel, self.stride, (), self.pad)
        counts = windows.counts(size)
        factor = _areas(covered(plain, size, counts, pad=False))
        if self.pool_type == "avg":
            factor = factor / _areas(covered(plain, size, counts, pad=self.count_include_pad))
        return y if np.all(factor == 1.0) else g.op("Mul", y, g.const(factor, like=data))

    def _max(self, g: Emitter, x: ir.Value, windows: Windows) -> ir.Value:
        # The gradient needs the positions of the largest elements, unless it computes them.
        computed = takes_places_from_values(windows, shape_of(x)[2:], dtype_of(x))
        outputs = 2 if g.training and not computed else 1
        return g.ops("MaxPool", x, outputs=outputs, **_attributes(windows))[0]
