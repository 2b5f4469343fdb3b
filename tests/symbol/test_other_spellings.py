"""Names of other libraries: the operator itself, or an error that says what to write."""

from __future__ import annotations

import re

import numpy as np
import pytest

import symbucket as sb
from symbucket.ops import names
from symbucket.ops.other_spellings import _INSTEAD

x, y = sb.sym.Variable("x"), sb.sym.Variable("y")


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("linear", r"FullyConnected\(x, num_hidden=n\)"),
        ("Linear", "FullyConnected"),
        ("cross_entropy", "SoftmaxOutput"),
        ("CrossEntropyLoss", "SoftmaxOutput"),
        ("layer_norm", "Did you mean 'LayerNorm'"),
        ("LayerNorm2", "'LayerNorm'"),
        ("ReLU", "Did you mean 'relu'"),
        ("conv2d", "Convolution"),
        ("nn", "sym.FullyConnected.*symbucket.rnn"),
        ("LSTM", "symbucket.rnn.LSTMCell"),
    ],
)
def test_names_of_other_libraries(name: str, said: str) -> None:
    for module in (sb.sym, sb.nd):
        with pytest.raises(AttributeError, match=f"no operator '{name}'.*{said}"):
            getattr(module, name)


def test_every_suggestion_is_made_of_operators() -> None:
    for text in _INSTEAD.values():
        for namespace, name in re.findall(r"(contrib\.)?(\w+)\(", text):
            assert getattr(sb.sym.contrib if namespace else sb.sym, name), text


def test_no_entry_hides_an_operator() -> None:
    registered = {name.lower().replace("_", "") for name in names()}
    assert not {name for name in _INSTEAD if name in registered}


def test_methods_that_symbols_do_not_have() -> None:
    with pytest.raises(AttributeError, match=r"no attribute 'view'.*Did you mean reshape"):
        x.view(2)
    with pytest.raises(
        AttributeError, match=r"no attribute 'FullyConnected'.*sym.FullyConnected\(x\)"
    ):
        x.FullyConnected(num_hidden=3)
    assert not hasattr(x, "__array__")


def test_matrices_are_multiplied_by_their_sign() -> None:
    a, b = np.arange(12.0).reshape(2, 2, 3), np.arange(6.0).reshape(3, 2) - 2
    bound = (x @ y).simple_bind(sb.cpu(), "null", x=a.shape, y=b.shape)
    assert (bound.forward(x=a, y=b)[0].asnumpy() == a @ b).all()
    assert ((sb.nd.array(a) @ sb.nd.array(b)).asnumpy() == a @ b).all()
    with pytest.raises(TypeError, match="unsupported operand"):
        x @ 2
    with pytest.raises(sb.SymbucketError, match=r"last axis of lhs has size 3.*rhs 4"):
        (x @ y).infer_shape(x=(2, 3), y=(4, 5))
    with pytest.raises(sb.SymbucketError, match=r"axes before .* broadcast"):
        (x @ y).infer_shape(x=(2, 2, 3), y=(3, 3, 5))


def test_values_of_gelu_and_logsumexp() -> None:
    """Computed by PyTorch 2.13."""
    data = sb.nd.array([[-1.5, -0.5, 0.5], [0.0, 1.0, 3.0]])
    exact = [[-0.10021, -0.154269, 0.345731], [0.0, 0.841345, 2.99595]]
    tanh = [[-0.100429, -0.154286, 0.345714], [0.0, 0.841192, 2.996363]]
    np.testing.assert_allclose(sb.nd.gelu(data).asnumpy(), exact, atol=2e-6)
    np.testing.assert_allclose(data.gelu(approximate="tanh").asnumpy(), tanh, atol=2e-6)
    np.testing.assert_allclose(data.logsumexp(axis=1).asnumpy(), [0.907606, 3.169846], rtol=1e-6)
    large = sb.nd.array([[1000.0, 1000.0]])
    np.testing.assert_allclose(sb.nd.logsumexp(large).asnumpy(), [1000.693147], rtol=1e-6)


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("NDArrayIter", r"no 'NDArrayIter'. Did you mean symbucket.io.NDArrayIter\?"),
        ("LSTMCell", "symbucket.rnn.LSTMCell"),
        ("symbols", "Did you mean 'symbol'"),
        ("autograd", "no 'autograd': networks are symbols.*training in symbucket.mod"),
        ("zzz", "no 'zzz'$"),
    ],
)
def test_names_that_the_package_does_not_have(name: str, said: str) -> None:
    with pytest.raises(AttributeError, match=said):
        getattr(sb, name)


def test_modules_list_what_they_offer() -> None:
    for module in (sb.mon, sb.kv, sb.lr_scheduler, sb.random):
        assert set(dir(module)) == set(module.__all__)
