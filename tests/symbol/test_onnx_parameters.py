"""Which constants of an ONNX file ``sym.from_onnx`` trains, and which keep their values."""

import logging

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper

import symbucket as sb
from symbucket import sym
from symbucket.errors import InvalidArgumentError, ParameterError, ShapeError
from symbucket.symbol.onnx_names import NameKind, name_kind
from symbucket.symbol.onnx_values import is_mask, is_sinusoidal
from tests.symbol.onnx_models import FLOAT, INT, draw, model, node

RATE = 0.05


def array(*values):
    return np.array(values, np.float32)


def verdicts(proto, **kwargs):
    _, report = sym.from_onnx(proto, report=True, **kwargs)
    return {d.name: d.verdict for d in report.decisions}


def operand(name, value, op="Add"):
    """y = (x W) op constant, over (n, 4) data."""
    weights = {"layer.weight": draw(1, w=(4, 4))["w"], name: value}
    nodes = [node("MatMul", "x layer.weight", "h0"), node("Tanh", "h0", "h")]
    nodes.append(node(op, f"h {name}", "y"))
    return model(nodes, [("x", ["n", 4])], [("y", ["n", 4])], weights)


def trained_module(proto, shape, data="x", **kwargs):
    symbol = sym.from_onnx(proto, name="net", **kwargs)
    module = sb.mod.Module(sym.MakeLoss(sym.sum(sym.square(symbol))), [data], [])
    module.bind([(data, shape)])
    module.init_params()
    module.init_optimizer(optimizer_params={"learning_rate": RATE, "rescale_grad": 1.0})
    return module


def fit(module, *batches):
    losses = []
    for batch in batches:
        module.forward_backward(sb.io.DataBatch([batch]))
        losses.append(module.get_outputs()[0].asnumpy().item())
        module.update()
    return losses


def values_of(module):
    return {n: a.asnumpy() for n, a in module.get_params()[0].items()}


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
    np.testing.assert_allclose(y.asnumpy(), long @ weight, rtol=1e-5)
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


def norms(shared, repeated=False):
    """Two products and normalizations; ``shared``: of one scale and shift, as after merging."""
    weights = draw(0, w1=(4, 4), w2=(4, 4))
    weights |= {"g1": np.ones(4, np.float32), "s1": np.zeros(4, np.float32)}
    if not shared:
        weights |= {"g2": np.ones(4, np.float32), "s2": np.zeros(4, np.float32)}
    second, other = ("1", "1") if shared else ("2", "2")
    nodes = [
        node("MatMul", "x w1", "a"),
        node("LayerNormalization", "a g1 s1", "b"),
        node("MatMul", f"b w{1 if repeated else other if not shared else 2}", "c"),
        node("LayerNormalization", f"c g{second} s{second}", "y"),
    ]
    if repeated:
        del weights["w2"]
    return model(nodes, [("x", ["n", 4])], [("y", ["n", 4])], weights)


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
    expected = (x @ a @ b).sum()
    np.testing.assert_allclose(module.get_outputs()[0].asnumpy(), expected, rtol=1e-5)


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
