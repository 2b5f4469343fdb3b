"""What PyTorch's exporter notes on nodes: parameters that it merged, copied, transposed, folded."""

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper

import symbucket as sb
from symbucket import sym
from symbucket.errors import InvalidArgumentError, SymbucketError, UnsupportedError
from tests.symbol.onnx_models import model


def _node(op, inputs, output, call="", scope="", **attributes):
    """A node, noted as ``NAME = TARGET(ARGS)`` in a scope."""
    node = helper.make_node(op, inputs, [output], f"{op}_{output}", **attributes)
    if call:
        name, _, rest = call.partition(" = ")
        target, _, args = rest.partition("(")
        text = (
            f"%{name} : [num_users=1] = call_function[target=torch.ops.aten.{target}]"
            f"(args = ({args}, kwargs = {{}})"
        )
        for key, value in (("fx_node", text), ("name_scopes", str(["", scope, name]))):
            prop = node.metadata_props.add()
            prop.key, prop.value = f"pkg.torch.onnx.{key}", value
    return node


def _model(nodes, tensors, shape=("n", 4), kind=TensorProto.FLOAT):
    weights = {n: np.asarray(v, np.float32) for n, v in tensors.items()}
    proto = model(nodes, [("x", shape, kind)], [("y", None)], weights, opset=20)
    proto.producer_name = "pytorch"
    return proto


def _weight(seed=0, shape=(4, 4)):
    return np.random.default_rng(seed).normal(size=shape)


def _values(symbol):
    return {node.name: node.value for node in symbol.nodes() if node.value is not None}


def _outputs(symbol, x):
    executor = symbol.simple_bind(sb.cpu(), "null", x=x.shape)
    executor.copy_params_from(_values(symbol))
    return executor.forward(x=x)[0].asnumpy()


X = np.arange(8, dtype=np.float32).reshape(2, 4)


def test_equal_parameters_that_were_merged_are_apart_again():
    norm = "layer_norm.default(%{}, [4], %p_{}_weight, %p_{}_bias, 1e-05, False)"
    model = _model(
        [
            _node(
                "LayerNormalization",
                ["x", "a.weight", "a.bias"],
                "h",
                f"h = {norm.format('x', 'a', 'a')}",
                "a",
            ),
            _node(
                "LayerNormalization",
                ["h", "a.weight", "a.bias"],
                "y",
                f"y = {norm.format('h', 'blocks_1_b', 'blocks_1_b')}",
                "blocks.1.b",
            ),
        ],
        {"a.weight": np.ones(4), "a.bias": np.zeros(4)},
    )
    symbol = sym.from_onnx(model)
    assert symbol.list_arguments() == [
        *("x", "a.weight", "a.bias", "blocks.1.b.weight", "blocks.1.b.bias")
    ]


def _tied(copy):
    linear = "y = linear.default(%h, %p_embed_weight)"
    return _model(
        [
            _node(
                "Gather", ["embed.weight", "x"], "h", "h = embedding.default(%p_embed_weight, %x)"
            ),
            _node("MatMul", ["h", "val_3"], "y", linear, "out"),
        ],
        {"embed.weight": _weight(), "val_3": copy},
        ("n",),
        TensorProto.INT64,
    )


def test_a_transposed_copy_of_a_shared_table_is_the_table():
    symbol = sym.from_onnx(_tied(_weight().T))
    assert symbol.list_arguments() == ["x", "embed.weight"]
    output = _outputs(symbol, np.array([1, 3]))
    expected = _weight()[[1, 3]] @ _weight().T
    np.testing.assert_allclose(output, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("padding", ["", ", 2"])
def test_rows_of_a_fixed_table_are_constants(padding):
    model = _model(
        [
            _node("Gather", ["w", "ids"], "h", f"h = embedding.default(%p_w, %ids{padding})"),
            _node("Add", ["x", "h"], "y", "y = add.Tensor(%x, %h)"),
        ],
        {"w": _weight()},
        (2, 4),
    )
    model.graph.initializer.append(numpy_helper.from_array(np.array([2, 0]), "ids"))
    symbol = sym.from_onnx(model, fixed="w")
    expected = X + _weight()[[2, 0]]
    np.testing.assert_allclose(_outputs(symbol, X), expected, rtol=1e-6, atol=1e-6)


def test_a_copy_with_other_values_is_asked_about():
    with pytest.raises(InvalidArgumentError, match=r"'val_3'.* PyTorch shares, with other values"):
        sym.from_onnx(_tied(_weight(1)))


def test_a_transposed_weight_gets_its_name_and_its_form():
    weight = _weight(shape=(4, 3))
    linear = "linear.default(%{}, %p_layer_weight)"
    model = _model(
        [
            _node("MatMul", ["x", "val_1"], "h", f"h = {linear.format('x')}", "layer"),
            _node("Mul", ["h", "h"], "y", "y = mul.Tensor(%h, %h)"),
        ],
        {"val_1": weight},
    )
    symbol = sym.from_onnx(model)
    assert _values(symbol)["layer.weight"].shape == (3, 4)
    np.testing.assert_allclose(_outputs(symbol, X), (X @ weight) ** 2, atol=1e-5)


FOLDED = {
    "weight normalization": (
        [_node("MatMul", ["x", "val_1"], "y", "y = linear.default(%x, %mul)", "layer")],
        "'val_1'.* exporter computed it",
    ),
    "BatchNorm in evaluation": (
        [
            _node(
                "MatMul",
                ["x", "c.weight"],
                "y",
                "y = _native_batch_norm_legit_no_training.default(%c, %p_b_weight, %p_b_bias, "
                "%b_b_running_mean, %b_b_running_var, 0.1, 1e-05)",
                "b",
            )
        ],
        "'c.weight'.* exporter computed it",
    ),
}


@pytest.mark.parametrize("case", FOLDED)
def test_what_parameters_were_folded_into_is_asked_about(case):
    nodes, text = FOLDED[case]
    weight = nodes[0].input[1]
    model = _model(nodes, {weight: _weight()})
    with pytest.raises(InvalidArgumentError, match=text):
        sym.from_onnx(model)
    assert sym.from_onnx(model, params=weight).list_arguments() == ["x", weight]
    assert sym.from_onnx(model, fixed=weight).list_arguments() == ["x"]


def test_a_parameter_that_equals_a_number_of_the_program_is_trained_alone():
    model = _model(
        [
            _node(
                "Mul", ["x", "scale.weight"], "h", "h = mul.Tensor(%x, %p_scale_weight)", "scale"
            ),
            _node("Mul", ["h", "scale.weight"], "y", "y = mul.Tensor(%h, %ones)"),
        ],
        {"scale.weight": np.ones(4)},
    )
    symbol, report = sym.from_onnx(model, report=True)
    assert symbol.list_arguments() == ["x", "scale.weight"]
    assert len(report.fixed) == 1


def test_dropout_that_the_file_lacks_is_refused():
    call = "y = lstm.input(%x, [%h, %c], [%p_w], True, 2, 0.5, True, False, True)"
    model = _model([_node("MatMul", ["x", "w"], "y", call)], {"w": _weight()})
    with pytest.raises(UnsupportedError, match="left out dropout of y"):
        sym.from_onnx(model)
    call = call.replace("True, 2, 0.5, True", "True, 2, 0.5, False")
    model = _model([_node("MatMul", ["x", "w"], "y", call)], {"w": _weight()})
    assert sym.from_onnx(model).list_arguments() == ["x", "w"]


def test_notes_that_cannot_be_read_are_refused():
    model = _model(
        [_node("Gather", ["w", "x"], "y", "y = embedding.default(%p_w, <strange>)")],
        {"w": _weight()},
        ("n",),
        TensorProto.INT64,
    )
    with pytest.raises(UnsupportedError, match=r"noted on y .* cannot be read"):
        sym.from_onnx(model)


def _steps(count, *more):
    """A graph that reads each position by a node, as a loop over time is written."""
    gathers = [_node("Gather", ["h", f"i{t}"], f"h{t}", axis=1) for t in range(count)]
    model = _model(
        [
            _node("MatMul", ["x", "w.weight"], "h"),
            *gathers,
            *more,
            _node("Sum", [f"h{t}" for t in range(count)] + [n.output[0] for n in more], "y"),
        ],
        {"w.weight": _weight()},
        ("n", "t", 4),
    )
    model.graph.initializer.extend(
        numpy_helper.from_array(np.array(t), f"i{t}") for t in range(count)
    )
    model.graph.initializer.append(numpy_helper.from_array(np.array([1]), "axes"))
    return sym.from_onnx(model)


def test_a_length_of_which_each_position_has_its_node_is_fixed():
    symbol = _steps(3)
    x = np.ones((2, 3, 4), np.float32)
    expected = (x @ _weight()).sum(1)
    np.testing.assert_allclose(_outputs(symbol, x), expected, rtol=1e-5, atol=1e-6)
    for length in (2, 4):
        with pytest.raises(SymbucketError, match=rf"\(2, {length}, 4\) and \(0, 3, 4\)"):
            _outputs(symbol, np.ones((2, length, 4), np.float32))


def test_a_length_that_something_else_reads_stays_open():
    symbol = _steps(2, _node("ReduceMean", ["h", "axes"], "m", keepdims=0))
    for length in (2, 4):
        x = np.ones((2, length, 4), np.float32)
        h = x @ _weight()
        expected = h[:, 0] + h[:, 1] + h.mean(1)
        np.testing.assert_allclose(_outputs(symbol, x), expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("call", "expected"),
    [
        ("y = max.dim(%h, 1)", [[1, 0, 0, 0], [0, 2, 0, 0]]),
        ("y = amax.default(%h, [1])", [[0.25] * 4, [0, 1, 1, 0]]),
    ],
)
def test_the_first_of_equal_extremes_or_all_of_them_get_the_gradient(call, expected):
    nodes = [_node("Abs", ["x"], "h"), _node("ReduceMax", ["h", "axes"], "y", call, keepdims=0)]
    made = _model(nodes, {})
    made.graph.initializer.append(numpy_helper.from_array(np.array([1]), "axes"))
    executor = sym.from_onnx(made).simple_bind(sb.cpu(), "write", x=(2, 4))
    x = np.array([[2, 2, 2, 2], [1, 5, 5, 0]], np.float32)
    np.testing.assert_array_equal(executor.forward(is_train=True, x=x)[0].asnumpy(), [2, 5])
    executor.backward([np.array([1, 2], np.float32)])
    np.testing.assert_array_equal(executor.grad_dict["x"].asnumpy(), expected)


def _without_bias(lost):
    tensors = "".join(f", %p_layer_{name}" for name in ("weight", *lost))
    call = f"y = linear.default(%x{tensors})"
    return _model(
        [_node("Gemm", ["x", "layer.weight"], "y", call, "layer", transB=1)],
        {"layer.weight": _weight(shape=(3, 4))},
    )


def test_a_bias_of_zeros_that_was_left_out_is_a_parameter():
    symbol = sym.from_onnx(_without_bias(["bias"]))
    assert symbol.list_arguments() == ["x", "layer.weight", "layer.bias"]
    np.testing.assert_array_equal(_values(symbol)["layer.bias"], np.zeros(3, np.float32))


def test_a_bias_that_was_left_out_beside_a_merged_weight_is_a_parameter():
    calls = [
        f"{y} = linear.default(%{x}, %p_{layer}_weight, %p_{layer}_bias)"
        for y, x, layer in (("h", "x", "a"), ("y", "h", "b"))
    ]
    model = _model(
        [
            _node("Gemm", ["x", "a.weight"], "h", calls[0], "a"),
            _node("Gemm", ["h", "a.weight"], "y", calls[1], "b"),
        ],
        {"a.weight": _weight()},
    )
    names = {"x", *(f"{layer}.{word}" for layer in "ab" for word in ("weight", "bias"))}
    assert set(sym.from_onnx(model).list_arguments()) == names


def test_other_parameters_that_were_left_out_are_named():
    model = _without_bias(["scale"])
    with pytest.raises(InvalidArgumentError, match=r"left out the parameters layer\.scale"):
        sym.from_onnx(model)
    assert sym.from_onnx(model, fixed="*").list_arguments() == ["x"]


def test_a_loop_over_the_parts_of_a_sequence_fixes_its_length():
    model = _model(
        [
            _node("SplitToSequence", ["x"], "parts", axis=1, keepdims=0),
            *[_node("SequenceAt", ["parts", f"i{t}"], f"h{t}") for t in range(2)],
            _node("Add", ["h0", "h1"], "y"),
        ],
        {},
        ("n", "t", 4),
    )
    model.graph.initializer.extend(numpy_helper.from_array(np.array(t), f"i{t}") for t in range(2))
    symbol = sym.from_onnx(model)
    x = np.ones((3, 2, 4), np.float32)
    np.testing.assert_array_equal(_outputs(symbol, x), x.sum(1))
    with pytest.raises(SymbucketError, match=r"\(0, 2, 4\)"):
        _outputs(symbol, np.ones((3, 5, 4), np.float32))
