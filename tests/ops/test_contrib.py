"""Operators of ``contrib``, ``linalg`` and ``image``: MXNet's numbers, or numpy's for ``fft``."""

from __future__ import annotations

import numpy as np
import pytest

import symbucket as sb

nd = sb.nd


def boxes():
    random = np.random.RandomState(3)
    anchors = random.uniform(0, 1, (1, 4, 4)).astype(np.float32)
    anchors[..., 2:] += anchors[..., :2]
    return anchors, random.uniform(-1, 1, (1, 4, 4))


def test_box_codes_of_mxnet():
    anchors, offsets = boxes()
    samples = nd.array([[1, -1, 1, 1]])
    of_boxes = [nd.array(anchors), nd.array(anchors * np.float32(1.1))]
    spread = [nd.array([0.1, 0.1, 0.2, 0.2])] * 2
    matches = nd.array([[0, 2, 1, 3]])
    values, masks = nd.contrib.box_encode(samples, matches, *of_boxes, *spread)
    np.testing.assert_allclose(
        values.asnumpy()[0],
        [
            [1.39339828, 0.88627541, -0.523449, -0.523449],
            [0, 0, 0, 0],
            [328.663086, 8.42749882, 6.65616465, -4.4755845],
            [0.45991054, -0.02867661, -0.523449, -0.523449],
        ],
        rtol=2e-6,
    )
    assert masks.asnumpy()[0, :, 0].tolist() == [1, 0, 1, 1]
    decoded = nd.contrib.box_decode(
        nd.array(offsets), nd.array(anchors), 0.1, 0.1, 0.2, 0.2, -1.0, "corner"
    )
    np.testing.assert_allclose(
        decoded.asnumpy()[0, :2],
        [
            [0.53645629, 0.72268879, 0.80065376, 1.21646023],
            [0.88898772, 0.91758782, 1.01161718, 1.09825182],
        ],
        rtol=2e-6,
    )


def test_decoding_undoes_encoding():
    anchors, _ = boxes()
    other = nd.array(anchors[:, ::-1] + np.float32([0, 0, 0.1, 0.2]))
    ones, none, all_of = nd.ones(4), nd.zeros(4), nd.ones((1, 4))
    codes, _ = nd.contrib.box_encode(
        all_of, nd.array([[0, 1, 2, 3]]), nd.array(anchors), other, none, ones
    )
    again = nd.contrib.box_decode(codes, nd.array(anchors), format="corner")
    np.testing.assert_allclose(again.asnumpy(), other.asnumpy(), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("shape", [(3, 1), (2, 8), (2, 3, 7)])
def test_fourier_transforms(shape):
    x = np.random.RandomState(0).rand(*shape).astype(np.float32)
    y = nd.contrib.fft(nd.array(x)).asnumpy()
    expected = np.fft.fft(x)
    np.testing.assert_allclose(y[..., ::2], expected.real, atol=1e-5)
    np.testing.assert_allclose(y[..., 1::2], expected.imag, atol=1e-5)
    back = nd.contrib.ifft(nd.array(y)).asnumpy() / shape[-1]
    np.testing.assert_allclose(back, x, atol=1e-6)
    with pytest.raises(sb.MXNetError, match="pairs along its last axis, which is 3 long"):
        nd.contrib.ifft(nd.zeros((2, 3)))


def test_signs_of_row_factors_are_those_of_mxnet():
    matrix = [[-0.42118782, -0.6336173, 0.17302588], [-0.9597849, 0.65788007, -0.99060905]]
    symbol = sb.sym.linalg.gelqf(sb.sym.Variable("A"))
    bound = symbol.simple_bind(sb.cpu(), A=(2, 3))
    rows, triangle = bound.forward(is_train=True, A=nd.array(matrix))
    np.testing.assert_allclose(
        rows.asnumpy(),
        [[-0.5398035, -0.8120576, 0.2217537], [0.71998316, -0.30889302, 0.62145734]],
        rtol=2e-6,
    )
    expected = [[0.7802615, 0.0], [-0.23581243, -1.5098649]]
    np.testing.assert_allclose(triangle.asnumpy(), expected, rtol=2e-6)
    heads = [np.sin(np.arange(6)).reshape(2, 3), np.sin(np.arange(4) + 1).reshape(2, 2)]
    bound.backward([nd.array(head) for head in heads])
    np.testing.assert_allclose(
        bound.grad_dict["A"].asnumpy(),
        [[-1.5503308, 0.29241982, 1.0915666], [-0.9552337, 0.49852026, 0.13667746]],
        rtol=2e-6,
    )
    rows, triangle = nd.linalg.gelqf(nd.array([[0, 0], [1, 2]]))
    assert rows.asnumpy().tolist() == [[1, 0], [0, 1]]
    assert triangle.asnumpy().tolist() == [[0, 0], [1, 2]]
    with pytest.raises(sb.MXNetError, match=r"as many columns as rows.*\(3, 2\)"):
        symbol.infer_shape(A=(3, 2))


def test_resized_integers():
    pixels = (np.random.RandomState(0).rand(7, 9, 3) * 255).astype(np.uint8)
    image = nd.array(pixels, dtype="uint8")
    for interp in range(5):
        values = nd.image.resize(image, (5, 4), interp=interp)
        assert values.dtype == np.uint8
        expected = sb.image.imresize(image, 5, 4, interp).asnumpy()
        assert np.abs(values.asnumpy().astype(int) - expected).max() <= 1
    assert nd.image.resize(image, 4, keep_ratio=True).shape == (4, 5, 3)
    assert nd.image.resize(image, 4).shape == (4, 4, 3)
    with pytest.raises(sb.MXNetError, match="interp=9 must be from 0 to 4"):
        nd.image.resize(image, 4, interp=9)


def test_eigenvalues_of_arrays():
    matrix = [
        [0.71126616, 0.46439302, 0.65447193],
        [0.46439302, -1.0049875, 0.2968185],
        [0.65447193, 0.2968185, -1.1076735],
    ]
    vectors, values = nd.linalg.syevd(nd.array(matrix))
    np.testing.assert_allclose(values.asnumpy(), [-1.3926623, -1.0691395, 1.060407], rtol=2e-6)
    np.testing.assert_allclose(
        vectors.asnumpy(),  # MXNet's
        [
            [-0.16793461, -0.46454057, 0.8694825],
            [-0.36258018, 0.84928954, 0.38372225],
            [0.916697, 0.25081676, 0.31105834],
        ],
        rtol=1e-5,
    )
    assert nd.linalg.syevd(nd.zeros((2, 0, 3, 3)))[1].shape == (2, 0, 3)
    with pytest.raises(sb.MXNetError, match=r"square matrices.*\(2, 3\)"):
        nd.linalg.syevd(nd.zeros((2, 3)))
    with pytest.raises(AttributeError, match=r"'syevd': .*sym\.Custom.*nd\.linalg\.syevd"):
        _ = sb.sym.linalg.syevd
