"""Matrices of more rows, against numpy; pivots; and what is refused."""

from __future__ import annotations

import numpy as np
import pytest

import symbucket as sb
from symbucket import sym
from symbucket.errors import ShapeError
from tests.ops.op_harness import executor

A = sym.Variable("A")


def random_matrices(count: int, size: int) -> np.ndarray:
    return np.random.default_rng(3).normal(size=(count, size, size)).astype(np.float32)


def value(symbol: sb.Symbol, matrices: np.ndarray) -> np.ndarray:
    return symbol.eval(A=sb.nd.array(matrices))[0].asnumpy()


def test_against_numpy() -> None:
    general = random_matrices(3, 8)
    positive = general @ general.transpose(0, 2, 1) + 4 * np.eye(8, dtype=np.float32)
    factor = np.linalg.cholesky(positive)
    np.testing.assert_allclose(value(sym.linalg.potrf(A), positive), factor, rtol=1e-4, atol=1e-5)
    inverse = np.linalg.inv(positive)
    np.testing.assert_allclose(value(sym.linalg.potri(A), factor), inverse, rtol=1e-3, atol=1e-5)
    np.testing.assert_allclose(
        value(sym.linalg.inverse(A), general), np.linalg.inv(general), rtol=1e-3, atol=1e-4
    )
    np.testing.assert_allclose(value(sym.linalg.det(A), general), np.linalg.det(general), rtol=1e-3)
    sign, size = sym.linalg.slogdet(A).eval(A=sb.nd.array(general))
    expected = np.linalg.slogdet(general)
    np.testing.assert_allclose(sign.asnumpy(), expected[0])
    np.testing.assert_allclose(size.asnumpy(), expected[1], rtol=1e-4)


def test_upper_triangles() -> None:
    general = random_matrices(2, 5)
    positive = general @ general.transpose(0, 2, 1) + 4 * np.eye(5, dtype=np.float32)
    upper = np.linalg.cholesky(positive).transpose(0, 2, 1)
    half_known = positive + 9 * np.tril(np.ones((5, 5), np.float32), -1)  # is not read
    found = value(sym.linalg.potrf(A, lower=False), half_known)
    np.testing.assert_allclose(found, upper, rtol=1e-4, atol=1e-5)
    inverse = np.linalg.inv(positive)
    found = value(sym.linalg.potri(A, lower=False), np.ascontiguousarray(upper))
    np.testing.assert_allclose(found, inverse, rtol=1e-3, atol=1e-5)
    head = random_matrices(2, 5)
    gradients = []
    for lower, of_output in [(True, head), (False, head.transpose(0, 2, 1))]:
        step = executor(sym.linalg.potrf(A, lower=lower), {"A": positive})
        step.forward(is_train=True)
        step.backward([of_output])
        gradients.append(step.grad_dict["A"].asnumpy())
    np.testing.assert_allclose(gradients[0], gradients[1].transpose(0, 2, 1), rtol=1e-3, atol=1e-5)


def test_a_zero_pivot_is_exchanged() -> None:
    matrix = np.array([[[0.0, 2.0, 0.0], [0.0, 0.0, 3.0], [4.0, 0.0, 0.0]]], np.float32)
    inverse = value(sym.linalg.inverse(A), matrix)
    np.testing.assert_allclose(inverse, np.linalg.inv(matrix), atol=1e-7)
    assert value(sym.linalg.det(A), matrix).tolist() == pytest.approx([24.0])


def test_a_matrix_that_is_not_positive_definite_has_no_factor() -> None:
    matrices = np.array([[[1.0, 2.0], [2.0, 1.0]], [[4.0, 2.0], [2.0, 5.0]]], np.float32)
    factors = value(sym.linalg.potrf(A), matrices)
    assert np.isnan(factors[0]).any()
    np.testing.assert_allclose(factors[1], [[2, 0], [1, 2]], atol=1e-6)


def test_the_gradient_of_cholesky_is_symmetric_and_that_of_its_function() -> None:
    matrix = np.array([[[4.0, 1.0, 0.5], [1.0, 3.0, -0.4], [0.5, -0.4, 2.0]]], np.float32)
    head = np.random.default_rng(1).normal(size=(1, 3, 3))
    step = executor(sym.linalg.potrf(A), {"A": matrix})
    step.forward(is_train=True)
    step.backward([head])
    gradient = step.grad_dict["A"].asnumpy()[0]
    np.testing.assert_allclose(gradient, gradient.T, atol=1e-7)
    for i in range(3):
        for j in range(i + 1):
            move = np.zeros((3, 3))
            move[i, j] = move[j, i] = 1e-6
            up, down = (np.linalg.cholesky(matrix[0] + s * move) for s in (1, -1))
            slope = float(((up - down) * head[0]).sum()) / 2e-6
            assert gradient[i, j] * (1 if i == j else 2) == pytest.approx(slope, abs=1e-4)


def test_the_sign_of_a_determinant_has_no_slope() -> None:
    step = executor(sym.linalg.slogdet(A)[0], {"A": random_matrices(1, 3)})
    step.forward(is_train=True)
    step.backward([np.ones(1)])
    assert not step.grad_dict["A"].asnumpy().any()


@pytest.mark.parametrize(
    ("symbol", "shape", "message"),
    [
        (sym.linalg.inverse(A), (2, 3), "must be square"),
        (sym.linalg.maketrian(A), (4,), "4 elements make no triangle"),
        (sym.linalg.extractdiag(A, offset=5), (3, 3), "no diagonal 5"),
        (sym.linalg.gemm2(A, sym.Variable("B", shape=(2, 2))), (2, 3), "3 and 2 elements"),
    ],
)
def test_shapes_that_do_not_fit(symbol: sb.Symbol, shape: tuple[int, ...], message: str) -> None:
    with pytest.raises(ShapeError, match=message):
        symbol.infer_shape(A=shape)


def test_what_does_not_exist_is_named() -> None:
    with pytest.raises(AttributeError, match=r"sym\.linalg has no operator 'syevd'"):
        sym.linalg.syevd(A)
