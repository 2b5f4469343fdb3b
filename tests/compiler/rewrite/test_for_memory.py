"""Time for memory: the loss in chunks, recomputed activations, an order that frees early."""

import sys

import numpy as np
import onnx_ir as ir
import pytest

from symbucket import sym
from symbucket.compiler import CompilerOptions, compile_inference, compile_training
from symbucket.compiler.memory import plan_graph
from symbucket.compiler.memory.recompute import recompute
from symbucket.compiler.rewrite.schedule_for_memory import schedule_for_memory
from symbucket.errors import InvalidArgumentError, MemoryLimitError
from symbucket.ir import Builder, append_scan, new_body, new_graph
from symbucket.metric import GraphMetric
from tests.compiler.rewrite.graph_text import changed, graph, lines
from tests.compiler.rewrite.test_keep_numbers import (
    ACCURACY,
    CLASSES,
    HIDDEN,
    NLL,
    NLL_IGNORE,
    SEQUENCES,
    SHAPES,
    VALID,
    agree,
    arrays_of,
    network,
    parameters,
    run,
)
from tests.compiler.verify_graph import check_model, verify

WIDE = {"data": (6, 8), "softmax_label": (6, 8)}


def step(net, shapes, wanted=None, **options):
    """A training step that returns sums only."""
    given = {"fetch": (), "metrics": [NLL_IGNORE], **options}
    choice = CompilerOptions(**given.pop("options", {}))
    wanted = parameters(net) if wanted is None else wanted
    return compile_training(net, shapes, wanted=wanted, options=choice, **given).step


def chunked(net, shapes, chunks, arrays, **given):
    """Compare a step in chunks with one in a piece."""
    whole = step(net, shapes, **given)
    made = step(net, shapes, options={"loss_chunks": chunks}, **given)
    assert made.passes["chunk-output-layer"] == 1
    check_model(made)
    wanted = run(whole, arrays)
    agree(run(made, arrays), wanted, f"{chunks} chunks")
    return wanted, whole, made


# The loss in chunks --------------------------------------------------------------------------


@pytest.mark.parametrize("name", [n for n in SEQUENCES if n != "smooth"])
def test_a_loss_in_chunks_gives_the_same_numbers(name, monkeypatch):
    module = sys.modules["symbucket.compiler.rewrite.chunk_output_layer"]
    monkeypatch.setattr(module, "MIN_CHUNK_ROWS", 1)
    net = SEQUENCES[name]()
    chunked(net, SHAPES, 5, arrays_of(net, SHAPES))


@pytest.mark.parametrize("labels", ["some", "all", "none"])
@pytest.mark.parametrize("normalization", ["null", "batch", "valid"])
@pytest.mark.parametrize("metric", [NLL, NLL_IGNORE], ids=["every_row", "kept_rows"])
def test_ignored_labels_in_chunks(labels, normalization, metric):
    net = network(lambda x: x, use_ignore=True, ignore_label=0, normalization=normalization)
    arrays = arrays_of(net, WIDE, labels)
    if labels == "some":
        arrays["softmax_label"][:2] = 0  # a chunk without a row that counts
    plain, *_ = chunked(net, WIDE, 4, arrays, metrics=[metric])
    assert (labels == "all") == all(not plain[f"{n}.grad"].any() for n in parameters(net))


def test_infinite_losses_of_ignored_rows_stay_out_of_chunks():
    net = network(lambda x: x, use_ignore=True, ignore_label=0)
    arrays = arrays_of(net, WIDE)
    arrays["pred_bias"][0] = -1e4
    spec = GraphMetric("nll", "softmax_output", "softmax_label", 0.0)
    plain, *_ = chunked(net, WIDE, 4, arrays, metrics=[spec, NLL])
    assert np.isfinite(plain[f"{spec.name}.total"])


@pytest.mark.parametrize("only", ["pred_weight", "pred_bias", "embed_weight"])
def test_single_gradients_of_a_loss_in_chunks(only):
    flat = sym.Reshape(
        sym.Embedding(sym.Variable("data"), input_dim=CLASSES, output_dim=HIDDEN, name="embed"),
        shape=(-1, HIDDEN),
    )
    scores = sym.FullyConnected(flat, num_hidden=CLASSES, name="pred")
    label = sym.Reshape(sym.Variable("softmax_label"), shape=(-1,))
    net = sym.SoftmaxOutput(scores, label, name="softmax", **VALID)
    plain, *_ = chunked(net, WIDE, 3, arrays_of(net, WIDE), wanted=[only])
    assert plain[f"{only}.grad"].any()


@pytest.mark.parametrize("given", [{"fetch": None}, {"metrics": [ACCURACY]}])
def test_probabilities_that_somebody_wants_stay_whole(given):
    net = network(lambda x: x, **VALID)
    made = step(net, WIDE, options={"loss_chunks": 4}, **given)
    assert made.passes["chunk-output-layer"] == 0


def test_no_chunk_is_smaller_than_eight_rows():
    net = network(lambda x: x, **VALID)
    many = step(net, WIDE, options={"loss_chunks": 1000})
    found = [n for n in many.proto().graph.node if n.op_type == "Softmax"]
    assert len(found) == 6
    few = step(net, {"data": (3, 5), "softmax_label": (3, 5)}, options={"loss_chunks": 1000})
    assert few.passes["chunk-output-layer"] == 0


def test_chunks_save_memory():
    net = network(lambda x: x, classes=3000, **VALID)
    shapes = {"data": (32, 16), "softmax_label": (32, 16)}
    _, whole, made = chunked(net, shapes, 8, arrays_of(net, shapes))
    rows = 512 * 3000 * 4
    assert whole.plan.lower_bound > rows
    assert made.plan.lower_bound < 0.25 * rows


# Recomputing ---------------------------------------------------------------------------------

CHAIN = """(float[64] x) => (float[64] y) {
    a = Transpose<perm=[0]>(x)
    b = Tanh(a)
    big = Concat<axis=0>(b, b, b, b)
    s = ReduceSum<keepdims=0>(big)
    c = Mul(b, s)
    y = Add(c, a)
}"""


def test_recompute_repeats_a_node_behind_the_peak():
    made = graph(CHAIN)
    before = plan_graph(made).lower_bound
    assert recompute(made, before - 256) == 1
    verify(made)
    assert lines(made) == [
        "a = Transpose(x, perm=(0,))",
        "b = Tanh(a)",
        "big = Concat(b, b, b, b, axis=0)",
        "s = ReduceSum(big, keepdims=0)",
        "%0 = Tanh(a)",
        "c = Mul(%0, s)",
        "y = Add(c, a)",
        "-> y",
    ]


def test_recompute_does_nothing_where_the_plan_fits():
    made = graph(CHAIN)
    assert recompute(made, plan_graph(made).arena) == 0
    assert lines(made) == lines(graph(CHAIN))


def test_random_numbers_are_not_drawn_again():
    made = graph(CHAIN.replace("Tanh(a)", "RandomNormalLike(a)"))
    assert recompute(made, 0) == 0


def test_what_is_made_of_values_that_die_is_kept():
    """b from a costs nothing to keep a for; without a behind the peak, a would have to stay."""
    made = graph(CHAIN.replace("Add(c, a)", "Add(c, c)"))
    assert recompute(made, 0) == 0


# The order -----------------------------------------------------------------------------------


def _late(count):
    """A large value whose last reader comes ``count`` nodes later, for no reason."""
    rest = "\n".join(f"t{i + 1} = Neg(t{i})" for i in range(count))
    return f"""(float[400,400] x, float[4] t0) => (float[400] y, float[4] z)
        <int64[1] axis = {{0}}> {{
        big = Exp(x)
        s = ReduceSum<keepdims=0>(big)
        {rest}
        z = Add(t{count}, s)
        y = ReduceMax<keepdims=0>(big, axis)
    }}"""


def test_the_last_reader_of_a_large_value_moves_up():
    made = graph(_late(60))
    before = plan_graph(made)
    assert schedule_for_memory(made) == 1
    verify(made)
    after = plan_graph(made)
    (big,) = [b for b in after.buffers if b.values[0] == "big"]
    assert big.death - big.birth < 5
    assert next(b for b in before.buffers if b.values[0] == "big").death > 60


def test_near_readers_stay_where_they_are():
    count, after = changed(schedule_for_memory, _late(3))
    assert count == 0
    assert after == lines(graph(_late(3)))


def test_nothing_moves_where_that_frees_nothing():
    """The reader makes something as large, which waits for what comes late in any case."""
    text = _late(60).replace("y = ReduceMax<keepdims=0>(big, axis)", "y = Neg(big)")
    text = text.replace("float[400] y", "float[400,400] w")
    text = text.replace("y = Neg(big)", "v = Neg(big)\n q = ReduceSum(z)\n w = Mul(v, q)")
    made = graph(text)
    order = [n.name for n in made]
    assert schedule_for_memory(made) == 0
    assert [n.name for n in made] == order


def test_a_loop_moves_up_with_what_its_body_reads():
    """The mask that a loop reads from outside is made right before it, and the loop frees x."""
    g = Builder(new_graph("loop"))
    x, h, t = (
        g.input(n, s, ir.DataType.FLOAT) for n, s in (("x", (99, 900)), ("h", (900,)), ("t", ()))
    )
    big = g.op("Exp", x)
    late = t
    for _ in range(60):
        late = g.op("Neg", late)
    mask = g.op("Exp", h)
    body = new_body(g.root, "loop")
    for name in "state", "slice":
        value = ir.Value(name=name, shape=ir.Shape((900,)), type=ir.TensorType(ir.DataType.FLOAT))
        body.inputs.append(value)
    with g.inside(body):
        body.outputs.append(g.op("Sum", *body.inputs, mask))
    g.graph.outputs.extend([late, *append_scan(g, body, [h], [big], [0], [])])
    assert schedule_for_memory(g.graph) == 2
    verify(g.graph)
    assert [node.op_type for node in g.graph][:4] == ["Exp", "Exp", "Scan", "Neg"]


# The limit -----------------------------------------------------------------------------------


def need(made):
    return made.plan.total


def test_a_limit_is_kept_by_chunks_and_the_numbers_stay():
    net = network(lambda x: x, classes=3000, **VALID)
    shapes = {"data": (32, 16), "softmax_label": (32, 16)}
    arrays = arrays_of(net, shapes)
    free = step(net, shapes)
    least = step(net, shapes, options={"loss_chunks": 16})
    for limit in (need(free), (need(free) + need(least)) // 2, need(least)):
        made = step(net, shapes, options={"memory_limit": limit})
        assert need(made) <= limit
        agree(run(made, arrays), run(free, arrays), f"limit {limit}")
    assert step(net, shapes, options={"memory_limit": need(free)}).model == free.model


def test_a_limit_that_recomputing_keeps_needs_no_chunks():
    net = SEQUENCES["two_lstm_layers"]()
    arrays = arrays_of(net, SHAPES)
    unrolled = {"disable": {"roll-loops"}}
    free = step(net, SHAPES, options=unrolled)
    made = step(net, SHAPES, options={"memory_limit": need(free) - 256, **unrolled})
    assert made.passes["recompute"] > 0
    assert made.passes["chunk-output-layer"] == 0
    assert need(made) < need(free)
    found, wanted = run(made, arrays), run(free, arrays)
    for name in wanted:
        np.testing.assert_array_equal(found[name], wanted[name])


def test_a_limit_that_cannot_be_kept_is_refused():
    net = network(lambda x: x, classes=3000, **VALID)
    shapes = {"data": (32, 16), "softmax_label": (32, 16)}
    message = r"bucket key 16 training needs [\d,]+ bytes .* memory_limit is 100,000\. "
    for build in (compile_training, compile_inference):
        with pytest.raises(MemoryLimitError, match=message):
            build(
                net,
                shapes,
                name="bucket key 16 training",
                options=CompilerOptions(memory_limit=100_000),
            )


@pytest.mark.parametrize(
    "options", [{"memory_limit": -1}, {"memory_limit": 1.5}, {"loss_chunks": 0}]
)
def test_options_that_make_no_sense(options):
    with pytest.raises(InvalidArgumentError, match=f"{next(iter(options))}=.*must be an integer"):
        CompilerOptions(**options)
