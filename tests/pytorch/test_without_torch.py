"""``sym.from_torch`` if PyTorch is not installed."""

import sys

import pytest

from symbucket import sym
from symbucket.errors import RuntimeMissingError


def test_the_error_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(RuntimeMissingError, match=r"needs PyTorch .*symbucket\[torch\]"):
        sym.from_torch(None, None)
