"""What all tests share: a fresh start, and where recorded numbers lie."""

from pathlib import Path

import pytest

import symbucket as sb
from symbucket import random


@pytest.fixture(autouse=True)
def _fresh_start():
    """Every test begins with the same seed and counts automatic names from 0."""
    random.seed(0)
    with sb.NameManager():
        yield


@pytest.fixture(scope="session")
def data_folder():
    """The folder of recorded numbers."""
    return Path(__file__).parent / "data"
