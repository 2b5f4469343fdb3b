"""Which requests run together."""

import numpy as np
import pytest

import symbucket as sb
from symbucket.serve.chunks import ROOM, Chunker
from tests.serve.test_lookup_products import tagger


@pytest.fixture(scope="module")
def router(tmp_path_factory):
    """A router over two keys of one file, of 4 samples and up to 9 steps."""
    folder = tmp_path_factory.mktemp("chunks") / "b"
    tagger().export(folder, dynamic_length=True)
    return sb.Bundle(folder).engine.router


def chunks(router, lengths, lanes=2):
    placed = router.place_all([np.ones(length, int) for length in lengths])
    networks = [form.network for form in router._forms.values()]
    return Chunker(networks, lanes).split(placed)


def test_a_short_list_is_cut_into_batches(router):
    runs = chunks(router, [3, 9, 3, 3, 2, 3, 3])
    assert [(run.length, sorted(run.members)) for run in runs] == [
        (9, [0, 1, 2, 3]),
        (3, [4, 5, 6]),
    ]


def test_a_long_list_has_larger_runs_of_one_length(router):
    rng = np.random.default_rng(0)
    lengths = rng.integers(1, 10, 400)
    runs = chunks(router, lengths)
    assert sorted(i for run in runs for i in run.members) == list(range(400))
    assert [run.length for run in runs] == sorted((run.length for run in runs), reverse=True)
    for run in runs:
        assert run.length == max(lengths[i] for i in run.members)
        assert len(run.members) <= 4 * ROOM
        # No more positions than a batch of the longest key has: that much memory is promised.
        assert len(run.members) * run.length <= 4 * 9
        if len(run.members) > 4:
            assert len({lengths[i] for i in run.members[3:]}) == 1
    assert max(len(run.members) for run in runs) == 4 * ROOM


def test_lanes_are_not_left_idle_for_larger_runs(router):
    runs = chunks(router, [2] * 24)
    assert [len(run.members) for run in runs] == [4] * 6
