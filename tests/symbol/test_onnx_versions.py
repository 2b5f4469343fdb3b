"""Operators of every version that ONNX has had: read with that version's meaning.

For each operator a small model is made in the first opset of each of its versions, and compared
with what the runtime computes from the same file.
"""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

import symbucket as sb
from symbucket.runtime.backend import ort

FIRST = 7  # the oldest opset that the runtime promises
RNG = np.random.default_rng(3)
X = RNG.normal(size=(2, 3, 4)).astype(np.float32)
Y = RNG.normal(size=(2, 3, 4)).astype(np.float32)
POSITIVE = np.abs(X) + 0.5
IMAGE = RNG.normal(size=(1, 2, 5, 6)).astype(np.float32)


def i64(*values):
    return np.array(values, np.int64)


def f32(*values):
    return np.array(values, np.float32)


def moved(since, name, values, attrs=None, data=X):
    """An argument that was an attribute before opset ``since`` and is an input from then on."""

    def make(opset):
        if opset < since:
            return {"x": data}, {}, {**(attrs or {}), name: list(values)}
        return {"x": data}, {name: i64(*values)}, dict(attrs or {})

    return make


def same(*arrays, **attrs):
    names = "xyzuv"
    return lambda opset: ({names[i]: a for i, a in enumerate(arrays)}, {}, attrs)


def with_constants(data, constants, **attrs):
    return lambda opset: ({"x": data}, constants, attrs)


def clip(opset):
    if opset < 11:
        return {"x": X}, {}, {"min": -0.5, "max": 0.7}
    return {"x": X}, {"min": np.float32(-0.5), "max": np.float32(0.7)}, {}


def pad(mode):
    def make(opset):
        pads = [0, 0, 1, 0, 1, 2]
        value = {} if mode == "edge" and opset >= 11 else {"value": 0.25}
        if opset < 11:
            return {"x": X}, {}, {"mode": mode, "pads": pads, **value}
        constant = {"value": np.float32(0.25)} if mode == "constant" else {}
        return {"x": X}, {"pads": i64(*pads), **constant}, {"mode": mode}

    return make


def slices(opset):
    if opset < 10:
        return {"x": X}, {}, {"starts": [1, 0], "ends": [3, 2], "axes": [1, 2]}
    return {"x": X}, {"starts": i64(1, 0), "ends": i64(3, 2), "axes": i64(1, 2)}, {}


def top_k(opset):
    if opset < 10:
        return {"x": X}, {}, {"k": 2, "axis": 2}
    return {"x": X}, {"k": i64(2)}, {"axis": 2}


def resize(mode):
    def make(opset):
        scales = f32(1, 1, 2, 2)
        if opset < 9:
            return {"x": IMAGE}, {}, {"mode": mode, "scales": scales.tolist()}
        if opset < 11:
            return {"x": IMAGE}, {"scales": scales}, {"mode": mode}
        return {"x": IMAGE}, {"roi": f32(), "scales": scales}, {"mode": mode}

    return make


def batch_norm(opset):
    constants = {
        "scale": f32(1.5, 0.5),
        "b": f32(0.1, -0.2),
        "mean": f32(0.3, 0.4),
        "var": f32(1.2, 0.8),
    }
    return {"x": IMAGE}, constants, {"epsilon": 1e-3}


def split(opset):
    if opset < 13:
        return {"x": X}, {}, {"split": [1, 3], "axis": 2}
    return {"x": X}, {"split": i64(1, 3)}, {"axis": 2}


REDUCTIONS = "ReduceL1 ReduceL2 ReduceLogSumExp ReduceMax ReduceMean ReduceMin ReduceProd"
REDUCTIONS += " ReduceSumSquare"

CASES = {
    **{
        op: same(X)
        for op in "Abs Ceil Elu Erf Exp Floor HardSigmoid Identity LeakyRelu Neg Relu Selu Shape "
        "Sigmoid Sign Size Softplus Softsign Tanh ThresholdedRelu".split()
    },
    **{op: same(POSITIVE) for op in ("Log", "Reciprocal", "Sqrt")},
    **{op: same(X, Y) for op in "Add Sub Mul Div Max Min Mean Sum Less Greater".split()},
    "Equal": same(np.array([1, 2, 3]), np.array([1, 0, 3])),
    "Pow": same(POSITIVE, Y),
    "Cast": same(X, to=onnx.TensorProto.INT64),
    "Clip": clip,
    "Concat": same(X, Y, axis=1),
    "ConstantOfShape": lambda opset: ({}, {"s": i64(2, 3)}, {}),
    "Conv": with_constants(IMAGE, {"w": RNG.normal(size=(3, 2, 2, 3)).astype(np.float32)}),
    "ConvTranspose": with_constants(
        IMAGE, {"w": RNG.normal(size=(2, 3, 2, 3)).astype(np.float32)}, strides=[2, 1]
    ),
    "CumSum": with_constants(X, {"axis": np.array(1, np.int64)}),
    "DepthToSpace": same(RNG.normal(size=(1, 8, 2, 3)).astype(np.float32), blocksize=2),
    "SpaceToDepth": same(IMAGE[:, :, :4], blocksize=2),
    "Expand": with_constants(X[:, :1], {"shape": i64(2, 3, 4)}),
    "Flatten": same(X, axis=2),
    "Gather": with_constants(X, {"i": i64(2, 0)}, axis=1),
    "GatherElements": with_constants(X, {"i": np.array([[[1, 0]], [[2, 3]]], np.int64)}, axis=2),
    "GatherND": with_constants(X, {"i": np.array([[1, 2], [0, 1]], np.int64)}),
    "Gemm": with_constants(X[0], {"b": Y[1], "c": f32(1, 2, 3)}, transB=1, alpha=0.5, beta=2.0),
    "GlobalAveragePool": same(IMAGE),
    "GlobalMaxPool": same(IMAGE),
    "InstanceNormalization": with_constants(IMAGE, {"s": f32(1.5, 2), "b": f32(0.1, 0.2)}),
    "BatchNormalization": batch_norm,
    "AveragePool": same(IMAGE, kernel_shape=[2, 3], pads=[1, 0, 0, 1], count_include_pad=1),
    "MaxPool": same(IMAGE, kernel_shape=[2, 3], strides=[2, 1], pads=[1, 0, 0, 1]),
    "MatMul": with_constants(X, {"b": Y[0].T.copy()}),
    "OneHot": lambda opset: (
        {"x": np.array([[0, 2], [1, 0]])},
        {"depth": np.array(3, np.int64), "values": f32(-1, 2)},
        {"axis": 1},
    ),
    "PRelu": with_constants(X, {"s": f32(0.1, 0.2, 0.3, 0.4)}),
    "Pad": pad("constant"),
    "Pad/reflect": pad("reflect"),
    "Pad/edge": pad("edge"),
    "Range": lambda opset: (
        {},
        {"a": np.float32(1), "b": np.float32(7), "c": np.float32(2)},
        {},
    ),
    "Reshape": with_constants(X, {"shape": i64(3, -1)}),
    "Resize": resize("nearest"),
    "Resize/linear": resize("linear"),
    "Upsample": resize("nearest"),
    "Upsample/linear": resize("linear"),
    **{op: moved(18, "axes", [1], {"keepdims": 0}) for op in REDUCTIONS.split()},
    "ReduceSum": moved(13, "axes", [1], {"keepdims": 0}),
    "ReduceLogSum": moved(18, "axes", [1], {"keepdims": 0}, data=POSITIVE),
    "Squeeze": moved(13, "axes", [1], data=X[:, :1]),
    "Unsqueeze": moved(13, "axes", [0, 3]),
    "ScatterElements": with_constants(
        X,
        {"i": np.array([[[1, 0]], [[2, 3]]], np.int64), "u": f32(9, 8, 7, 6).reshape(2, 1, 2)},
        axis=2,
    ),
    "ScatterND": with_constants(
        X, {"i": np.array([[1, 2], [0, 1]], np.int64), "u": f32(*range(8)).reshape(2, 4)}
    ),
    "Slice": slices,
    "Split": split,
    "Tile": with_constants(X, {"r": i64(1, 2, 2)}),
    "TopK": top_k,
    "Transpose": same(X, perm=[2, 0, 1]),
    "Where": lambda opset: ({"y": X, "z": Y}, {"c": X > 0}, {}),
    **{op: same(X) for op in ("Softmax", "LogSoftmax", "Hardmax")},
    **{f"{op}/0": same(X, axis=0) for op in ("Softmax", "LogSoftmax", "Hardmax")},
    **{f"{op}/2": same(X, axis=2) for op in ("Softmax", "LogSoftmax", "Hardmax")},
    **{f"{op}/-1": same(X, axis=-1) for op in ("Softmax", "LogSoftmax")},
    "Einsum": same(X, Y, equation="bij,bkj->bik"),
    "LSTM": with_constants(
        X,
        {
            "w": RNG.normal(size=(1, 8, 4)).astype(np.float32),
            "r": RNG.normal(size=(1, 8, 2)).astype(np.float32),
        },
        hidden_size=2,
    ),
    "GRU": with_constants(
        X,
        {
            "w": RNG.normal(size=(1, 6, 4)).astype(np.float32),
            "r": RNG.normal(size=(1, 6, 2)).astype(np.float32),
        },
        hidden_size=2,
        linear_before_reset=1,
    ),
    "RNN": with_constants(
        X,
        {
            "w": RNG.normal(size=(1, 2, 4)).astype(np.float32),
            "r": RNG.normal(size=(1, 2, 2)).astype(np.float32),
        },
        hidden_size=2,
    ),
    "LayerNormalization": with_constants(X, {"s": f32(1, 2, 3, 4), "b": f32(0, 1, 0, 1)}),
    "Mod": same(X, Y, fmod=1),
}
OUTPUTS = {"Split": 2, "TopK": 2}
ORDERS = {"Where": ["c", "y", "z"], "ConstantOfShape": ["s"], "Range": ["a", "b", "c"]}


def versions(op):
    """The first opset of each version of an operator that the runtime reads."""
    history = [s for s in onnx.defs.get_all_schemas_with_history() if s.name == op and not s.domain]
    newest = onnx.defs.get_schema(op, "").since_version if op != "Upsample" else 9
    since = sorted({max(s.since_version, FIRST) for s in history if s.since_version <= newest})
    return [v for v in since if v <= 21]


def build(case, opset):
    op = case.partition("/")[0]
    inputs, constants, attrs = CASES[case](opset)
    order = ORDERS.get(op, [*inputs, *constants])
    outputs = [f"out{i}" for i in range(OUTPUTS.get(op, 1))]
    value = helper.make_tensor_value_info
    kinds = {n: helper.np_dtype_to_tensor_dtype(a.dtype) for n, a in inputs.items()}
    graph = helper.make_graph(
        [helper.make_node(op, order, outputs, name="node", **attrs)],
        "g",
        [value(n, kinds[n], a.shape) for n, a in inputs.items()],
        [onnx.ValueInfoProto(name=n) for n in outputs],
        [numpy_helper.from_array(np.asarray(a), n) for n, a in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)
    return onnx.shape_inference.infer_shapes(model), inputs


def runtime_values(model, inputs):
    session = ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return session.run(None, inputs)


@pytest.mark.parametrize(
    ("case", "opset"), [(c, v) for c in CASES for v in versions(c.partition("/")[0])]
)
def test_version(case, opset):
    model, inputs = build(case, opset)
    expected = runtime_values(model, inputs)
    symbol = sb.sym.from_onnx(model, params=[])
    executor = symbol.simple_bind(
        sb.cpu(),
        "null",
        {n: a.dtype for n, a in inputs.items()},
        **{n: a.shape for n, a in inputs.items()},
    )
    outputs = executor.forward(**inputs)
    assert len(outputs) == len(expected)
    for output, value in zip(outputs, expected):
        assert output.shape == np.shape(value)
        np.testing.assert_allclose(output.asnumpy(), value, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("op", ["Softmax", "LogSoftmax", "Hardmax"])
def test_axes_before_opset_13_in_a_file_without_shapes(op):
    """Nothing in the file says how many axes the value has."""
    value = helper.make_tensor_value_info
    nodes = [
        helper.make_node("Tanh", ["x"], ["t"], name="t"),
        helper.make_node(op, ["t"], ["y"], name="soft"),
    ]
    graph = helper.make_graph(nodes, "g", [value("x", 1, None)], [onnx.ValueInfoProto(name="y")])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 11)], ir_version=8)
    executor = sb.sym.from_onnx(model).simple_bind(sb.cpu(), "null", x=X.shape)
    (expected,) = runtime_values(model, {"x": X})
    output = executor.forward(x=X)[0].asnumpy()
    np.testing.assert_allclose(output, expected, rtol=1e-5, atol=1e-6)
