"""ONNX models as other programs write them."""

import numpy as np
from onnx import TensorProto, helper, numpy_helper

FLOAT, INT = TensorProto.FLOAT, TensorProto.INT64


def model(nodes, inputs, outputs, weights, opset=17, domain=None, functions=()):
    """A model; ``inputs`` and ``outputs`` are (name, shape[, type]), weights arrays by name."""
    graph = helper.make_graph(
        nodes,
        "net",
        [helper.make_tensor_value_info(n, (t or [FLOAT])[0], s) for n, s, *t in inputs],
        [helper.make_tensor_value_info(n, (t or [FLOAT])[0], s) for n, s, *t in outputs],
        [numpy_helper.from_array(np.asarray(v), n) for n, v in weights.items()],
    )
    imports = [helper.make_opsetid("", opset)]
    if domain:
        imports.append(helper.make_opsetid(domain, 1))
    made = helper.make_model(graph, opset_imports=imports, functions=list(functions))
    made.ir_version = 8
    return made


def node(op_type, inputs, outputs, **attributes):
    return helper.make_node(
        op_type, inputs.split(), outputs.split(), outputs.split()[0], **attributes
    )


def draw(seed, **shapes):
    generator = np.random.default_rng(seed)
    return {n: generator.normal(size=s).astype(np.float32) * 0.5 for n, s in shapes.items()}


def mlp():
    weights = draw(0, w1=(4, 5), b1=(5,), w2=(3, 5), b2=(3,))
    nodes = [
        node("MatMul", "x w1", "h0"),
        node("Add", "h0 b1", "h1"),
        node("Tanh", "h1", "h"),
        node("Gemm", "h w2 b2", "y", transB=1),
    ]
    return model(nodes, [("x", ["n", 4])], [("y", ["n", 3])], weights), {"x": (6, 4)}


def convnet():
    weights = draw(1, k=(4, 2, 3, 3), kb=(4,), w=(4 * 3 * 3, 3))
    weights |= {"scale": np.ones(4, np.float32) * 1.3, "shift": np.zeros(4, np.float32)}
    weights |= {"mean": np.full(4, 0.1, np.float32), "var": np.full(4, 2.0, np.float32)}
    nodes = [
        node("Conv", "x k kb", "c", pads=[1, 1, 1, 1]),
        node("BatchNormalization", "c scale shift mean var", "bn"),
        node("Sigmoid", "bn", "r"),
        node("AveragePool", "r", "p", kernel_shape=[2, 2], strides=[2, 2]),
        node("Flatten", "p", "f"),
        node("MatMul", "f w", "y"),
    ]
    return model(nodes, [("x", ["n", 2, 6, 6])], [("y", ["n", 3])], weights, 15), {
        "x": (2, 2, 6, 6)
    }


def attention(opset=17):
    """One head with dynamic shapes computed by the graph itself, as exporters write it."""
    weights = draw(2, wq=(6, 6), wk=(6, 6), wv=(6, 6), g=(6,), b=(6,), wo=(6, 3))
    weights["half"] = np.array(0.40824829, np.float32)
    weights["two"] = np.array([2], np.int64)
    weights["minus"] = np.array([-1], np.int64)
    weights["three"] = np.array([3], np.int64)
    nodes = [
        node("LayerNormalization", "x g b", "n", axis=-1),
        node("MatMul", "n wq", "q"),
        node("MatMul", "n wk", "k"),
        node("MatMul", "n wv", "v"),
        node("Shape", "x", "s"),
        node("Gather", "s zero", "batch", axis=0),
        node("Gather", "s one", "length", axis=0),
        node("Concat", "batch length minus", "full", axis=0),
        node("Reshape", "v full", "v2"),
        node("Transpose", "k", "kt", perm=[0, 2, 1]),
        node("MatMul", "q kt", "scores0"),
        node("Mul", "scores0 half", "scores1"),
        node("Concat", "length length", "square", axis=0),
        node("ConstantOfShape", "square", "ones", value=helper.make_tensor("v", FLOAT, [1], [1.0])),
        node("Trilu", "ones", "mask", upper=0),
        node("Cast", "mask", "allowed", to=TensorProto.BOOL),
        node("Where", "allowed scores1 low", "scores"),
        node("Softmax", "scores", "p", axis=-1),
        node("MatMul", "p v2", "context"),
        node("Add", "context x", "residual"),
        node("Erf", "residual", "bent"),
        node("ReduceMean", "bent", "pooled", axes=[1], keepdims=0),
        node("MatMul", "pooled wo", "y"),
    ]
    weights["zero"], weights["one"] = np.array([0], np.int64), np.array([1], np.int64)
    weights["low"] = np.array(-1e9, np.float32)
    return (
        model(nodes, [("x", ["n", "t", 6])], [("y", ["n", 3])], weights, opset),
        {"x": (2, 4, 6)},
    )


def recurrent(op, gates, bidirectional=False, **attributes):
    d = 2 if bidirectional else 1
    weights = draw(3, w=(d, gates * 3, 2), r=(d, gates * 3, 3), bias=(d, gates * 6))
    way = "bidirectional" if bidirectional else "reverse"
    nodes = [
        node(op, "x w r bias", "all last", hidden_size=3, direction=way, **attributes),
        node("Transpose", "all", "all2", perm=[2, 0, 1, 3]),
        node("ReduceSum", "all2 axes", "sum", keepdims=0),
        node("ReduceSum", "last first", "sum2", keepdims=0),
        node("Add", "sum sum2", "y"),
    ]
    weights["axes"], weights["first"] = np.array([1, 2], np.int64), np.array([0], np.int64)
    return model(nodes, [("x", ["t", "n", 2])], [("y", ["n", 3])], weights, 14), {"x": (3, 2, 2)}


def many():
    """A chain of operators that have a rule or a definition of their own."""
    nodes = [
        node("Mul", "x w", "x0"),
        node("HardSwish", "x0", "a"),
        node("Mish", "a", "b"),
        node("Celu", "b", "c", alpha=1.5),
        node("CumSum", "c axis", "d", exclusive=1),
        node("Gelu", "c", "e"),
        node("Max", "c d e", "f"),
        node("Einsum", "f f2", "g", equation="nij,kj->nik"),
        node("Split", "g", "h0 h1", axis=2, num_outputs=2),
        node("Concat", "h1 h0", "h", axis=2),
        node("Slice", "h start end ax", "i"),
        node("ReduceLogSumExp", "i ax", "j", keepdims=1),
        node("Expand", "j wide", "k"),
        node("Sub", "i k", "l"),
        node("ReduceSumSquare", "l ax", "m", keepdims=0),
        node("ReduceL1", "l ax", "m1", keepdims=0),
        node("Add", "m m1", "n0"),
        node("MatMul", "n0 vec", "y"),
    ]
    weights = draw(4, w=(3, 4), f2=(6, 4), vec=(3,))
    weights |= {
        "axis": np.array(1, np.int64),
        "start": np.array([1], np.int64),
        "end": np.array([6], np.int64),
        "ax": np.array([2], np.int64),
        "wide": np.array([1, 1, 5], np.int64),
    }
    return model(nodes, [("x", ["n", 3, 4])], [("y", ["n"])], weights, 20), {"x": (2, 3, 4)}


def attention_13():
    """The same in opset 13, without the operators that came later."""
    made, shapes = attention(13)
    for op, other in (
        ("LayerNormalization", node("Mul", "x g", "n")),
        ("Trilu", node("Identity", "ones", "mask")),
    ):
        (place,) = (i for i, n in enumerate(made.graph.node) if n.op_type == op)
        made.graph.node[place].CopyFrom(other)
    kept = [t for t in made.graph.initializer if t.name != "b"]
    del made.graph.initializer[:]
    made.graph.initializer.extend(kept)
    return made, shapes


CASES = {
    "mlp": mlp,
    "convnet": convnet,
    "attention": attention,
    "attention-13": attention_13,
    "lstm": lambda: recurrent("LSTM", 4, True),
    "gru": lambda: recurrent("GRU", 3),
    "gru-before": lambda: recurrent("GRU", 3, True, linear_before_reset=1),
    "rnn": lambda: recurrent("RNN", 1),
    "many": many,
}
