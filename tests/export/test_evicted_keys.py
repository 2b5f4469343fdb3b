"""Exports of modules that keep only some executors."""

import gc

import numpy as np
import pytest

import symbucket as sb
from tests.export.bundles import sentences
from tests.small_networks import generate, sentence_batch, shapes

KEYS = (6, 3, 4, 5)


@pytest.fixture
def module():
    """A trained module whose keys 3 and 4 have no executor any more."""
    made = sb.mod.BucketingModule(generate, default_bucket_key=6, max_executors=1)
    made.bind(*shapes(6))
    sb.random.seed(2)
    made.init_params(sb.init.Uniform(0.1))
    made.init_optimizer(optimizer="sgd", optimizer_params={"learning_rate": 0.1})
    rng = np.random.default_rng(0)
    for key in KEYS:
        made.forward_backward(sentence_batch(rng, key))
        made.update()
    assert set(made.executor_stats().keys) == {6, 5}
    return made


def expected(module, key, tokens):
    data = np.zeros((3, key), np.float32)
    data[0, : len(tokens)] = tokens
    batch = sb.io.DataBatch(
        [data],
        bucket_key=key,
        provide_data=shapes(key)[0],
        provide_label=shapes(key)[1],
    )
    module.forward(batch, is_train=False)
    return module.get_outputs()[0].asnumpy().reshape(3, key, -1)[0, : len(tokens)]


@pytest.mark.parametrize("live", [False, True])
def test_keys_without_an_executor_are_served(module, live, tmp_path):
    if live:
        bundle = sb.Bundle.live(module)
    else:
        module.export(tmp_path / "bundle")
        bundle = sb.Bundle(tmp_path / "bundle")
    assert set(bundle.keys) == set(KEYS)
    for key, tokens in zip(KEYS, sentences(KEYS)):
        probabilities = bundle({"data": tokens})["softmax_output"]
        np.testing.assert_allclose(probabilities, expected(module, key, tokens), rtol=1e-5)


def test_exporting_builds_and_evicts_no_executor(module, tmp_path):
    gc.collect()  # an executor's part of a model depends on who else has it
    stats = module.executor_stats()
    module.export(tmp_path / "bundle", training=True)
    assert module.executor_stats() == stats
