"""Fixtures of all tests: a fresh start, the seed of drawn ones, the folder of recorded numbers.

No test depends on the order of the tests, and none draws other numbers in another run, so a failure
comes back. Tests marked ``fuzz`` draw from ``--seed``, hypothesis from ``--hypothesis-seed``, if
they are set.
"""

from functools import cache
from pathlib import Path

import numpy as np
import pytest
from hypothesis import settings

import symbucket as sb
from symbucket import random


def pytest_addoption(parser):
    parser.addoption(
        "--seed", type=int, default=0, help="what the tests marked fuzz draw from (default: 0)"
    )


def pytest_configure(config):
    # A busy machine must not fail a test: hypothesis' deadline is wall-clock time for one example.
    repeats = config.getoption("--hypothesis-seed") is None
    settings.register_profile("of the tests", deadline=None, derandomize=repeats)
    settings.load_profile("of the tests")


def pytest_collection_modifyitems(items):
    for item in items:
        _generators(item.module)  # before the first test


@cache
def _generators(module):
    """Return the random generators among the globals of ``module``, with their states by now."""
    return [
        (value.bit_generator, value.bit_generator.state)
        for value in vars(module).values()
        if isinstance(value, np.random.Generator)
    ]


@pytest.fixture(autouse=True)
def _fresh_start(request):
    """Begin every test with the same random numbers, and count automatic names from 0.

    A generator of the test's module continues from where it was after the import.
    """
    random.seed(0)
    for generator, state in _generators(request.module):
        generator.state = state
    with sb.NameManager():
        yield


@pytest.hookimpl(wrapper=True)
def pytest_fixture_setup(fixturedef):
    """Give what several tests share the same start, whichever of them is the first."""
    if fixturedef.scope == "function":
        return (yield)
    random.seed(0)
    with sb.NameManager():
        return (yield)


@pytest.fixture
def seed(request):
    """Return what a test marked ``fuzz`` draws from; it is part of the message of a failure."""
    return request.config.getoption("--seed")


@pytest.fixture(scope="session")
def data_folder():
    """Return the folder of recorded numbers."""
    return Path(__file__).parent / "data"
