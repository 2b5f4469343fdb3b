"""The ports of every kind of program, and requests as keys."""

from dataclasses import replace

import numpy as np
import pytest

import symbucket as sb
from symbucket import sym
from symbucket.compiler import (
    CompileRequest,
    CompilerOptions,
    Role,
    compile_inference,
    compile_request,
    compile_training,
)
from symbucket.compiler.target import PORTABLE
from symbucket.errors import NameConflictError
from symbucket.export.merge import merge_step
from symbucket.metric import GraphMetric
from tests.small_networks import language_model

NLL = GraphMetric("nll", "softmax_output", "softmax_label")
SHAPES = {"data": (3, 4), "softmax_label": (3, 4)}


def roles(ports):
    """Role and owner of each port; the model's tensors have the names that the roles say."""
    for port in ports:
        assert port.name == port.role.tensor_name(port.of)
    return [(port.role.name, port.of) for port in ports]


def normalized():
    """A network with an auxiliary state and head gradients."""
    net = sym.BatchNorm(sym.Variable("x"), name="bn", fix_gamma=False)
    return sym.FullyConnected(net, num_hidden=2, no_bias=True, name="fc")


def check_model_names(program):
    graph = program.proto().graph
    assert [v.name for v in graph.input] == [p.name for p in program.inputs]
    assert [v.name for v in graph.output] == [p.name for p in program.outputs]


def test_inference():
    program = compile_inference(normalized(), {"x": (4, 3)})
    check_model_names(program)
    assert roles(program.outputs) == [("OUTPUT", "fc_output")]
    assert {(p.role, p.of) for p in program.inputs} == {
        (Role.ARGUMENT, "x"),
        (Role.ARGUMENT, "bn_gamma"),
        (Role.ARGUMENT, "bn_beta"),
        (Role.STATE, "bn_moving_mean"),
        (Role.STATE, "bn_moving_var"),
        (Role.ARGUMENT, "fc_weight"),
    }
    assert program.inputs_of(Role.STATE) == [p for p in program.inputs if "moving" in p.name]


def test_a_step_in_two_programs():
    net = normalized()
    made = compile_training(net, {"x": (4, 3)}, wanted=["fc_weight", "x"])
    assert made.heads == ("fc_output",)
    forward, backward = made.models
    for program in (forward, backward):
        check_model_names(program)
    stash = [p.of for p in forward.outputs_of(Role.STASH)]
    assert stash
    assert roles(forward.outputs) == [
        ("OUTPUT", "fc_output"),
        ("NEXT_STATE", "bn_moving_mean"),
        ("NEXT_STATE", "bn_moving_var"),
        *(("STASH", of) for of in stash),
    ]
    assert {p.of for p in backward.inputs_of(Role.STASH)} <= set(stash)
    assert roles(backward.inputs_of(Role.HEAD)) == [("HEAD", "fc_output")]
    assert {p.role for p in backward.inputs} == {Role.HEAD, Role.STASH, Role.ARGUMENT}
    assert roles(backward.outputs) == [("GRAD", "fc_weight"), ("GRAD", "x")]
    merged = merge_step(forward, backward)
    check_model_names(merged)
    assert not merged.outputs_of(Role.STASH)
    assert roles(merged.inputs_of(Role.HEAD)) == [("HEAD", "fc_output")]
    assert backward.plan.gradients == 4 * (2 * 3 + 4 * 3)


def test_a_step_in_one_program_with_metrics_and_rows():
    made = compile_training(
        language_model(4),
        SHAPES,
        wanted=["pred_bias", "embed_weight"],
        fetch=(),
        metrics=[NLL],
        row_sparse=["embed_weight"],
    )
    check_model_names(made.step)
    assert roles(made.step.outputs) == [
        ("METRIC_TOTAL", NLL.name),
        ("METRIC_COUNT", NLL.name),
        ("GRAD", "pred_bias"),
        ("ROWS", "embed_weight"),
        ("VALUES", "embed_weight"),
    ]
    assert made.step.outputs[0].name == NLL.total_name
    assert made.step.outputs[1].name == NLL.count_name
    assert {p.role for p in made.step.inputs} == {Role.ARGUMENT}


def test_the_order_in_which_row_sparse_gradients_are_named_means_nothing():
    data = sym.Variable("data")

    def summed(name):
        return sym.sum(sym.Embedding(data, input_dim=5, output_dim=2, name=name))

    net = sym.MakeLoss(summed("a") + summed("b"))
    names = ["a_weight", "b_weight"]
    models = {
        compile_training(net, {"data": (3,)}, wanted=names, row_sparse=order).step.model
        for order in (names, names[::-1], frozenset(names))
    }
    assert len(models) == 1


@pytest.mark.parametrize(
    ("variable", "belongs"),
    [("w.grad", "gradient of 'w'"), ("loss_output.head", "head gradient of 'loss_output'")],
)
def test_a_variable_named_like_a_result_is_an_error(variable, belongs):
    net = sym.elemwise_mul(sym.Variable("w"), sym.Variable(variable), name="loss")
    with pytest.raises(NameConflictError, match=f"{variable!r} has the name of.*{belongs}"):
        compile_training(net, {"w": (2,), variable: (2,)}, wanted=["w"])
    compile_inference(net, {"w": (2,), variable: (2,)})


def test_all_ports_of_a_model_differ_in_name():
    x = sym.Variable("x")
    net = sym.Group([x * 2.0, sym.identity(x, name="x")])
    made = compile_training(net, {"x": (2,)}, wanted=["x"])
    names = [p.name for program in made.models for p in program.outputs]
    assert len(names) == len(set(names))


# Requests ---------------------------------------------------------------------------------------


def request(**changes):
    with sb.NameManager():
        net = language_model(4, **changes.pop("net", {}))
    given = {"shapes": SHAPES, "training": True, "gradients": ["pred_weight"], **changes}
    return CompileRequest(net, **given)


def test_requests_are_equal_by_content():
    assert request() == request()
    assert hash(request()) == hash(request())
    assert {request(): 1}[request()] == 1
    lists = request(shapes={n: list(s) for n, s in reversed(SHAPES.items())})
    assert lists == request()
    assert request(dtypes={"data": np.float32}) == request(dtypes={"data": np.dtype("float32")})
    assert request(row_sparse=["a", "b"]) == request(row_sparse={"b", "a"})
    assert request(options=CompilerOptions(cache_dir="x")) == request()
    assert request() != "request"


@pytest.mark.parametrize(
    "change",
    [
        {"shapes": {"data": (2, 4), "softmax_label": (2, 4)}},
        {"dtypes": {"data": np.int64}},
        {"training": False},
        {"name": "another"},
        {"gradients": ["pred_bias"]},
        {"fetch": ()},
        {"metrics": [NLL]},
        {"metrics": [replace(NLL, eps=1e-8)]},
        {"row_sparse": ["embed_weight"]},
        {"options": CompilerOptions(value_info=True)},
        {"target": PORTABLE},
        {"net": {"hidden": 6}},
    ],
    ids=str,
)
def test_requests_differ_by_content(change):
    assert request(**change) != request()


def test_a_request_does_not_change_with_what_it_was_made_from():
    shapes, gradients = {"data": [3, 4], "softmax_label": (3, 4)}, ["pred_weight"]
    one = request(shapes=shapes, gradients=gradients)
    shapes["data"][0] = 5
    gradients.append("pred_bias")
    assert one == request()


def test_equal_requests_make_equal_models():
    assert compile_request(request()).step.model == compile_request(request()).step.model
