"""Every gradient rule against finite differences, on inputs that a generator draws.

The seed is part of the test's name: ``pytest -k "Gather and 7"`` draws the same case again. More
seeds run under ``-m slow``.
"""

from __future__ import annotations

import zlib

import pytest

from tests.compiler.autodiff import cases_elementwise, cases_movement, cases_products
from tests.compiler.autodiff.draws import Draw
from tests.compiler.autodiff.gradient_check import Case, check

GENERATORS = {
    **cases_elementwise.CASES,
    **cases_movement.CASES,
    **cases_products.CASES,
}
FEW, MANY = range(4), range(4, 60)


def drawn(key: tuple[str, str], seed: int) -> Case:
    """The case of an operator and a seed."""
    return GENERATORS[key](Draw(seed, zlib.crc32(key[1].encode())))


@pytest.mark.parametrize("seed", FEW)
@pytest.mark.parametrize("key", sorted(GENERATORS), ids="".join)
def test_gradients_are_finite_differences(key, seed):
    check(drawn(key, seed), seed)


@pytest.mark.slow
@pytest.mark.parametrize("key", sorted(GENERATORS), ids="".join)
def test_gradients_are_finite_differences_for_many_draws(key):
    for seed in MANY:
        case = drawn(key, seed)
        try:
            check(case, seed)
        except Exception as error:
            raise AssertionError(f"seed {seed}: {error}; {case}") from error
