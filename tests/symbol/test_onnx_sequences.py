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
