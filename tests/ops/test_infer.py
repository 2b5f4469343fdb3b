"""Shape rules with incomplete knowledge: never wrong, never less than before, and backwards."""

from __future__ import annotations

import random
import zlib
from typing import Any

import numpy as np
import pytest

import symbucket as sb
from symbucket import ops
from symbucket.ops.shape import unify
from symbucket.types import PartialShape
from tests.ops.op_cases import BY_ID


def made(name: str) -> tuple[Any, list[PartialShape], list[PartialShape]]:
    """The operator of a case with the full shapes of inputs and outputs."""
    case = BY_ID[name]
    record = ops.find(case.op)
    count = {"num_args": len(case.inputs)} if record.variadic else {}
    op = record.make({**count, **case.attrs})
    ins: list[PartialShape] = [a.shape for a in case.make(0).values()]
    _, outs = op.infer_shape(list(ins), [None] * len(op.outputs()))
    return op, ins, outs


# Inputs of which two shapes would do; unknown, they take the other one.
ASKED_FOR = {"LeakyReLU": "gamma", "pick": "index", "where": "condition"}


@pytest.mark.parametrize("name", BY_ID)
def test_incomplete_shapes_are_completed_and_never_contradicted(name: str) -> None:
    op, ins, outs = made(name)
    names = list(BY_ID[name].inputs) + list(BY_ID[name].aux)
    assert all(s is not None and 0 not in s for s in [*ins, *outs])
    rng = random.Random(zlib.crc32(name.encode()))

    def hide(shape: PartialShape) -> PartialShape:
        assert shape is not None
        if rng.random() < 0.3:
            return None
        return tuple(0 if rng.random() < 0.3 else d for d in shape)

    for _ in range(40):
        fixed = ASKED_FOR.get(op.op_name)
        some_ins = [s if n == fixed else hide(s) for n, s in zip(names, ins)]
        some_outs = [hide(s) for s in outs]
        new_ins, new_outs = op.infer_shape(list(some_ins), list(some_outs))
        said = f"from {some_ins} -> {some_outs} to {new_ins} -> {new_outs}"
        assert len(new_ins) == len(ins), said
        assert len(new_outs) == len(outs), said
        for full, before, after in zip(
            [*ins, *outs], [*some_ins, *some_outs], [*new_ins, *new_outs]
        ):
            assert unify(after, full) == full, f"contradicts {full}: {said}"
            assert after is not None or before is None, f"forgets {before}: {said}"
            assert unify(after, before) == after, f"forgets a part of {before}: {said}"


def shapes_of(symbol: sb.Symbol, **known: tuple[int, ...]) -> dict[str, tuple[int, ...]]:
    found, _, aux = symbol.infer_shape(**known)
    return {
        **dict(zip(symbol.list_arguments(), found)),
        **dict(zip(symbol.list_auxiliary_states(), aux)),
    }


x, y = sb.sym.Variable("x"), sb.sym.Variable("y")

BACKWARDS = {
    "Dropout": sb.sym.Dropout(x),
    "Activation": sb.sym.Activation(x, act_type="tanh"),
    "exp": sb.sym.exp(x),
    "softmax": sb.sym.softmax(x),
    "log_softmax": sb.sym.log_softmax(x, axis=0),
    "SoftmaxActivation": sb.sym.SoftmaxActivation(x),
    "L2Normalization": sb.sym.L2Normalization(x),
    "LeakyReLU": sb.sym.LeakyReLU(x),
    "BlockGrad": sb.sym.BlockGrad(x),
    "SequenceMask": sb.sym.SequenceMask(x),
    "SequenceReverse": sb.sym.SequenceReverse(x),
    "flip": sb.sym.flip(x, axis=0),
    "scalar": 1.0 - x * 2.0,
    "Cast": sb.sym.Cast(x, dtype="float32"),
    "zeros_like": sb.sym.zeros_like(x),
    "hard_sigmoid": sb.sym.hard_sigmoid(x),
    "add_n": sb.sym.add_n(x, x),
}


@pytest.mark.parametrize("name", BACKWARDS)
def test_what_keeps_the_shape_says_it_backwards(name: str) -> None:
    assert shapes_of(BACKWARDS[name] + y, y=(3, 4))["x"] == (3, 4)


@pytest.mark.parametrize(
    ("symbol", "known", "expected"),
    [
        (sb.sym.transpose(x, axes=(1, 0)) + y, {"y": (2, 3)}, {"x": (3, 2)}),
        (sb.sym.SwapAxis(x, dim1=0, dim2=2) + y, {"y": (2, 3, 4)}, {"x": (4, 3, 2)}),
        (sb.sym.expand_dims(x, axis=1) + y, {"y": (2, 1, 3)}, {"x": (2, 3)}),
        (sb.sym.SliceChannel(x, num_outputs=2)[1] + y, {"y": (2, 3)}, {"x": (2, 6)}),
        (
            sb.sym.SliceChannel(x, num_outputs=2, squeeze_axis=True)[0] + y,
            {"y": (2, 3)},
            {"x": (2, 2, 3)},
        ),
        (sb.sym.stack(x, x, axis=1) + y, {"y": (2, 2, 3)}, {"x": (2, 3)}),
        (sb.sym.Concat(x, y, dim=0), {"x": (0, 3), "y": (2, 3)}, None),
        (
            sb.sym.Pad(x, mode="constant", pad_width=(0, 0, 1, 2)) + y,
            {"y": (2, 6)},
            {"x": (2, 3)},
        ),
        (sb.sym.one_hot(x, depth=4) + y, {"y": (2, 3, 4)}, {"x": (2, 3)}),
        (sb.sym.where(x, y, y), {"x": (2, 3)}, {"y": (2, 3)}),
        (sb.sym.where(x, y, y), {"y": (2, 3)}, {"x": (2, 3)}),
        (sb.sym.batch_dot(x, y), {"x": (2, 3, 4), "y": (0, 0, 5)}, {"y": (2, 4, 5)}),
        (sb.sym.dot(x, y), {"x": (2, 4), "y": (0, 5)}, {"y": (4, 5)}),
        (sb.sym.pick(x, y), {"x": (2, 3)}, {"y": (2,)}),
        (sb.sym.softmax_cross_entropy(x, y), {"x": (2, 3)}, {"y": (2,)}),
        (sb.sym.batch_take(x, y), {"x": (2, 3)}, {"y": (2,)}),
        (sb.sym.softmax(x, y, use_length=True, axis=1), {"x": (2, 3, 4)}, {"y": (2, 4)}),
        (
            sb.sym.SequenceLast(x, y, use_sequence_length=True),
            {"x": (5, 2, 3)},
            {"y": (2,)},
        ),
        (sb.sym.scatter_nd(x, y, shape=(4, 5)), {"y": (1, 3)}, {"x": (3, 5)}),
        (
            sb.sym.FullyConnected(x, num_hidden=4, name="fc"),
            {"x": (2, 3, 5)},
            {"fc_weight": (4, 15), "fc_bias": (4,)},
        ),
        (
            sb.sym.FullyConnected(x, num_hidden=4, name="fc") + y,
            {"y": (7, 4), "fc_weight": (4, 3), "x": (0, 0)},
            {"x": (7, 3)},
        ),
        (
            sb.sym.Embedding(x, input_dim=9, output_dim=4, name="e") + y,
            {"y": (2, 3, 4)},
            {"x": (2, 3), "e_weight": (9, 4)},
        ),
        (x + sb.sym.zeros(shape=(0, 4)), {"x": (3, 0)}, {"x": (3, 4)}),
        (x + sb.sym.zeros(shape=(0, 4)), {"x": (0, 4)}, None),
        (x + sb.sym.zeros(shape=(0, 4)) + y, {"y": (3, 0)}, {"x": (3, 4), "y": (3, 4)}),
        (sb.sym.BatchNorm(x, name="bn"), {"x": (2, 3)}, {"bn_gamma": (3,), "bn_moving_var": (3,)}),
    ],
)
def test_backwards(symbol: sb.Symbol, known: Any, expected: Any) -> None:
    if expected is None:
        arguments, outputs, _ = symbol.infer_shape_partial(**known)
        assert any(0 in s for s in [*arguments, *outputs])
        return
    found = shapes_of(symbol, **known)
    assert {n: found[n] for n in expected} == expected


# Dtypes ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("symbol", "known", "outputs"),
    [
        (sb.sym.take(x, y), {"y": "int32"}, ["float32"]),
        (sb.sym.take(x, y), {"x": "float64", "y": "int32"}, ["float64"]),
        (sb.sym.pick(x, y), {"y": "int64"}, ["float32"]),
        (sb.sym.gather_nd(x, y), {"y": "int64"}, ["float32"]),
        (sb.sym.Embedding(x, y, input_dim=2, output_dim=2), {"x": "int32"}, ["float32"]),
        (sb.sym.one_hot(x, depth=2, dtype="int32"), {"x": "int64"}, ["int32"]),
        (sb.sym.where(x, y, y), {"x": "int32", "y": "float64"}, ["float64"]),
        (sb.sym.where(x, y, y), {"x": "int32"}, ["float32"]),
        (sb.sym.SequenceLast(x, y, use_sequence_length=True), {"y": "int32"}, ["float32"]),
        (sb.sym.softmax(x, y, use_length=True), {"y": "int32"}, ["float32"]),
        (sb.sym.broadcast_like(x, y), {"y": "int32"}, ["float32"]),
        (sb.sym.softmax_cross_entropy(x, y), {"y": "int32"}, ["float32"]),
        (sb.sym.Cast(x, dtype="float64"), {}, ["float64"]),
        (x + y, {"y": "float64"}, ["float64"]),
    ],
)
def test_dtypes_of_positions_do_not_spread(
    symbol: sb.Symbol, known: dict[str, str], outputs: list[str]
) -> None:
    _, found, _ = symbol.infer_type(**known)
    assert [np.dtype(d) for d in found] == [np.dtype(d) for d in outputs]
