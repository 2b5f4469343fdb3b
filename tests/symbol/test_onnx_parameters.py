"""Which constants of an ONNX file ``sym.from_onnx`` trains, and which keep their values."""

import numpy as np
import pytest
from onnx import helper, numpy_helper

from symbucket import sym
from symbucket.errors import InvalidArgumentError
from symbucket.symbol.onnx.names import NameKind, name_kind
from symbucket.symbol.onnx.values import is_mask, is_sinusoidal
from tests.symbol.onnx_models import FLOAT, INT, draw, model, node
from tests.symbol.onnx_parameter_models import (
    array,
    fit,
    norms,
    operand,
    trained_module,
    values_of,
    verdicts,
)

# Names and values -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("layers.0.self_attn.in_proj_weight", NameKind.PARAMETER),
        ("rnn.weight_ih_l0_reverse", NameKind.PARAMETER),
        ("conv.parametrizations.weight.original0", NameKind.PARAMETER),
        ("conv.weight_g", NameKind.PARAMETER),
        ("dense/MatMul/ReadVariableOp:0", NameKind.PARAMETER),
        ("vit.cls_token", NameKind.PARAMETER),
        ("vit.pos_embed", NameKind.PARAMETER),
        ("fc1_weight", NameKind.PARAMETER),
        ("w2", NameKind.PARAMETER),
        ("encoder.scales.3", NameKind.PARAMETER),
        ("attn.causal_mask", NameKind.BUFFER),
        ("conv.weight_mask", NameKind.BUFFER),
        ("rotary_emb.inv_freq", NameKind.BUFFER),
        ("pos_encoder.pe", NameKind.BUFFER),
        ("bn.running_mean", NameKind.BUFFER),
        ("class_weights", NameKind.BUFFER),
        ("h0", NameKind.BUFFER),
        ("mask.weight", NameKind.PARAMETER),
        ("/layer/Constant_1_output_0", NameKind.LITERAL),
        ("lifted_tensor_0", NameKind.LITERAL),
        ("val_17", NameKind.COMPUTED),
        ("onnx::MatMul_23", NameKind.COMPUTED),
        ("embedding_1", NameKind.COMPUTED),
        ("zeros_like", NameKind.COMPUTED),
        ("new_shape__12", NameKind.COMPUTED),
        ("17", NameKind.COMPUTED),
        ("something", NameKind.OTHER),
        ("model.something", NameKind.OTHER),
    ],
)
def test_what_names_say(name, kind):
    assert name_kind(name) is kind


def sinusoidal(length, width):
    """The position table of "Attention is all you need"."""
    angles = np.arange(length)[:, None] / 10000 ** (np.arange(0, width, 2) / width)
    return np.stack([np.sin(angles), np.cos(angles)], -1).reshape(length, width).astype("f")


def test_what_values_say():
    assert is_sinusoidal(sinusoidal(9, 6))
    halves = sinusoidal(9, 6)  # Whisper's: sines first, then cosines
    assert is_sinusoidal(np.concatenate([halves[:, ::2], halves[:, 1::2]], 1)[None])
    assert not is_sinusoidal(draw(0, t=(9, 6))["t"])
    assert not is_sinusoidal(np.eye(4, dtype=np.float32))
    assert is_mask(np.triu(np.full((3, 3), -np.inf, np.float32), 1))
    assert is_mask(np.triu(np.full((3, 3), -1e9, np.float32), 1))
    assert not is_mask(np.zeros((3, 3), np.float32))
    assert not is_mask(draw(0, t=(3, 3))["t"])


# What is trained --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("op", "name", "value"),
    [
        ("Pow", "layer.weight2", array(2)),
        ("Pow", "two", array(2, 2, 2, 2)),
        ("Add", "eps", array(1e-5)),
        ("Mul", "half", array(0.5)),
        ("Mul", "scale", array(0.5)),
        ("Add", "mask", draw(3, m=(4, 4))["m"]),
        ("Add", "additive", np.triu(np.full((4, 4), -1e9, np.float32), 1)),
        ("Add", "onnx::Add_5", np.triu(np.full((4, 4), -np.inf, np.float32), 1)),
        ("Add", "embed.weight", sinusoidal(4, 4)),
        ("Add", "places", sinusoidal(4, 4)),
        ("Add", "pos_encoder.pe", draw(3, p=(4, 4))["p"]),
        ("Sub", "image_mean", array(0.4, 0.5, 0.6, 0.7)),
        ("Div", "lifted_tensor_0", array(0.4, 0.5, 0.6, 0.7)),
        ("Add", "/Constant_output_0", array(0.4, 0.5, 0.6, 0.7)),
        ("Add", "val_17", np.zeros(4, np.float32)),
        ("Add", "val_17", array(0, 1, 2, 3)),
        ("Mul", "cos", np.cos(np.outer(np.arange(4), array(1, 0.1, 1, 0.1)))),
        ("Max", "floor", array(0)),
    ],
)
def test_constants_stay_what_they_are(op, name, value):
    proto = operand(name, np.asarray(value, np.float32), op)
    assert verdicts(proto) == {"layer.weight": "trained", name: "fixed"}
    assert verdicts(proto, params=[name])[name] == "trained"
    assert sym.from_onnx(proto).list_arguments() == ["x", "layer.weight"]


@pytest.mark.parametrize(
    ("op", "name", "value"),
    [
        ("Mul", "layer.gamma", array(0.1, 0.2, 0.3, 0.4)),
        ("Mul", "norm.weight", np.ones(4, np.float32)),
        ("Add", "vit.pos_embed", draw(3, p=(1, 4))["p"]),
        ("Mul", "clip.logit_scale", np.array(2.6592, np.float32)),
        ("Add", "b2", array(0.1, 0.2, 0.3, 0.4)),
    ],
)
def test_operands_that_are_named_like_parameters_are_trained(op, name, value):
    proto = operand(name, value, op)
    assert verdicts(proto)[name] == "trained"
    assert verdicts(proto, fixed=[name])[name] == "fixed"


@pytest.mark.parametrize("name", ["onnx::MatMul_23", "val_68", "anything"])
def test_weights_of_products_are_trained_whatever_they_are_called(name):
    weights = {name: draw(1, w=(4, 3))["w"], "b": np.zeros(3, np.float32)}
    nodes = [node("MatMul", f"x {name}", "h"), node("Add", "b h", "y")]
    proto = model(nodes, [("x", ["n", 4])], [("y", ["n", 3])], weights)
    assert verdicts(proto) == {name: "trained", "b": "trained"}


def test_bias_of_one_output():
    weights = {"onnx::Gemm_1": draw(1, w=(4, 1))["w"], "onnx::Gemm_2": array(0.5)}
    nodes = [node("Gemm", "x onnx::Gemm_1 onnx::Gemm_2", "y")]
    proto = model(nodes, [("x", ["n", 4])], [("y", ["n", 1])], weights)
    assert set(verdicts(proto).values()) == {"trained"}


def test_weights_are_followed_through_what_is_computed_from_them():
    """Weight normalization, a transposed weight, and the parts of an LSTM's weights."""
    weights = draw(2, direction=(4, 3), length=(1, 3), slices=(1, 12, 3), rest=(1, 12, 3))
    weights |= {"two": np.array(2, np.float32), "axes": np.array([0], np.int64)}
    weights |= {"start": np.array([0], np.int64), "end": np.array([3], np.int64)}
    nodes = [
        node("Pow", "direction two", "square"),
        node("ReduceSum", "square axes", "sum", keepdims=1),
        node("Sqrt", "sum", "norm"),
        node("Div", "direction norm", "unit"),
        node("Mul", "unit length", "weight"),
        node("MatMul", "x weight", "h"),
        node("Slice", "slices start end axes", "part"),
        node("LSTM", "h part rest", "all", hidden_size=3),
    ]
    inputs = [("x", ["t", "n", 4])]
    proto = model(nodes, inputs, [("all", None)], weights, 14)
    assert verdicts(proto) == {
        **dict.fromkeys(("direction", "length", "slices", "rest"), "trained"),
        "two": "fixed",
    }


def test_weights_in_constant_nodes_are_trained():
    weights = draw(1, w=(4, 3))
    constant = helper.make_node("Constant", [], ["w"], value=numpy_helper.from_array(weights["w"]))
    number = helper.make_node("Constant", [], ["half"], value_float=0.5)
    rest = [node("MatMul", "x w", "h"), node("Mul", "h half", "y")]
    shapes = [("x", ["n", 4])], [("y", ["n", 3])]
    held = model([constant, number, *rest], *shapes, {})
    listed = model(rest, *shapes, weights | {"half": np.array(0.5, np.float32)})
    assert verdicts(held) == verdicts(listed) == {"w": "trained", "half": "fixed"}
    x = draw(2, x=(6, 4))["x"]
    (a, b) = (trained_module(proto, (6, 4)) for proto in (held, listed))
    assert fit(a, x, x, x) == fit(b, x, x, x)
    np.testing.assert_array_equal(values_of(a)["w"], values_of(b)["w"])
    assert np.abs(values_of(a)["w"] - weights["w"]).max() > 1e-3


def test_weights_in_branches_are_trained():
    weight = draw(1, w=(3, 3))["w"]
    branches = []
    for name, op in (("inner.weight", "MatMul"), ("factor", "Mul")):
        held = numpy_helper.from_array(weight if op == "MatMul" else array(2), name)
        result = helper.make_tensor_value_info(f"{op}_result", FLOAT, None)
        nodes = [node(op, f"x {name}", f"{op}_result")]
        branches.append(helper.make_graph(nodes, op, [], [result], [held]))
    nodes = [
        node("Size", "x", "count"),
        node("Greater", "count limit", "long"),
        node("If", "long", "y", then_branch=branches[0], else_branch=branches[1]),
    ]
    inputs = [("x", ["n", 3])]
    proto = model(nodes, inputs, [("y", None)], {"limit": np.array(4, np.int64)})
    assert verdicts(proto) == {"inner.weight": "trained", "factor": "fixed"}
    symbol = sym.from_onnx(proto)
    long, brief = draw(2, a=(2, 3))["a"], draw(2, a=(1, 3))["a"]
    (y,) = symbol.eval(x=long, **{"inner.weight": weight})
    np.testing.assert_allclose(y.asnumpy(), long @ weight, rtol=1e-5, atol=1e-6)
    (y,) = symbol.eval(x=brief, **{"inner.weight": weight})
    np.testing.assert_allclose(y.asnumpy(), 2 * brief, rtol=1e-6)


def test_unused_initializers_are_left_out():
    proto = operand("layer.bias", draw(0, b=(4,))["b"])
    unused = draw(1, lost=(3,), dead=(4, 2))
    proto.graph.initializer.extend(numpy_helper.from_array(v, n) for n, v in unused.items())
    proto.graph.node.append(node("MatMul", "x dead", "nothing"))  # no output depends on it
    symbol, report = sym.from_onnx(proto, report=True)
    assert symbol.list_arguments() == ["x", "layer.weight", "layer.bias"]
    assert report.unused == ["lost", "dead"]
    assert symbol.infer_shape(x=(2, 4))[1] == [(2, 4)]


def test_only_the_shape_of_an_initializer_is_used():
    nodes = [node("Shape", "like", "s"), node("Expand", "x s", "y")]
    like = {"like": np.ones((3, 2), np.float32)}
    symbol = sym.from_onnx(model(nodes, [("x", [1, 2])], [("y", [3, 2])], like))
    assert symbol.list_arguments() == ["x"]
    assert symbol.eval(x=array(1, 2)[None])[0].asnumpy().tolist() == [[1, 2]] * 3


def test_tables_and_class_weights():
    weights = {
        "words": draw(0, t=(5, 4))["t"],
        "places.weight": sinusoidal(6, 4),
        "head": draw(0, h=(4, 3))["h"],
        "weight": array(1, 2, 3),
        "rows": np.arange(6),
    }
    nodes = [
        node("Gather", "words ids", "e"),
        node("Gather", "places.weight rows", "p"),
        node("Add", "e p", "sum"),
        node("MatMul", "sum head", "scores"),
        node("SoftmaxCrossEntropyLoss", "scores label weight", "loss"),
    ]
    nodes.insert(4, node("Transpose", "scores", "classes", perm=[0, 2, 1]))
    nodes[-1].input[0] = "classes"
    inputs = [("ids", ["n", 6], INT), ("label", ["n", 6], INT)]
    proto = model(nodes, inputs, [("loss", [])], weights)
    assert verdicts(proto) == {
        "words": "trained",
        "places.weight": "fixed",
        "head": "trained",
        "weight": "fixed",
    }


# Where the rule is unsure -----------------------------------------------------------------------


def test_names_that_do_not_tell_are_asked_for_all_at_once():
    proto = operand("something", draw(0, s=(4,))["s"], "Mul")
    extra = draw(1, other=(4,))["other"]
    proto.graph.initializer.append(numpy_helper.from_array(extra, "other"))
    proto.graph.node.append(node("Sub", "y other", "z"))
    proto.graph.output[0].name = "z"
    with pytest.raises(InvalidArgumentError) as error:
        sym.from_onnx(proto)
    said = str(error.value)
    assert "2 of its constants" in said
    assert "'something' (4,): an operand of Mul 'y'" in said
    assert "'other' (4,): an operand of Sub 'z'" in said
    assert "params=[...]" in said
    assert "fixed=[...]" in said
    found = verdicts(proto, params="some*", fixed=["other"])
    assert found == {"layer.weight": "trained", "something": "trained", "other": "fixed"}


@pytest.mark.parametrize("name", ["onnx::Add_12", "embedding_1", "val_17", "slice_2"])
def test_what_an_exporter_computed_is_asked_for(name):
    with pytest.raises(InvalidArgumentError, match="a result that the exporter computed"):
        sym.from_onnx(operand(name, draw(0, p=(4, 4))["p"]))


def test_equal_parameters_that_an_exporter_merged_are_asked_for():
    with pytest.raises(InvalidArgumentError) as error:
        sym.from_onnx(norms(shared=True))
    said = str(error.value)
    assert "'g1' (4,): all its values are 1, and LayerNormalization 'b' and" in said
    assert "'s1' (4,): all its values are 0" in said
    assert "merged" in said
    assert "optimize=False" in said
    assert set(verdicts(norms(shared=True), params=["g1", "s1"]).values()) == {"trained"}
    assert set(verdicts(norms(shared=False)).values()) == {"trained"}


@pytest.mark.parametrize("name", ["/n/Constant_output_0", "val_1", "onnx::LayerNormalization_7"])
def test_normalizations_without_parameters_stay_without(name):
    """Exporters write their scale and shift as constants."""
    weights = {name: np.ones(4, np.float32), "layer.weight": draw(1, w=(4, 4))["w"]}
    nodes = [node("MatMul", "x layer.weight", "h"), node("LayerNormalization", f"h {name}", "y")]
    proto = model(nodes, [("x", ["n", 4])], [("y", ["n", 4])], weights)
    assert verdicts(proto) == {name: "fixed", "layer.weight": "trained"}
    module = trained_module(proto, (3, 4))
    fit(module, *[draw(s, x=(3, 4))["x"] for s in range(3)])
    assert list(values_of(module)) == ["layer.weight"]


def test_tables_with_one_number_a_row_are_asked_for():
    nodes = [node("Gather", "cw label", "y")]
    proto = model(nodes, [("label", ["n"], INT)], [("y", ["n"])], {"cw": array(1, 2, 3)})
    with pytest.raises(InvalidArgumentError, match=r"'cw' \(3,\).*weights of classes, or learned"):
        sym.from_onnx(proto)


@pytest.mark.parametrize(
    ("name", "verdict"), [("lifted_tensor_0", "fixed"), ("/fc/Constant_output_0", None)]
)
def test_matrices_of_the_program(name, verdict):
    nodes = [node("MatMul", f"x {name}", "y")]
    weights = {name: draw(0, w=(4, 3))["w"]}
    proto = model(nodes, [("x", ["n", 4])], [("y", ["n", 3])], weights)
    if verdict:
        assert verdicts(proto) == {name: verdict}
    else:
        with pytest.raises(InvalidArgumentError, match="or a weight of a frozen network"):
            sym.from_onnx(proto)


def test_a_layer_that_is_applied_twice_shares_its_parameters():
    found = verdicts(norms(shared=True, repeated=True))
    assert found == dict.fromkeys(("w1", "g1", "s1"), "trained")


def test_statistics_that_two_normalizations_would_follow_are_asked_for():
    affine = {"g1": array(1, 1), "g2": array(1, 2), "s1": array(0, 1), "s2": array(1, 0)}
    weights = affine | {"mean": array(0, 0), "var": array(1, 1)}
    for training in (0, 1):
        outputs = [f"a{' m1 v1' * training}", f"y{' m2 v2' * training}"]
        nodes = [
            node("BatchNormalization", "x g1 s1 mean var", outputs[0], training_mode=training),
            node("BatchNormalization", "a g2 s2 mean var", outputs[1], training_mode=training),
        ]
        proto = model(nodes, [("x", ["n", 2])], [("y", ["n", 2])], weights, 15)
        if training:
            with pytest.raises(InvalidArgumentError, match="'mean'"):
                sym.from_onnx(proto)
        else:
            assert sym.from_onnx(proto).list_auxiliary_states() == ["mean", "var"]


def _of_torch(nodes, tensors):
    weights = {n: np.asarray(v, np.float32) for n, v in tensors.items()}
    return model(nodes, [("x", [2, 4])], [("y", None)], weights)


def test_equal_parameters_of_layers_that_were_merged_are_asked_about():
    nodes = [
        helper.make_node("MatMul", ["x", "onnx::MatMul_5"], ["h"], "/layers.0/MatMul"),
        helper.make_node("Tanh", ["h"], ["t"], "/Tanh"),
        helper.make_node("MatMul", ["t", "onnx::MatMul_5"], ["y"], "/layers.1/MatMul"),
    ]
    weights = {"onnx::MatMul_5": np.random.default_rng(0).normal(size=(4, 4))}
    with pytest.raises(InvalidArgumentError, match="one parameter of several layers, or equal"):
        sym.from_onnx(_of_torch(nodes, weights))
    nodes[2].name = "/layers.0_1/MatMul"  # the same layer, called again
    assert len(sym.from_onnx(_of_torch(nodes, weights)).list_arguments()) == 2


def test_a_transposed_copy_of_a_parameter_is_asked_about():
    weight = np.random.default_rng(0).normal(size=(4, 3))
    nodes = [
        helper.make_node("MatMul", ["x", "table"], ["h"], "/in/MatMul"),
        helper.make_node("MatMul", ["h", "onnx::MatMul_5"], ["y"], "/out/MatMul"),
    ]
    with pytest.raises(InvalidArgumentError, match=r"'onnx::MatMul_5'.* 'table' transposed"):
        sym.from_onnx(_of_torch(nodes, {"table": weight, "onnx::MatMul_5": weight.T}))
    other = {"table": weight, "onnx::MatMul_5": weight.T + 1}
    assert len(sym.from_onnx(_of_torch(nodes, other)).list_arguments()) == 3
