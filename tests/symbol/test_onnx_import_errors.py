"""What ``sym.from_onnx`` refuses, and with which words."""

import numpy as np
import onnx_ir as ir
import pytest
from onnx import helper

import symbucket as sb
from symbucket import sym
from symbucket.errors import (
    InvalidArgumentError,
    ShapeError,
    SymbucketError,
    UnsupportedError,
)
from tests.symbol.onnx_models import draw, mlp, model, node


def test_unknown_operators_are_named_all_at_once():
    nodes = [
        helper.make_node("Strange", ["x"], ["a"], "first", domain="com.vendor"),
        node("Tanh", "a", "b"),
        helper.make_node("NoSuch", ["b"], ["c"], "second"),
        helper.make_node("Attention", ["x", "x", "x"], ["d"], "third"),
    ]
    made = model(nodes, [("x", [2])], [("c", [2])], {}, 17, "com.vendor")
    with pytest.raises(UnsupportedError) as error:
        sym.from_onnx(made)
    said = str(error.value)
    assert "3 nodes" in said
    for part in ("first (com.vendor::Strange)", "second (NoSuch)", "third (Attention)"):
        assert part in said


def test_gradients_that_do_not_exist_are_named_when_the_module_is_bound():
    nodes = [
        node("Mul", "x w", "a"),
        node("Reshape", "a picture", "image"),
        node("MaxRoiPool", "image boxes", "b", pooled_shape=[1, 1]),
        node("Pad", "a pads", "c0", mode="reflect"),
        node("Einsum", "c0", "c", equation="ii->i"),
        node("ReduceSum", "c", "d", keepdims=0),
        node("ReduceSum", "b", "e", keepdims=0),
        node("Add", "d e", "loss"),
    ]
    weights = {"w": np.eye(3, dtype=np.float32), "pads": np.array([-1, 0, 1, 0], np.int64)}
    weights |= {"boxes": np.zeros((1, 5), np.float32), "picture": np.array([1, 1, 3, 3])}
    made = model(nodes, [("x", [3, 3])], [("loss", [])], weights)
    module = sb.mod.Module(sym.from_onnx(made, loss="loss", fixed="boxes"), ("x",), ())
    with pytest.raises(UnsupportedError) as error:
        module.bind([("x", (3, 3))])
    said = str(error.value)
    assert all(part in said for part in ("/b/MaxRoiPool (MaxRoiPool)", "/c0/Pad"))
    assert not module.binded
    module.bind([("x", (3, 3))], for_training=False)  # running it needs no gradient
    module.init_params()
    module.forward(sb.io.DataBatch([np.eye(3, dtype=np.float32)]))
    assert module.get_outputs()[0].shape == ()


def test_shapes_that_do_not_fit_name_the_node():
    made, _ = mlp()
    with pytest.raises(ShapeError, match="differ"):
        sym.from_onnx(made).infer_shape(x=(2, 5))
    open_shape = model(
        [node("MatMul", "x w", "y")], [("x", ["n", "k"])], [("y", ["n", 3])], draw(0, w=(4, 3))
    )
    with pytest.raises(ShapeError, match="ONNX node 'y'"):
        sym.from_onnx(open_shape).infer_shape(x=(2, 5))


@pytest.mark.parametrize(
    ("inputs", "loss", "match"),
    [
        ({"nothing": sym.Variable("a")}, None, "no input 'nothing'"),
        ([sym.Variable("a"), sym.Variable("b")], None, "2 inputs were given"),
        ([3], None, "must be a Symbol with one output"),
        (None, "z", "must name outputs of the graph: y"),
    ],
)
def test_wrong_inputs_and_losses_are_refused(inputs, loss, match):
    with pytest.raises(InvalidArgumentError, match=match):
        sym.from_onnx(mlp()[0], inputs, loss)


def test_files_that_are_no_models_are_refused(tmp_path):
    (tmp_path / "no.onnx").write_bytes(b"\x08\xff\xff no model")
    for bad in (tmp_path / "no.onnx", tmp_path / "absent.onnx", 7):
        with pytest.raises(SymbucketError):
            sym.from_onnx(bad)


@pytest.mark.parametrize("count", [1, 3, 4])
@pytest.mark.parametrize("op", ["Max", "Min"])
def test_gradient_of_extremes_of_many_goes_to_the_first_winner(op, count):
    from symbucket.compiler.autodiff.differentiate import differentiate
    from symbucket.ir import Builder, new_graph
    from symbucket.runtime.backend import ort

    g = Builder(new_graph("extremes"))
    values = [g.input(f"x{i}", (2, 3) if i else (3,), ir.DataType.FLOAT) for i in range(count)]
    y = g.op(op, *values)
    head = g.input("head", tuple(y.shape), ir.DataType.FLOAT)
    found = differentiate(g, [y], {y: head}, values)
    results = [g.op("Identity", found[v]) for v in values]
    g.graph.outputs.extend(results)
    proto = ir.serde.serialize_model(ir.Model(g.graph, ir_version=10))
    session = ort.InferenceSession(proto.SerializeToString(), providers=["CPUExecutionProvider"])
    generator = np.random.default_rng(0)
    arrays = [generator.integers(0, 3, tuple(v.shape)).astype(np.float32) for v in values]
    heads = generator.normal(size=tuple(y.shape)).astype(np.float32)
    feed = {f"x{i}": a for i, a in enumerate(arrays)} | {"head": heads}
    whole = np.stack(np.broadcast_arrays(*arrays)) if count > 1 else arrays[0][None]
    winner = whole.argmax(0) if op == "Max" else whole.argmin(0)
    for i, grad in enumerate(session.run(None, feed)):
        wanted = np.where(winner == i, heads, 0)
        wanted = wanted.sum(0) if wanted.ndim > arrays[i].ndim else wanted
        np.testing.assert_allclose(grad, wanted, rtol=1e-6)
