"""The device, and a record of the models that were loaded for it."""

from __future__ import annotations

import pytest

from tests.fake_cuda.build import Counts, load, missing_parts
from tests.fake_cuda.placement import Placements


def pytest_collection_modifyitems(items):
    reason = missing_parts()
    for item in items:
        if item.path.parent.name == "fake_cuda":
            item.add_marker(pytest.mark.cuda)
            if reason:
                item.add_marker(pytest.mark.skip(reason=reason))


@pytest.fixture(scope="session")
def device(tmp_path_factory) -> Counts:
    """The device of this process; what it has done so far."""
    return load(tmp_path_factory.mktemp("device"))


@pytest.fixture
def models(device, monkeypatch, tmp_path) -> Placements:
    """The models that the test loads for CUDA; afterwards every node must lie on the device."""
    placements = Placements(tmp_path)
    placements.watch(monkeypatch)
    yield placements
    placements.check()
