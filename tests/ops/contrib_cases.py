"""Cases of operators of detectors and others of MXNet's ``contrib``; its numbers are recorded."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from symbucket.types import Array
from tests.ops.case import Away, Case, Exactly, Maker, Positive, Unit, fixed, given

_BOXES = [
    [
        [0, 0.5, 0.1, 0.1, 0.2, 0.2],
        [1, 0.4, 0.1, 0.1, 0.2, 0.2],
        [0, 0.3, 0.1, 0.1, 0.14, 0.14],
        [2, 0.6, 0.5, 0.5, 0.7, 0.8],
        [2, 0.7, 0.5, 0.5, 0.72, 0.8],
        [-1, 0.9, 0.0, 0.0, 1.0, 1.0],
        [0, 0.005, 0.3, 0.3, 0.4, 0.4],
    ],
    [[0, -0.5, 0.1, 0.1, 0.2, 0.2]] * 7,
]
_NUMBERS: Mapping[str, Any] = {"coord_start": 2, "score_index": 1}

BOXES = [
    *(
        Case("_contrib_box_nms", {**_NUMBERS, **attrs}, {"data": make(_BOXES)})
        for make, attrs in (
            (Exactly, {}),
            (Exactly, {"topk": 3, "valid_thresh": 0.01}),
            (given, {"id_index": 0}),  # the gradient by a class would be of another class
            (given, {"id_index": 0, "force_suppress": True, "overlap_thresh": 0.1}),
            (given, {"id_index": 0, "background_id": 2, "topk": 4}),
            (given, {"valid_thresh": 0.01, "out_format": "center"}),
            (given, {"in_format": "center", "out_format": "corner"}),
        )
    ),
    *(
        Case(
            "_contrib_box_iou",
            {"format": form},
            {
                "lhs": given([[0, 0, 2, 2], [1, 1, 0.5, 0.5], [0.2, 0.3, 1, 4]]),
                "rhs": given([[1, 1, 3, 3], [1, 0, 2, 2.5]]),
            },
        )
        for form in ("corner", "center")
    ),
    *(
        Case(
            "_contrib_bipartite_matching",
            attrs,
            {
                "data": given(
                    [[[0.5, 0.6], [0.1, 0.2], [0.3, 0.4]], [[0.7, 0.5], [0.9, 0.1], [0, 0]]]
                )
            },
        )
        for attrs in ({"threshold": 1e-12}, {"threshold": 0.45, "is_ascend": True})
    ),
]

_NEAR = [[[0.1, 0.1, 0.5, 0.7], [0.2, 0.3, 0.9, 0.6]]]
CODES = [
    Case(
        "_contrib_box_encode",
        {},
        {
            "samples": given([[1, -1, 1]]),
            "matches": given([[1, 0, 0]]),
            "anchors": given([[*_NEAR[0], [0, 0, 1, 1]]]),
            "refs": given(_NEAR),
            "means": given([0, 0.1, 0, 0.1]),
            "stds": given([0.1, 0.1, 0.2, 0.2]),
        },
    ),
    *(
        Case(
            "_contrib_box_decode",
            {"std0": 0.1, "std2": 0.2, **attrs},
            {"data": Away(2, 2, 4), "anchors": Exactly(_NEAR)},
        )
        for attrs in ({}, {"format": "corner", "clip": 0.1})
    ),
    Case("_contrib_fft", {}, {"data": Away(2, 5)}),
    Case("_contrib_ifft", {}, {"data": Away(2, 2, 6)}),
    Case(
        "_contrib_count_sketch",
        {"out_dim": 3},
        {"data": Away(2, 4), "h": given([[0, 2, 0, 1]]), "s": given([[1, -1, -1, 1]])},
    ),
]

_ANCHORS = [
    [
        [0.1, 0.1, 0.4, 0.5],
        [0.15, 0.1, 0.45, 0.5],
        [0.5, 0.5, 0.9, 0.9],
        [0.6, 0.6, 0.8, 0.8],
        [0.0, 0.0, 0.1, 0.1],
        [0.3, 0.6, 0.5, 0.8],
    ]
]
_NOTHING = [-1] * 5
_OBJECTS = [
    [[1, 0.12, 0.1, 0.4, 0.45], [0, 0.55, 0.5, 0.9, 0.9], _NOTHING],
    [_NOTHING] * 3,
    [[2, 0.0, 0.0, 0.9, 0.9], _NOTHING, [1, 0.1, 0.1, 0.3, 0.3]],
]


def scores(*shape: int) -> Maker:
    """Numbers that are probabilities along the second axis."""

    def make(rng: np.random.Generator) -> Array:
        e = np.exp(rng.normal(size=shape) * 2)
        return (e / e.sum(axis=1, keepdims=True)).astype(np.float32)

    return fixed(make)


MULTIBOX = [
    Case(
        "_contrib_MultiBoxPrior",
        {"sizes": (0.5, 0.25), "ratios": (4.0, 1.0, 0.5)},
        {"data": given(np.zeros((2, 3, 2, 3)))},
    ),
    Case(
        "_contrib_MultiBoxPrior",
        {"sizes": (0.5,), "steps": (0.3, 0.4), "offsets": (0.1, 0.2), "clip": True},
        {"data": given(np.zeros((1, 1, 2, 1)))},
    ),
    *(
        Case(
            "_contrib_MultiBoxTarget",
            attrs,
            {"anchor": given(_ANCHORS), "label": given(_OBJECTS), "cls_pred": scores(3, 4, 6)},
        )
        for attrs in (
            {},
            {"overlap_threshold": 0.8},
            {"negative_mining_ratio": 1.0},
            {
                "negative_mining_ratio": 2.0,
                "negative_mining_thresh": 0.3,
                "ignore_label": -7.0,
                "variances": (0.2, 0.3, 0.4, 0.5),
            },
        )
    ),
    *(
        Case(
            "_contrib_MultiBoxDetection",
            attrs,
            {
                "cls_prob": scores(2, 3, 6),
                "loc_pred": fixed(lambda rng: (rng.normal(size=(2, 24)) * 0.3).astype(np.float32)),
                "anchor": given(_ANCHORS),
            },
        )
        for attrs in (
            {},
            {"threshold": 0.5},
            {"force_suppress": True, "nms_threshold": 0.1},
            {"clip": False, "nms_threshold": 0.0},
        )
    ),
]

_REGIONS: Mapping[str, Any] = {
    "rpn_pre_nms_top_n": 30,
    "rpn_post_nms_top_n": 8,
    "threshold": 0.5,
    "rpn_min_size": 4,
    "scales": (1.0, 2.0),
}
_FEW = {"threshold": 0.05, "rpn_post_nms_top_n": 12, "ratios": (1.0, 2.0), "output_score": True}


def _proposals(op: str, images: int, kinds: int, **attrs: Any) -> Case:
    def moves(rng: np.random.Generator) -> Array:
        return (rng.normal(size=(images, 4 * kinds, 3, 4)) * 0.2).astype(np.float32)

    def chances(rng: np.random.Generator) -> Array:
        return rng.random((images, 2 * kinds, 3, 4)).astype(np.float32)

    info = [[40, 60, 1], [48, 64, 1.5]][:images]
    inputs = {"cls_prob": fixed(chances), "bbox_pred": fixed(moves), "im_info": given(info)}
    return Case(op, {**_REGIONS, **attrs}, inputs)


PROPOSALS = [
    _proposals("_contrib_Proposal", 1, 6),
    _proposals("_contrib_Proposal", 1, 4, **_FEW),
    _proposals("_contrib_Proposal", 1, 6, iou_loss=True, output_score=True),
    _proposals("_contrib_MultiProposal", 2, 6, output_score=True),
]

_REGION = [[0, 0, 0, 3, 4], [1, 1, 1, 5, 5], [1, 3, 2, 4, 2]]
REGIONS = [
    Case(
        "_contrib_PSROIPooling",
        {"spatial_scale": scale, "output_dim": 2, "pooled_size": size, "group_size": group},
        {"data": Away(2, 2 * (group or size) ** 2, 6, 5), "rois": given(_REGION)},
    )
    for scale, size, group in ((1.0, 2, 0), (0.5, 3, 2))
]


def _between_pixels(*shape: int) -> Maker:
    """Moves that do not end on a pixel."""
    return lambda rng: rng.integers(-1, 2, shape) + rng.uniform(0.2, 0.8, shape)


_WINDOWS: Mapping[str, Any] = {"kernel": (2, 3), "pad": (1, 1), "stride": (1, 2), "num_filter": 2}
_IMAGE = {"data": Away(2, 4, 3, 5), "offset": _between_pixels(2, 24, 4, 3)}
_MASKED = {**_IMAGE, "mask": Positive(2, 12, 4, 3)}
_KERNEL = {"weight": Unit(2, 2, 2, 3), "bias": Unit(2)}
DEFORMABLE = [
    Case(
        f"_contrib_{kind}Convolution",
        {**_WINDOWS, "num_group": 2, "num_deformable_group": 2},
        {**image, **_KERNEL},
    )
    for kind, image in (("Deformable", _IMAGE), ("ModulatedDeformable", _MASKED))
] + [
    Case(
        "_contrib_DeformableConvolution",
        {"kernel": (3, 3), "dilate": (1, 2), "num_filter": 1, "no_bias": True},
        {
            "data": Away(1, 2, 4, 6),
            "offset": _between_pixels(1, 18, 2, 2),
            "weight": Unit(1, 2, 3, 3),
        },
    ),
]
STRAIGHT = [
    Case("_contrib_gradientmultiplier", {"scalar": 1.0}, {"data": Away(2, 3)}),
    Case(
        "_contrib_SyncBatchNorm",
        {"key": "a", "fix_gamma": False},
        {"data": Away(2, 3, 2), "gamma": Positive(3), "beta": Away(3)},
        {"moving_mean": Away(3), "moving_var": Positive(3)},
    ),
]
DENSITIES = [
    Case(f"random_pdf_{name}", {"is_log": is_log}, inputs)
    for name, inputs in {
        "uniform": {"sample": Positive(2, 3), "low": Unit(2), "high": Exactly([3.0, 2.5])},
        "normal": {"sample": Away(2, 3), "mu": Away(2), "sigma": Positive(2)},
        "gamma": {"sample": Positive(2, 3), "alpha": Positive(2), "beta": Positive(2)},
        "exponential": {"sample": Positive(2, 2, 2), "lam": Positive(2)},
        "poisson": {"sample": given([[0, 1, 4], [2, 3, 9]]), "lam": Positive(2)},
        "negative_binomial": {
            "sample": given([[0, 1, 4], [2, 3, 9]]),
            "k": Positive(2),
            "p": Exactly([0.3, 0.6]),
        },
        "generalized_negative_binomial": {
            "sample": given([[0, 1, 4], [2, 3, 9]]),
            "mu": Positive(2),
            "alpha": Positive(2),
        },
        "dirichlet": {
            "sample": Exactly([[[0.2, 0.8], [0.5, 0.5]], [[0.1, 0.9], [0.7, 0.3]]]),
            "alpha": Positive(2, 2),
        },
    }.items()
    for is_log in (False, True)
]
CONTRIB = [*BOXES, *CODES, *MULTIBOX, *PROPOSALS, *REGIONS, *DEFORMABLE, *STRAIGHT, *DENSITIES]
