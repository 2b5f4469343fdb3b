"""Cases of operators that MXNet's scripts and tests use; their numbers from MXNet are recorded."""

from __future__ import annotations

from tests.ops.case import Apart, Away, Between, Case, Exactly, Positive, Unit, given

ELEMENTWISE = [
    Case("gamma", {}, {"data": Exactly([[0.3, 1.7, 4.2], [-0.4, -1.6, 6.5]])}),
    Case("gammaln", {}, {"data": Exactly([[0.3, 1.7, 14.2], [-0.4, -1.6, 60.5]])}),
    Case("erfinv", {}, {"data": Exactly([[0.3, -0.8, 0.7], [0.0, 0.01, -0.6]])}),
    Case("rcbrt", {}, {"data": Away(2, 3)}),
    Case("logical_not", {}, {"data": given([[0, 1, -2.0]])}),
    Case("_contrib_quadratic", {"a": 0.5, "b": -1.0, "c": 2.0}, {"data": Away(2, 3)}),
    Case("amp_cast", {"dtype": "float64"}, {"data": Away(2, 2)}),
    Case("amp_multicast", {"num_outputs": 2}, {"a": Away(2, 2), "b": Away(3)}),
]

ORDER = [
    *(
        Case("topk", attrs, {"data": Apart(2, 4)})
        for attrs in (
            {},
            {"k": 2, "ret_typ": "value"},
            {"k": 2, "ret_typ": "both", "is_ascend": True, "axis": 0},
            {"k": 3, "ret_typ": "mask"},
            {"k": 3, "axis": "None", "ret_typ": "value"},
            {"k": 0, "ret_typ": "value"},
        )
    ),
    Case("sort", {}, {"data": Apart(2, 4)}),
    Case("sort", {"axis": 0, "is_ascend": False}, {"data": Apart(3, 2)}),
    Case("sort", {"axis": "None"}, {"data": Apart(2, 3)}),
    Case("argsort", {}, {"data": Apart(2, 4)}),
    Case("argsort", {"axis": 0, "is_ascend": False}, {"data": Apart(3, 2)}),
]

IMAGES = [
    Case("UpSampling", {"scale": 2, "sample_type": "nearest"}, {"data": Away(1, 2, 2, 3)}),
    Case(
        "UpSampling",
        {"scale": 2, "sample_type": "nearest", "num_args": 2},
        {"a": Away(1, 1, 2, 2), "b": Away(1, 2, 4, 4)},
    ),
    Case(
        "UpSampling",
        {"scale": 3, "sample_type": "nearest", "num_args": 2, "multi_input_mode": "sum"},
        {"a": Away(1, 2, 2, 2), "b": Away(1, 2, 1, 1)},
    ),
    Case(
        "UpSampling",
        {"scale": 2, "sample_type": "bilinear", "num_filter": 2, "num_args": 2},
        {"data": Away(1, 2, 3, 2), "weight": Away(2, 1, 4, 4)},
    ),
    Case("depth_to_space", {"block_size": 2}, {"data": Away(1, 8, 1, 2)}),
    Case("space_to_depth", {"block_size": 2}, {"data": Away(1, 2, 2, 4)}),
    Case("Crop", {"h_w": (2, 1), "offset": (1, 2), "num_args": 1}, {"data": Away(1, 2, 3, 4)}),
    Case("Crop", {"h_w": (2, 3), "center_crop": True, "num_args": 1}, {"data": Away(1, 1, 5, 4)}),
    Case("Crop", {"num_args": 2}, {"data": Away(1, 1, 3, 4), "like": Away(1, 2, 2, 2)}),
    Case("LRN", {"nsize": 3, "alpha": 0.5}, {"data": Away(1, 4, 2, 2)}),
    Case("LRN", {"nsize": 5, "knorm": 1.0, "beta": 0.5}, {"data": Away(2, 3, 1, 2)}),
    Case("im2col", {"kernel": (2,), "stride": (2,), "pad": (1,)}, {"data": Away(1, 2, 4)}),
    Case(
        "im2col",
        {"kernel": (2, 3), "stride": (1, 2), "dilate": (2, 1), "pad": (1, 1)},
        {"data": Away(1, 2, 4, 5)},
    ),
    Case(
        "col2im",
        {"output_size": (3, 4), "kernel": (2, 3), "stride": (1, 2), "pad": (1, 1)},
        {"data": Away(1, 12, 8)},
    ),
]

MATRICES = [
    Case("diag", {}, {"data": Away(3)}),
    Case("diag", {"k": -1}, {"data": Away(2)}),
    Case("diag", {"k": 1}, {"data": Away(3, 4)}),
    Case("diag", {"k": -1, "axis1": 0, "axis2": 2}, {"data": Away(3, 2, 3)}),
    Case("cumsum", {"axis": 1}, {"a": Away(2, 3)}),
    Case("cumsum", {}, {"a": Away(2, 3)}),
    Case("khatri_rao", {}, {"a": Away(2, 3), "b": Away(3, 3)}),
    Case("khatri_rao", {}, {"a": Away(2, 2), "b": Away(1, 2), "c": Away(2, 2)}),
]

SUMS = [
    *(
        Case(name, attrs, {"data": Away(2, 3, 2)})
        for name in ("nansum", "nanprod")
        for attrs in ({"axis": 1}, {"axis": 1, "exclude": True, "keepdims": True})
    ),
    Case("moments", {"axes": (0, 2)}, {"data": Away(2, 3, 2)}),
    Case("moments", {"axes": (1,), "keepdims": True}, {"data": Away(2, 3)}),
    Case("argmax_channel", {}, {"data": Apart(2, 3, 2)}),
    Case("_contrib_allclose", {}, {"a": given([1.0, 2.0]), "b": given([1.0, 2.001])}),
    Case("all_finite", {}, {"data": given([1.0, float("inf")])}),
    Case("multi_all_finite", {"num_arrays": 2}, {"a": given([1.0]), "b": given([2.0, 3.0])}),
    *(
        Case(name, {"use_length": True}, {"data": Away(3, 4), "length": given([2, 4, 1], "int32")})
        for name in ("softmin", "log_softmax")
    ),
]

POSITIONS = [
    Case("_ravel_multi_index", {"shape": (3, 4)}, {"data": given([[2, 0, 1], [3, 1, 2]])}),
    Case("_unravel_index", {"shape": (3, 4)}, {"data": given([11, 1, 6])}),
    Case(
        "fill_element_0index",
        {},
        {"lhs": Away(3, 2), "mhs": Away(3), "rhs": given([1, 0, 1])},
    ),
    Case("_contrib_index_array", {}, {"data": Away(2, 3)}),
    Case("_contrib_index_array", {"axes": (1, 0)}, {"data": Away(2, 3)}),
    Case(
        "_contrib_index_copy",
        {},
        {"old": Away(3, 2), "index": given([2, 0], "int32"), "new": Away(2, 2)},
    ),
    Case(
        "_histogram", {"bin_cnt": 4, "range": (0, 2)}, {"data": given([[0, 0.5, 1], [1, 2, 2.5]])}
    ),
    Case("_histogram", {}, {"data": given([0, 0.5, 3, 1.9]), "bins": given([0, 1.0, 3.0])}),
    Case("_contrib_arange_like", {"axis": 1, "step": 0.5}, {"data": Away(2, 3)}),
    Case("_contrib_arange_like", {"start": 1.0, "repeat": 2}, {"data": Away(2, 3)}),
    Case("shape_array", {}, {"data": Away(2, 3)}),
    Case("size_array", {}, {"data": Away(2, 3)}),
    Case("_split_v2", {"indices": (0, 1, 3), "axis": 1}, {"data": Away(2, 4)}),
    Case("_split_v2", {"sections": 2, "axis": 0, "squeeze_axis": True}, {"data": Away(2, 2)}),
    Case("Reshape", {"target_shape": (0, 6), "keep_highest": True}, {"data": Away(2, 3, 2)}),
    Case("Reshape", {"target_shape": (3, 0)}, {"data": Away(2, 3, 2)}),
    Case(
        "reshape_like",
        {"lhs_begin": 0, "lhs_end": 2, "rhs_begin": 1, "rhs_end": 2},
        {"lhs": Away(2, 3, 2), "rhs": Away(4, 6)},
    ),
    Case(
        "FullyConnected",
        {"num_hidden": 2},
        {"data": Away(3), "weight": Away(2, 1), "bias": Away(2)},
    ),
]

ATTENTION = [
    Case("_contrib_div_sqrt_dim", {}, {"data": Away(2, 3)}),
    Case("_contrib_interleaved_matmul_selfatt_qk", {"heads": 2}, {"qkv": Unit(3, 2, 12)}),
    Case(
        "_contrib_interleaved_matmul_selfatt_valatt",
        {"heads": 2},
        {"qkv": Unit(3, 2, 12), "attention": Unit(4, 3, 3)},
    ),
    Case(
        "_contrib_interleaved_matmul_encdec_qk",
        {"heads": 2},
        {"q": Unit(2, 2, 4), "kv": Unit(3, 2, 8)},
    ),
    Case(
        "_contrib_interleaved_matmul_encdec_valatt",
        {"heads": 2},
        {"kv": Unit(3, 2, 8), "attention": Unit(4, 2, 3)},
    ),
]

_MOVING = {"moving_mean": given([0.1, -0.2, 0.3]), "moving_var": given([0.5, 1.0, 2.0])}
_VECTORS = {"gamma": Positive(3), "beta": Away(3)}

# No gradient flows from their further outputs, as in MXNet, so no differences agree with it.
STATISTICS = [
    Case(
        "BatchNorm",
        {"fix_gamma": False, "output_mean_var": True},
        {"data": Away(3, 3, 2), **_VECTORS},
        _MOVING,
    ),
    Case("LayerNorm", {"output_mean_var": True}, {"data": Away(2, 2, 3), **_VECTORS}),
    Case(
        "GroupNorm",
        {"num_groups": 2, "output_mean_var": True},
        {"data": Away(2, 4, 2), "gamma": Positive(2), "beta": Away(2)},
    ),
]

LAYERS = [
    Case(
        "Convolution",
        {"kernel": (2, 2), "num_filter": 2, "layout": "NHWC"},
        {"data": Away(1, 3, 4, 2), "weight": Away(2, 2, 2, 2), "bias": Away(2)},
    ),
    Case(
        "Deconvolution",
        {"kernel": (3,), "num_filter": 2, "target_shape": (5,), "adj": (4,), "stride": (2,)},
        {"data": Away(1, 2, 3), "weight": Away(2, 2, 3)},
    ),
    *(
        Case(
            "Pooling",
            {"kernel": (2, 2), "pool_type": kind, "layout": "NHWC"},
            {"data": Apart(1, 3, 4, 2)},
        )
        for kind in ("max", "avg")
    ),
    *(
        Case("Pooling", {"kernel": (2,), "pool_type": "lp", "p_value": p}, {"data": make(1, 2, 4)})
        for p, make in ((1, Away), (2, Away), (3, Positive))
    ),
    *(
        Case(
            "Pooling",
            {
                "kernel": (4, 4),
                "stride": (3, 3),
                "pad": (2, 2),
                "pooling_convention": "full",
                "pool_type": "avg",
                "count_include_pad": include,
            },
            {"data": Away(1, 1, 7, 8)},
        )
        for include in (True, False)
    ),
    Case(
        "Pooling",
        {"kernel": (3,), "stride": (2,), "pooling_convention": "same"},
        {"data": Apart(1, 1, 6)},
    ),
    *(
        Case("broadcast_add", {}, {"lhs": Away(*a), "rhs": Away(*b)})
        for a, b in (((2, 3), (3,)), ((4,), (2, 1, 4)))
    ),
    Case("norm", {"out_dtype": "float64"}, {"data": Away(2, 3)}),
    Case("softmax", {"dtype": "float64"}, {"data": Away(2, 3)}),
]

GRID = [[[[-0.7, 0.13], [0.62, 1.3]], [[0.31, -0.45], [0.9, -0.2]]]]
_ROIS = given([[0, 1.0, 0.0, 5.0, 4.0], [1, 2.2, 1.4, 3.1, 6.0], [0, 2.0, 3.0, 4.0, 4.5]])

PLACES = [
    Case("GridGenerator", {"transform_type": "affine", "target_shape": (2, 3)}, {"a": Away(2, 6)}),
    Case("GridGenerator", {"transform_type": "warp"}, {"flow": Away(1, 2, 3, 4)}),
    Case("BilinearSampler", {}, {"data": Away(1, 2, 4, 5), "grid": Exactly(GRID)}),
    Case(
        "SpatialTransformer",
        {"transform_type": "affine", "sampler_type": "bilinear", "target_shape": (3, 2)},
        {"data": Away(1, 2, 4, 5), "loc": Exactly([[0.7, 0.13, 0.21, -0.31, 0.83, -0.17]])},
    ),
    *(
        Case("_contrib_AdaptiveAvgPooling2D", {"output_size": size}, {"data": Away(1, 2, 5, 7)})
        for size in ((), (2,), (3, 4))
    ),
    *(
        Case("_contrib_BilinearResize2D", attrs, {"data": Away(1, 2, 4, 5)})
        for attrs in (
            {"height": 3, "width": 8},
            {"height": 7, "width": 2, "align_corners": False},
            {"mode": "odd_scale", "scale_height": 2.0, "scale_width": 2.0},
            {"mode": "to_odd_up"},
        )
    ),
    Case(
        "_contrib_BilinearResize2D",
        {"mode": "like"},
        {"data": Away(1, 1, 4, 3), "like": given([[[[0.0] * 5] * 2]])},
    ),
    Case("Correlation", {}, {"a": Away(1, 2, 4, 5), "b": Away(1, 2, 4, 5)}),
    Case(
        "Correlation",
        {
            "kernel_size": 3,
            "max_displacement": 2,
            "stride1": 2,
            "stride2": 2,
            "pad_size": 3,
            "is_multiply": False,
        },
        {"a": Apart(1, 2, 4, 5), "b": Between(1, 2, 4, 5)},
    ),
    *(
        Case(
            "ROIPooling",
            {"pooled_size": (2, 3), "spatial_scale": scale},
            {"data": Apart(2, 2, 6, 7), "rois": _ROIS},
        )
        for scale in (1.0, 0.5)
    ),
    *(
        Case(
            "_contrib_ROIAlign",
            {"pooled_size": (2, 3), "spatial_scale": 0.9, "sample_ratio": 2, "aligned": aligned},
            {"data": Away(2, 2, 6, 7), "rois": _ROIS},
        )
        for aligned in (True, False)
    ),
]

_POSITIVE = Exactly([[[4.0, 1.0, 0.5], [1.0, 3.0, -0.4], [0.5, -0.4, 2.0]]])
_TRIANGLE = Exactly([[[1.5, 0.0, 0.0], [0.4, -1.2, 0.0], [-0.3, 0.8, 0.9]]])
_GENERAL = Exactly([[0.2, 1.5, -0.4], [1.1, 0.3, 0.8], [-0.6, 0.9, 1.7]])

# MXNet's gradient of a symmetric matrix is symmetric, though only one triangle is read.
SYMMETRIC = [Case("_linalg_potrf", {}, {"A": _POSITIVE})]

LINALG = [
    Case("_linalg_potri", {}, {"A": _TRIANGLE}),
    Case("_linalg_gelqf", {}, {"A": _GENERAL}),
    Case("_linalg_gelqf", {}, {"A": Exactly([[[0.4, -0.6, 0.2], [-1.0, 0.7, -0.9]]])}),
    *(Case(f"_linalg_{name}", {}, {"A": _GENERAL}) for name in ("inverse", "det", "slogdet")),
    Case("_linalg_inverse", {}, {"A": _POSITIVE}),
    Case("_linalg_sumlogdiag", {}, {"A": _POSITIVE}),
    Case("_linalg_gemm2", {"transpose_b": True, "alpha": 0.5}, {"A": Away(2, 3), "B": Away(4, 3)}),
    Case("_linalg_gemm2", {"axis": 0}, {"A": Away(2, 2, 3), "B": Away(3, 2, 2)}),
    Case(
        "_linalg_gemm",
        {"transpose_a": True, "beta": 0.7},
        {"A": Away(2, 3, 2), "B": Away(2, 3, 2), "C": Away(2, 2, 2)},
    ),
    *(
        Case("_linalg_syrk", {"transpose": turn, "alpha": 0.5}, {"A": Away(2, 3)})
        for turn in (False, True)
    ),
    *(
        Case(f"_linalg_{name}", attrs, {"A": make, "B": Away(1, *size)})
        for name in ("trmm", "trsm")
        for attrs, make, size in (
            ({}, _TRIANGLE, (3, 2)),
            ({"rightside": True, "transpose": True, "alpha": 0.5}, _TRIANGLE, (2, 3)),
            ({"lower": False}, Exactly([[[1.5, 0.4, -0.3], [0, -1.2, 0.8], [0, 0, 0.9]]]), (3, 2)),
        )
    ),
    *(
        Case(f"_linalg_{name}", {"offset": k}, {"A": Away(*size)})
        for name, size in (
            ("extractdiag", (2, 3, 3)),
            ("makediag", (2, 2)),
            ("extracttrian", (2, 3, 3)),
            ("maketrian", (2, 3)),
        )
        for k in (0, 1, -1)
    ),
    Case("_linalg_extracttrian", {"lower": False}, {"A": Away(2, 2)}),
    Case("_linalg_maketrian", {"lower": False}, {"A": Away(3)}),
]

SINGLE_IMAGES = [
    Case(
        "_image_normalize",
        {"mean": (0.0, 0.1, 0.2), "std": (1.0, 2.0, 4.0)},
        {"data": Away(3, 2, 2)},
    ),
    Case("_image_normalize", {"mean": (0.1,), "std": (2.0,)}, {"data": Away(2, 3, 1, 2)}),
    Case("_image_to_tensor", {}, {"data": given([[[0, 128, 255]]], "uint8")}),
    Case("_image_flip_left_right", {}, {"data": Away(2, 3, 3)}),
    Case("_image_flip_top_bottom", {}, {"data": Away(2, 3, 3)}),
    Case("_image_resize", {"size": (3, 5)}, {"data": Away(2, 3, 4, 3)}),
    Case("_image_resize", {"size": 2, "keep_ratio": True, "interp": 2}, {"data": Away(4, 3, 1)}),
    Case("_image_crop", {"x": 1, "y": 0, "width": 2, "height": 1}, {"data": Away(2, 3, 4, 3)}),
]

MORE = [
    *ELEMENTWISE,
    *ORDER,
    *IMAGES,
    *MATRICES,
    *SUMS,
    *POSITIONS,
    *ATTENTION,
    *LAYERS,
    *PLACES,
    *LINALG,
    *SINGLE_IMAGES,
]
