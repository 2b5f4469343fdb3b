"""Regions of images whose dtype is not that of the rectangles."""

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
