"""Cells unrolled with ``valid_length`` against each sequence alone, without padding."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import symbucket as sb
from symbucket import rnn
from symbucket import symbol as sym
from symbucket.compiler import compile_training
from symbucket.errors import DataError, InvalidArgumentError
from symbucket.rnn.base import flatten
from symbucket.types import Array

STEPS, CHANNELS, HIDDEN = 6, 3, 3
LENGTHS = np.array([6, 3, 1, 0, 4])


def _stack() -> rnn.BaseRNNCell:
    stack = rnn.SequentialRNNCell()
    stack.add(rnn.GRUCell(HIDDEN, "gru_"))
    stack.add(rnn.DropoutCell(0.5))
    stack.add(rnn.ResidualCell(rnn.LSTMCell(HIDDEN, "res_")))
    return stack


def _two_ways() -> rnn.BaseRNNCell:
    return rnn.BidirectionalCell(rnn.LSTMCell(HIDDEN, "l_"), rnn.GRUCell(HIDDEN, "r_"))


def _two_layers_two_ways() -> rnn.BaseRNNCell:
    stack = rnn.SequentialRNNCell()
    stack.add(_two_ways())
    stack.add(rnn.BidirectionalCell(rnn.RNNCell(HIDDEN, prefix="a_"), rnn.RNNCell(2, prefix="b_")))
    return stack


CELLS: dict[str, Callable[[], rnn.BaseRNNCell]] = {
    "rnn": lambda: rnn.RNNCell(HIDDEN, prefix="x_"),
    "lstm": lambda: rnn.LSTMCell(HIDDEN, "x_"),
    "gru": lambda: rnn.GRUCell(HIDDEN, "x_"),
    "zoneout": lambda: rnn.ZoneoutCell(rnn.RNNCell(HIDDEN, prefix="x_"), 0.3, 0.3),
    "stack": _stack,
    "bidirectional": _two_ways,
    "two layers of it": _two_layers_two_ways,
    "residual bidirectional": lambda: rnn.ResidualCell(
        rnn.BidirectionalCell(rnn.LSTMCell(2, "l_"), rnn.LSTMCell(1, "r_"))
    ),
    "fused lstm": lambda: rnn.FusedRNNCell(
        HIDDEN, 2, "lstm", bidirectional=True, get_next_state=True, prefix="x_"
    ),
    "fused gru": lambda: rnn.FusedRNNCell(HIDDEN, 1, "gru", get_next_state=True, prefix="x_"),
}


def _network(make: Callable[[], rnn.BaseRNNCell], steps: int, layout: str, masked: bool) -> Any:
    cell = make()
    begin = cell.begin_state(func=sym.Variable)
    valid = {"valid_length": sym.Variable("valid_length")} if masked else {}
    outputs, states = cell.unroll(
        steps, sym.Variable("data"), begin, layout, merge_outputs=True, **valid
    )
    return sym.Group([outputs, *flatten(states)]), [state.name for state in begin]


def _run(
    net: sb.Symbol, arrays: dict[str, Array], heads: list[Array], is_train: bool
) -> tuple[list[Array], dict[str, Array]]:
    names = net.list_arguments()
    bound = net.simple_bind(
        sb.cpu(),
        {n: "null" if n == "valid_length" or not is_train else "write" for n in names},
        **{n: a.shape for n, a in arrays.items()},
    )
    bound.feed(arrays)
    bound.forward(is_train=is_train)
    if is_train:
        bound.backward(heads)
    gradients = {n: g.asnumpy() for n, g in bound.grad_dict.items() if g is not None}
    return [out.asnumpy() for out in bound.outputs], gradients


@pytest.mark.parametrize(
    ("kind", "layout"),
    [
        *((kind, "NTC") for kind in CELLS),
        *((kind, "TNC") for kind in ("lstm", "bidirectional", "fused lstm")),
    ],
)
def test_padding_changes_nothing(kind: str, layout: str) -> None:
    is_train = kind not in ("zoneout", "stack")  # these draw random numbers
    rng = np.random.default_rng(0)
    net, begin = _network(CELLS[kind], STEPS, layout, masked=True)
    time = layout.index("T")
    shape = [len(LENGTHS), CHANNELS]
    shape.insert(time, STEPS)
    shapes, out_shapes, _ = net.infer_shape(data=tuple(shape))
    arrays = {n: rng.uniform(-1, 1, s).astype("f") for n, s in zip(net.list_arguments(), shapes)}
    arrays["valid_length"] = LENGTHS.astype("f")
    heads = [rng.uniform(-1, 1, s).astype("f") for s in out_shapes]
    for i, size in enumerate(LENGTHS):  # whatever padding holds
        row = (i, slice(size, None)) if time else (slice(size, None), i)
        arrays["data"][row] = rng.uniform(-9, 9)
    outputs, gradients = _run(net, arrays, heads, is_train)
    total = {n: np.zeros_like(g) for n, g in gradients.items()}
    for i, size in enumerate(LENGTHS):
        padding = np.take(np.take(outputs[0], [i], 1 - time), range(size, STEPS), time)
        assert not padding.any()
        if not size:
            for name, state in zip(begin, outputs[1:]):
                axis = state.ndim - 2
                assert np.array_equal(*(np.take(a, i, axis) for a in (state, arrays[name])))
                if is_train:
                    place = (slice(None),) * axis + (slice(i, i + 1),)
                    total[name][place] += heads[1 + begin.index(name)][place]
            continue
        alone, _ = _network(CELLS[kind], int(size), layout, masked=False)
        own = {n: a for n, a in arrays.items() if n != "valid_length"}
        for name in begin:
            own[name] = np.take(arrays[name], [i], arrays[name].ndim - 2)
        own["data"] = np.take(np.take(arrays["data"], [i], 1 - time), range(size), time)
        own_heads = [np.take(np.take(heads[0], [i], 1 - time), range(size), time)]
        own_heads += [np.take(h, [i], h.ndim - 2) for h in heads[1:]]
        expected, own_gradients = _run(alone, own, own_heads, is_train)
        for k, value in enumerate(expected):
            whole = np.take(outputs[k], [i], outputs[k].ndim - 2 if k else 1 - time)
            whole = whole if k else np.take(whole, range(size), time)
            np.testing.assert_allclose(whole, value, rtol=1e-5, atol=1e-6)
        for name, gradient in own_gradients.items():
            if name == "data":
                place = (slice(i, i + 1), slice(size)) if time else (slice(size), slice(i, i + 1))
                total[name][place] += gradient
            elif name in begin:
                axis = gradient.ndim - 2
                total[name][(slice(None),) * axis + (slice(i, i + 1),)] += gradient
            else:
                total[name] += gradient
    for name, gradient in total.items():
        np.testing.assert_allclose(gradients[name], gradient, rtol=1e-4, atol=1e-5, err_msg=name)


@pytest.mark.parametrize("kind", ["lstm", "bidirectional", "fused lstm"])
def test_gradients_of_finite_differences(kind: str) -> None:
    net, _ = _network(CELLS[kind], 4, "NTC", masked=True)
    rng = np.random.default_rng(1)
    shapes, _, _ = net.infer_shape(data=(3, 4, CHANNELS))
    arrays = {n: rng.uniform(-1, 1, s) for n, s in zip(net.list_arguments(), shapes)}
    arrays["valid_length"] = np.array([4.0, 2.0, 0.0])
    nodes = [n for n in arrays if n not in ("valid_length", "l_h2h_weight")]
    sb.test_utils.check_numeric_gradient(
        net, arrays, grad_nodes=nodes[:4], numeric_eps=1e-2, rtol=5e-2, atol=1e-2
    )


def test_lists_of_steps_and_forms_of_outputs() -> None:
    valid = sym.Variable("valid_length")
    names = [f"x{t}" for t in range(4)]
    steps = [sym.Variable(n) for n in names]
    outputs, _ = _two_ways().unroll(4, steps, merge_outputs=False, valid_length=valid)
    assert isinstance(outputs, list)
    net = sym.Group(outputs)
    rng = np.random.default_rng(2)
    shapes, _, _ = net.infer_shape(**dict.fromkeys(names, (2, CHANNELS)))
    arrays = {n: rng.uniform(-1, 1, s).astype("f") for n, s in zip(net.list_arguments(), shapes)}
    arrays["valid_length"] = np.array([4, 2], np.float32)
    lists, _ = _run(net, arrays, [], False)
    merged, _ = _two_ways().unroll(4, sym.Variable("data"), valid_length=valid)
    arrays["data"] = np.stack([arrays.pop(n) for n in names], axis=1)
    (whole,), _ = _run(merged, arrays, [], False)
    np.testing.assert_allclose(np.stack(lists, 1), whole, rtol=1e-6, atol=1e-6)


def test_equal_steps_are_loops() -> None:
    """The unrolled steps are grouped as without lengths: one loop a direction."""
    net, _ = _network(_two_ways, 30, "NTC", masked=True)
    weights = [n for n in net.list_arguments() if n.endswith("weight")]
    programs = compile_training(net, {"data": (2, 30, CHANNELS)}, {}, weights)
    for program in (programs.forward, programs.backward):
        assert program is not None
        kinds = [node.op_type for node in program.proto().graph.node]
        assert kinds.count("Scan") == 2
        assert len(kinds) < 120, kinds


@pytest.mark.parametrize("dtype", ["float32", "int32", "int64", "uint8", "float16"])
def test_mask_of_lengths(dtype: str) -> None:
    mask = rnn.sequence_mask(sym.Variable("n"), 4)
    (value,) = mask.eval(n=sb.nd.array([0, 3, 4], dtype=dtype))
    assert value.dtype == np.float32
    assert np.array_equal(value.asnumpy(), [[0, 0, 0, 0], [1, 1, 1, 0], [1, 1, 1, 1]])


def test_bad_lengths() -> None:
    cell = rnn.LSTMCell(HIDDEN, "x_")
    with pytest.raises(InvalidArgumentError, match="valid_length must be a Symbol of the shape"):
        cell.unroll(4, sym.Variable("data"), valid_length=np.array([1, 2]))  # type: ignore[arg-type]
    for make in (CELLS["lstm"], CELLS["fused lstm"]):
        net, _ = _network(make, 4, "NTC", masked=True)
        bound = net.simple_bind(sb.cpu(), "null", data=(2, 4, CHANNELS))
        with pytest.raises(DataError, match=r"valid_length\[1\] is 5"):
            bound.feed({"valid_length": np.array([1.0, 5.0], np.float32)})
