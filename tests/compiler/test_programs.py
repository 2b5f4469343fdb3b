"""Finished models of many networks, the graph between passes, and where models are cut."""

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
    output_names,
    pass_names,
)
from symbucket.compiler.pipeline import PIPELINE
from symbucket.compiler.rewrite.base import PASSES
from symbucket.errors import InvalidArgumentError, UnsupportedError
from symbucket.ir import info
from tests.compiler.verify_graph import check_model, verify
from tests.small_networks import language_model, regression


def _recurrent(cell):
    out, states = cell.unroll(3, sym.Variable("data"), layout="NTC", merge_outputs=True)
    return sym.Group([out, *states])


def _stacked():
    cells = sb.rnn.SequentialRNNCell()
    cells.add(sb.rnn.LSTMCell(4, prefix="a_"))
    cells.add(sb.rnn.DropoutCell(0.5, prefix="d_"))
    cells.add(sb.rnn.ResidualCell(sb.rnn.GRUCell(4, prefix="b_")))
    return _recurrent(cells)


def _mlp():
    h = sym.FullyConnected(sym.Variable("data"), num_hidden=4, name="fc1")
    h = sym.BatchNorm(sym.Activation(h, act_type="relu"), name="bn")
    return sym.SoftmaxOutput(sym.FullyConnected(h, num_hidden=3, name="fc2"), name="softmax")


def _loss_and_head():
    y = sym.FullyConnected(sym.Variable("data"), num_hidden=2, name="fc")
    return sym.Group([sym.MakeLoss(sym.sum(y * y), name="loss"), y, sym.BlockGrad(y)])


def _odd_outputs():
    x = sym.Variable("data")
    y = x + 1
    return sym.Group([x, y, y, sym.Variable("const") * y, sym.zeros(shape=(2, 2)), x])


def _shared_weight():
    w = sym.Variable("w")
    x = sym.Variable("data")
    for i in range(3):
        x = sym.FullyConnected(x, w, num_hidden=3, no_bias=True, name=f"fc{i}")
        x = sym.tanh(x)
    return sym.LinearRegressionOutput(x, sym.Variable("label"), name="out")


NETWORKS = {
    "language_model": (lambda: language_model(4), {"data": (3, 4), "softmax_label": (3, 4)}),
    "language_model_with_dropout": (
        lambda: language_model(4, dropout=0.5),
        {"data": (3, 4), "softmax_label": (3, 4)},
    ),
    "one_step": (lambda: language_model(1), {"data": (3, 1), "softmax_label": (3, 1)}),
    "one_row": (lambda: language_model(3), {"data": (1, 3), "softmax_label": (1, 3)}),
    "regression": (regression, {"data": (4, 3)}),
    "stacked_cells": (_stacked, {"data": (2, 3, 4)}),
    "rnn": (lambda: _recurrent(sb.rnn.RNNCell(4, prefix="r_")), {"data": (2, 3, 5)}),
    "batch_norm": (_mlp, {"data": (6, 5)}),
    "loss_and_head": (_loss_and_head, {"data": (4, 3)}),
    "odd_outputs": (_odd_outputs, {"data": (2, 3)}),
    "shared_weight": (_shared_weight, {"data": (4, 3)}),
}
LOSSES = {"language_model", "language_model_with_dropout", "one_step", "one_row", "regression"}
LOSSES |= {"batch_norm", "shared_weight"}


def _wanted(net, shapes):
    return [n for n in net.list_arguments() if n not in shapes and not n.endswith("label")]


@pytest.fixture(params=NETWORKS)
def network(request):
    make, shapes = NETWORKS[request.param]
    return request.param, make(), shapes


def test_the_graph_is_well_formed_between_passes(network):
    _, net, shapes = network
    ran = []

    def check(name, graph):
        ran.append(name)
        verify(graph)
        one = PASSES.get(name)
        for ensured in one.ensures if one else ():
            assert not ensured.violations(graph)

    def training(wanted):
        return CompileRequest(net, shapes, training=True, name="training", gradients=wanted)

    compile_request(CompileRequest(net, shapes), check)
    compile_request(training(_wanted(net, shapes)), check)
    compile_request(training([*_wanted(net, shapes), "data"][:1]), check)
    stages = {stage.name for stage in PIPELINE}  # before there is a graph, as roll-loops
    assert set(ran) >= set(pass_names()) - stages


def test_finished_models(network):
    name, net, shapes = network
    inference = compile_inference(net, shapes)
    check_model(inference)
    assert [t.name for t in inference.outputs] == output_names(net)
    assert {t.name for t in inference.inputs} <= set(net.list_inputs())
    _, outputs, _ = net.infer_shape(**shapes)
    assert [t.shape for t in inference.outputs] == outputs

    wanted = _wanted(net, shapes)
    made = compile_training(net, shapes, wanted=wanted)
    parts = [p for p in (made.step, made.forward, made.backward) if p is not None]
    for part in parts:
        check_model(part)
    outputs = [t.name for part in parts for t in part.outputs]
    assert set(outputs) >= {*output_names(net), *(f"{n}.grad" for n in wanted)}
    assert {n for n in outputs if n.endswith(".new")} == {
        f"{n}.new" for n in net.list_auxiliary_states()
    }
    assert (made.step is not None) == (name in LOSSES or not wanted)


def test_split_models_share_the_stash_and_nothing_else(network):
    _, net, shapes = network
    wanted = [*_wanted(net, shapes), "data"]
    made = compile_training(net, shapes, wanted=wanted if len(wanted) > 1 else ["data"])
    if made.step is not None:
        assert made.forward is made.backward is None
        assert made.heads == ()
        return
    written = {t.name: t for t in made.forward.outputs if t.name.startswith("stash/")}
    read = {t.name: t for t in made.backward.inputs if t.name.startswith("stash/")}
    assert read.keys() <= written.keys()
    assert all(written[n] == read[n] for n in read)
    others = {t.name for t in made.backward.inputs} - read.keys()
    assert others <= {*net.list_inputs(), *(f"{n}.head" for n in made.heads)}
    assert {t.name for t in made.backward.outputs} <= {f"{n}.grad" for n in net.list_arguments()}
    assert not {t.name for t in made.forward.inputs} & {f"{n}.head" for n in made.heads}


def test_only_outputs_that_are_no_losses_need_heads():
    net, shapes = _loss_and_head(), {"data": (4, 3)}
    assert compile_training(net, shapes, wanted=["fc_weight"]).heads == ("fc_output",)
    assert compile_training(net, shapes, wanted=[]).heads == ()
    assert compile_training(net[0], shapes, wanted=["fc_weight"]).step is not None


def test_fetch_leaves_outputs_out_and_keeps_gradients():
    net, shapes = language_model(4), {"data": (3, 4), "softmax_label": (3, 4)}
    made = compile_training(net, shapes, wanted=["pred_bias"], fetch=[])
    assert [t.name for t in made.step.outputs] == ["pred_bias.grad"]
    check_model(made.step)


# Each pass can be left out and changes no number ------------------------------------------------


def _run(made, arrays):
    from symbucket.runtime import NDArray, Session

    session = Session(made.model, sb.cpu(), "test")
    session.bind_inputs({t.name: NDArray(arrays[t.name]) for t in made.inputs})
    outputs = {t.name: NDArray.empty(t.shape, t.dtype) for t in made.outputs}
    session.bind_outputs(outputs)
    session.run()
    return {n: a.asnumpy() for n, a in outputs.items()}


@pytest.mark.parametrize("name", ["language_model", "regression", "batch_norm", "shared_weight"])
def test_passes_change_no_number(name):
    make, shapes = NETWORKS[name]
    net = make()
    rng = np.random.default_rng(0)
    arguments, _, auxiliary = net.infer_shape(**shapes)
    arrays = {
        n: rng.normal(size=s).astype(np.float32)
        for n, s in zip(net.list_arguments() + net.list_auxiliary_states(), arguments + auxiliary)
    }
    for n in arrays:
        if n.endswith("_var"):
            arrays[n] = np.abs(arrays[n]) + 0.5
        if name == "language_model" and n in shapes:
            arrays[n] = rng.integers(0, 10, shapes[n]).astype(np.float32)
        if name == "batch_norm" and n == "softmax_label":
            arrays[n] = rng.integers(0, 3, arrays[n].shape).astype(np.float32)

    def run(disable):
        options = CompilerOptions(disable=disable)
        made = compile_training(net, shapes, wanted=_wanted(net, shapes), options=options)
        check_model(made.step)
        return _run(made.step, arrays)

    plain = run(pass_names())
    for disable in [[], *([n] for n in pass_names())]:
        found = run(disable)
        assert found.keys() == plain.keys()
        for key, wanted in plain.items():
            np.testing.assert_allclose(
                found[key], wanted, rtol=1e-4, atol=1e-5, err_msg=f"{key} without {disable}"
            )


def test_unknown_and_required_passes_cannot_be_disabled():
    for name in ("no-such-pass", "expand-own-nodes"):
        with pytest.raises(InvalidArgumentError, match=f"there is no optional pass '{name}'"):
            CompilerOptions(disable=[name])


# Nodes without a gradient -----------------------------------------------------------------------


def test_all_nodes_without_gradient_are_named(monkeypatch):
    x = sym.Variable("x")
    net = sym.tanh(x, name="first") * sym.erf(sym.tanh(x * 2, name="second"), name="third")
    monkeypatch.setattr(info("Tanh"), "gradient", None)
    with pytest.raises(UnsupportedError) as caught:
        compile_training(net, {"x": (2,)}, wanted=["x"])
    message = str(caught.value)
    assert "2 nodes have operators without a gradient" in message
    assert "first/Tanh (Tanh)" in message
    assert "second/Tanh (Tanh)" in message
    assert "third" not in message
    assert "BlockGrad" in message
    compile_inference(net, {"x": (2,)})


def test_nodes_without_gradient_do_not_matter_where_nothing_flows(monkeypatch):
    x, y = sym.Variable("x"), sym.Variable("y")
    monkeypatch.setattr(info("Tanh"), "gradient", None)
    beside = sym.tanh(x) + y
    assert compile_training(beside, {"x": (2,), "y": (2,)}, wanted=["y"]).heads
    blocked = sym.BlockGrad(sym.tanh(x)) * y + x
    made = compile_training(blocked, {"x": (2,), "y": (2,)}, wanted=["x", "y"])
    check_model(made.backward)
