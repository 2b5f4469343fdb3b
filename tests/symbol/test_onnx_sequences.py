"""Parts of a tensor that an ONNX file reads from a sequence."""

import numpy as np
import onnx
import pytest
from onnx import helper

import symbucket as sb
from symbucket import sym

X = np.arange(24, dtype=np.float32).reshape(2, 6, 2)


def _parts(positions, split=None, shape=(2, 6, 2), **attributes):
    """A model whose outputs are parts of x along an axis."""
    constants = {f"at{i}": np.array(at, np.int64) for i, at in enumerate(positions)}
    inputs = ["x"]
    if split is not None:
        constants["sizes"] = np.array(split, np.int64)
        inputs.append("sizes")
    names = [f"y{i}" for i in range(len(positions))]
    nodes = [helper.make_node("SplitToSequence", inputs, ["parts"], "cut", **attributes)]
    nodes += [
        helper.make_node("SequenceAt", ["parts", f"at{i}"], [name], name)
        for i, name in enumerate(names)
    ]
    return helper.make_model(
        helper.make_graph(
            nodes,
            "parts",
            [helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, shape)],
            [helper.make_tensor_value_info(n, onnx.TensorProto.FLOAT, None) for n in names],
            [onnx.numpy_helper.from_array(v, n) for n, v in constants.items()],
        ),
        opset_imports=[helper.make_opsetid("", 18)],
    )


CASES = {
    "equal": ([0, 1, 2], 2, {"axis": 1}, [X[:, :2], X[:, 2:4], X[:, 4:]]),
    "last is shorter": ([1, 0], 4, {"axis": 1}, [X[:, 4:], X[:, :4]]),
    "sizes": ([2, 0, 1], [1, 2, 3], {"axis": -2}, [X[:, 3:], X[:, :1], X[:, 1:3]]),
    "some": ([-1], [1, 2, 3], {"axis": 1}, [X[:, 3:]]),
    "twice": ([0, 0], 3, {"axis": 1}, [X[:, :3], X[:, :3]]),
    "unbind": ([1, -1], None, {"axis": 2, "keepdims": 0}, [X[..., 1], X[..., 1]]),
    "of one": ([0, 1], None, {"axis": 0}, [X[:1], X[1:]]),
}


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("shape", [(2, 6, 2), ("n", "t", "d")], ids=["fixed", "open"])
def test_parts_and_their_gradients_are_those_of_the_tensor(case, shape):
    positions, split, attributes, parts = CASES[case]
    symbol = sym.from_onnx(_parts(positions, split, shape, **attributes))
    executor = symbol.simple_bind(sb.cpu(), "write", x=X.shape)
    outputs = executor.forward(is_train=True, x=X)
    for output, part in zip(outputs, parts, strict=True):
        np.testing.assert_array_equal(output.asnumpy(), part)
    executor.backward([np.ones_like(part) for part in parts])
    expected = np.zeros_like(X)
    for part in parts:
        expected[np.isin(X, part)] += 1
    np.testing.assert_array_equal(executor.grad_dict["x"].asnumpy(), expected)


def test_a_size_whose_name_is_a_number_is_fixed():
    symbol = sym.from_onnx(_parts([0], 2, ("n", "6", "d"), axis=1))
    with pytest.raises(sb.SymbucketError, match="6"):
        symbol.simple_bind(sb.cpu(), "write", x=(2, 8, 2))


def test_positions_that_do_not_exist_are_refused():
    with pytest.raises(sb.SymbucketError, match=r"'y0' \(SequenceAt of opset 18\): .* 2"):
        sym.from_onnx(_parts([3], [3, 3], axis=1)).infer_shape(x=(2, 6, 2))


def _main(text):
    return onnx.parser.parse_model(f'<ir_version: 8, opset_import: ["": 17]>\n{text}')


def _values(text, **inputs):
    executor = sym.from_onnx(_main(text)).simple_bind(
        sb.cpu(), "null", **{n: a.shape for n, a in inputs.items()}
    )
    return [y.asnumpy() for y in executor.forward(**inputs)]


A, B = np.array([1, 2], np.float32), np.array([3, 4], np.float32)


def test_sequences_are_made_changed_and_joined():
    text = """
    main (float[2] a, float[2] b) => (y, n, last) <int64 minus = {-1}, int64 zero = {0}> {
        two = SequenceConstruct(a, b)
        three = SequenceInsert(two, b, minus)
        four = SequenceInsert(three, a)
        rest = SequenceErase(four, zero)
        y = ConcatFromSequence<axis = 0, new_axis = 1>(four)
        n = SequenceLength(rest)
        last = SequenceAt(rest, minus)
    }
    """
    y, n, last = _values(
        text.replace("=> (y", "=> (float[4, 2] y")
        .replace(" n,", " int64 n,", 1)
        .replace("last)", "float[2] last)", 1),
        a=A,
        b=B,
    )
    np.testing.assert_array_equal(y, [A, B, B, A])
    assert n == 3
    np.testing.assert_array_equal(last, A)


def test_a_body_for_each_element_and_a_loop_that_carries_a_sequence():
    text = """
    main (float[2] a, float[2] b) => (float[2] sum, float[3, 2] rows)
    <int64 most = {3}, bool yes = {1}> {
        two = SequenceConstruct(a, b)
        squares = SequenceMap(two) <body = square (float[2] x) => (float[2] z) {
            z = Mul(x, x)
        }>
        sum = ConcatFromSequence<axis = 0>(squares)
        none = SequenceEmpty()
        all = Loop(most, yes, none) <body = step (int64 i, bool c, seq(float[2]) before)
            => (bool on, seq(float[2]) after) {
            on = Identity(c)
            f = Cast<to = 1>(i)
            row = Mul(a, f)
            after = SequenceInsert(before, row)
        }>
        rows = ConcatFromSequence<axis = 0, new_axis = 1>(all)
    }
    """
    joined, rows = _values(text.replace("float[2] sum", "float[4] sum"), a=A, b=B)
    np.testing.assert_array_equal(joined, [1, 4, 9, 16])
    np.testing.assert_array_equal(rows, [0 * A, A, 2 * A])


def test_optionals_and_what_is_no_tensor():
    text = """
    main (float[2] a) => (float[2] y, bool has) {
        some = Optional(a)
        y = OptionalGetElement(some)
        has = OptionalHasElement(some)
    }
    """
    y, has = _values(text, a=A)
    np.testing.assert_array_equal(y, A)
    assert has
    text = "main (float[2] a) => (float[2] y) { s = SequenceConstruct(a) y = Tanh(s) }"
    with pytest.raises(sb.SymbucketError, match=r"\(Tanh of opset 17\): input 0 is a sequence"):
        _values(text, a=A)
