"""States in the dtype of the inputs, and what is said where they have another one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import symbucket as sb
from symbucket import rnn, sym
from symbucket.errors import ShapeError

T, N, C, H = 9, 3, 5, 4
CELLS: dict[str, Callable[[], rnn.BaseRNNCell]] = {
    "rnn": lambda: rnn.RNNCell(H, prefix="x_"),
    "lstm": lambda: rnn.LSTMCell(H, prefix="x_"),
    "gru": lambda: rnn.GRUCell(H, prefix="x_"),
    "fused": lambda: rnn.FusedRNNCell(H, prefix="x_"),
    "both ways": lambda: rnn.BidirectionalCell(rnn.GRUCell(H, "l_"), rnn.LSTMCell(H, "x_")),
    "zoneout": lambda: rnn.ZoneoutCell(rnn.GRUCell(H, "x_"), 0.4),
}


def bound(cell: rnn.BaseRNNCell, begin: Any, dtype: str) -> sb.Executor:
    with sb.name.NameManager():
        outputs, _ = cell.unroll(T, sym.Variable("data"), begin, merge_outputs=True)
    executor = outputs.simple_bind(sb.cpu(), "write", {"data": dtype}, data=(N, T, C))
    rng = np.random.RandomState(3)
    for array in executor.arg_dict.values():
        array[:] = rng.normal(size=array.shape)
    return executor


@pytest.mark.parametrize("kind", CELLS)
def test_states_of_zeros_follow_the_inputs(kind: str) -> None:
    followed, told = CELLS[kind](), CELLS[kind]()
    executors = [
        bound(followed, None, "float64"),
        bound(told, told.begin_state(dtype="float64"), "float64"),
    ]
    results = []
    for executor in executors:
        sb.random.seed(2)
        (output,) = executor.forward(is_train=True)
        executor.backward([np.ones(output.shape)])
        assert {array.dtype for array in executor.grad_dict.values()} == {np.dtype(np.float64)}
        results.append([output.asnumpy(), *(a.asnumpy() for a in executor.grad_dict.values())])
    assert np.abs(results[0][0]).max() > 0.1
    for one, other in zip(*results):
        assert one.dtype == np.float64
        np.testing.assert_allclose(one, other, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("kind", ["rnn", "lstm", "gru", "fused"])
def test_a_state_of_another_dtype_is_named(kind: str) -> None:
    cell = CELLS[kind]()
    with pytest.raises(ShapeError, match=r"Node '.*its inputs have the dtypes float32 \(of ") as e:
        bound(cell, cell.begin_state(dtype="float64"), "float32").forward()
    assert "float64 (of x_begin_state_0" in str(e.value)


def test_half_precision_states_follow() -> None:
    executor = bound(rnn.LSTMCell(H, prefix="x_"), None, "float16")
    assert {a.dtype for a in executor.arg_dict.values()} == {np.dtype(np.float16)}


def test_states_of_integer_inputs_are_float32() -> None:
    states = rnn.RNNCell(H).begin_state()
    embedded = sym.Embedding(sym.Variable("ids"), input_dim=3, output_dim=C)
    outputs, _ = rnn.RNNCell(H).unroll(2, embedded, states, merge_outputs=True)
    assert outputs.infer_type(ids="int64")[1] == [np.dtype(np.float32)]


def test_outputs_of_a_scheduled_recurrence_keep_float64() -> None:
    def sym_gen(steps: int) -> Any:
        cell = rnn.GRUCell(H, prefix="x_")
        begin = cell.begin_state(sym.Variable)
        outputs, states = cell.unroll(steps, sym.Variable("data"), begin, merge_outputs=True)
        return sym.Group([sym.MakeLoss(outputs), *states]), ["data"], []

    module = sb.mod.RecurrentModule(sym_gen, ["x_begin_state_0"], unroll=2, carry_states=True)
    desc = sb.io.DataDesc("data", (N, 5, C), "float64")
    module.bind([desc], for_training=False)
    module.init_params(sb.init.Normal(1.0))
    data = np.random.RandomState(5).normal(size=desc.shape)
    for _ in range(2):  # the second one begins with the states of the first
        module.forward(sb.io.DataBatch([data], provide_data=[desc]))
    output, (state,) = module.get_outputs()[0].asnumpy(), module.get_states()
    assert output.dtype == state.dtype == np.float64
    np.testing.assert_array_equal(output[:, -1], state.asnumpy())
