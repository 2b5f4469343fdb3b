"""ONNX models that are damaged or no models at all, for ``from_onnx``."""

from __future__ import annotations

import sys
from typing import Any

import numpy as np
import onnx
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import DecodeError, Message
from onnx import TensorProto, helper, numpy_helper

import symbucket as sb
from tests.fuzz.damage import damaged
from tests.fuzz.reading import Case, main

_INTEGERS = [-1, 0, 1, 2, 7, 33, 10**9, 2**31 - 1]
_TEXTS = ["", "x", "w", "loss", "a" * 300, "Relu", "Loop", "ai.onnx", "\u2603"]


def _mlp() -> onnx.ModelProto:
    rng = np.random.default_rng(0)
    weights = {"w": rng.normal(size=(3, 4)), "v": rng.normal(size=(4, 2)), "b": np.zeros(4)}
    nodes = [
        helper.make_node("Gemm", ["x", "w", "b"], ["h"], "first", alpha=1.0),
        helper.make_node("Relu", ["h"], ["r"], "relu"),
        helper.make_node("Shape", ["r"], ["shape"], "shape"),
        helper.make_node("Reshape", ["r", "shape"], ["r2"], "same"),
        helper.make_node("MatMul", ["r2", "v"], ["y"], "second"),
        helper.make_node("SoftmaxCrossEntropyLoss", ["y", "t"], ["loss"], "loss"),
    ]
    graph = helper.make_graph(
        nodes,
        "mlp",
        [
            helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 3]),
            helper.make_tensor_value_info("t", TensorProto.INT64, ["n"]),
        ],
        [
            helper.make_tensor_value_info("loss", TensorProto.FLOAT, []),
            helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", 2]),
        ],
        [numpy_helper.from_array(a.astype(np.float32), n) for n, a in weights.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def _branches() -> onnx.ModelProto:
    def constant(name: str, value: float) -> onnx.GraphProto:
        tensor = numpy_helper.from_array(np.full((2, 3), value, np.float32))
        node = helper.make_node("Constant", [], [name], name, value=tensor)
        out = helper.make_tensor_value_info(name, TensorProto.FLOAT, [2, 3])
        return helper.make_graph([node], name, [], [out])

    double = helper.make_function(
        "f",
        "Double",
        ["a"],
        ["b"],
        [helper.make_node("Add", ["a", "a"], ["b"])],
        [helper.make_opsetid("", 17)],
    )
    nodes = [
        helper.make_node("ReduceSum", ["x"], ["s"], keepdims=0),
        helper.make_node("Cast", ["s"], ["c"], to=TensorProto.BOOL),
        helper.make_node(
            "If", ["c"], ["d"], then_branch=constant("p", 1.0), else_branch=constant("q", 2.0)
        ),
        helper.make_node("Double", ["d"], ["e"], domain="f"),
        helper.make_node("Mul", ["e", "x"], ["y"]),
        helper.make_node("ReduceMean", ["y"], ["loss"], keepdims=0),
    ]
    graph = helper.make_graph(
        nodes,
        "branches",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [2, 3])],
        [helper.make_tensor_value_info("loss", TensorProto.FLOAT, [])],
    )
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("f", 1)]
    return helper.make_model(graph, functions=[double], opset_imports=opsets, ir_version=8)


MODELS = [_mlp(), _branches()]


def case(seed: int) -> Case:
    """Return the import of model number ``seed``: some fields are others, or some bytes."""
    rng = np.random.default_rng(seed)
    model = onnx.ModelProto()
    model.CopyFrom(MODELS[rng.integers(len(MODELS))])
    if rng.random() < 0.15:
        content = damaged(model.SerializeToString(), rng)
        model = onnx.ModelProto()
        try:
            model.ParseFromString(content)
        except DecodeError:
            model = onnx.ModelProto()
    else:
        for _ in range(rng.integers(1, 4)):
            _change(model, rng)
    return lambda: _use(model, bind=seed % 10 == 0)


def _change(message: Message, rng: np.random.Generator) -> None:
    """Change one field of a message, or of one that it holds."""
    fields = [f for f, _ in message.ListFields()] or list(message.DESCRIPTOR.fields)
    if rng.random() < 0.1:
        fields = list(message.DESCRIPTOR.fields)
    of: FieldDescriptor = fields[rng.integers(len(fields))]
    is_message = of.cpp_type == FieldDescriptor.CPPTYPE_MESSAGE
    value: Any = getattr(message, of.name)
    if hasattr(value, "__len__") and not isinstance(value, (str, bytes)):
        if not len(value):
            return
        i = int(rng.integers(len(value)))
        kind = rng.random()
        if kind < 0.1:
            del value[i]
        elif kind < 0.2:
            value.append(value[i])
        elif is_message:
            _change(value[i], rng)
        else:
            value[i] = _other(of, rng)
    elif rng.random() < 0.1:
        message.ClearField(of.name)
    elif is_message:
        _change(value, rng)
    else:
        setattr(message, of.name, _other(of, rng))


def _other(of: FieldDescriptor, rng: np.random.Generator) -> Any:
    if of.type == FieldDescriptor.TYPE_STRING:
        return _TEXTS[rng.integers(len(_TEXTS))]
    if of.type == FieldDescriptor.TYPE_BYTES:
        return rng.bytes(int(rng.integers(0, 40)))
    if of.cpp_type in (FieldDescriptor.CPPTYPE_FLOAT, FieldDescriptor.CPPTYPE_DOUBLE):
        return [float("nan"), float("inf"), -1.0, 1e30][rng.integers(4)]
    if of.enum_type is not None:
        values = of.enum_type.values
        return values[rng.integers(len(values))].number
    return _INTEGERS[rng.integers(len(_INTEGERS))]


def _use(model: onnx.ModelProto, bind: bool) -> None:
    with sb.NameManager():
        symbol = sb.sym.from_onnx(model)
    inputs = {"x": (2, 3), "t": (2,)}
    shapes = {n: s for n, s in inputs.items() if n in symbol.list_arguments()}
    arguments, _, _ = symbol.infer_shape(**shapes)
    symbol.infer_type()
    if bind and all(np.prod(s, dtype=float) < 1e6 for s in arguments or ()):
        symbol.simple_bind(sb.cpu(), grad_req="null", **shapes).forward()


if __name__ == "__main__":
    sys.exit(main(case, __doc__))
