"""What tests of convolutions over blocks share."""

import pytest

from tests.compiler.blocked.limits import lift_limits


@pytest.fixture
def always(monkeypatch):
    """Convolutions go over to blocks also where they do not pay."""
    lift_limits(monkeypatch)
