"""Operators with small inputs and many attribute settings, for checks that need no recording.

Long, because it is one table.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tests.ops.case import (
    Above,
    Apart,
    Away,
    Between,
    Case,
    Exactly,
    Maker,
    Positive,
    Unit,
    given,
    index,
)
from tests.ops.contrib_cases import CONTRIB
from tests.ops.more_cases import MORE


def _unary(name: str, make: Callable[..., Maker] = Away, **attrs: Any) -> Case:
    return Case(name, attrs, {"data": make(2, 3)})


def _pair(name: str, make: Callable[..., Maker], *shapes: tuple[int, ...], **attrs: Any) -> Case:
    return Case(name, attrs, dict(zip(("lhs", "rhs"), (make(*s) for s in shapes))))


UNARY = [
    *(
        _unary(name)
        for name in (
            "abs arctan arcsinh cbrt ceil cos cosh degrees erf exp expm1 fix floor identity "
            "log_sigmoid negative radians reciprocal relu rint round sigmoid sign sin sinh "
            "softrelu softsign square tan tanh trunc zeros_like ones_like Flatten"
        ).split()
    ),
    *(_unary(name, Positive) for name in ("log", "log10", "log1p", "log2", "rsqrt", "sqrt")),
    *(_unary(name, Unit) for name in ("arcsin", "arccos", "arctanh")),
    _unary("arccosh", Above),
    *(
        _unary("Activation", act_type=kind)
        for kind in ("relu", "sigmoid", "tanh", "softrelu", "softsign")
    ),
    *(_unary("LeakyReLU", act_type=kind) for kind in ("leaky", "elu", "selu", "gelu")),
    _unary("LeakyReLU", act_type="elu", slope=0.7),
    _unary("gelu"),
    _unary("gelu", approximate="tanh"),
    Case("LeakyReLU", {"act_type": "prelu"}, {"data": Away(2, 3, 2), "gamma": Positive(3)}),
    Case("LeakyReLU", {"act_type": "prelu"}, {"data": Away(2, 3), "gamma": Positive(1)}),
    Case("LeakyReLU", {"act_type": "prelu"}, {"data": Away(2, 3), "gamma": Positive(2, 3)}),
    Case("LeakyReLU", {"act_type": "prelu"}, {"data": Away(2, 3, 2), "gamma": Positive(2, 3)}),
    _unary("clip", a_min=-0.5, a_max=0.75),
    _unary("hard_sigmoid"),
    _unary("hard_sigmoid", alpha=0.6, beta=0.3),
    _unary("smooth_l1", scalar=1.0),
    _unary("smooth_l1", scalar=0.75),
    _unary("Cast", dtype="float64"),
]

BINARY = [
    *(
        _pair(name, make, (2, 3), (2, 3))
        for name, make in (
            *((n, Away) for n in ("elemwise_add", "elemwise_sub", "elemwise_mul", "elemwise_div")),
            *((n, Positive) for n in ("_power", "_hypot")),
        )
    ),
    Case("_mod", {}, {"lhs": Exactly([[3.7, -2.9, 0.4]]), "rhs": Exactly([[1.5, 1.25, -0.9]])}),
    *(
        Case(f"_{name}", {}, {"lhs": Apart(2, 3), "rhs": Between(2, 3)})
        for name in (
            "maximum minimum equal not_equal greater greater_equal lesser lesser_equal logical_and "
            "logical_or logical_xor"
        ).split()
    ),
    *(
        _pair(f"broadcast_{name}", make, left, right)
        for name, make in (
            *((n, Away) for n in ("add", "sub", "mul", "div")),
            *((n, Positive) for n in ("power", "hypot")),
        )
        for left, right in (((2, 1), (2, 3)), ((2, 3, 1), (1, 3, 2)), ((1, 1), (2, 2)))
    ),
    Case(
        "broadcast_mod", {}, {"lhs": Exactly([[3.7], [-2.9]]), "rhs": Exactly([[1.5, 1.25, -0.9]])}
    ),
    *(
        Case(
            f"broadcast_{name}",
            {},
            {"lhs": Exactly([[0.3], [-1.2]]), "rhs": Exactly([[0.5, -0.9, 2.0]])},
        )
        for name in (
            "maximum minimum equal not_equal greater greater_equal lesser lesser_equal logical_and "
            "logical_or logical_xor"
        ).split()
    ),
    *(
        _unary(f"_{name}_scalar", scalar=scalar)
        for name, scalar in (
            ("plus", 0.7),
            ("minus", 0.7),
            ("rminus", 0.7),
            ("mul", -1.3),
            ("div", -1.3),
            ("rdiv", -1.3),
            ("maximum", 0.05),
            ("minimum", 0.05),
            ("equal", 0.05),
            ("not_equal", 0.05),
            ("greater", 0.05),
            ("greater_equal", 0.05),
            ("lesser", 0.05),
            ("lesser_equal", 0.05),
            ("power", 2.0),
            ("power", 1.0),
            ("power", 0.0),
            ("power", -1.0),
            ("rpower", 1.7),
            ("mod", 0.9),
            ("mod", -0.9),
            ("rmod", 1.1),
            ("hypot", 1.5),
            ("logical_and", 2.0),
            ("logical_or", 0.0),
            ("logical_xor", 2.0),
        )
    ),
    _unary("_power_scalar", Positive, scalar=0.5),
    Case("_power_scalar", {"scalar": 2.0}, {"data": Exactly([0.0, 1.0])}),
    Case("_power_scalar", {"scalar": 0.0}, {"data": Exactly([0.0, 1.0])}),
    Case("elemwise_mul", {}, {"lhs": Exactly([0.0, 2.0]), "rhs": Exactly([3.0, 0.0])}),
    Case("add_n", {}, {"a": Away(2, 2), "b": Away(2, 2), "c": Away(2, 2)}),
    Case("add_n", {}, {"a": Away(2, 2)}),
]

REDUCTIONS = [
    *(
        Case(name, attrs, {"data": Apart(2, 3, 2)})
        for name in ("sum", "mean", "max", "min", "prod", "logsumexp")
        for attrs in (
            {},
            {"axis": 1},
            {"axis": -1, "keepdims": True},
            {"axis": (0, 2)},
            {"axis": (0, 1, 2)},
            {"axis": 1, "exclude": True},
            {"axis": (), "keepdims": True},
            {"axis": (0, 1, 2), "exclude": True},
        )
    ),
    Case("prod", {"axis": 1}, {"data": Exactly([[2.0, 0.0, 3.0], [0.0, 4.0, 0.0]])}),
    *(
        Case("norm", attrs, {"data": Away(2, 3, 2)})
        for attrs in (
            {},
            {"ord": 1},
            {"ord": 1, "axis": (0, 2)},
            {"axis": 1, "keepdims": True},
            {"axis": (-1,)},
        )
    ),
    *(
        Case(name, attrs, {"data": Apart(2, 3)})
        for name in ("argmax", "argmin")
        for attrs in ({}, {"axis": 0}, {"axis": -1, "keepdims": True}, {"keepdims": True})
    ),
    *(
        Case("L2Normalization", {"mode": mode, "eps": 0.01}, {"data": Away(2, 3, 2)})
        for mode in ("instance", "channel", "spatial")
    ),
]

PRODUCTS = [
    *(
        Case("dot", {"transpose_a": ta, "transpose_b": tb}, {"lhs": Away(*a), "rhs": Away(*b)})
        for ta, tb, a, b in (
            (False, False, (2, 3), (3, 2)),
            (True, True, (3, 2), (2, 3)),
            (False, False, (3,), (3,)),
            (False, False, (2, 3), (3,)),
            (False, False, (3,), (3, 2)),
            (False, False, (2, 2, 3), (3, 2, 2)),
            (True, False, (3, 2, 2), (3, 2)),
            (False, True, (2, 3), (2, 2, 3)),
        )
    ),
    *(
        _pair("matmul", Away, left, right)
        for left, right in (
            ((2, 3), (3, 2)),
            ((2, 2, 3), (3, 2)),
            ((2, 3), (2, 3, 2)),
            ((2, 1, 2, 3), (3, 3, 2)),
            ((3,), (3, 2)),
            ((2, 2, 3), (3,)),
            ((3,), (3,)),
        )
    ),
    *(
        Case(
            "batch_dot", {"transpose_a": ta, "transpose_b": tb}, {"lhs": Away(*a), "rhs": Away(*b)}
        )
        for ta, tb, a, b in (
            (False, False, (2, 2, 3), (2, 3, 2)),
            (True, True, (2, 3, 2), (2, 2, 3)),
            (False, True, (2, 1, 2, 3), (2, 1, 2, 3)),
        )
    ),
    Case(
        "FullyConnected",
        {"num_hidden": 2},
        {"data": Away(2, 3, 2), "weight": Away(2, 6), "bias": Away(2)},
    ),
    Case(
        "FullyConnected",
        {"num_hidden": 2, "flatten": False, "no_bias": True},
        {"data": Away(2, 3, 2), "weight": Away(2, 2)},
    ),
    Case(
        "Embedding",
        {"input_dim": 4, "output_dim": 2},
        {"data": given([[0, 3, 3], [1, -1, 3]]), "weight": Away(4, 2)},
    ),
]

SOFTMAXES = [
    *(
        Case(name, attrs, {"data": Away(2, 3, 2)})
        for name in ("softmax", "log_softmax", "softmin")
        for attrs in ({}, {"axis": 0}, {"axis": 1, "temperature": 0.6})
    ),
    Case(
        "softmax",
        {"use_length": True, "axis": 1},
        {"data": Away(3, 4), "length": given([2, 4, 0], "int32")},
    ),
    Case("SoftmaxActivation", {}, {"data": Away(2, 3, 2)}),
    Case("SoftmaxActivation", {"mode": "channel"}, {"data": Away(2, 3, 2)}),
    Case("softmax_cross_entropy", {}, {"data": Away(3, 4), "label": index(4, 3)}),
]

MOVEMENT = [
    *(
        Case("Reshape", attrs, {"data": Away(2, 3, 4)})
        for attrs in (
            {"shape": (4, 6)},
            {"shape": (0, -1)},
            {"shape": (-3, 0)},
            {"shape": (-4, 1, 2, -2)},
            {"shape": (-1, 0), "reverse": True},
        )
    ),
    Case("reshape_like", {}, {"lhs": Away(2, 3), "rhs": Away(3, 2)}),
    Case("expand_dims", {"axis": -1}, {"data": Away(2, 3)}),
    Case("squeeze", {}, {"data": Away(1, 3, 1)}),
    Case("squeeze", {"axis": (0, -1)}, {"data": Away(1, 3, 1)}),
    Case("transpose", {}, {"data": Away(2, 3, 2)}),
    Case("transpose", {"axes": (2, 0, 1)}, {"data": Away(2, 3, 2)}),
    Case("SwapAxis", {"dim1": 0, "dim2": -1}, {"data": Away(2, 3, 2)}),
    Case("Concat", {"dim": -1}, {"a": Away(2, 1), "b": Away(2, 2), "c": Away(2, 3)}),
    Case("Concat", {"dim": 0}, {"a": Away(2, 1)}),
    Case("stack", {"axis": -1}, {"a": Away(2, 3), "b": Away(2, 3)}),
    Case("SliceChannel", {"num_outputs": 3}, {"data": Away(2, 3, 2)}),
    Case("SliceChannel", {"num_outputs": 1}, {"data": Away(2, 3)}),
    Case("SliceChannel", {"num_outputs": 2, "axis": 0, "squeeze_axis": True}, {"data": Away(2, 3)}),
    Case("slice", {"begin": (0, None), "end": (None, 2)}, {"data": Away(2, 3)}),
    Case(
        "slice",
        {"begin": (None, 3), "end": (1, None), "step": (1, -2)},
        {"data": Away(2, 4)},
    ),
    Case("slice", {"begin": (-1,), "end": (None,), "step": (-1,)}, {"data": Away(3, 2)}),
    Case(
        "_slice_assign",
        {"begin": (None, 1), "end": (None, -1), "step": (2,)},
        {"lhs": Away(3, 4), "rhs": Away(2, 2)},
    ),
    Case("_slice_assign", {"begin": (0,), "end": (3,)}, {"lhs": Away(3, 2), "rhs": Away(3, 2)}),
    Case(
        "_slice_assign_scalar",
        {"begin": (1, None), "end": (3, None), "step": (None, -2), "scalar": 2.5},
        {"data": Away(4, 3)},
    ),
    Case("_slice_assign_scalar", {"begin": (0,), "end": (None,)}, {"data": Away(2, 3)}),
    Case("_identity_with_attr_like_rhs", {}, {"lhs": Away(2, 3), "rhs": Away(2, 3)}),
    Case("slice_axis", {"axis": -1, "begin": 1, "end": -1}, {"data": Away(2, 4)}),
    Case("slice_like", {}, {"data": Away(3, 4), "shape_like": Away(2, 4)}),
    Case("slice_like", {"axes": (-1,)}, {"data": Away(3, 4), "shape_like": Away(5, 2)}),
    Case("broadcast_to", {"shape": (2, 0, 2)}, {"data": Away(1, 3, 1)}),
    Case("broadcast_axis", {"axis": (0, 2), "size": (2, 3)}, {"data": Away(1, 2, 1)}),
    Case("broadcast_axis", {"axis": -1, "size": 3}, {"data": Away(2, 1)}),
    Case("broadcast_like", {}, {"lhs": Away(2, 1), "rhs": Away(2, 3)}),
    Case(
        "broadcast_like",
        {"lhs_axes": (1,), "rhs_axes": (-1,)},
        {"lhs": Away(2, 1), "rhs": Away(3, 2, 4)},
    ),
    Case("tile", {"reps": (2,)}, {"data": Away(2, 2)}),
    Case("tile", {"reps": (2, 1, 3)}, {"data": Away(2, 2)}),
    Case("repeat", {"repeats": 2}, {"data": Away(2, 2)}),
    Case("repeat", {"repeats": 3, "axis": -1}, {"data": Away(2, 2)}),
    Case("flip", {"axis": (0, -1)}, {"data": Away(2, 3, 2)}),
    Case("Pad", {"mode": "constant", "pad_width": (0, 1, 2, 0)}, {"data": Away(2, 3)}),
    Case("Pad", {"mode": "edge", "pad_width": (0, 1, 2, 2)}, {"data": Away(2, 3)}),
    Case("Pad", {"mode": "reflect", "pad_width": (1, 0, 2, 2)}, {"data": Away(2, 3)}),
    Case("Pad", {"mode": "edge", "pad_width": (0, 0)}, {"data": Away(3)}),
]

INDEXING = [
    Case("take", {}, {"a": Away(3, 2), "indices": given([[0, 2], [2, 9]])}),
    Case("take", {"axis": -1, "mode": "wrap"}, {"a": Away(2, 3), "indices": given([4, -1, 0])}),
    Case(
        "take",
        {"axis": 1, "mode": "raise"},
        {"a": Away(2, 3, 2), "indices": given([[2], [2]], "int64")},
    ),
    Case("take", {}, {"a": Away(3), "indices": given([1, 1], "int32")}),
    Case("batch_take", {}, {"a": Away(3, 2), "indices": given([1, -3, 7], "int32")}),
    Case("pick", {}, {"data": Away(2, 3), "index": given([2, 7])}),
    Case("pick", {"axis": 0, "keepdims": True}, {"data": Away(2, 3), "index": given([1, 0, -4])}),
    Case("pick", {"mode": "wrap", "axis": 1}, {"data": Away(2, 3), "index": given([[4], [-1]])}),
    Case("pick", {"axis": "None"}, {"data": Away(2, 3), "index": given([4])}),
    Case("where", {}, {"condition": given([[0, 1, -2]]), "x": Away(1, 3), "y": Away(1, 3)}),
    Case("where", {}, {"condition": given([0, 1]), "x": Away(2, 3), "y": Away(2, 3)}),
    Case("gather_nd", {}, {"data": Away(3, 2), "indices": given([[0, 2, 2], [1, 0, 0]])}),
    Case("gather_nd", {}, {"data": Away(3, 2), "indices": given([[0, -1]], "int64")}),
    Case("scatter_nd", {"shape": (3, 2)}, {"data": Away(2), "indices": given([[0, 2], [1, 0]])}),
    Case("scatter_nd", {"shape": (3, 2)}, {"data": Away(2, 2), "indices": given([[2, 0]])}),
    Case(
        "SequenceMask",
        {"use_sequence_length": True},
        {
            "data": Away(3, 2, 2),
            "sequence_length": given([2, 0]),
        },
    ),
    Case("SequenceMask", {}, {"data": Away(3, 2)}),
    Case(
        "SequenceMask",
        {"use_sequence_length": True, "axis": 1, "value": 5.0},
        {"data": Away(2, 3), "sequence_length": given([3, 1], "int64")},
    ),
    Case(
        "SequenceLast",
        {"use_sequence_length": True},
        {
            "data": Away(3, 2, 2),
            "sequence_length": given([2, 3]),
        },
    ),
    Case(
        "SequenceLast",
        {"use_sequence_length": True, "axis": 1},
        {
            "data": Away(2, 3),
            "sequence_length": given([3, 1]),
        },
    ),
    Case("SequenceLast", {"axis": 1}, {"data": Away(2, 3, 2)}),
    Case("SequenceReverse", {}, {"data": Away(3, 2)}),
    Case(
        "SequenceReverse",
        {"use_sequence_length": True},
        {
            "data": Away(3, 3, 2),
            "sequence_length": given([2, 3, 0]),
        },
    ),
]

_VECTORS = {"gamma": Positive(3), "beta": Away(3)}
_MOVING = {"moving_mean": given([0.1, -0.2, 0.3]), "moving_var": given([0.5, 1.0, 2.0])}

LAYERS = [
    *(
        Case("BatchNorm", attrs, {"data": Away(3, 3, 2), **_VECTORS}, _MOVING)
        for attrs in ({"fix_gamma": False}, {"fix_gamma": False, "use_global_stats": True})
    ),
    Case("BatchNorm", {"axis": -1, "eps": 0.01}, {"data": Away(4, 3), **_VECTORS}, _MOVING),
    Case("LayerNorm", {}, {"data": Away(2, 2, 3), **_VECTORS}),
    Case("LayerNorm", {"axis": 1, "eps": 0.01}, {"data": Away(2, 3, 2), **_VECTORS}),
    Case("InstanceNorm", {}, {"data": Away(2, 3, 3), **_VECTORS}),
    Case(
        "GroupNorm",
        {"num_groups": 2},
        {"data": Away(2, 4, 2), "gamma": Positive(2), "beta": Away(2)},
    ),
    Case(
        "Convolution",
        {"kernel": (2,), "num_filter": 2, "stride": (2,), "pad": (1,)},
        {"data": Away(1, 2, 4), "weight": Away(2, 2, 2), "bias": Away(2)},
    ),
    Case(
        "Convolution",
        {"kernel": (2, 2), "num_filter": 2, "num_group": 2, "dilate": (2, 1), "no_bias": True},
        {"data": Away(1, 2, 4, 3), "weight": Away(2, 1, 2, 2)},
    ),
    Case(
        "Deconvolution",
        {"kernel": (3,), "num_filter": 2, "stride": (2,), "pad": (1,), "adj": (1,)},
        {"data": Away(1, 2, 3), "weight": Away(2, 2, 3)},
    ),
    *(
        Case(
            "Pooling",
            {"kernel": (2, 2), "stride": (2, 1), "pool_type": kind, **more},
            {"data": Apart(1, 2, 4, 3)},
        )
        for kind in ("max", "avg", "sum")
        for more in ({}, {"pad": (1, 1)})
    ),
    Case(
        "Pooling",
        {"kernel": (3,), "stride": (2,), "pooling_convention": "full"},
        {
            "data": Apart(1, 2, 6),
        },
    ),
    Case(
        "Pooling",
        {"kernel": (3,), "pad": (1,), "pool_type": "avg", "count_include_pad": False},
        {
            "data": Apart(1, 2, 4),
        },
    ),
    *(
        Case(
            "Pooling",
            {"kernel": (1,), "global_pool": True, "pool_type": kind},
            {
                "data": Apart(2, 2, 3),
            },
        )
        for kind in ("max", "avg", "sum")
    ),
]


def _rnn(
    mode: str,
    layers: int = 1,
    bidirectional: bool = False,
    states: bool = True,
    lengths: Any = None,
) -> Case:
    hidden, inputs, batch, steps = 2, 2, 2, 3
    gates = {"lstm": 4, "gru": 3}.get(mode, 1)
    ways = 2 if bidirectional else 1
    wide = [inputs, *[hidden * ways] * (layers - 1)]
    count = sum(ways * gates * hidden * (w + hidden + 2) for w in wide)
    state = (layers * ways, batch, hidden)
    cell = {"state_cell": Unit(*state)} if mode == "lstm" else {}
    # Different numbers each: rnn_relu must not stand near a kink.
    return Case(
        "RNN",
        {
            "mode": mode,
            "state_size": hidden,
            "num_layers": layers,
            "bidirectional": bidirectional,
            "state_outputs": states,
            **({} if lengths is None else {"use_sequence_length": True}),
        },
        {
            "data": Unit(steps, batch, inputs),
            "parameters": Unit(count),
            "state": Unit(*state),
            **cell,
            **({} if lengths is None else {"sequence_length": given(lengths)}),
        },
    )


def _ctc(label: Any, blank: str = "first", **lengths: Any) -> Case:
    """Three sequences of six steps and four classes."""
    return Case(
        "CTCLoss",
        {"blank_label": blank, **{f"use_{name}": True for name in lengths}},
        {
            "data": Unit(6, 3, 4),
            "label": given(label),
            **{name: given(values) for name, values in lengths.items()},
        },
    )


CTC = [
    _ctc([[1, 2, 2], [3, 0, 0], [0, 0, 0]]),
    _ctc([[0, 2, 2], [1, -1, -1], [-1, 0, 0]], blank="last"),
    _ctc([[1, 2, 2], [3, 1, 1], [2, 2, 1]], data_lengths=[4, 6, 2], label_lengths=[3, 1, 2]),
]

RECURRENT = [
    _rnn("rnn_tanh"),
    _rnn("rnn_relu", layers=2),
    _rnn("lstm"),
    _rnn("lstm", bidirectional=True, states=False),
    _rnn("gru", states=False),
    _rnn("gru", layers=2),
    _rnn("lstm", states=False, bidirectional=True, lengths=[3, 1]),
    _rnn("lstm", layers=2, lengths=[2, 0]),
]

CASES: list[Case] = [
    *UNARY,
    *BINARY,
    *REDUCTIONS,
    *PRODUCTS,
    *SOFTMAXES,
    *MOVEMENT,
    *INDEXING,
    *LAYERS,
    *RECURRENT,
    *CTC,
    *MORE,
    *CONTRIB,
]

BY_ID = {case.id: case for case in CASES}
assert len(BY_ID) == len(CASES), "two cases have one name"
