"""ONNX files that are not sound, or that stand for far more than they hold."""

import time
import tracemalloc

import numpy as np
import onnx
import pytest
from google.protobuf.message import DecodeError
from onnx import TensorProto, helper, numpy_helper

import symbucket as sb
from symbucket.errors import InvalidArgumentError, MemoryLimitError, UnsupportedError
from tests.symbol.onnx_models import mlp, model, node

RELU = [node("Relu", "x", "y")]


def _relu():
    return model(RELU, [("x", [2])], [("y", [2])], {})


def _function(name, nodes):
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("f", 1)]
    return helper.make_function("f", name, ["a"], ["b"], nodes, opsets)


def _call(name, source, target):
    return helper.make_node(name, [source], [target], domain="f" if name[0] == "F" else "")


def _doubling(levels):
    made = _relu()
    made.opset_import.append(helper.make_opsetid("f", 1))
    previous = "Relu"
    for i in range(levels):
        nodes = [_call(previous, "a", "m"), _call(previous, "m", "b")]
        made.functions.append(_function(f"F{i}", nodes))
        previous = f"F{i}"
    made.graph.node[0].CopyFrom(_call(previous, "x", "y"))
    return made


def test_functions_that_stand_for_billions_of_nodes_are_counted_before_they_are_written_out():
    made = _doubling(30)
    tracemalloc.start()
    began = time.process_time()
    with pytest.raises(UnsupportedError, match="graph has 1,073,741,824 nodes"):
        sb.sym.from_onnx(made)
    assert time.process_time() - began < 1
    assert tracemalloc.get_traced_memory()[1] < 10e6
    tracemalloc.stop()
    assert sb.sym.from_onnx(_doubling(3)).infer_shape(x=(2,))[1] == [(2,)]


def test_functions_that_call_each_other_in_a_circle():
    made = _doubling(2)
    made.functions[0].node[0].CopyFrom(_call("F1", "a", "m"))
    with pytest.raises(InvalidArgumentError, match=r"f::F[01] calls itself"):
        sb.sym.from_onnx(made)


def test_a_function_that_is_there_twice():
    made = _doubling(2)
    made.functions.append(made.functions[0])
    with pytest.raises(InvalidArgumentError, match="f::F0 is there twice"):
        sb.sym.from_onnx(made)


@pytest.mark.parametrize("op_type", ["ConstantOfShape", "Range", "Expand"])
def test_constants_that_make_gigabytes(op_type):
    many = {"s": np.array([10**9], np.int64), "a": np.int64(0), "b": np.int64(10**9)}
    one = {"c": np.int64(1), "t": np.array([1], np.int64)}
    inputs = {"ConstantOfShape": "s", "Range": "a b c", "Expand": "t s"}[op_type]
    nodes = [
        node(op_type, inputs, "big"),
        node("Cast", "big", "f", to=TensorProto.FLOAT),
        node("ReduceSum", "f", "d", keepdims=0),
        node("Add", "x d", "y"),
    ]
    constants = {n: v for n, v in {**many, **one}.items() if n in inputs.split()}
    symbol = sb.sym.from_onnx(model(nodes, [("x", [2])], [("y", [2])], constants), fixed="*")
    with pytest.raises(UnsupportedError, match=rf"node 'big' \({op_type} of opset 17\).* GB"):
        symbol.infer_shape(x=(2,))


def test_results_larger_than_the_machine_are_refused_before_the_kernel_ends_the_process():
    made = model(
        [node("Tile", "x s", "t"), node("ReduceSum", "t", "y", keepdims=0)],
        [("x", [2, 3])],
        [("y", [])],
        {"s": np.array([10**6, 10**6], np.int64)},
    )
    executor = sb.sym.from_onnx(made).simple_bind(sb.cpu(), grad_req="null", x=(2, 3))
    with pytest.raises(MemoryLimitError, match="needs 24,000,000 MB; the system has"):
        executor.forward()


def _twice(made):
    made.graph.initializer.append(made.graph.initializer[0])


def _written_again(made):
    made.graph.node.append(node("Relu", "x", made.graph.node[0].output[0]))


def _read_from_nowhere(made):
    made.graph.node[0].input[0] = "nowhere"


def _no_such_output(made):
    made.graph.output[0].name = "nowhere"


def _no_opset(made):
    del made.opset_import[:]


def _short(made):
    made.graph.initializer[0].dims[0] += 1


def _elsewhere(made):
    tensor = made.graph.initializer[0]
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="weights.bin")


def _texts(made):
    made.graph.initializer[0].CopyFrom(
        helper.make_tensor(made.graph.initializer[0].name, TensorProto.STRING, [1], [b"a"])
    )


def _float8(made):
    made.graph.input[0].type.tensor_type.elem_type = TensorProto.FLOAT8E5M2


def _sparse(made):
    values = numpy_helper.from_array(np.ones(1, np.float32), "sparse")
    indices = numpy_helper.from_array(np.zeros(1, np.int64))
    made.graph.sparse_initializer.append(helper.make_sparse_tensor(values, indices, [3]))


def _attribute_twice(made):
    made.graph.node[0].attribute.append(helper.make_attribute("alpha", 1.0))
    made.graph.node[0].attribute.append(helper.make_attribute("alpha", 1.0))


@pytest.mark.parametrize(
    ("damage", "error", "match"),
    [
        (_twice, InvalidArgumentError, "the constant '.+' is there twice"),
        (_written_again, InvalidArgumentError, r"node '.+' \(Relu\) writes '.+', which is there"),
        (_read_from_nowhere, InvalidArgumentError, r"node '.+' \(.+\) reads 'nowhere'"),
        (_no_such_output, InvalidArgumentError, "output 'nowhere' of the graph is computed by no"),
        (_no_opset, InvalidArgumentError, "does not say which opset"),
        (_short, InvalidArgumentError, "the constant '.+' does not hold the values of its shape"),
        (_elsewhere, InvalidArgumentError, "another file, 'weights.bin', that was not loaded"),
        (_texts, UnsupportedError, "the constant '.+' is STRING; these are read: bfloat16, bool"),
        (_float8, UnsupportedError, "'x' is FLOAT8E5M2; these are read"),
        (_sparse, UnsupportedError, "sparse constants"),
        (_attribute_twice, InvalidArgumentError, "the attribute 'alpha' is there twice"),
    ],
)
def test_files_that_are_not_sound(damage, error, match):
    made, _ = mlp()
    damage(made)
    with pytest.raises(error, match=match):
        sb.sym.from_onnx(made)


def test_a_name_that_is_no_text():
    made = onnx.ModelProto()
    try:
        made.ParseFromString(_relu().SerializeToString().replace(b"Relu", b"R\xfflu"))
    except DecodeError:
        pytest.skip("this protobuf refuses it itself")
    with pytest.raises(InvalidArgumentError, match="no UTF-8 text"):
        sb.sym.from_onnx(made)


def test_bodies_are_checked_too():
    body = helper.make_graph(
        [helper.make_node("Add", ["x", "gone"], ["z"], "inner")],
        "then",
        [],
        [helper.make_tensor_value_info("z", TensorProto.FLOAT, [2])],
    )
    nodes = [
        node("ReduceMax", "x", "m", keepdims=0),
        node("Cast", "m", "c", to=TensorProto.BOOL),
        node("If", "c", "y", then_branch=body, else_branch=body),
    ]
    made = model(nodes, [("x", [2])], [("y", [2])], {})
    with pytest.raises(InvalidArgumentError, match=r"node 'inner' \(Add\) reads 'gone'"):
        sb.sym.from_onnx(made)
