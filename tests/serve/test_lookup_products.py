"""Tables of products: the same answers as the LSTM operator gives, from another session."""

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

import symbucket as sb
from symbucket.errors import InvalidArgumentError
from symbucket.runtime.session import run_model
from symbucket.serve import lookup_products
from symbucket.serve.lookup_products import with_lookup_products

WORDS, WIDTH, UNITS, STEPS, SAMPLES = 11, 5, 3, 4, 2


def value(name, kind, shape):
    return helper.make_tensor_value_info(name, kind, shape)


def lstm_model(path=(), inputs=("B",), direction="forward", order=("t", "b"), **attributes):
    """An LSTM over rows of a table, with nodes between the two, and the parameters."""
    rng = np.random.default_rng(0)
    parameters = {
        "table": rng.normal(size=(WORDS, WIDTH)).astype("f"),
        "W": rng.normal(size=(1, 4 * UNITS, WIDTH)).astype("f"),
        "R": rng.normal(size=(1, 4 * UNITS, UNITS)).astype("f"),
        "B": rng.normal(size=(1, 8 * UNITS)).astype("f"),
    }
    nodes = [helper.make_node("Gather", ["table", "words"], ["x0"])]
    constants = []
    for i, (op_type, numbers) in enumerate(path):
        names, more = [f"x{i}"], {"perm": numbers} if op_type == "Transpose" else {}
        if op_type == "Reshape":
            constants.append(numpy_helper.from_array(np.array(numbers), f"shape{i}"))
            names.append(f"shape{i}")
        nodes.append(helper.make_node(op_type, names, [f"x{i + 1}"], **more))
    slots = ["", "", "", ""]
    for name in inputs:
        slots[{"B": 0, "h0": 2, "c0": 3}[name]] = name
    nodes.append(
        helper.make_node(
            "LSTM",
            [f"x{len(path)}", "W", "R", *slots],
            ["y", "h", "c"],
            hidden_size=UNITS,
            direction=direction,
            **attributes,
        )
    )
    size = {"t": STEPS, "b": SAMPLES}
    typed = [value("words", onnx.TensorProto.INT64, [size[axis] for axis in order])]
    state = (1, SAMPLES, UNITS)
    typed += [value(name, onnx.TensorProto.FLOAT, state) for name in inputs if name != "B"]
    outputs = [value("y", onnx.TensorProto.FLOAT, (STEPS, 1, SAMPLES, UNITS))]
    outputs += [value(name, onnx.TensorProto.FLOAT, state) for name in "hc"]
    weights = [numpy_helper.from_array(array, name) for name, array in parameters.items()]
    graph = helper.make_graph(nodes, "lstm", typed, outputs, [*weights, *constants])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)
    onnx.checker.check_model(model, full_check=True)
    return model, parameters


def looked_up(model, parameters, **limits):
    settings = {"samples": SAMPLES, "limit": 1 << 20, "prefix": "p/"} | limits
    return with_lookup_products(model, parameters, *settings.values())


@pytest.fixture(autouse=True)
def small_networks_too(monkeypatch):
    monkeypatch.setattr(lookup_products, "WORTH", 4 * UNITS * WIDTH * SAMPLES)


BATCH_FIRST = [
    ("Reshape", (0, 0, 1, WIDTH)),
    ("Transpose", (1, 0, 2, 3)),
    ("Reshape", (0, -1, WIDTH)),
]


@pytest.mark.parametrize("direction", ["forward", "reverse"])
@pytest.mark.parametrize(
    "case",
    [
        {},
        {"inputs": ()},
        {"inputs": ("B", "h0", "c0")},
        {"inputs": ("c0",)},
        {"path": [("Transpose", (1, 0, 2))], "order": "bt"},
        {"path": BATCH_FIRST, "order": "bt"},
    ],
)
def test_it_computes_what_the_operator_does(case, direction):
    model, parameters = lstm_model(direction=direction, **case)
    form = looked_up(model, parameters)
    assert form.rows == SAMPLES
    assert {name: table.shape for name, table in form.tables.items()} == {
        "p/0/table": (WORDS, 4 * UNITS)
    }
    rng = np.random.default_rng(1)
    shape = [d.dim_value for d in model.graph.input[0].type.tensor_type.shape.dim]
    values = {"words": rng.integers(0, WORDS, shape)}
    for name in ("h0", "c0"):
        values[name] = rng.normal(size=(1, SAMPLES, UNITS)).astype("f")
    expected = run_model(model.SerializeToString(), values)
    actual = run_model(form.proto.SerializeToString(), {**values, **form.tables})
    for name, array in expected.items():
        np.testing.assert_allclose(actual[name], array, rtol=1e-5, atol=1e-6)
    assert "LSTM" not in [node.op_type for node in form.proto.graph.node]
    # The table, the weight of the input and the biases are not needed any more.
    left = {tensor.name for tensor in form.proto.graph.initializer}
    assert left.isdisjoint({"table", "W", "R", "B"})


@pytest.mark.parametrize(
    "case",
    [{"clip": 2.0}, {"activations": ["Sigmoid", "Tanh", "Relu"]}, {"input_forget": 1}],
)
def test_other_lstms_stay(case):
    assert looked_up(*lstm_model(**case)) is None


def test_rows_that_are_taken_apart_on_their_way_stay():
    model, parameters = lstm_model()
    for i, (source, result) in enumerate((("x0", "turned"), ("turned", "back"))):
        turn = helper.make_node("Transpose", [source], [result], perm=[2, 1, 0])
        model.graph.node.insert(1 + i, turn)
    model.graph.node[3].input[0] = "back"
    assert looked_up(model, parameters) is None


def test_it_is_done_where_it_pays_and_where_there_is_room():
    model, parameters = lstm_model()
    nbytes = 4 * WORDS * 4 * UNITS
    assert looked_up(model, parameters, limit=nbytes) is not None
    assert looked_up(model, parameters, limit=nbytes - 1) is None
    assert looked_up(model, parameters, samples=SAMPLES - 1) is None


def test_a_table_that_is_computed_stays():
    model, parameters = lstm_model()
    model.graph.node.insert(0, helper.make_node("Exp", ["table"], ["exp"]))
    model.graph.node[1].input[0] = "exp"
    assert looked_up(model, parameters) is None


def tagger(bidirectional=False):
    def sym_gen(length):
        words = sb.sym.Variable("words")
        vectors = sb.sym.Embedding(words, input_dim=WORDS, output_dim=WIDTH, name="embed")
        cell = sb.rnn.LSTMCell(UNITS, prefix="l0_")
        if bidirectional:
            cell = sb.rnn.BidirectionalCell(cell, sb.rnn.LSTMCell(UNITS, prefix="r0_"))
        outputs, _ = cell.unroll(length, vectors, merge_outputs=True)
        scores = sb.sym.FullyConnected(outputs, num_hidden=2, flatten=False, name="pred")
        return sb.sym.softmax(scores, axis=-1, name="tags"), ["words"], []

    module = sb.mod.BucketingModule(sym_gen, default_bucket_key=9)
    module.bind([("words", (4, 9))], for_training=False)
    module.init_params(sb.init.Normal(0.5))
    module.switch_bucket(6, [("words", (4, 6))])
    return module


@pytest.mark.parametrize("settings", [{"dynamic_length": True}, {}])
@pytest.mark.parametrize("bidirectional", [False, True])
def test_a_bundle_answers_the_same_with_tables(tmp_path, settings, bidirectional):
    if bidirectional and settings:
        pytest.skip("padding at the end changes what is read backwards")
    module = tagger(bidirectional)
    module.export(tmp_path / "b", **settings)
    rng = np.random.default_rng(0)
    requests = [rng.integers(0, WORDS, length) for length in rng.integers(1, 10, 60)]
    bundles = [sb.Bundle(tmp_path / "b", workers=2, table_bytes=n) for n in (0, 1 << 20)]
    plain, tables = [bundle.run(requests) for bundle in bundles]
    for one, other in zip(plain, tables):
        np.testing.assert_allclose(other["tags_output"], one["tags_output"], atol=1e-6)
    sessions = [[n.sessions for n in b.engine._loaded.values()] for b in bundles]
    assert not any(s.tables for s in sessions[0])
    assert all(len(s.tables) == 1 + bidirectional for s in sessions[1])
    # One array for both keys.
    shared = {id(table) for s in sessions[1] for table in s.tables.values()}
    assert len(shared) == 1 + bidirectional


def test_the_session_with_tables_runs_batches(tmp_path, monkeypatch):
    tagger().export(tmp_path / "b", dynamic_length=True)
    bundle = sb.Bundle(tmp_path / "b", workers=2)
    bundle.load()
    sessions = bundle.engine._loaded[9].sessions
    assert sessions.rows == SAMPLES
    assert sessions.choose(SAMPLES, wide=False) is sessions.lookup
    assert sessions.choose(SAMPLES - 1, wide=False) is sessions.narrow
    assert sessions.choose(SAMPLES, wide=True) is sessions.wide


def test_live_bundles_and_shared_parameters_have_no_tables(tmp_path):
    module = tagger()
    live = sb.Bundle.live(module)
    module.export(tmp_path / "b")
    shared = sb.Bundle(tmp_path / "b", workers=2, constants=False)
    for bundle in (live, shared):
        bundle.load()
        assert not any(n.sessions.tables for n in bundle.engine._loaded.values())
    with pytest.raises(InvalidArgumentError, match="table_bytes"):
        sb.Bundle(tmp_path / "b", table_bytes=-1)
