"""What ``FeedForward`` refuses, and what is left after an error."""

import math

import numpy as np
import pytest

import symbucket as sb
from symbucket.errors import (
    DataError,
    DivergenceError,
    InvalidArgumentError,
    ParameterError,
    StateError,
)
from symbucket.model import FeedForward
from tests.module.feedforward_networks import (
    classes,
    feedforward,
    lstm_network,
    mlp,
)


@pytest.fixture(autouse=True)
def _seed():
    sb.random.seed(1)


def test_arguments_are_checked():
    with pytest.raises(InvalidArgumentError, match="symbol is a int"):
        FeedForward(3)
    adam = sb.optimizer.create("adam")
    with pytest.raises(InvalidArgumentError, match=r"'learning_rate' are arguments.*ready Adam"):
        FeedForward(mlp(), optimizer=adam, learning_rate=1)
    for name in ("numpy_batch_size", "epoch_size"):
        with pytest.raises(InvalidArgumentError, match=f"{name} is 0; expected an integer"):
            FeedForward(mlp(), **{name: 0})
    X, y = classes(10)
    with pytest.raises(InvalidArgumentError, match="num_epoch="):
        FeedForward(mlp()).fit(X, y)
    with pytest.raises(InvalidArgumentError, match=r"expected a symbucket\.mon\.Monitor"):
        feedforward().fit(X, y, monitor=object())
    with pytest.raises(InvalidArgumentError, match="num_epochs"):
        feedforward(num_epochs=3).fit(X, y)
    with pytest.raises(InvalidArgumentError, match="which epoch"):
        FeedForward(mlp()).save("nowhere")


def test_no_parameters_yet(tmp_path):
    X, y = classes(10)
    for use in (
        lambda m: m.predict(X),
        lambda m: m.score((X, y)),
        lambda m: m.save(str(tmp_path / "a")),
    ):
        with pytest.raises(StateError, match="no parameters yet"):
            use(feedforward())
    assert list(tmp_path.iterdir()) == []


def test_data_are_checked():
    X, y = classes(10)
    model = feedforward()
    with pytest.raises(DataError, match="its labels y must be given"):
        model.fit(X)
    with pytest.raises(DataError, match="an iterator brings its own labels"):
        model.fit(sb.io.NDArrayIter(X, y), y)
    with pytest.raises(DataError, match="X is a str; expected an iterator"):
        model.fit("data")
    with pytest.raises(DataError, match=r"y has shape \(10, 2\)"):
        model.fit(X, np.zeros((10, 2)))
    with pytest.raises(DataError, match="has 5 rows but 'data' has 10"):
        model.fit(X, y[:5])
    with pytest.raises(DataError, match="eval_data needs labels"):
        model.fit(X, y, eval_data=X)
    with pytest.raises(DataError, match=r"labels are other, but the network's are softmax_label"):
        model.fit(sb.io.NDArrayIter(X, y, label_name="other"))
    assert model.arg_params is None
    model.arg_params = {"fc1_weight": np.zeros((16, 2))}
    with pytest.raises(DataError, match=r"X needs labels"):
        model.score(X)
    with pytest.raises(ParameterError, match="lack fc1_bias"):
        model.predict(X)


def test_buckets_need_keys():
    X, y = classes(10)
    model = FeedForward(lstm_network, num_epoch=1)
    with pytest.raises(DataError, match="arrays have no bucket keys"):
        model.fit(X, y)
    with pytest.raises(DataError, match="NDArrayIter has no default_bucket_key"):
        model.fit(sb.io.NDArrayIter(X, y))


def test_extra_parameters():
    X, y = classes()
    extra = {"fc1_weight": np.ones((16, 2)), "old_weight": np.ones(3)}
    with pytest.raises(ParameterError, match="old_weight"):
        feedforward(arg_params=extra).fit(X, y)
    model = feedforward(arg_params=extra, allow_extra_params=True, num_epoch=1)
    model.kwargs = {"learning_rate": 0.0}
    model.fit(X, y)
    assert set(model.arg_params) == {"fc1_weight", "fc1_bias", "fc2_weight", "fc2_bias"}
    np.testing.assert_array_equal(model.arg_params["fc1_weight"].asnumpy(), 1)
    assert np.abs(model.arg_params["fc2_weight"].asnumpy()).max() > 0
    given = dict(model.arg_params)
    again = FeedForward(
        mlp(), arg_params={**given, "old_weight": np.ones(3)}, allow_extra_params=True
    )
    np.testing.assert_allclose(again.predict(X), model.predict(X), rtol=1e-6)


def test_divergence_keeps_the_last_whole_epoch():
    X, y = classes(64)
    kept = []

    def poison(epoch, symbol, arg, aux):
        kept.append(arg)
        X[0, 0] = math.nan

    model = feedforward(num_epoch=3)
    data = sb.io.NDArrayIter({"data": X}, y, 32)
    with pytest.raises(DivergenceError, match="epoch 1, batch 0"):
        model.fit(data, epoch_end_callback=poison)
    assert len(kept) == 1
    assert model.arg_params is kept[0]
    clean, _ = classes(5)
    assert np.isfinite(model.predict(clean)).all()
