"""Pooling over one, two or three spatial axes."""

from __future__ import annotations

import dataclasses
from typing import Literal

import numpy as np
import onnx_ir as ir

from symbucket.errors import InvalidArgumentError, ShapeError
from symbucket.ir import Expr, Windows, covered, dtype_of, finds_maxima_by_value, shape_of
from symbucket.ir.windows import areas
from symbucket.ops.convolution import Windowed, attributes_of, check_rank, counts_of, spread_windows
from symbucket.ops.record import Emitter, operator
from symbucket.ops.roots import root
from symbucket.ops.shape import unify
from symbucket.types import InferredShapes, Ints, PartialShape

FAMILY = "Convolution and pooling"


@operator("Pooling", "Pooling_v1")
class Pooling(Windowed):
    """The largest, the average or the sum of the elements under each window, or their norm.

    "lp" is the root of order ``p_value`` of the sum of powers. ``pooling_convention`` "valid"
    leaves out a last window that does not fit, "full" cuts it off at the end of the padded data
    (one that lies behind all of it gives 0), "same" has a window for each ``stride`` elements.
    ``count_include_pad`` counts padding in the average. ``global_pool`` takes all spatial axes as
    one window, whatever the other attributes say.
    """

    formula = (
        "y[i] = max, mean or sum of x[i stride + j - pad] over j; lp: (sum of abs(x)^p)^(1 / p)"
    )
    example = 'Pooling([[[1, 5, 2, 3]]], kernel=(2,), stride=(2,), pool_type="max") -> [[[5, 3]]]'
    shapes = "(n, c, *d) -> (n, c, *e) or (n, *d, c) -> (n, *e, c)"

    kernel: tuple[int, ...] = ()
    pool_type: Literal["max", "avg", "sum", "lp"] = "max"
    global_pool: bool = False
    cudnn_off: bool = False
    pooling_convention: Literal["valid", "full", "same"] = "valid"
    stride: tuple[int, ...] = ()
    pad: tuple[int, ...] = ()
    p_value: int | None = None
    count_include_pad: bool = True
    layout: str | None = None

    def __post_init__(self) -> None:
        self.check_layout()
        self.check(
            self.p_value in (1, 2, 3) or self.pool_type != "lp",
            f"pool_type='lp' needs p_value 1, 2 or 3, not {self.p_value}",
        )
        if self.global_pool:
            return
        if not self.kernel:
            raise InvalidArgumentError(
                "Pooling: attribute 'kernel' is missing; it must be a tuple with one number a "
                "spatial axis (or set global_pool=True)"
            )
        self.check_windows({"kernel": 1, "stride": 1, "pad": 0})
        self.check(
            self.pooling_convention != "same" or not any(self.pad),
            f"pooling_convention='same' pads by itself; pad={self.pad} must be 0",
        )
        for pad, size in zip(self.pad, self.kernel):
            self.check(
                pad < size,
                f"pad={self.pad} must be below kernel={self.kernel}: a window would see padding "
                "only",
            )

    def infer_shape(self, ins: list[PartialShape], outs: list[PartialShape]) -> InferredShapes:
        data, out = self.first(ins[0]), self.first(outs[0])
        if data is None:
            return ins, outs
        if self.global_pool:
            if len(data) < 3:
                raise ShapeError(f"data must be (n, c, d1, ...), it has shape {data}")
            sizes: Ints = (1,) * (len(data) - 2)
        else:
            check_rank(data, self.kernel)
            windows, behind = self._windows(data[2:])
            sizes = tuple(n and n + b for n, b in zip(counts_of(windows, data[2:]), behind))
        out = unify(out, (*data[:2], *sizes))
        assert out is not None
        data = unify(data, (*out[:2], *[0] * len(sizes)))
        return [self.back(data)], [self.back(out)]

    def _windows(self, size: Ints) -> tuple[Windows, Ints]:
        """The windows, and how many more of each axis lie behind all elements (0 or 1).

        "full" and "same" add padding at the end for a last window that sticks out.
        """
        plain = spread_windows(self.kernel, self.stride, (), self.pad)
        none = (0,) * len(size)
        if self.pooling_convention == "valid":
            return plain, none
        if self.pooling_convention == "same":
            ends = tuple(
                max((-(-n // s) - 1) * s + k - n, 0)
                for n, s, k in zip(size, plain.strides, plain.kernel)
            )
            return dataclasses.replace(plain, ends=ends), none
        ends = tuple(e + -r % s for e, r, s in zip(plain.ends, plain.spare(size), plain.strides))
        behind = tuple(int(n > 0 and e >= k) for n, e, k in zip(size, ends, self.kernel))
        ends = tuple(max(e - b * s, 0) for e, b, s in zip(ends, behind, plain.strides))
        return dataclasses.replace(plain, ends=ends), behind

    def emit(self, g: Emitter, data: ir.Value) -> ir.Value:
        data = self.to_first(g, data)
        size = shape_of(data)[2:]
        windows, behind = (
            (spread_windows(size, (), (), ()), ()) if self.global_pool else self._windows(size)
        )
        if self.pool_type == "lp":
            y = self._lp(g, data, windows)
        elif self.pool_type == "max":
            y = self._max(g, data, windows)
        else:
            y = self._sum(g, data, windows, self.pool_type == "avg")
        if any(behind):
            y = g.op("Pad", y, g.ints(*[0] * (len(size) + 4), *behind))
        return self.to_last(g, y)

    def _sum(self, g: Emitter, data: ir.Value, windows: Windows, average: bool) -> ir.Value:
        size = shape_of(data)[2:]
        if self.global_pool:
            axes = g.ints(*range(2, len(size) + 2))
            return g.op("ReduceMean" if average else "ReduceSum", data, axes)
        # Divided by the elements inside the data alone, and put right by a product: with
        # count_include_pad some versions of the runtime are wrong (docs/runtimes.md).
        y = g.op("AveragePool", data, **attributes_of(windows))
        plain = spread_windows(self.kernel, self.stride, (), self.pad)
        counts = windows.counts(size)
        factor = areas(covered(plain, size, counts, pad=False))
        if average:
            factor = factor / areas(covered(plain, size, counts, pad=self.count_include_pad))
        return y if np.all(factor == 1.0) else g.op("Mul", y, g.const(factor, like=data))

    def _lp(self, g: Emitter, data: ir.Value, windows: Windows) -> ir.Value:
        x = Expr(g, data)
        if self.p_value == 1:
            return self._sum(g, data, windows, average=False)
        powers = x * x if self.p_value == 2 else x * x * x
        total = Expr(g, self._sum(g, powers.value, windows, average=False))
        return root(total, self.p_value or 2).value

    def _max(self, g: Emitter, x: ir.Value, windows: Windows) -> ir.Value:
        # The gradient needs the positions of the largest elements, unless it compares.
        compares = finds_maxima_by_value(windows, shape_of(x)[2:], dtype_of(x))
        outputs = 2 if g.training and not compares else 1
        return g.ops("MaxPool", x, outputs=outputs, **attributes_of(windows))[0]
