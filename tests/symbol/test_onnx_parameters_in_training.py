"""Parameters of ONNX files: constants that stay in training, ``params=`` and ``fixed=``, keys."""

import logging

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper

import symbucket as sb
from symbucket import sym
from symbucket.errors import InvalidArgumentError, ParameterError, ShapeError
from tests.symbol.onnx_models import draw, model, node
from tests.symbol.onnx_parameter_models import (
    RATE,
    array,
    fit,
    norms,
    operand,
    trained_module,
    values_of,
    verdicts,
)

# Training with constants ------------------------------------------------------------------------


def test_exponent_of_a_power_stays_two():
    weights = draw(0, w=(4, 4)) | {"two": array(2)}
    nodes = [node("MatMul", "x w", "q"), node("Pow", "q two", "y")]
    module = trained_module(model(nodes, [("x", [3, 4])], [("y", None)], weights), (3, 4))
    x, w = np.ones((3, 4), np.float32), weights["w"].astype(np.float64)
    for loss in fit(module, x, x, x):
        q = x @ w
        assert loss == pytest.approx((q**4).sum(), rel=1e-4)
        w = w - RATE * x.T @ (4 * q**3)
    assert list(values_of(module)) == ["w"]
    np.testing.assert_allclose(values_of(module)["w"], w, rtol=1e-4, atol=1e-5)


def gelu(shape):
    numbers = {"half": 0.5, "one": 1.0, "root": np.sqrt(2)}
    weights = draw(0, w=(4, 4)) | {n: np.full(shape, v, np.float32) for n, v in numbers.items()}
    nodes = [
        node("MatMul", "x w", "q"),
        node("Div", "q root", "d"),
        node("Erf", "d", "e"),
        node("Add", "e one", "p"),
        node("Mul", "q p", "m"),
        node("Mul", "m half", "y"),
    ]
    return model(nodes, [("x", ["n", 4])], [("y", ["n", 4])], weights)


def test_numbers_of_gelu_stay_what_they_are():
    x = draw(5, x=(6, 4))["x"]
    scalars, vectors = (trained_module(gelu(shape), (6, 4)) for shape in ((), (1,)))
    assert fit(scalars, x, x, x) == fit(vectors, x, x, x)
    assert list(values_of(vectors)) == ["w"]
    np.testing.assert_array_equal(values_of(scalars)["w"], values_of(vectors)["w"])


def recurrent(op, gates, states, batch="n"):
    """A recurrent network; ``states`` are its initial states, in the file."""
    weights = draw(3, w=(1, gates * 4, 3), r=(1, gates * 4, 4), bias=(1, gates * 8)) | states
    names = " ".join(["x w r bias", *states]).split()
    names.insert(4, "")  # sequence_lens
    recurrence = helper.make_node(op, names, ["y"], op, hidden_size=4)
    return model([recurrence], [("x", [5, batch, 3])], [("y", None)], weights, 14)


@pytest.mark.parametrize(("op", "gates"), [("LSTM", 4), ("GRU", 3), ("RNN", 1)])
def test_initial_states_of_zeros_stay_zero_for_batches_of_any_size(op, gates):
    names = ["h0", "c0"][: 2 if op == "LSTM" else 1]
    zeros = {n: np.zeros((1, 2, 4), np.float32) for n in names}
    with_states, without = recurrent(op, gates, zeros), recurrent(op, gates, {})
    for rows in (2, 5):
        x = draw(rows, x=(5, rows, 3))["x"]
        a, b = (trained_module(proto, x.shape) for proto in (with_states, without))
        assert fit(a, x, x, x) == fit(b, x, x, x)
        assert values_of(a).keys() == {"w", "r", "bias"}
        for name, value in values_of(b).items():
            np.testing.assert_array_equal(values_of(a)[name], value)


def test_other_initial_states_are_asked_for():
    states = draw(4, h0=(1, 2, 4), c0=(1, 2, 4))
    proto = recurrent("LSTM", 4, states)
    with pytest.raises(InvalidArgumentError, match=r"'h0' \(1, 2, 4\): an initial state of LSTM"):
        sym.from_onnx(proto)
    symbol = sym.from_onnx(proto, fixed=["[hc]0"])
    assert symbol.list_arguments() == ["x", "w", "r", "bias"]
    assert symbol.infer_shape(x=(5, 2, 3))[1] == [(5, 1, 2, 4)]
    with pytest.raises(ShapeError, match=r"initial_h holds the states of 2 samples.* has 3"):
        symbol.infer_shape(x=(5, 3, 3))
    assert sym.from_onnx(proto, params=["h0", "c0"]).list_arguments()[-2:] == ["h0", "c0"]


def test_a_state_that_is_expanded_may_be_learned():
    proto = recurrent("GRU", 3, {"h0": np.zeros((1, 1, 4), np.float32)})
    proto.graph.initializer.append(numpy_helper.from_array(np.array([1, 2, 4]), "shape"))
    proto.graph.node.insert(0, node("Expand", "h0 shape", "start"))
    proto.graph.node[1].input[5] = "start"
    with pytest.raises(InvalidArgumentError, match="learned, or always zero"):
        sym.from_onnx(proto)
    assert verdicts(proto, params=["h0"])["h0"] == "trained"


# params=, fixed= and the report -----------------------------------------------------------------


def test_the_more_specific_pattern_decides():
    proto = norms(shared=False)
    assert sym.from_onnx(proto, params=["w1"], fixed="*").list_arguments() == ["x", "w1"]
    found = verdicts(proto, params=["g1"], fixed=["g*"])
    assert (found["g1"], found["g2"], found["w1"]) == ("trained", "fixed", "trained")
    assert sym.from_onnx(proto, params=[]).list_arguments() == ["x"]
    with pytest.raises(InvalidArgumentError, match="params= and fixed= both name 'w1'"):
        sym.from_onnx(proto, params=["w*"], fixed=["*1"])
    with pytest.raises(InvalidArgumentError, match=r"fixed has 'mask\*'; the file's float init"):
        sym.from_onnx(proto, fixed=["mask*"])


def test_a_symbol_may_stand_for_any_float_initializer():
    proto = operand("mask", draw(0, m=(4, 4))["m"])
    symbol = sym.from_onnx(proto, {"mask": sym.Variable("visible")})
    assert sorted(symbol.list_arguments()) == ["layer.weight", "visible", "x"]


def test_report_is_a_table_and_is_logged_once(caplog):
    proto = operand("attn.mask", draw(11, m=(4, 4))["m"])
    with caplog.at_level(logging.INFO):
        _, report = sym.from_onnx(proto, name="net", report=True)
        for _ in range(3):
            sym.from_onnx(proto, name="net")
    assert report.trained == ["layer.weight"]
    assert report.fixed == ["attn.mask"]
    assert [line.split() for line in str(report).splitlines()] == [
        "name shape dtype is because".split(),
        "layer.weight (4, 4) float32 trained a weight of MatMul 'h0'".split(),
        "attn.mask (4, 4) float32 fixed named like a buffer, an operand of Add 'y'".split(),
    ]
    (record,) = [r for r in caplog.records if "from_onnx" in r.getMessage()]
    assert record.getMessage().splitlines() == [
        "from_onnx 'net': 1 trained, 1 fixed",
        "  trained: layer.weight (a weight of MatMul 'h0')",
        "  fixed: attn.mask (named like a buffer, an operand of Add 'y')",
    ]
    assert (
        str(
            sym.from_onnx(
                model([node("Tanh", "x", "y")], [("x", [2])], [("y", [2])], {}), report=True
            )[1]
        )
        == "no float constants"
    )


def test_a_parameter_without_axes_is_trained():
    proto = operand("temperature", np.array(2, np.float32), "Mul")
    module = trained_module(proto, (3, 4))
    assert values_of(module)["temperature"].tolist() == [2.0]
    x = draw(1, x=(3, 4))["x"]
    h = np.tanh(x @ values_of(module)["layer.weight"])
    (loss,) = fit(module, x)
    assert loss == pytest.approx(((2 * h) ** 2).sum(), rel=1e-5)
    step = RATE * (2 * 2 * h * h).sum()
    np.testing.assert_allclose(values_of(module)["temperature"], [2 - step], rtol=1e-5)


@pytest.mark.parametrize(
    ("name", "verdict"),
    [
        *(("half", "fixed"), ("eps", "fixed"), ("scale", "fixed"), ("val_3", "fixed")),
        *(("model.alpha", "trained"), ("clip.logit_scale", "trained"), ("temp", "trained")),
        *(("attn.scale", None), ("model.something", None)),
    ],
)
def test_single_numbers(name, verdict):
    for shape in ((), (1,)):
        proto = operand(name, np.full(shape, 0.3, np.float32), "Mul")
        if verdict:
            assert verdicts(proto)[name] == verdict
        else:
            with pytest.raises(
                InvalidArgumentError, match=r"a single number.*learned, or constant"
            ):
                sym.from_onnx(proto)
    assert verdicts(operand(name, array(-np.inf), "Add"))[name] == "fixed"


def test_constants_without_elements_are_no_parameters():
    weights = {"layer.weight2": np.zeros((0, 4), np.float32), "w": draw(0, w=(4, 4))["w"]}
    nodes = [node("MatMul", "x w", "h"), node("Concat", "h layer.weight2", "y", axis=0)]
    proto = model(nodes, [("x", ["n", 4])], [("y", None)], weights)
    assert verdicts(proto) == {"layer.weight2": "fixed", "w": "trained"}


# Keys -------------------------------------------------------------------------------------------


def product(first, second, **weights):
    nodes = [node("MatMul", f"x {first}", "h"), node("MatMul", f"h {second}", "y")]
    return model(nodes, [("x", [2, 3])], [("y", [2, 3])], weights)


def bucketing(protos):
    def network(key):
        loss = sym.MakeLoss(sym.sum(sym.from_onnx(protos[key], name="net")))
        return loss, ["x"], []

    module = sb.mod.BucketingModule(network, default_bucket_key=0)
    module.bind([("x", (2, 3))])
    module.init_params()
    return module


def test_keys_whose_files_give_one_name_to_two_values_are_refused():
    a, b = draw(0, a=(3, 3), b=(3, 3)).values()
    protos = {
        0: product("val_1", "val_2", val_1=a, val_2=b),
        1: product("val_2", "val_1", val_1=b, val_2=a),  # the same network
        2: product("val_1", "val_2", val_1=a, val_2=b),
    }
    module = bucketing(protos)
    with pytest.raises(ParameterError) as error:
        module.switch_bucket(1, [("x", (2, 3))])
    said = str(error.value)
    for part in ("'val_", "key 0", "key 1", "another", "val_17", "merge", "fixed="):
        assert part in said
    module.switch_bucket(2, [("x", (2, 3))])
    x = draw(2, x=(2, 3))["x"]
    batch = sb.io.DataBatch([x], [], bucket_key=2, provide_data=[("x", (2, 3))])
    module.forward(batch, is_train=False)
    output, expected = module.get_outputs()[0].asnumpy(), (x @ a @ b).sum()
    np.testing.assert_allclose(output, expected, rtol=1e-5, atol=1e-6)


def test_a_parameter_of_one_key_is_no_constant_of_another():
    a, b = draw(0, a=(3, 3), b=(3, 3)).values()
    proto = product("a", "b", a=a, b=b)

    def network(key):
        symbol = sym.from_onnx(proto, name="net", fixed=["a"] if key else None)
        return sym.MakeLoss(sym.sum(symbol)), ["x"], []

    module = sb.mod.BucketingModule(network, default_bucket_key=0)
    module.bind([("x", (2, 3))])
    with pytest.raises(ParameterError, match=r"'a' \(3, 3\) is a parameter of .*key 0 and a"):
        module.switch_bucket(1, [("x", (2, 3))])
    module = sb.mod.BucketingModule(network, default_bucket_key=1)
    module.bind([("x", (2, 3))])
    with pytest.raises(ParameterError, match="key 0 has a parameter 'a'"):
        module.switch_bucket(0, [("x", (2, 3))])


def test_statistics_of_two_files_have_to_agree():
    def normalized(mean):
        weights = {"g": array(1, 2, 3), "s": array(0, 1, 2), "mean": mean, "var": array(1, 1, 2)}
        nodes = [node("BatchNormalization", "x g s mean var", "y")]
        return model(nodes, [("x", [2, 3])], [("y", [2, 3])], weights, 15)

    module = bucketing({0: normalized(array(0, 0, 0)), 1: normalized(array(0, 0, 1))})
    with pytest.raises(ParameterError, match=r"aux state 'mean' \(3,\) has one value in the ONNX"):
        module.switch_bucket(1, [("x", (2, 3))])


def test_values_of_another_shape_are_explained():
    def with_table(length):
        weights = {"vit.pos_embed": draw(0, p=(length, 3))["p"]}
        return model([node("Add", "x vit.pos_embed", "y")], [("x", None)], [("y", None)], weights)

    protos = {0: with_table(2), 1: with_table(4)}
    module = bucketing(protos)
    with pytest.raises(ParameterError, match="compute constants for each length"):
        module.switch_bucket(1, [("x", (4, 3))])


def test_float16_constants_count_too():
    proto = operand("half", np.array([0.5], np.float16), "Mul")
    proto.graph.node.insert(2, node("Cast", "half", "half32", to=TensorProto.FLOAT))
    proto.graph.node[3].input[1] = "half32"
    assert verdicts(proto) == {"layer.weight": "trained", "half": "fixed"}
