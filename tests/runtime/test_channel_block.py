"""The size of blocks is what the runtime says."""

import pytest

from symbucket.runtime import channel_block as module
from symbucket.runtime.backend import load_runtime


@pytest.fixture
def ask():
    module.channel_block.cache_clear()
    yield module.channel_block
    module.channel_block.cache_clear()


def test_it_is_that_of_the_processor(ask):
    assert ask() in (0, 8, 16)


def test_a_runtime_without_the_operators_has_none(ask, monkeypatch):
    def refuse(*_, **__):
        raise RuntimeError("com.microsoft.nchwc:ReorderInput(-1) is not a registered function/op")

    monkeypatch.setattr(load_runtime(), "InferenceSession", refuse)
    assert ask() == 0


def test_channels_that_stay_as_they_are_are_no_blocks(ask, monkeypatch):
    class OfOne:
        def __init__(self, *_, **__):
            pass

        def run(self, _, inputs):
            return [inputs["x"]]

    monkeypatch.setattr(load_runtime(), "InferenceSession", OfOne)
    assert ask() == 0
