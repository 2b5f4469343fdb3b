"""Shards may be small here, so that networks may be."""

import pytest

from symbucket.compiler.shards import shard_rows


@pytest.fixture(autouse=True)
def _small_shards(monkeypatch):
    monkeypatch.setattr(shard_rows, "LEAST_ROWS", 4)
