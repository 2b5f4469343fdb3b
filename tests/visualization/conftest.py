"""What tests of pictures need."""

from __future__ import annotations

from importlib.util import find_spec

import pytest


@pytest.fixture(scope="session")
def needs_page():
    """Skip a test that writes a page where Graphviz for browsers is not installed."""
    if find_spec("easydot") is None:
        pytest.skip("easydot is not installed; the extra view has it from Python 3.11 on")
