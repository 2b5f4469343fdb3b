"""Loops told from a few steps are those that all steps tell, and so are variables and outputs."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any

import pytest

import symbucket as sb
from symbucket.compiler.loops.draw_numbers import first_draws
from symbucket.compiler.loops.group import group_steps, grouped
from symbucket.compiler.loops.grouped import Grouped
from symbucket.compiler.loops.loop_operators import Loop
from symbucket.symbol.brief import brief
from symbucket.symbol.node import Entry, Node
from symbucket.symbol.repetition import repeat

CONVOLUTIONAL = {
    "conv-rnn": sb.rnn.ConvRNNCell,
    "conv-lstm": sb.rnn.ConvLSTMCell,
    "conv-gru": sb.rnn.ConvGRUCell,
}
ZONEOUT = {"zoneout": (0.2, 0.0), "zoneout-states": (0.0, 0.2), "zoneout-both": (0.2, 0.1)}
DRAWING = (*ZONEOUT, "dropout")
ZONED_IMAGES = "zoneout-conv-lstm"
KINDS = (
    "rnn",
    "lstm",
    "gru",
    "bi",
    "residual",
    "residual-bi",
    *CONVOLUTIONAL,
    "zoneout",
    "zoneout-states",
    ZONED_IMAGES,
)


def cell(kind: str, prefix: str) -> Any:
    if kind == "bi":
        left, right = cell("gru", f"{prefix}l_"), cell("lstm", f"{prefix}r_")
        return sb.rnn.BidirectionalCell(left, right, output_prefix=prefix)
    if kind.startswith("residual"):
        return sb.rnn.ResidualCell(cell(kind.partition("-")[2] or "lstm", prefix))
    if kind == ZONED_IMAGES:
        return sb.rnn.ZoneoutCell(cell("conv-lstm", prefix), 0.2)
    if kind in ZONEOUT:
        return sb.rnn.ZoneoutCell(cell("lstm", prefix), *ZONEOUT[kind])
    if kind == "dropout":
        return sb.rnn.DropoutCell(0.3)
    if kind in CONVOLUTIONAL:
        return CONVOLUTIONAL[kind]((1, 2, 5, 5), 4, prefix=prefix)
    cells = {"rnn": sb.rnn.RNNCell, "lstm": sb.rnn.LSTMCell, "gru": sb.rnn.GRUCell}
    return cells[kind](4, prefix=prefix)


def unrolled(
    kinds: Sequence[str],
    length: int,
    data: sb.sym.Symbol,
    name: str,
    merge: bool,
    layout: str,
    **options: Any,
) -> tuple[Any, list[sb.sym.Symbol]]:
    stack = sb.rnn.SequentialRNNCell()
    for i, kind in enumerate(kinds):
        stack.add(cell(kind, f"{name}{i}_"))
    outputs, states = stack.unroll(length, data, layout=layout, merge_outputs=merge, **options)
    return outputs, list(flat(states))


def flat(states: Any) -> Any:
    for one in states:
        yield from flat(one) if isinstance(one, list) else [one]


def lines(nodes: Sequence[Node], heads: Sequence[Entry]) -> list[Any]:
    """A network as plain values, loops with their bodies."""
    index = {node: i for i, node in enumerate(nodes)}

    def places(entries: Sequence[Entry]) -> list[tuple[int, int]]:
        return [(index[node], output) for node, output in entries]

    text: list[Any] = [places(heads)]
    for node in nodes:
        op: Any = node.op
        if isinstance(op, Loop):
            body = {one: i for i, one in enumerate(op.nodes)}
            op = (
                op.steps,
                op.direction,
                lines(op.nodes, op.stacked),
                [(body[a], body[b], output) for a, (b, output) in op.carried],
                [(body[a], way) for a, way in op.sequences],
                [body[a] for a in op.invariants],
            )
        text.append((op, node.name, places(node.inputs)))
    return text


def draws(network: Grouped, training: bool) -> list[Any]:
    """The numbers of draws, in the order of the nodes that draw."""
    numbers = first_draws(network, training)
    bodies = [list(node.op.drawing) for node in network.nodes if isinstance(node.op, Loop)]
    drawing = [*network.nodes, *(node for body in bodies for node in body)]
    return [numbers[node] for node in drawing if node in numbers]


def alike(symbol: sb.sym.Symbol) -> None:
    """Compare the network with loops with that which all steps tell."""
    network, whole = grouped(symbol), group_steps(symbol.nodes(), symbol.heads)
    assert lines(network.nodes, network.heads) == lines(whole.nodes, whole.heads)
    for training in (True, False):
        assert draws(network, training) == draws(whole, training)
    assert symbol.list_inputs() == [node.name for node in symbol.nodes() if node.op is None]


def check(symbol: sb.sym.Symbol, loops: int) -> None:
    network = grouped(symbol)
    assert brief(symbol).counts
    from_few_steps = network.source is brief(symbol).nodes
    assert from_few_steps  # the nodes themselves have endless representations
    assert len(network.loops) == loops
    alike(symbol)
    assert network.loops == group_steps(symbol.nodes(), symbol.heads).loops
    names = [node.name for node in symbol.nodes() if node.op is None]
    assert [node.name for node in brief(symbol).nodes if node.op is None] == names


@pytest.mark.parametrize("merge", [True, False])
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("length", [9, 21])
def test_loops_of_cells(kind: str, length: int, merge: bool) -> None:
    with sb.name.NameManager():
        kinds = [kind, "lstm"] if kind != "residual-bi" else [kind]
        outputs, states = unrolled(kinds, length, sb.sym.Variable("x"), "l", merge, "NTC")
        heads = [outputs if merge else outputs[-1], *states]
        if kind.startswith("residual") and not merge:  # what is added belongs to no recurrence
            heads = states
        check(sb.sym.Group(heads), loops=1 + ("bi" in kind) + (len(kinds) > 1))


@pytest.mark.parametrize("kinds", [["lstm", "dropout", "gru"], ["zoneout", "dropout", "zoneout"]])
@pytest.mark.parametrize("merge", [True, False])
def test_draws_of_layers(kinds: list[str], merge: bool) -> None:
    with sb.name.NameManager():
        outputs, states = unrolled(kinds, 21, sb.sym.Variable("x"), "l", merge, "NTC")
        last = sb.sym.Dropout(outputs if merge else outputs[-1], p=0.5)
        check(sb.sym.Group([last, *states]), loops=2)


@pytest.mark.parametrize("kinds", [["lstm"], ["lstm", "gru"], ["bi"], ["zoneout"]])
def test_lengths_of_sequences(kinds: list[str]) -> None:
    lengths = sb.sym.Variable("valid_length")
    with sb.name.NameManager():
        outputs, states = unrolled(
            kinds, 21, sb.sym.Variable("x"), "l", True, "NTC", valid_length=lengths
        )
        check(sb.sym.Group([outputs, *states]), loops=2 if "bi" in kinds else len(kinds))


def test_an_encoder_and_a_decoder_of_other_lengths() -> None:
    _, states = unrolled(["lstm"], 25, sb.sym.Variable("source"), "encoder", False, "TNC")
    decoder = sb.rnn.LSTMCell(4, prefix="decoder_")
    outputs, _ = decoder.unroll(
        14, sb.sym.Variable("target"), states, layout="TNC", merge_outputs=True
    )
    check(sb.sym.FullyConnected(outputs, num_hidden=3, name="scores"), loops=2)


@pytest.mark.parametrize("length", [6, 14])
def test_steps_that_a_user_wrote_keep_their_number(length: int) -> None:
    """As many as stand for a longer sequence in brief, beside one."""
    outputs, _ = unrolled(["gru"], 40, sb.sym.Variable("x"), "l", True, "NTC")
    other, more = sb.rnn.RNNCell(4, prefix="own_"), sb.sym.Variable("y")
    slices = sb.sym.SliceChannel(more, num_outputs=length, squeeze_axis=True, name="cut")
    states = other.begin_state()
    for i in range(length):
        output, states = other(slices[i], states)
    symbol = sb.sym.Group([outputs, output])
    check(symbol, loops=2)
    assert sorted(grouped(symbol).loops) == sorted(
        ["l0_t0__i2h (40 steps)", f"own_t0_i2h ({length} steps)"]
    )


def test_a_step_in_the_middle_that_is_read_alone() -> None:
    """The few steps do not tell which one it is: all are looked at."""
    outputs, _ = unrolled(["gru"], 40, sb.sym.Variable("x"), "l", False, "NTC")
    symbol = sb.sym.Group([outputs[20], outputs[-1]])
    assert not brief(symbol).counts
    alike(symbol)


@pytest.mark.parametrize("heads", [[0, -1], [1, -1], [5, -1], [-2, -1], list(range(40))])
def test_any_steps_that_are_read(heads: list[int]) -> None:
    outputs, _ = unrolled(["lstm"], 40, sb.sym.Variable("x"), "l", False, "NTC")
    symbol = sb.sym.Group([outputs[i] for i in heads])
    alike(symbol)


def test_a_sequence_of_variables() -> None:
    data = [sb.sym.Variable(f"x{i}") for i in range(20)]
    outputs, _ = sb.rnn.GRUCell(4).unroll(20, data, merge_outputs=True)
    assert outputs.list_arguments()[0] == "x0"
    alike(outputs)


def test_steps_in_another_order_or_in_part() -> None:
    data = sb.sym.SliceChannel(sb.sym.Variable("x"), num_outputs=20, squeeze_axis=True)
    for items in (
        list(data)[::-1],
        list(data)[:12],
        [data[i] for i in (*range(1, 20), 0)],
        [data[0]] * 20,
    ):
        outputs, states = sb.rnn.GRUCell(4).unroll(len(items), items, merge_outputs=True)
        symbol = sb.sym.Group([outputs, *states])
        alike(symbol)


@pytest.mark.parametrize("seed", range(10))
def test_networks_drawn_at_random(seed: int) -> None:
    draw = random.Random(seed)
    with sb.name.NameManager():
        data = sb.sym.Variable("x")
        heads = []
        length = draw.choice([7, 9, 10, 13, 30])
        for part in range(draw.randint(1, 2)):
            kinds = draw.choices([*KINDS[:5], *DRAWING], k=draw.randint(1, 3))
            layout = draw.choice(["NTC", "TNC"])
            merge = draw.random() < 0.6
            options = {}
            if draw.random() < 0.3:
                options["valid_length"] = sb.sym.Variable(f"length{part}")
            outputs, states = unrolled(kinds, length, data, f"p{part}_", merge, layout, **options)
            if merge:
                heads.append(outputs)
                data = outputs if draw.random() < 0.5 else data
            else:
                heads += [outputs[i] for i in draw.sample(range(length), draw.randint(1, 3))]
            if draw.random() < 0.5:
                heads += states
            if draw.random() < 0.4:
                length = draw.choice([9, 12, 19])
                data = sb.sym.Variable(f"y{part}")
        symbol = sb.sym.Group(heads)
    alike(symbol)


def test_steps_of_a_users_function() -> None:
    """Steps over sequences with a state that moves from one place to another."""
    weights = [sb.sym.Variable(f"w{i}") for i in range(3)]

    def step(items: Any, states: Any) -> Any:
        products = [s * w for s, w in zip(states, weights)]
        moved = [products[1], products[2], products[0] + items[0]]
        return moved[0] + items[0], moved

    data = list(sb.sym.SliceChannel(sb.sym.Variable("x"), num_outputs=20, squeeze_axis=True))
    states = [sb.sym.Variable(f"s{i}") for i in range(3)]
    outputs, states = repeat(step, [data], states, alike=True)
    symbol = sb.sym.Group([outputs[-1], *states])
    alike(symbol)
