"""Regions of images: dtypes other than that of the rectangles, and equal elements."""

import numpy as np
import pytest

import symbucket as sb

ROIS = [[0, 1, 1, 4, 4], [1, 0, 2, 6, 5]]
OPERATORS = {
    "pooling": (sb.nd.ROIPooling, {}),
    "points": (sb.nd.contrib.ROIAlign, {"sample_ratio": 2}),
    "as many points as fit": (sb.nd.contrib.ROIAlign, {}),
}


@pytest.mark.parametrize("name", OPERATORS)
@pytest.mark.parametrize(("dtype", "tolerance"), [("float64", 1e-6), ("float16", 2e-3)])
def test_the_result_has_the_dtype_of_the_image(name, dtype, tolerance):
    operator, options = OPERATORS[name]
    image = np.random.default_rng(0).random((2, 3, 6, 7))
    single, other = (
        operator(
            sb.nd.array(image, dtype=data),
            sb.nd.array(ROIS, dtype="float32"),
            pooled_size=(2, 3),
            spatial_scale=0.9,
            **options,
        ).asnumpy()
        for data in ("float32", dtype)
    )
    assert other.dtype == dtype
    np.testing.assert_allclose(other, single, atol=tolerance, rtol=0)


def test_the_first_of_equal_elements_has_the_gradient():
    """Places and counts are those of MXNet 1.9.1."""
    image = np.tile(np.array([0.3, 4.4, 1.08, 0.38, 0.9, 2.0], np.float32), 28)
    rois = np.array([[0, 1, 0, 5, 4], [1, 2.2, 1.4, 3.1, 6], [0, 2, 3, 4, 4.5]], np.float32)
    data, regions = sb.sym.Variable("data"), sb.sym.Variable("rois")
    symbol = sb.sym.ROIPooling(data, regions, pooled_size=(2, 3), spatial_scale=1.0)
    values = {"data": image.reshape(2, 2, 6, 7), "rois": rois}
    executor = symbol.simple_bind(
        sb.cpu(), grad_req={"data": "write"}, **{n: v.shape for n, v in values.items()}
    )
    output = executor.forward(is_train=True, **values)[0]
    executor.backward([sb.nd.ones(output.shape)])
    gradient = executor.grad_dict["data"].asnumpy().ravel()
    assert gradient.sum() == output.size
    first = [1, 11, 19, 23, 25, 31, 32, 37, 43, 53, 61, 65]
    second = [67, 73, 74, 79, 101, 107, 115, 121, 143, 149, 157, 163]
    assert np.nonzero(gradient)[0].tolist() == first + second
    assert gradient[first].tolist() == [1, 1, 2, 2, 2, 2, 1, 1, 1, 1, 2, 2]
    assert gradient[second].tolist() == [2, 2, 1, 1, 2, 1, 2, 1, 2, 1, 2, 1]
