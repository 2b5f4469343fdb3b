"""``sym.from_onnx``: networks that others wrote, as symbols that train."""

import json

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from onnx import TensorProto, helper, numpy_helper

import symbucket as sb
from symbucket import sym
from symbucket.errors import (
    InvalidArgumentError,
    ParameterError,
    ShapeError,
    SymbucketError,
    UnsupportedError,
)

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


def _reference(made, feed):
    import onnxruntime as ort

    session = ort.InferenceSession(made.SerializeToString(), providers=["CPUExecutionProvider"])
    return session.run(None, feed)


def _with(made, values):
    copy = onnx.ModelProto()
    copy.CopyFrom(made)
    for tensor in copy.graph.initializer:
        if tensor.name in values:
            tensor.CopyFrom(numpy_helper.from_array(values[tensor.name], tensor.name))
    return copy


@pytest.mark.parametrize("case", CASES)
def test_outputs_and_gradients_are_those_of_the_model(case):
    made, shapes = CASES[case]()
    symbol = sym.from_onnx(made, name="net")
    held = {t.name: numpy_helper.to_array(t) for t in made.graph.initializer}
    feed = draw(9, **shapes)
    names = symbol.list_arguments()
    args = {n: feed[n] if n in feed else held[n] for n in names}
    aux = {n: held[n] for n in symbol.list_auxiliary_states()}
    grads = {n: np.zeros_like(a) for n, a in args.items()}
    executor = symbol.bind(None, args, grads, "write", aux)
    (out,) = executor.forward(is_train=True)
    expected = _reference(made, feed)[0]
    np.testing.assert_allclose(out.asnumpy(), expected, rtol=2e-5, atol=2e-5)
    (inferred,) = executor.forward(is_train=False)
    np.testing.assert_allclose(inferred.asnumpy(), expected, rtol=2e-5, atol=2e-5)

    executor.forward(is_train=True)
    head = draw(99, head=expected.shape)["head"]
    executor.backward([head])
    generator = np.random.default_rng(5)
    for name in names:  # along a random direction, in float32: a step that is large enough
        direction = generator.normal(size=args[name].shape).astype(np.float32)
        direction /= np.linalg.norm(direction)
        step = 1e-2
        ends = []
        for sign in (1, -1):
            moved = args[name] + np.float32(sign * step) * direction
            if name in feed:
                found = _reference(made, {**feed, name: moved})[0]
            else:
                found = _reference(_with(made, {name: moved}), feed)[0]
            ends.append(float((found.astype(np.float64) * head).sum()))
        numeric = (ends[0] - ends[1]) / (2 * step)
        ours = float((executor.grad_dict[name].asnumpy() * direction).sum())
        assert ours == pytest.approx(numeric, rel=2e-2, abs=2e-3), name


def test_arguments_are_the_parameters_of_the_file():
    made, _ = convnet()
    symbol = sym.from_onnx(made, name="net")
    assert symbol.list_arguments() == ["x", "k", "kb", "w", "scale", "shift"]
    assert symbol.list_auxiliary_states() == ["mean", "var"]
    assert symbol.list_outputs() == ["net_y"]
    shapes, outs, _ = symbol.infer_shape(x=(5, 2, 6, 6))
    assert dict(zip(symbol.list_arguments(), shapes))["k"] == (4, 2, 3, 3)
    assert outs == [(5, 3)]


def test_scalars_integers_and_settings_stay_constants():
    made, _ = attention()
    found = sym.from_onnx(made).list_arguments()
    assert found == ["x", "wq", "wk", "wv", "g", "b", "wo"]
    assert sym.from_onnx(made, params=["wq", "half"]).list_arguments() == ["x", "wq", "half"]
    with pytest.raises(InvalidArgumentError, match="params has 'two'"):
        sym.from_onnx(made, params=["two"])


def _classifier(made):
    return sym.SoftmaxOutput(
        sym.from_onnx(made, name="net"), sym.Variable("softmax_label"), name="softmax"
    )


def _batch(seed, rows, length):
    generator = np.random.default_rng(seed)
    x = generator.normal(size=(rows, length, 6)).astype(np.float32)
    y = generator.integers(0, 3, rows).astype(np.float32)
    return sb.io.DataBatch(
        [x],
        [y],
        bucket_key=length,
        provide_data=[("x", x.shape)],
        provide_label=[("softmax_label", y.shape)],
    )


def test_buckets_share_the_parameters_of_a_file(tmp_path):
    path = tmp_path / "attention.onnx"
    made, _ = attention()
    onnx.save(made, path)
    module = sb.mod.BucketingModule(
        lambda key: (_classifier(path), ("x",), ("softmax_label",)), default_bucket_key=5
    )
    module.bind([("x", (4, 5, 6))], [("softmax_label", (4,))])
    module.init_params()
    held = {t.name: numpy_helper.to_array(t) for t in made.graph.initializer}
    before = module.get_params()[0]
    np.testing.assert_array_equal(before["wq"].asnumpy(), held["wq"])
    module.init_optimizer(optimizer_params={"learning_rate": 0.5})
    first, second = _batch(0, 4, 5), _batch(1, 4, 3)
    module.forward(second, is_train=False)
    old = module.get_outputs()[0].asnumpy()
    module.forward_backward(first)
    module.update()
    module.forward(second, is_train=False)
    seen = module.get_outputs()[0].asnumpy()
    assert np.abs(seen - old).max() > 1e-3
    args = {n: a.asnumpy() for n, a in module.get_params()[0].items()}
    raw = _reference(_with(made, args), {"x": second.data[0]})[0]
    wanted = np.exp(raw) / np.exp(raw).sum(axis=1, keepdims=True)
    np.testing.assert_allclose(seen, wanted, rtol=1e-4, atol=1e-5)
    for _ in range(40):
        for batch in (first, second):
            module.forward_backward(batch)
            module.update()
    hits = []
    for batch in (first, second):
        module.forward(batch, is_train=False)
        hits.append((module.get_outputs()[0].asnumpy().argmax(1) == batch.label[0]).mean())
    assert min(hits) == 1.0


def _with_loss():
    made, _ = mlp()
    made.graph.input.append(helper.make_tensor_value_info("target", FLOAT, ["n", 3]))
    made.graph.node.extend(
        [
            node("Sub", "y target", "d"),
            node("Mul", "d d", "d2"),
            node("ReduceMean", "d2", "loss", keepdims=0),
        ]
    )
    made.graph.output.append(helper.make_tensor_value_info("loss", FLOAT, []))
    return made


@pytest.mark.parametrize("as_path", [False, True])
def test_sym_gen_may_give_a_model_with_a_loss(tmp_path, as_path):
    made = _with_loss()
    path = str(tmp_path / "m.onnx")
    onnx.save(made, path)
    module = sb.mod.BucketingModule(
        lambda key: (path if as_path else made, ("x", "target"), ()), default_bucket_key=8
    )
    shapes = [("x", (8, 4)), ("target", (8, 3))]
    module.bind(shapes)
    module.init_params(arg_params={"b2": np.full(3, 2, np.float32)}, allow_missing=True)
    assert module.get_params()[0]["b2"].asnumpy().tolist() == [2, 2, 2]
    module.init_optimizer(optimizer_params={"learning_rate": 0.5, "rescale_grad": 1.0})
    data = draw(7, x=(8, 4), target=(8, 3))
    losses = []
    for _ in range(60):
        batch = sb.io.DataBatch(list(data.values()), None, bucket_key=8, provide_data=shapes)
        module.forward_backward(batch)
        losses.append(float(module.get_outputs()[0].asnumpy()))
        module.update()
    assert module.output_names == ["net_loss_output", "net_y_output"]
    assert losses[-1] < 0.2 * losses[0]


def test_module_takes_a_model():
    module = sb.mod.Module(_with_loss(), ("x", "target"), ())
    module.bind([("x", (2, 4)), ("target", (2, 3))])
    module.init_params()
    data = draw(7, x=(2, 4), target=(2, 3))
    module.forward(sb.io.DataBatch(list(data.values())), is_train=False)
    np.testing.assert_allclose(
        module.get_outputs()[0].asnumpy(), _reference(_with_loss(), data)[1], rtol=1e-5
    )


def test_imported_networks_are_cached_and_exported(tmp_path):
    made, _ = attention()
    options = sb.compiler.CompilerOptions(cache_dir=str(tmp_path / "cache"))
    module = sb.mod.BucketingModule(
        lambda key: (_classifier(made), ("x",), ("softmax_label",)),
        default_bucket_key=5,
        options=options,
    )
    module.bind([("x", (4, 5, 6))], [("softmax_label", (4,))])
    module.init_params()
    batch = _batch(0, 4, 5)
    module.forward(batch, is_train=False)
    assert list((tmp_path / "cache").iterdir())
    expected = module.get_outputs()[0].asnumpy()
    module.export(tmp_path / "bundle")
    files = sorted((tmp_path / "bundle").rglob("*.onnx"))
    assert files
    again = sb.mod.BucketingModule(
        lambda key: (_classifier(made), ("x",), ("softmax_label",)),
        default_bucket_key=5,
        options=options,
    )
    again.bind([("x", (4, 5, 6))], [("softmax_label", (4,))])
    again.init_params()
    again.forward(batch, is_train=False)
    assert (again.get_outputs()[0].asnumpy() == expected).all()


def test_batch_normalization_in_training_mode_follows_the_batches():
    weights = {
        "s": np.array([1.0, 2.0], np.float32),
        "b": np.zeros(2, np.float32),
        "m": np.zeros(2, np.float32),
        "v": np.ones(2, np.float32),
    }
    nodes = [node("BatchNormalization", "x s b m v", "y m2 v2", training_mode=1, momentum=0.75)]
    made = model(nodes, [("x", ["n", 2, 3])], [("y", ["n", 2, 3])], weights, 15)
    symbol = sym.from_onnx(made)
    x = draw(1, x=(4, 2, 3))["x"] * 3 + 1
    aux = {"m": weights["m"].copy(), "v": weights["v"].copy()}
    args = {"x": x, "s": weights["s"], "b": weights["b"]}
    executor = symbol.bind(None, args, aux_states=aux)
    (y,) = executor.forward(is_train=True)
    mean, var = x.mean((0, 2)), x.var((0, 2))
    wanted = (x - mean[:, None]) / np.sqrt(var[:, None] + 1e-5) * weights["s"][:, None]
    np.testing.assert_allclose(y.asnumpy(), wanted, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(executor.aux_dict["m"].asnumpy(), 0.25 * mean, rtol=1e-5)
    np.testing.assert_allclose(executor.aux_dict["v"].asnumpy(), 0.75 + 0.25 * var, rtol=1e-5)


def test_dropout_drops_only_where_the_file_says_training():
    for mode, share in ((True, 0.5), (False, 0.0)):
        nodes = [node("Dropout", "x ratio mode", "y")]
        weights = {"ratio": np.array(0.5, np.float32), "mode": np.array(mode)}
        made = model(nodes, [("x", [1000])], [("y", [1000])], weights)
        executor = sym.from_onnx(made).bind(None, {"x": np.ones(1000, np.float32)})
        (y,) = executor.forward(is_train=True)
        assert abs((y.asnumpy() == 0).mean() - share) < 0.1
        assert executor.forward(is_train=False)[0].asnumpy().min() == 1


def test_if_is_decided_by_shapes_and_functions_are_written_out():
    then = helper.make_graph(
        [node("Mul", "x w", "t")], "then", [], [helper.make_tensor_value_info("t", FLOAT, None)]
    )
    other = helper.make_graph(
        [node("Neg", "x", "e")], "else", [], [helper.make_tensor_value_info("e", FLOAT, None)]
    )
    twice = helper.make_function(
        "own", "Twice", ["a"], ["b"], [node("Add", "a a", "b")], [helper.make_opsetid("", 17)]
    )
    nodes = [
        node("Size", "x", "count"),
        node("Greater", "count four", "long"),
        node("If", "long", "chosen", then_branch=then, else_branch=other),
        helper.make_node("Twice", ["chosen"], ["y"], "twice", domain="own"),
    ]
    weights = {"four": np.array(4, np.int64), "w": np.full((1,), 3, np.float32)}
    made = model(nodes, [("x", ["n"])], [("y", ["n"])], weights, 17, "own", [twice])
    symbol = sym.from_onnx(made)
    for size, factor in ((6, 6), (3, -2)):
        x = np.arange(size, dtype=np.float32)
        (y,) = symbol.eval(x=x, w=weights["w"])
        assert y.asnumpy().tolist() == (factor * x).tolist()


def test_embedding_takes_ids_of_any_dtype():
    made = model(
        [node("Gather", "table ids", "y")],
        [("ids", ["n"], INT)],
        [("y", ["n", 2])],
        {"table": np.arange(8, dtype=np.float32).reshape(4, 2)},
    )
    symbol = sym.from_onnx(made, inputs=[sym.Variable("data", dtype="float32")])
    assert symbol.list_arguments() == ["data", "table"]
    table = np.arange(8, dtype=np.float32).reshape(4, 2)
    (y,) = symbol.eval(data=np.array([3.0, 0.0], np.float32), table=table)
    assert y.asnumpy().tolist() == [[6, 7], [0, 1]]


def test_older_and_newer_opsets_are_converted():
    made, shapes = mlp()
    feed = draw(9, **shapes)
    for version in (11, 22):
        other = onnx.ModelProto()
        other.CopyFrom(made)
        other.opset_import[0].version = version
        symbol = sym.from_onnx(other)
        held = {t.name: numpy_helper.to_array(t) for t in made.graph.initializer}
        (y,) = symbol.eval(**feed, **held)
        np.testing.assert_allclose(y.asnumpy(), _reference(made, feed)[0], rtol=1e-5, atol=1e-6)


def test_symbol_files_hold_the_graph_and_no_values(tmp_path):
    made, shapes = mlp()
    symbol = sym.from_onnx(made, name="net")
    symbol.save(str(tmp_path / "net.json"))
    again = sym.load(str(tmp_path / "net.json"))
    assert again.tojson() == symbol.tojson()
    held = {t.name: numpy_helper.to_array(t) for t in made.graph.initializer}
    feed = draw(9, **shapes)
    (a,), (b,) = (s.eval(**feed, **held) for s in (symbol, again))
    assert (a.asnumpy() == b.asnumpy()).all()
    text = symbol.tojson().replace('digest\\": \\"', 'digest\\": \\"0')
    strange = sym.load_json(text)
    module = sb.mod.Module(strange, ("x",), ())
    module.bind([("x", (6, 4))])
    with pytest.raises(ParameterError, match=r"'w1' starts at a value from an ONNX file.*Call"):
        module.init_params()
    module.init_params(arg_params=held)
    assert module.get_params()[0]["w1"].asnumpy().tolist() == held["w1"].tolist()


def test_damaged_symbol_file_is_refused():
    made, _ = mlp()
    whole = json.loads(sym.from_onnx(made).tojson())
    (record,) = (n for n in whole["nodes"] if n["op"] == "_onnx_graph")
    record["attrs"]["graph"] = "AAAA" + record["attrs"]["graph"][4:]
    with pytest.raises(InvalidArgumentError, match="holds no packed ONNX model"):
        sym.load_json(json.dumps(whole))


# Errors -----------------------------------------------------------------------------------------


def test_unknown_operators_are_named_all_at_once():
    nodes = [
        helper.make_node("Strange", ["x"], ["a"], "first", domain="com.vendor"),
        node("Tanh", "a", "b"),
        helper.make_node("NoSuch", ["b"], ["c"], "second"),
        helper.make_node("SequenceEmpty", [], ["d"], "third"),
    ]
    made = model(nodes, [("x", [2])], [("c", [2])], {}, 17, "com.vendor")
    with pytest.raises(UnsupportedError) as error:
        sym.from_onnx(made)
    said = str(error.value)
    assert "3 nodes" in said
    for part in ("first (com.vendor::Strange)", "second (NoSuch)", "third (SequenceEmpty)"):
        assert part in said


def test_gradients_that_do_not_exist_are_named_when_the_module_is_bound():
    nodes = [
        node("Mul", "x w", "a"),
        node("Det", "a", "b"),
        node("Pad", "a pads", "c0", mode="reflect"),
        node("LpNormalization", "c0", "c", p=1),
        node("ReduceSum", "c", "d", keepdims=0),
        node("ReduceSum", "b", "e", keepdims=0),
        node("Add", "d e", "loss"),
    ]
    weights = {"w": np.eye(3, dtype=np.float32), "pads": np.array([1, 0, 1, 0], np.int64)}
    made = model(nodes, [("x", [3, 3])], [("loss", [])], weights)
    module = sb.mod.Module(made, ("x",), ())
    with pytest.raises(UnsupportedError) as error:
        module.bind([("x", (3, 3))])
    said = str(error.value)
    assert all(part in said for part in ("/b/Det (Det)", "/c0/Pad", "/c/LpNormalization"))
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
