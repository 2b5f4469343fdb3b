"""Fixtures of all tests: a fresh start, and the folder of recorded numbers."""

from pathlib import Path

import pytest
from hypothesis import settings

import symbucket as sb
from symbucket import random

# A busy machine must not fail a test: hypothesis' deadline is wall-clock time for one example.
settings.register_profile("without deadline", deadline=None)
settings.load_profile("without deadline")


@pytest.fixture(autouse=True)
def _fresh_start():
    """Begin every test with the same seed, and count automatic names from 0."""
    random.seed(0)
    with sb.NameManager():
        yield


@pytest.fixture(scope="session")
def data_folder():
    """Return the folder of recorded numbers."""
    return Path(__file__).parent / "data"
