"""Cases of products, convolutions, poolings, softmaxes, norms, reductions and quantization."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from symbucket.ir.windows import Windows, resolve_windows
from tests.compiler.autodiff.draws import Draw
from tests.compiler.autodiff.gradient_check import Case


def _gemm(draw: Draw) -> Case:
    m, k, n = (draw.number(1, 3) for _ in range(3))
    attributes = {
        "transA": draw.number(0, 1),
        "transB": draw.number(0, 1),
        "alpha": draw.pick([1.0, 0.5]),
        "beta": draw.pick([1.0, -2.0]),
    }
    a = draw.normal((k, m) if attributes["transA"] else (m, k))
    b = draw.normal((n, k) if attributes["transB"] else (k, n))
    c = draw.pick([None, (), (1,), (n,), (m, 1), (1, n), (m, n)])
    if c is None:
        return Case("Gemm", [a, b], (0, 1), attributes)
    return Case("Gemm", [a, b, draw.normal(c)], (0, 1, 2), attributes)


def _matmul(draw: Draw) -> Case:
    m, k, n = (draw.number(1, 3) for _ in range(3))
    whole = draw.shape(0, 3)
    left, right = (
        tuple(1 if draw.coin(0.3) else d for d in whole[draw.number(0, len(whole)) * draw.coin() :])
        for _ in range(2)
    )
    return Case("MatMul", [draw.normal((*left, m, k)), draw.normal((*right, k, n))], (0, 1))


def _einsum(draw: Draw) -> Case:
    equation, *shapes = draw.pick(
        [
            ("bij,bjk->bik", (2, 3, 4), (2, 4, 2)),
            ("bhid,bhjd->bhij", (1, 2, 3, 2), (1, 2, 3, 2)),
            ("ij->", (2, 3)),
            ("ij->ji", (2, 3)),
            ("ij,kl->jk", (2, 3), (2, 2)),
            ("i,i->", (3,), (3,)),
            ("i,j,k -> kij", (2,), (1,), (3,)),
            ("ab,bc,cd->ad", (2, 3), (3, 2), (2, 2)),
            ("ij,jk", (3, 4), (4, 2)),
            ("ba", (2, 3)),
            ("...ij,...jk->...ik", (2, 1, 3, 2), (1, 3, 2, 2)),
            ("...i,i", (2, 3, 2), (2,)),
            ("i...->...", (2, 3)),
        ]
    )
    inputs = [draw.normal(s) for s in shapes]
    return Case("Einsum", inputs, range(len(inputs)), {"equation": equation})


def _windows(draw: Draw, kernel: list[int]) -> dict:
    spatial = len(kernel)
    attributes = {
        "strides": [draw.number(1, 3) for _ in range(spatial)],
        "dilations": [draw.number(1, 2) for _ in range(spatial)],
    }
    kind = draw.number(0, 3)
    if kind == 0:
        attributes["pads"] = [draw.number(0, 1) for _ in range(2 * spatial)]
    elif kind == 1:
        attributes["auto_pad"] = draw.pick(["VALID", "SAME_UPPER", "SAME_LOWER"])
        attributes["dilations"] = [1] * spatial
        # The runtimes differ for strides that are larger than the window.
        attributes["strides"] = [draw.number(1, k) for k in kernel]
    return {n: v for n, v in attributes.items() if draw.coin(0.8)}


def _patches(x: np.ndarray, windows: Windows, fill: float) -> tuple[list, np.ndarray]:
    """Every position of the windows, and its elements as (n, c, *kernel)."""
    n = len(windows.kernel)
    widths = [(0, 0), (0, 0), *zip(windows.begins, windows.ends)]
    x = np.pad(x, widths, constant_values=fill)
    extents, strides, dilations = windows.extents, windows.strides, windows.dilations
    counts = [(x.shape[2 + i] - extents[i]) // strides[i] + 1 for i in range(n)]
    places = list(np.ndindex(*counts))
    steps = [
        tuple(slice(p * s, p * s + e, d) for p, s, e, d in zip(place, strides, extents, dilations))
        for place in places
    ]
    return counts, np.stack([x[(..., *step)] for step in steps], axis=2)


def _resolved(attributes: dict, kernel: Sequence[int], x: np.ndarray) -> Windows:
    given = {n: attributes.get(n) for n in ("strides", "dilations", "pads")}
    auto = attributes.get("auto_pad", "NOTSET")
    return resolve_windows(tuple(kernel), x.shape[2:], auto_pad=auto, **given)


def _conv(draw: Draw) -> Case:
    spatial = draw.number(1, 3)
    group, each = draw.number(1, 2), draw.number(1, 2)
    kernel = [draw.number(1, 2 if spatial == 3 else 3) for _ in range(spatial)]
    size = [draw.number(5, 6) if spatial < 3 else draw.number(3, 4) for _ in range(spatial)]
    x = draw.normal((draw.number(1, 2), group * each, *size))
    w = draw.normal((group * draw.number(1, 2), each, *kernel))
    bias = [draw.normal(w.shape[:1])] if draw.coin() else []
    attributes = {"group": group, **_windows(draw, kernel)}
    windows = _resolved(attributes, kernel, x)

    def exact(x: np.ndarray, w: np.ndarray, bias: np.ndarray | None = None) -> np.ndarray:
        counts, patches = _patches(x, windows, 0.0)
        patches = patches.reshape(len(x), group, each, len(patches[0, 0]), -1)
        kernels = w.reshape(group, len(w) // group, each, -1)
        y = np.einsum("ngcpk,gock->ngop", patches, kernels).reshape(len(x), len(w), *counts)
        return y if bias is None else y + bias.reshape(-1, *[1] * spatial)

    return Case("Conv", [x, w, *bias], range(2 + len(bias)), attributes, exact=exact)


def _transposed(x, w, bias=None, *, group, strides, dilations, pads, more):
    """A transposed convolution in numpy: every element adds the kernel around its place."""
    kernel, each = w.shape[2:], w.shape[1]
    whole = [
        s * (n - 1) + m + (k - 1) * d + 1
        for s, n, m, k, d in zip(strides, x.shape[2:], more, kernel, dilations)
    ]
    y = np.zeros((len(x), each * group, *whole))
    for c in range(x.shape[1]):
        outputs = slice(c // (x.shape[1] // group) * each, (c // (x.shape[1] // group) + 1) * each)
        for place in np.ndindex(*x.shape[2:]):
            for k in np.ndindex(*kernel):
                at = tuple(p * s + i * d for p, s, i, d in zip(place, strides, k, dilations))
                y[(slice(None), outputs, *at)] += np.outer(
                    x[(slice(None), c, *place)], w[(c, slice(None), *k)]
                )
    n = len(kernel)
    y = y[(..., *(slice(b, size - e) for b, e, size in zip(pads[:n], pads[n:], whole)))]
    return y if bias is None else y + bias.reshape(-1, *[1] * n)


def _conv_transpose(draw: Draw) -> Case:
    spatial = draw.number(1, 2)
    group, each = draw.number(1, 2), draw.number(1, 2)
    kernel = [draw.number(1, 3) for _ in range(spatial)]
    size = [draw.number(2, 4) for _ in range(spatial)]
    x = draw.normal((draw.number(1, 2), group * each, *size))
    w = draw.normal((group * each, draw.number(1, 2), *kernel))
    attributes = {"group": group, **_windows(draw, kernel)}
    attributes.pop("auto_pad", None)
    strides = attributes.get("strides", [1] * spatial)
    dilations = attributes.get("dilations", [1] * spatial)
    if draw.coin():
        attributes["output_padding"] = [draw.number(0, s - 1) for s in strides]
    bias = [draw.normal((w.shape[1] * group,))] if draw.coin() else []
    if "pads" in attributes:  # something is left
        least = [(n - 1) * s + 1 for n, s in zip(size, strides)]
        attributes["pads"] = [
            p if least[i % spatial] > 2 else 0 for i, p in enumerate(attributes["pads"])
        ]

    def exact(*inputs: np.ndarray) -> np.ndarray:
        return _transposed(
            *inputs,
            group=group,
            strides=strides,
            dilations=dilations,
            pads=attributes.get("pads", [0] * 2 * spatial),
            more=attributes.get("output_padding", [0] * spatial),
        )

    inputs = [x, w, *bias]
    return Case("ConvTranspose", inputs, range(len(inputs)), attributes, exact=exact)


def _pooling(op: str) -> Callable[[Draw], Case]:
    def make(draw: Draw) -> Case:
        spatial = draw.number(1, 3)
        kernel = [draw.number(2, 3) if spatial < 3 else 2 for _ in range(spatial)]
        size = [draw.number(5, 6) if spatial < 3 else draw.number(3, 4) for _ in range(spatial)]
        attributes = {"kernel_shape": kernel, **_windows(draw, kernel)}
        if op == "MaxPool" and draw.coin(0.3):  # windows that cover the data without overlap
            attributes = {"kernel_shape": kernel, "strides": kernel}
            size = [k * draw.number(1, 2) for k in kernel]
        size = (draw.number(1, 2), draw.number(1, 2), *size)
        ties = op == "MaxPool" and draw.coin(0.3)
        x = draw.tied(size) if ties else draw.apart(size)
        windows, outputs = _resolved(attributes, kernel, x), 1
        if op == "MaxPool":
            outputs = draw.number(1, 2)
            if outputs == 2:
                attributes["storage_order"] = draw.number(0, 1)

        def exact(x: np.ndarray) -> np.ndarray:
            counts, patches = _patches(x, windows, -np.inf if op == "MaxPool" else np.nan)
            reduce = np.max if op == "MaxPool" else np.nanmean
            return reduce(patches, axis=tuple(range(3, 3 + spatial))).reshape(*x.shape[:2], *counts)

        return Case(op, [x], (0,), attributes, outputs, ties=ties, exact=exact)

    return make


def _global_average_pool(draw: Draw) -> Case:
    return Case("GlobalAveragePool", [draw.normal(draw.shape(3))])


def _softmax(op: str) -> Callable[[Draw], Case]:
    def make(draw: Draw) -> Case:
        x = draw.normal(draw.shape(1))
        if op == "Softmax" and x.size > 1 and draw.coin(0.3):
            # Masked elements; the first of every row stays.
            axis = draw.axis(x.ndim)
            masked = draw.rng.random(x.shape) < 0.3
            np.moveaxis(masked, axis, 0)[0] = False
            x[masked] = -np.inf
            return Case(op, [x], (0,), {"axis": axis})
        return Case(op, [x], (0,), {"axis": draw.axis(x.ndim)} if draw.coin(0.8) else {})

    return make


def _lp_normalization(draw: Draw) -> Case:
    shape = draw.shape(1)
    axis, p = draw.axis(len(shape)), draw.number(1, 2)

    def exact(x: np.ndarray) -> np.ndarray:
        return x / (np.abs(x) ** p).sum(axis, keepdims=True) ** (1 / p)

    attributes = {"axis": axis, "p": p}
    return Case("LpNormalization", [draw.apart(shape)], (0,), attributes, exact=exact)


def _normalize(draw: Draw) -> Case:
    shape = draw.shape(1, most=4, least=2)
    axes = sorted(a % len(shape) for a in draw.axes(len(shape), 1))
    attributes = {"axes": axes, "eps": 0.01}

    def first(g, inputs, outputs):
        return outputs[:1]

    return Case("Normalize", [draw.normal(shape)], (0,), attributes, 4, "symbucket", then=first)


def _normalize_batch(draw: Draw) -> Case:
    shape = (draw.number(2, 3), draw.number(1, 3), *([draw.number(1, 4)] if draw.coin() else []))
    axes = [0, 2][: len(shape) - 1]
    column = (shape[1], 1)[: len(shape) - 1]
    inputs = [draw.normal(shape), draw.normal(column), draw.normal(column)]

    def first(g, inputs, outputs):
        return outputs[:1]

    attributes = {"axes": axes, "eps": 0.01}
    return Case("NormalizeBatch", inputs, range(3), attributes, 5, "symbucket", then=first)


def _reduction(op: str, values: str = "normal") -> Callable[[Draw], Case]:
    def make(draw: Draw) -> Case:
        ties = values == "apart" and draw.coin(0.4)
        shape = draw.shape(1)
        x = draw.tied(shape) if ties else getattr(draw, values)(shape)
        if op == "ReduceProd":
            x = np.where(draw.rng.random(shape) < 0.2, 0.0, x).astype(np.float32)
        axes = draw.axes(len(shape), 1)
        attributes = {"keepdims": draw.number(0, 1)}
        if draw.coin(0.3):
            return Case(op, [x], (0,), attributes, ties=ties)
        if draw.coin(0.2):  # no axes: all, or none at all
            if op in ("ReduceSum", "ReduceMean", "ReduceMax", "ReduceMin", "ReduceProd"):
                attributes["noop_with_empty_axes"] = draw.number(0, 1)
                if attributes["noop_with_empty_axes"]:  # the evaluators before onnx 1.20 reduce all
                    return Case(
                        op,
                        [x, np.zeros(0, np.int64)],
                        (0,),
                        attributes,
                        ties=ties,
                        exact=lambda x, axes: x,
                    )
            return Case(op, [x, np.zeros(0, np.int64)], (0,), attributes, ties=ties)
        return Case(op, [x, np.array(axes, np.int64)], (0,), attributes, ties=ties)

    return make


# Quantization: what is differentiated is the function without rounding.


def _scales(draw: Draw) -> tuple[np.ndarray, np.ndarray, np.ndarray, dict]:
    shape = draw.shape(1, most=4)
    axis = draw.axis(len(shape))
    size = draw.pick([(), (1,), (shape[axis],)])
    scale = draw.uniform(size, 0.02, 0.1)
    zero = draw.rng.integers(-20, 20, size=size).astype(np.int8)
    return draw.normal(shape, 4.0), scale, zero, {"axis": axis}


def _wide(array: np.ndarray, x: np.ndarray, axis: int) -> np.ndarray:
    if array.size == 1:
        return array.reshape(())
    return array.reshape([array.size if i == axis % x.ndim else 1 for i in range(x.ndim)])


def _quantize(draw: Draw) -> Case:
    x, scale, zero, attributes = _scales(draw)
    axis = attributes["axis"]
    # The steps that rounding adds are constant; so are the steps that are cut off.
    ratio = x.astype(np.float64) / _wide(scale.astype(np.float64), x, axis)
    offset = _wide(zero.astype(np.float64), x, axis)
    inside = (np.round(ratio) + offset >= -128) & (np.round(ratio) + offset <= 127)
    cut = np.clip(np.round(ratio) + offset, -128, 127) - offset
    residue = np.round(ratio) - ratio

    def exact(x, scale, zero):
        wide = _wide(scale, x, axis)
        return np.where(inside, x / wide + residue, cut) * wide

    def back(g, inputs, outputs):
        return [g.op("DequantizeLinear", outputs[0], *inputs[1:], axis=axis)]

    return Case("QuantizeLinear", [x, scale, zero], (0, 1), attributes, exact=exact, then=back)


def _dequantize(draw: Draw) -> Case:
    x, scale, zero, attributes = _scales(draw)
    q = np.clip(np.round(x * 20), -128, 127).astype(np.int8)

    def exact(q, scale, zero):
        return (q - _wide(zero.astype(np.float64), q, attributes["axis"])) * _wide(
            scale, q, attributes["axis"]
        )

    return Case("DequantizeLinear", [q, scale, zero], (1,), attributes, exact=exact)


CASES: dict[tuple[str, str], Callable[[Draw], Case]] = {
    ("", "Gemm"): _gemm,
    ("", "MatMul"): _matmul,
    ("", "Einsum"): _einsum,
    ("", "Conv"): _conv,
    ("", "ConvTranspose"): _conv_transpose,
    ("", "MaxPool"): _pooling("MaxPool"),
    ("", "AveragePool"): _pooling("AveragePool"),
    ("", "GlobalAveragePool"): _global_average_pool,
    ("", "Softmax"): _softmax("Softmax"),
    ("", "LogSoftmax"): _softmax("LogSoftmax"),
    ("", "LpNormalization"): _lp_normalization,
    ("symbucket", "Normalize"): _normalize,
    ("symbucket", "NormalizeBatch"): _normalize_batch,
    **{("", op): _reduction(op) for op in "ReduceSum ReduceMean ReduceProd".split()},
    **{("", op): _reduction(op) for op in "ReduceL2 ReduceSumSquare ReduceLogSumExp".split()},
    **{("", op): _reduction(op, "apart") for op in "ReduceMax ReduceMin ReduceL1".split()},
    ("", "QuantizeLinear"): _quantize,
    ("", "DequantizeLinear"): _dequantize,
}
