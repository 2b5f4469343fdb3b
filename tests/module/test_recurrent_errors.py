"""What ``RecurrentModule`` refuses."""

from __future__ import annotations

import numpy as np
import pytest

import symbucket as sb
from symbucket import sym
from symbucket.errors import (
    DataError,
    InvalidArgumentError,
    ShapeError,
    StateError,
    UnsupportedError,
)
from tests.module.recurrent_networks import (
    HIDDEN,
    NEXT,
    ROWS,
    WORDS,
    batch,
    network,
    scheduled,
    started,
)


@pytest.mark.parametrize("unroll", [0, -1, 1.5, True, None])
def test_unroll_must_be_a_count(unroll):
    sym_gen, states = network()
    with pytest.raises(InvalidArgumentError, match=r"unroll is .*; expected an integer"):
        sb.mod.RecurrentModule(sym_gen, states, unroll)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"state_names": []}, "state_names=.* must list the arguments"),
        ({"state_names": "h"}, "state_names='h' must list the arguments"),
        ({"layout": "CNT"}, 'layout=\'CNT\' must be "NTC" or "TNC"'),
    ],
)
def test_options_that_make_no_sense(options, message):
    sym_gen, states = network()
    with pytest.raises(InvalidArgumentError, match=message):
        sb.mod.RecurrentModule(sym_gen, **{"state_names": states, **options})


@pytest.mark.parametrize("kind", ["valid", "batch"])
def test_a_loss_that_is_no_sum_over_steps(kind):
    with pytest.raises(InvalidArgumentError, match=f"'softmax' has normalization='{kind}'.*unroll"):
        scheduled(2, normalization=kind)


def broken(change):
    sym_gen, states = network(layers=1)
    module = sb.mod.RecurrentModule(lambda steps: change(*sym_gen(steps)), states, 2)
    started(module)
    module.forward_backward(batch())


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        (lambda s, d, n: s, InvalidArgumentError, r"sym_gen\(2\) must give \(symbol, data_names"),
        (lambda s, d, n: (s[:2], d, n), InvalidArgumentError, "has 2 outputs .* for 2 states"),
        (
            lambda s, d, n: (sym.Group([s[1], s[0], s[2]]), d, n),
            ShapeError,
            "the output 'softmax_output' that becomes the next one has",
        ),
        (
            lambda s, d, n: (sym.Group([s[0], s[1] * 2, s[1], s[2]]), d, n),
            InvalidArgumentError,
            "is no loss. Outputs before the states must be losses",
        ),
        (
            lambda s, d, n: (sym.Group([s[0], *map(sym.BlockGrad, s[1:])]), d, n),
            UnsupportedError,
            "no output of the network needs a head gradient",
        ),
    ],
)  # fmt: skip
def test_a_network_that_is_no_recurrence(change, error, message):
    with pytest.raises(error, match=message):
        broken(change)


def test_calls_in_the_wrong_order():
    sym_gen, states = network()
    module = sb.mod.RecurrentModule(sym_gen, states)
    with pytest.raises(StateError, match="call bind"):
        module.forward(batch())
    started(module)
    with pytest.raises(StateError, match="call forward first"):
        module.get_outputs()
    with pytest.raises(StateError, match="RecurrentModule: backward needs forward"):
        module.backward()
    module.forward(batch(), is_train=False)
    with pytest.raises(StateError, match="backward needs forward"):
        module.backward()
    module.forward(batch(), is_train=True)
    with pytest.raises(UnsupportedError, match="takes no out_grads"):
        module.backward(np.ones(3))


def test_a_bad_batch_changes_nothing():
    module = scheduled(3, carry_states=True)
    module.forward(batch(8), is_train=True)
    before, states = module.get_outputs()[0].asnumpy(), [s.asnumpy() for s in module.get_states()]
    words = WORDS[:, :6]
    for data, label, error, message in [
        (words, NEXT[:, :5], ShapeError, r"data \(3, 6\), label \(3, 5\)"),
        (words, None, DataError, "no label 'label'"),
        (words + 90, NEXT[:, :6], DataError, "data.* is 9., but 'embed' reads it"),
        (words[:2], NEXT[:2, :6], ShapeError, "reset_states"),
        (words[:, :0], NEXT[:, :0], ShapeError, "no time steps"),
    ]:
        one = sb.io.DataBatch([data], None if label is None else [label])
        with pytest.raises(error, match=message):
            module.forward(one, is_train=True)
    np.testing.assert_array_equal(module.get_outputs()[0].asnumpy(), before)
    for found, wanted in zip(module.get_states(), states):
        np.testing.assert_array_equal(found.asnumpy(), wanted)
    module.backward()


def test_set_states_is_checked():
    module = scheduled(2)
    with pytest.raises(InvalidArgumentError, match="1 arrays for 4 states"):
        module.set_states([np.zeros((ROWS, HIDDEN))])
    with pytest.raises(InvalidArgumentError, match="reset_states"):
        module.set_states(value=0)


def test_an_output_whose_shape_does_not_grow_with_time():
    sym_gen, states = network(layers=1)

    def odd(steps):
        symbol, data, label = sym_gen(steps)
        square = sym.BlockGrad(sym.zeros(shape=(steps, steps)))
        return sym.Group([square, *symbol]), data, label

    module = started(sb.mod.RecurrentModule(odd, states, 2))
    module.forward(batch(4), is_train=True)
    with pytest.raises(UnsupportedError, match="exactly one axis may grow"):
        module.get_outputs()
