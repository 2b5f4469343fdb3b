"""Each pass can be left out, all can be left out, and no number changes."""

from dataclasses import replace

import numpy as np
import pytest

import symbucket as sb
from symbucket import sym
from symbucket.compiler import (
    CompileRequest,
    CompilerOptions,
    compile_inference,
    compile_request,
    compile_training,
    pass_names,
)
from symbucket.metric import GraphMetric
from symbucket.runtime import NDArray, Session
from tests.compiler.verify_graph import check_model, verify

STEPS, ROWS, HIDDEN, CLASSES = 4, 3, 5, 7


def own_cell(x, steps=STEPS, hidden=HIDDEN, bias=True, dtype="float32"):
    """Elman's network as a user writes it, out of FullyConnected and Activation."""
    names = ("i2h_weight", "i2h_bias", "h2h_weight", "h2h_bias")
    w, b, r, c = map(sym.Variable, names)
    h = sym.zeros(shape=(ROWS, hidden), dtype=dtype)
    outputs = []
    parts = sym.SliceChannel(x, num_outputs=steps, axis=1, squeeze_axis=True)
    extra = {"no_bias": not bias, "num_hidden": hidden}
    for t in range(steps):
        i2h = sym.FullyConnected(parts[t], w, *([b] if bias else []), name=f"i2h{t}", **extra)
        h2h = sym.FullyConnected(h, r, *([c] if bias else []), name=f"h2h{t}", **extra)
        h = sym.Activation(i2h + h2h, act_type="tanh", name=f"h{t}")
        outputs.append(sym.expand_dims(h, axis=1))
    return sym.Concat(*outputs, dim=1)


def cells(*kinds, layout="NTC"):
    """A stack of the package's cells."""

    def unroll(x):
        stack = sb.rnn.SequentialRNNCell()
        for i, kind in enumerate(kinds):
            stack.add(kind(HIDDEN, prefix=f"l{i}_"))
        if layout == "TNC":
            x = sym.SwapAxis(x, dim1=0, dim2=1)
        out, _ = stack.unroll(STEPS, x, layout=layout, merge_outputs=True)
        return out if layout == "NTC" else sym.SwapAxis(out, dim1=0, dim2=1)

    return unroll


def network(layer, hidden=HIDDEN, tied=False, classes=CLASSES, **softmax):
    """A language model around a recurrent layer."""
    table = sym.Variable("table")
    x = sym.Embedding(
        sym.Variable("data"), table, input_dim=classes, output_dim=hidden, name="embed"
    )
    flat = sym.Reshape(layer(x), shape=(-1, hidden))
    if tied:
        scores = sym.FullyConnected(flat, table, num_hidden=classes, name="pred")
    else:
        scores = sym.FullyConnected(
            flat, num_hidden=classes, no_bias=softmax.pop("no_bias", False), name="pred"
        )
    label = sym.Reshape(sym.Variable("softmax_label"), shape=(-1,))
    return sym.SoftmaxOutput(scores, label, name="softmax", **softmax)


VALID = {"use_ignore": True, "ignore_label": 0, "normalization": "valid"}
LSTM, GRU, RNN = sb.rnn.LSTMCell, sb.rnn.GRUCell, sb.rnn.RNNCell


def _double():
    """One weight that makes two outputs, and two losses of the same values."""
    w = sym.Variable("w")
    x = sym.Variable("data")
    first = sym.FullyConnected(x, w, num_hidden=4, no_bias=True, name="first")
    second = sym.FullyConnected(sym.tanh(x), w, num_hidden=4, no_bias=True, name="second")
    loss = sym.MakeLoss(sym.sum(first * second, axis=1), name="a") * 2
    again = sym.MakeLoss(sym.sum(first * second, axis=1), name="b") * 3
    return sym.Group([sym.MakeLoss(loss + again, name="c"), sym.BlockGrad(first)])


def _images():
    """Classes along axis 1 of (n, classes, positions): the output layer's form is another one."""
    x = sym.FullyConnected(sym.Variable("data"), num_hidden=CLASSES * 2, name="fc")
    x = sym.Reshape(x, shape=(-1, CLASSES, 2))
    return sym.SoftmaxOutput(x, sym.Variable("softmax_label"), multi_output=True, name="softmax")


SEQUENCES = {
    "lstm": lambda: network(cells(LSTM), **VALID),
    "two_lstm_layers": lambda: network(cells(LSTM, LSTM), **VALID),
    "lstm_tnc": lambda: network(cells(LSTM, layout="TNC"), normalization="batch"),
    "gru": lambda: network(cells(GRU), normalization="batch", use_ignore=True, ignore_label=0),
    "rnn": lambda: network(cells(RNN), grad_scale=2.0),
    "own_cell": lambda: network(own_cell, **VALID),
    "own_cell_without_bias": lambda: network(lambda x: own_cell(x, bias=False), no_bias=True),
    "tied": lambda: network(cells(RNN), tied=True, **VALID),
    "many_classes": lambda: network(cells(RNN), classes=2100, **VALID),
    "valid_without_ignoring": lambda: network(cells(RNN), normalization="valid", ignore_label=0),
    "few_rows": lambda: network(lambda x: own_cell(x, hidden=10), hidden=10, **VALID),
    "smooth": lambda: network(cells(RNN), smooth_alpha=0.1, **VALID),
}
OTHERS = {"double": (_double, {"data": (3, 5)}), "images": (_images, {"data": (3, 5)})}
NLL = GraphMetric("nll", "softmax_output", "softmax_label", floor=1e-10)
NLL_IGNORE = GraphMetric("nll", "softmax_output", "softmax_label", 0.0, floor=1e-10)
ACCURACY = GraphMetric("accuracy", "softmax_output", "softmax_label")


def arrays_of(net, shapes, labels="some", dtype=np.float32):
    """Random arrays for every argument; ``labels`` says how many are 0, the one to ignore."""
    rng = np.random.default_rng(3)
    found = {}
    for name, shape in zip(net.list_arguments(), net.infer_shape(**shapes)[0]):
        if name == "softmax_label" or (name == "data" and "softmax_label" in shapes):
            array = rng.integers(1, CLASSES, shape)
            if name == "softmax_label" and labels == "some":
                array[rng.random(shape) < 0.4] = 0
            if name == "softmax_label" and labels == "all":
                array[:] = 0
        else:
            array = rng.normal(size=shape) * 0.5
        found[name] = array.astype(dtype)
    return found


def run(made, arrays):
    """Outputs of a finished model by name."""
    session = Session(made.model, sb.cpu(), "test")
    session.bind_inputs({t.name: NDArray.of(arrays[t.name], sb.cpu()) for t in made.inputs})
    outputs = {t.name: NDArray.empty(t.shape, t.dtype) for t in made.outputs}
    session.bind_outputs(outputs)
    session.run()
    return {n: a.asnumpy() for n, a in outputs.items()}


def agree(found, wanted, what, tolerance=1e-5):
    """Relative to the largest number of each array."""
    assert found.keys() == wanted.keys()
    for name, array in wanted.items():
        scale = np.abs(array).max(initial=0)
        assert np.isfinite(scale), name
        np.testing.assert_allclose(
            found[name], array, rtol=0, atol=tolerance * scale, err_msg=f"{name}: {what}"
        )


def parameters(net, *more):
    """What a training step differentiates by."""
    return [n for n in net.list_arguments() if n not in ("data", "softmax_label")] + list(more)


SHAPES = {"data": (ROWS, STEPS), "softmax_label": (ROWS, STEPS)}
ONE_BY_ONE = [[], *([name] for name in pass_names())]


def check(net, arrays, shapes=SHAPES, wanted=None, leave_out=((),), **options):
    """Training steps with these passes left out give the numbers that a plain one gives."""
    wanted = parameters(net) if wanted is None else wanted

    def made(disable):
        choice = CompilerOptions(disable=disable)
        return compile_training(net, shapes, wanted=wanted, options=choice, **options).step

    plain = run(made(pass_names()), arrays)
    for disable in leave_out:
        agree(run(made(disable), arrays), plain, f"without {list(disable)}")
    return plain


@pytest.mark.parametrize("name", SEQUENCES)
def test_every_pass_can_be_left_out(name):
    net = SEQUENCES[name]()
    plain = check(net, arrays_of(net, SHAPES), leave_out=ONE_BY_ONE, fetch=(), metrics=[NLL_IGNORE])
    assert all(np.abs(plain[f"{n}.grad"]).max() > 0 for n in parameters(net))


@pytest.mark.parametrize("name", SEQUENCES)
@pytest.mark.parametrize(
    ("fetch", "metrics"),
    [(None, ()), (None, (NLL, NLL_IGNORE, ACCURACY)), ((), ()), ((), (NLL,))],
    ids=["outputs", "outputs_and_sums", "gradients", "other_sums"],
)
def test_what_a_step_returns(name, fetch, metrics):
    net = SEQUENCES[name]()
    check(net, arrays_of(net, SHAPES), fetch=fetch, metrics=metrics)


@pytest.mark.parametrize("labels", ["all", "none"])
@pytest.mark.parametrize("normalization", ["null", "batch", "valid"])
@pytest.mark.parametrize("fetch", [None, ()], ids=["outputs", "sums"])
@pytest.mark.parametrize("hidden", [HIDDEN, 10], ids=["wide", "narrow"])
def test_labels_that_are_ignored(labels, normalization, fetch, hidden):
    net = network(lambda x: x, hidden, use_ignore=True, ignore_label=0, normalization=normalization)
    plain = check(net, arrays_of(net, SHAPES, labels), fetch=fetch, metrics=[NLL_IGNORE])
    count = plain[f"{NLL_IGNORE.name}.count"].item()
    assert count == (0 if labels == "all" else ROWS * STEPS)
    zero = all(not plain[f"{n}.grad"].any() for n in parameters(net))
    assert zero == (labels == "all")


@pytest.mark.parametrize("ignored", [-1.0, CLASSES + 3.0])
def test_an_ignored_label_may_lie_outside_the_classes(ignored):
    net = network(lambda x: x, use_ignore=True, ignore_label=ignored, normalization="valid")
    arrays = arrays_of(net, SHAPES)
    label = arrays["softmax_label"]
    label[label == 0] = ignored
    spec = GraphMetric("nll", "softmax_output", "softmax_label", ignored)
    check(net, arrays, fetch=(), metrics=[spec])
    check(net, arrays, metrics=[spec])


@pytest.mark.parametrize("fixed", ["pred_weight", "pred_bias", "table"])
def test_gradients_that_nobody_wants(fixed):
    net = network(lambda x: x, **VALID)
    wanted = [n for n in parameters(net) if n != fixed]
    plain = check(net, arrays_of(net, SHAPES), wanted=wanted, fetch=())
    assert set(plain) == {f"{n}.grad" for n in wanted}
    check(net, arrays_of(net, SHAPES), wanted=[fixed], fetch=())


def test_gradients_of_the_data():
    flat = sym.Reshape(own_cell(sym.Variable("data"), hidden=HIDDEN), shape=(-1, HIDDEN))
    scores = sym.FullyConnected(flat, num_hidden=CLASSES, name="pred")
    label = sym.Reshape(sym.Variable("softmax_label"), shape=(-1,))
    net = sym.SoftmaxOutput(scores, label, name="softmax", **VALID)
    shapes = {"data": (ROWS, STEPS, 6), "softmax_label": (ROWS, STEPS)}
    arrays = arrays_of(net, shapes)
    arrays["data"] = np.random.default_rng(4).normal(size=shapes["data"]).astype(np.float32)
    for fetch in (None, ()):
        wanted = [*parameters(net), "data"]
        plain = check(net, arrays, shapes, wanted, leave_out=ONE_BY_ONE, fetch=fetch)
        assert plain["data.grad"].any()


def test_float64():
    net = network(lambda x: own_cell(x, dtype="float64"), **VALID)
    arrays = arrays_of(net, SHAPES, dtype=np.float64)
    dtypes = dict.fromkeys(net.list_arguments(), np.float64)
    for fetch in (None, ()):
        plain = check(net, arrays, dtypes=dtypes, fetch=fetch, metrics=[NLL_IGNORE])
        assert {a.dtype for a in plain.values()} == {np.dtype(np.float64)}


@pytest.mark.parametrize("name", OTHERS)
def test_networks_of_other_forms(name):
    make, shapes = OTHERS[name]
    net = make()
    check(net, arrays_of(net, shapes), shapes, leave_out=ONE_BY_ONE)


def test_two_losses_of_the_same_values_both_count():
    """One node each: they are equal, and each starts a gradient."""
    x = sym.Variable("data")
    both = sym.MakeLoss(x * x, name="a") + sym.MakeLoss(x * x, name="b")
    net = sym.BlockGrad(both)
    shapes = {"data": (3,)}
    loss = sym.Group([net, sym.MakeLoss(both, grad_scale=0.0)])
    del net
    arrays = {"data": np.array([1.0, 2.0, 3.0], np.float32)}
    plain = check(loss, arrays, shapes, wanted=["data"], leave_out=ONE_BY_ONE)
    np.testing.assert_allclose(plain["data.grad"], 4 * arrays["data"])


@pytest.mark.parametrize("name", SEQUENCES)
def test_inference(name):
    net = SEQUENCES[name]()
    arrays = arrays_of(net, SHAPES)
    for fetch, metrics in ((None, ()), ((), (NLL,)), ((), (NLL_IGNORE, ACCURACY))):

        def made(disable, fetch=fetch, metrics=metrics):
            options = CompilerOptions(disable=disable)
            return compile_inference(net, SHAPES, fetch=fetch, metrics=metrics, options=options)

        agree(run(made([]), arrays), run(made(pass_names()), arrays), f"{fetch} {metrics}")


def test_two_metrics_of_one_count():
    """The counts are one constant; each is an output of its own all the same."""
    x = sym.Variable("data")
    label = sym.Variable("softmax_label")
    heads = [
        sym.SoftmaxOutput(sym.FullyConnected(x, num_hidden=CLASSES, name=f"{n}_fc"), label, name=n)
        for n in "ab"
    ]
    net = sym.Group(heads)
    shapes = {"data": (ROWS, 2), "softmax_label": (ROWS,)}
    specs = [GraphMetric("nll", f"{n}_output", "softmax_label") for n in "ab"]
    plain = check(net, arrays_of(net, shapes), shapes, fetch=(), metrics=specs)
    assert [plain[f"{s.name}.count"].item() for s in specs] == [ROWS, ROWS]


# Between passes ----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["two_lstm_layers", "gru", "own_cell", "lstm_tnc", "few_rows"])
def test_the_graph_is_well_formed_between_passes(name):
    ran = []

    def after_each(name, graph):
        ran.append(name)
        verify(graph)

    net = SEQUENCES[name]()
    inference = CompileRequest(net, SHAPES, fetch=(), metrics=[NLL_IGNORE])
    training = replace(inference, training=True, gradients=parameters(net))
    check_model(compile_request(training, after_each).step)
    compile_request(inference, after_each)
    # These two are steps, not passes over a graph.
    assert set(ran) >= set(pass_names()) - {"roll-loops", "shard-rows"}


# What the passes are for -------------------------------------------------------------------------


def gemms(made):
    """Names of the products of a model."""
    return [n.name for n in made.proto().graph.node if n.op_type == "Gemm"]


@pytest.mark.parametrize("layer", [own_cell, cells(RNN), cells(LSTM)], ids=["own", "rnn", "lstm"])
def test_one_product_for_all_steps(layer):
    net = network(layer, **VALID)
    unrolled = CompilerOptions(disable={"roll-loops"})
    made = compile_training(net, SHAPES, wanted=parameters(net), fetch=(), options=unrolled).step
    # Forward: the inputs of all steps, the state of each but the first (which is zero), the scores.
    # Backward: both weights, the inputs of all steps, the state of each but the first, and weight
    # and input of the scores.
    assert len(gemms(made)) == (1 + STEPS - 1 + 1) + (2 + 1 + STEPS - 1 + 2)
    plain = compile_training(
        net, SHAPES, wanted=parameters(net), options=CompilerOptions(disable=pass_names())
    ).step
    assert len(gemms(plain)) >= 2 * STEPS + 1 + 4 * STEPS - 1 + 2


@pytest.mark.parametrize("steps", [2, 4, 8])
def test_products_outside_the_chain_do_not_grow_with_the_steps(steps):
    net = network(lambda x: own_cell(x, steps=steps), **VALID)
    shapes = {"data": (ROWS, steps), "softmax_label": (ROWS, steps)}
    unrolled = CompilerOptions(disable={"roll-loops"})
    made = compile_training(net, shapes, wanted=parameters(net), fetch=(), options=unrolled).step
    assert len(gemms(made)) == 2 * steps + 5


def test_changes_of_every_stage_are_reported():
    net = SEQUENCES["lstm"]()
    unrolled = CompilerOptions(disable={"roll-loops"})
    made = compile_training(net, SHAPES, wanted=parameters(net), fetch=(), options=unrolled).step
    assert set(made.passes) >= set(pass_names()) - {"roll-loops", "shard-rows"}
    assert made.passes["fuse-gemm-add"] == STEPS
    assert made.passes["batch-gemms"] == STEPS
    assert made.passes["fuse-output-layer"] == 1
    assert compile_inference(net, SHAPES, options=unrolled).passes["batch-gemms"] == STEPS
