"""``sym.from_onnx``: networks that others wrote, as symbols that train."""

import json

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

import symbucket as sb
from symbucket import sym
from symbucket.errors import (
    InvalidArgumentError,
    ParameterError,
)
from tests.symbol.onnx_models import (
    CASES,
    FLOAT,
    INT,
    attention,
    convnet,
    draw,
    mlp,
    model,
    node,
)


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
    chosen = sym.from_onnx(made, params=["wq", "half"], fixed="*").list_arguments()
    assert chosen == ["x", "wq", "half"]
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
    executor.backward()  # in which states change
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
