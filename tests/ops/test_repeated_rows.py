"""Rows that a batch reads again and again get all their additions, also in large batches.

The runtime's ScatterND runs on several threads from some 200,000 elements on and then loses
additions to one row; a run goes wrong about every second time.
"""

import numpy as np

import symbucket as sb
from symbucket import optimizer
from symbucket.runtime import NDArray, RowSparse

VOCABULARY, WIDTH, SHAPE, RUNS = 4520, 128, (32, 62), 20


def batch():
    rng = np.random.default_rng(0)
    words = np.minimum(rng.zipf(1.3, SHAPE), VOCABULARY - 1)
    values = rng.standard_normal((*SHAPE, WIDTH)).astype(np.float32)
    total = np.zeros((VOCABULARY, WIDTH))
    np.add.at(total, words.ravel(), values.reshape(-1, WIDTH).astype(np.float64))
    return words, values, total


def test_embedding_gradient_of_repeated_words():
    words, values, total = batch()
    vectors = sb.sym.Embedding(
        sb.sym.Variable("data"), input_dim=VOCABULARY, output_dim=WIDTH, name="embed"
    )
    loss = sb.sym.MakeLoss(vectors * sb.sym.Variable("factor"))
    executor = loss.simple_bind(
        grad_req={"embed_weight": "write"}, data=SHAPE, factor=(*SHAPE, WIDTH)
    )
    for _ in range(RUNS):
        executor.forward(True, data=words, factor=values)
        executor.backward()
        found = executor.grad_dict["embed_weight"].asnumpy()
        np.testing.assert_allclose(found, total, rtol=1e-4, atol=1e-3)


def test_row_sparse_update_of_repeated_words():
    words, values, total = batch()
    grad = RowSparse(NDArray(words.reshape(-1, 1)), NDArray(values.reshape(-1, WIDTH)))
    updater = optimizer.get_updater(optimizer.create("sgd", learning_rate=1.0))
    for _ in range(RUNS):
        table = NDArray.zeros((VOCABULARY, WIDTH))
        updater.update_rows(0, grad, table)
        np.testing.assert_allclose(table.asnumpy(), -total, rtol=1e-4, atol=1e-3)
