"""A loss that is NaN or infinite stops the training before the update."""

import numpy as np
import pytest

import symbucket as sb
from symbucket import sym
from symbucket.errors import (
    DivergenceError,
)
from tests.small_networks import numbers, same


def _regression_with_batch_norm(length):
    x = sym.Reshape(sym.Variable("data"), shape=(-1, 2))
    y = sym.FullyConnected(sym.BatchNorm(x, name="bn"), num_hidden=1, name="fc")
    return sym.LinearRegressionOutput(y, sym.Reshape(sym.Variable("label"), shape=(-1, 1)))


class _Batches(sb.io.DataIter):
    """Batches of the keys 2 and 4 in turn; number ``bad`` of epoch 1 holds a NaN."""

    def __init__(self, bad, where="data"):
        super().__init__(3)
        self.bad, self.where, self.epoch = bad, where, -1
        self.provide_data, self.provide_label = [("data", (3, 4, 2))], [("label", (3, 4))]
        self.count = 0

    def reset(self):
        self.epoch += 1
        self.count = 0

    def next(self):
        if self.count == 5:
            raise StopIteration
        key = 4 if self.count % 2 else 2
        rng = np.random.default_rng([self.epoch, self.count])
        arrays = {"data": rng.normal(size=(3, key, 2)), "label": rng.normal(size=(3, key))}
        if self.epoch == 1 and self.count == self.bad:
            arrays[self.where].flat[1] = np.nan
        self.count += 1
        return sb.io.DataBatch(
            [arrays["data"]],
            [arrays["label"]],
            bucket_key=key,
            provide_data=[("data", (3, key, 2))],
            provide_label=[("label", (3, key))],
        )


@pytest.mark.parametrize("where", ["data", "label"])
def test_a_loss_that_is_nan_stops_fit_before_the_update(where, tmp_path):
    prefix = str(tmp_path / "model")

    def run(bad):
        module = sb.mod.BucketingModule(_regression_with_batch_norm, default_bucket_key=4)
        seen = []
        error = None
        try:
            module.fit(
                _Batches(bad, where),
                num_epoch=2,
                eval_metric=sb.metric.Loss(),
                initializer=sb.init.Xavier(),
                optimizer="adam",
                batch_end_callback=lambda p: seen.append(numbers(module)),
                epoch_end_callback=sb.callback.do_checkpoint(prefix),
            )
        except DivergenceError as raised:
            error = raised
        return module, seen, error

    module, seen, error = run(bad=3)
    assert "diverged in epoch 1, batch 3, bucket key 4" in str(error)
    assert "has NaN" in str(error)
    assert f"the input {where!r} has NaN already" in str(error)
    assert isinstance(error, ArithmeticError)
    # Parameters and moving averages are those after the batch before; Adam did not step either.
    assert len(seen) == 8
    assert same(numbers(module), seen[-1])
    assert module.updater.optimizer.num_update == 8
    assert all(np.isfinite(v).all() for v in numbers(module).values())
    # The last good checkpoint is whole.
    _, arguments, auxiliary = sb.model.load_checkpoint(prefix, 1)
    assert same({**arguments, **auxiliary}, seen[4])
    assert not (tmp_path / "model-0002.params").exists()
    # And training goes on from there.
    module.fit(_Batches(bad=-1), num_epoch=1, eval_metric=sb.metric.Loss())
    assert all(np.isfinite(v).all() for v in numbers(module).values())


@pytest.mark.parametrize("window", [{"kernel": (2, 2), "stride": (2, 2)}, {"kernel": (3, 3)}])
@pytest.mark.parametrize("where", ["data", "conv_weight", "conv_bias"])
def test_a_pool_that_passes_over_a_nan_does_not_hide_it_from_fit(where, window):
    x = sym.Convolution(sym.Variable("data"), kernel=(3, 3), num_filter=8, name="conv")
    x = sym.Pooling(sym.Activation(x, act_type="relu"), pool_type="max", **window)
    x = sym.FullyConnected(sym.Flatten(x), num_hidden=3, name="fc")
    rng = np.random.default_rng(0)
    pictures = rng.normal(size=(8, 1, 10, 10))
    if where == "data":
        pictures[5, 0, 3, 3] = np.nan
    data = sb.io.NDArrayIter(pictures, np.arange(8) % 3, 8)
    module = sb.mod.Module(sym.SoftmaxOutput(x, name="softmax"))
    module.bind(data.provide_data, data.provide_label)
    module.init_params(sb.init.Xavier())
    if where != "data":
        module.store.args[where][2] = np.nan
    with pytest.raises(DivergenceError, match=r"'conv_(weight|bias)' has NaN") as caught:
        module.fit(data, num_epoch=1)
    # onnxruntime 1.19 has no position of a window of NaNs; then only the parameter tells.
    gradient, parameter = "gradient of 'conv_weight'", f"at its end the parameter {where!r} has NaN"
    assert gradient in str(caught.value) or parameter in str(caught.value)
