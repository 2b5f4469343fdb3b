"""Iterators that are given no seed follow ``sb.random.seed``."""

from __future__ import annotations

import numpy as np
import pytest

import symbucket as sb
from symbucket import io, random

SENTENCES = [[i, i + 1] for i in range(1, 40)]
MAKERS = {
    "NDArrayIter": lambda **seed: io.NDArrayIter(np.arange(40), shuffle=True, **seed),
    "KeyedIter": lambda **seed: io.KeyedIter([i % 3 for i in range(40)], range(40), **seed),
    "BucketSentenceIter": lambda **seed: io.BucketSentenceIter(SENTENCES, 1, [2], **seed),
    "StepSentenceIter": lambda **seed: io.StepSentenceIter(SENTENCES, 1, [2], **seed),
}


def order(it):
    """The rows of two epochs in their order."""
    found = [int(batch.index[0]) for batch in it]
    it.reset()
    return found + [int(batch.index[0]) for batch in it]


@pytest.fixture(params=MAKERS)
def make(request):
    return MAKERS[request.param]


def test_the_same_library_seed_gives_the_same_orders(make):
    runs = []
    for seed in (7, 7, 8):
        random.seed(seed)
        runs.append([order(make()), order(make())])
    assert runs[0] == runs[1]
    assert all(a != b for a, b in zip(runs[0], runs[2]))
    assert runs[0][0] != runs[0][1]  # two iterators of one program differ


def test_a_program_that_sets_no_seed_repeats(make):
    first = order(make())
    random.seed(0)  # what it is before it is set
    assert order(make()) == first


def test_other_draws_do_not_matter(make):
    wanted = make().seed
    random.seed(0)
    random.generator().random(10)
    sb.init.Uniform()("fc_weight", np.zeros(3))
    make(seed=5)  # asks for no seed
    assert make().seed == wanted


def test_a_seed_of_its_own_goes_before(make):
    random.seed(1)
    first = order(make(seed=3))
    random.seed(2)
    assert order(make(seed=3)) == first
