"""Repeated steps: the network is the one that calls for each step would have made."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

import symbucket as sb
from symbucket.symbol import repetition
from symbucket.symbol.step_nodes import StepNode
from tests.compiler.loops.test_lengthen import KINDS, cell, flat, unrolled


def made_of(network: Callable[[], sb.sym.Symbol], monkeypatch: pytest.MonkeyPatch) -> Any:
    """The network as it is, and with each step made by a call."""
    with sb.name.NameManager():
        symbol = network()
    with monkeypatch.context() as patch, sb.name.NameManager():
        patch.setattr(repetition, "_plain_scopes", lambda: False)
        return symbol, network()


def left_out(symbol: sb.sym.Symbol) -> int:
    return sum(isinstance(node, StepNode) for node in symbol.nodes())


@pytest.mark.parametrize("merge", [True, False])
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("length", [7, 12])
def test_the_same_network(
    kind: str, length: int, merge: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    def network() -> sb.sym.Symbol:
        data = sb.sym.Variable("x")
        outputs, states = unrolled([kind, kind], length, data, "lstm2_", merge, "TNC")
        heads = [outputs] if merge else outputs
        return sb.sym.Group([*heads, *flat(states), sb.sym.relu(data), data + data])

    symbol, whole = made_of(network, monkeypatch)
    assert (left_out(symbol) > 0) is (length > 7)
    assert not left_out(whole)
    assert symbol.tojson() == whole.tojson()
    assert symbol.list_inputs() == whole.list_inputs()
    assert symbol.digest() == whole.digest()


def test_a_cell_goes_on_counting(monkeypatch: pytest.MonkeyPatch) -> None:
    def network() -> sb.sym.Symbol:
        cell = sb.rnn.LSTMCell(4)
        outputs, states = cell.unroll(20, sb.sym.Variable("x"))
        output, _ = cell(outputs[-1], states)
        return output

    symbol, whole = made_of(network, monkeypatch)
    assert symbol.name == "lstm_t20_out"
    assert symbol.tojson() == whole.tojson()


class Clockwork(sb.rnn.RNNCell):
    """A user's cell, which does something else in one step."""

    def _step(self, inputs: Any, states: Any, name: str) -> Any:
        output, states = super()._step(inputs, states, name)
        return (output * 2 if self._counter == 12 else output), states


def test_a_users_cell_makes_every_step_itself() -> None:
    outputs, _ = Clockwork(4).unroll(20, sb.sym.Variable("x"), merge_outputs=True)
    assert sum("mulscalar" in node.name for node in outputs.nodes()) == 1


def test_names_of_a_users_manager() -> None:
    class Shouting(sb.name.NameManager):
        def get(self, name: str | None, hint: str) -> str:
            return super().get(name, hint).upper()

    with Shouting():
        outputs, _ = sb.rnn.LSTMCell(4).unroll(20, sb.sym.Variable("x"))
    assert outputs[-1].name == "LSTM_T19_OUT"


def test_steps_in_scopes(monkeypatch: pytest.MonkeyPatch) -> None:
    def network() -> sb.sym.Symbol:
        with sb.AttrScope(ctx_group="a"), sb.name.Prefix("net1_"):
            outputs, _ = sb.rnn.LSTMCell(4).unroll(20, sb.sym.Variable("x"), merge_outputs=True)
        return outputs

    symbol, whole = made_of(network, monkeypatch)
    assert left_out(symbol)
    assert symbol.tojson() == whole.tojson()
    assert symbol.attr_dict()["net1_lstm_t19_out"]["__ctx_group__"] == "a"


def test_a_variable_in_the_place_of_another() -> None:
    outputs, _ = sb.rnn.GRUCell(4).unroll(20, sb.sym.Variable("x"), merge_outputs=True)
    other = outputs(x=sb.sym.Variable("y"), name="end")
    assert other.name == "end"
    assert len(other.nodes()) == len(outputs.nodes())
    assert "y" in other.list_arguments()
    assert "x" not in other.list_arguments()
    names = [node.name for node in outputs.nodes() if node.op is not None]
    assert [node.name for node in other.nodes() if node.op is not None][:-1] == names[:-1]


def test_threads_see_the_same_nodes() -> None:
    outputs, _ = sb.rnn.LSTMCell(4).unroll(60, sb.sym.Variable("x"), merge_outputs=True)
    with ThreadPoolExecutor(4) as pool:
        walks = list(pool.map(lambda _: sb.sym.Group([outputs]).nodes(), range(8)))
    assert all(walk == walks[0] for walk in walks)


def test_a_cell_goes_on_after_steps_that_draw(monkeypatch: pytest.MonkeyPatch) -> None:
    """The output before, which zoneout reads, is that of the last step."""

    def network() -> sb.sym.Symbol:
        cell = sb.rnn.ZoneoutCell(sb.rnn.LSTMCell(4), 0.2, 0.1)
        outputs, states = cell.unroll(20, sb.sym.Variable("x"))
        return cell(outputs[-1], states)[0]

    symbol, whole = made_of(network, monkeypatch)
    assert left_out(symbol)
    assert "lstm_t20_out" in [node.name for node in symbol.nodes()]
    assert symbol.tojson() == whole.tojson()


@pytest.mark.parametrize("merge", [True, False])
@pytest.mark.parametrize("kind", ["lstm", "zoneout", "dropout", "bi", "residual"])
def test_lengths(kind: str, merge: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    def network() -> sb.sym.Symbol:
        stack = sb.rnn.SequentialRNNCell()
        stack.add(cell(kind, "a_"))
        stack.add(cell("gru", "b_"))
        outputs, states = stack.unroll(
            14,
            sb.sym.Variable("x"),
            merge_outputs=merge,
            valid_length=sb.sym.Variable("valid_length"),
        )
        return sb.sym.Group([*(outputs if not merge else [outputs]), *flat(states)])

    symbol, whole = made_of(network, monkeypatch)
    assert left_out(symbol)
    assert symbol.tojson() == whole.tojson()
    assert symbol.list_inputs() == whole.list_inputs()
