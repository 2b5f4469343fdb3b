"""Functions of ``nd.contrib`` and ``sym.contrib`` that are no operators."""

from __future__ import annotations

import numpy as np
import pytest

import symbucket as sb


def test_boolean_mask_keeps_parts():
    x = sb.nd.array([[1, 2, 3], [4, 5, 6], [7, 8, 9]])
    mask = sb.nd.array([0, 1, 2])
    assert sb.nd.contrib.boolean_mask(x, mask).asnumpy().tolist() == [[4, 5, 6], [7, 8, 9]]
    assert sb.nd.contrib.boolean_mask(x, mask, axis=-1).asnumpy().tolist() == [
        [2, 3],
        [5, 6],
        [8, 9],
    ]
    with pytest.raises(sb.MXNetError, match=r"axis 0 of data of shape \(3, 3\) needs \(3,\)"):
        sb.nd.contrib.boolean_mask(x, sb.nd.zeros(2))
    with pytest.raises(sb.MXNetError, match="axis 2 is none of data"):
        sb.nd.contrib.boolean_mask(x, mask, axis=2)


def test_zipfian_classes_come_as_often_as_expected():
    sb.random.seed(3)
    sampled, true, drawn = sb.nd.contrib.rand_zipfian(sb.nd.array([3]), 4000, 5)
    assert (sampled.dtype, true.dtype) == (np.int64, np.float64)
    # MXNet: 0.49815515 for 4 samples
    np.testing.assert_allclose(true.asnumpy(), [498.15515], rtol=1e-6)
    counts = np.bincount(sampled.asnumpy(), minlength=5)
    k = np.arange(5)
    expected = np.log((k + 2) / (k + 1)) / np.log(6) * 4000
    np.testing.assert_allclose(counts, expected, atol=130)
    np.testing.assert_allclose(drawn.asnumpy(), expected[sampled.asnumpy()], rtol=1e-9)


def test_zipfian_classes_of_a_symbol():
    labels = sb.sym.Variable("labels")
    group = sb.sym.Group(list(sb.sym.contrib.rand_zipfian(labels, 8, 5)))
    sampled, true, drawn = group.eval(labels=sb.nd.array([[3, 0]]))
    assert sampled.shape == drawn.shape == (8,)
    assert set(sampled.asnumpy().tolist()) <= set(range(5))
    np.testing.assert_allclose(true.asnumpy(), [[0.9963103, 3.0948225]], rtol=1e-6)
