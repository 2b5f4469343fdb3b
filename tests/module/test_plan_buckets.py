"""Buckets chosen for a module: memory and compile time are those of its own networks."""

from __future__ import annotations

import numpy as np
import pytest

import symbucket as sb
from symbucket.errors import InvalidArgumentError, MemoryLimitError

LENGTHS = np.minimum(np.random.default_rng(2).geometric(0.2, 400) + 1, 20)


def _sym_gen(key):
    embed = sb.sym.Embedding(sb.sym.Variable("data"), input_dim=50, output_dim=32, name="embed")
    scores = sb.sym.FullyConnected(embed, num_hidden=50, flatten=False, name="scores")
    scores = sb.sym.reshape(scores, shape=(-1, 50))
    label = sb.sym.reshape(sb.sym.Variable("softmax_label"), shape=(-1,))
    return sb.sym.SoftmaxOutput(scores, label, name="softmax"), ("data",), ("softmax_label",)


def _shapes(key, batch_size):
    return [("data", (batch_size, key))], [("softmax_label", (batch_size, key))]


@pytest.fixture
def module():
    module = sb.mod.BucketingModule(_sym_gen, default_bucket_key=20)
    module.bind(*_shapes(20, 32))
    return module


def test_memory_and_compile_time_are_those_of_the_networks(module):
    plan = module.plan_buckets(LENGTHS, _shapes, 3, batch=32, optimizer="adam")
    assert plan.boundaries == sb.io.plan_buckets(LENGTHS, 3).boundaries
    for key, need in zip(plan.boundaries, plan.memory):
        assert need == module.plan_memory([key], lambda k: _shapes(k, 32), optimizer="adam").total
    assert min(plan.compile_seconds) > 0
    assert {"memory MB", "compile s"} <= {
        name for name in ("memory MB", "compile s") if name in plan.table()
    }


def test_all_buckets_together_stay_under_the_limit(module):
    free = module.plan_buckets(LENGTHS, _shapes, 3, batch=512, optimizer="sgd")
    limit = int(max(free.memory) * 0.8)
    plan = module.plan_buckets(LENGTHS, _shapes, 3, batch=512, memory_limit=limit, optimizer="sgd")
    sizes = dict(zip(plan.boundaries, plan.batch_sizes))
    together = module.plan_memory(sizes, lambda k: _shapes(k, sizes[k]), optimizer="sgd").total
    assert limit * 0.7 < together <= limit
    assert min(plan.batch_sizes) < 512
    with pytest.raises(MemoryLimitError, match=r"bucket .* needs .* with a batch of one sentence"):
        module.plan_buckets(LENGTHS, _shapes, 3, memory_limit=1_000_000)


def test_options_are_those_of_plan_buckets(module):
    plan = module.plan_buckets(LENGTHS, _shapes, padding=0.2, batch="tokens:100", multiple_of=2)
    assert plan.padding <= 0.2
    assert all(key % 2 == 0 for key in plan.boundaries)
    with pytest.raises(InvalidArgumentError, match="give one"):
        module.plan_buckets(LENGTHS, _shapes, 3, padding=0.2)
