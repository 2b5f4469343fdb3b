"""Let passes rewrite small networks too, which are no faster then, so that they have work to do."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from symbucket.compiler.shards import shard_rows
from tests.compiler.blocked.limits import lift_limits


@contextmanager
def everywhere(switch: bool = True) -> Iterator[None]:
    """Convolutions in blocks and steps in shards wherever there are rules for them."""
    with pytest.MonkeyPatch.context() as patch:
        if switch:
            lift_limits(patch)
            patch.setattr(shard_rows, "pays", lambda *_: True)
        yield
