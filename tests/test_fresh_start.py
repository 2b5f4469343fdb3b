"""What a test draws does not depend on the tests before it."""

import numpy as np
import pytest

import symbucket as sb
from symbucket import random

RNG = np.random.default_rng(3)
AT_IMPORT = RNG.random()


@pytest.mark.parametrize("_number", range(9))
def test_numbers_do_not_depend_on_the_order_of_tests(_number):
    """Of nine tests at least two are in one of pytest's processes, which are at most eight."""
    again = np.random.default_rng(3)
    assert [AT_IMPORT, RNG.random()] == [again.random(), again.random()]
    draw = random.next_stream().random()
    random.seed(0)
    assert draw == random.next_stream().random()


@pytest.fixture(scope="module", params=range(2))
def shared(request):
    return sb.sym.relu(sb.sym.Variable("x")).name, random.next_stream().random()


def test_nor_does_what_several_tests_share(shared):
    random.seed(0)
    assert shared == ("relu0", random.next_stream().random())
