"""Accumulation over batches and keys, and early stopping."""

import numpy as np
import pytest

import symbucket as sb
from symbucket.errors import InvalidArgumentError
from tests.small_networks import numbers, same

RNG = np.random.default_rng(0)
DATA = RNG.normal(size=(24, 3)).astype(np.float32)
LABEL = RNG.normal(size=(24, 1)).astype(np.float32)


def net():
    x = sb.sym.FullyConnected(sb.sym.Variable("data"), num_hidden=1, name="fc")
    return sb.sym.LinearRegressionOutput(x, sb.sym.Variable("softmax_label"), name="out")


def fit(batch_size=4, rows=24, module=None, epochs=2, **options):
    module = module or sb.mod.Module(net())
    data = sb.io.NDArrayIter(DATA[:rows], LABEL[:rows], batch_size)
    options.setdefault("optimizer_params", {"learning_rate": 0.1, "momentum": 0.9})
    options.setdefault("eval_metric", "mse")
    module.fit(data, num_epoch=epochs, initializer=sb.init.One(), **options)
    return module


def close(a, b):
    return all(np.allclose(a[n], b[n], rtol=1e-5, atol=1e-6) for n in a)


@pytest.mark.parametrize(("optimizer", "params"), [("sgd", {"momentum": 0.9}), ("adam", {})])
def test_accumulated_batches_are_one_large_one(optimizer, params):
    options = {"optimizer": optimizer, "optimizer_params": {"learning_rate": 0.1, **params}}
    large = fit(12, **options)
    small = fit(4, **options, accumulate=3)
    assert small.updater.optimizer.num_update == large.updater.optimizer.num_update == 4
    assert close(numbers(small), numbers(large))
    # Again, without accumulation, on the module that is bound for it.
    assert close(numbers(fit(12, module=small, epochs=1)), numbers(fit(12, module=large, epochs=1)))


def test_what_is_left_of_an_epoch_is_an_update_over_its_samples():
    module = fit(4, rows=20, accumulate=3, epochs=1)
    by_hand = sb.mod.Module(net())
    by_hand.bind([("data", (12, 3))], [("softmax_label", (12, 1))])
    by_hand.init_params(sb.init.One())
    params = {"learning_rate": 0.1, "momentum": 0.9, "rescale_grad": "batch"}
    by_hand.init_optimizer(optimizer_params=params)
    for begin, end in ((0, 12), (12, 20)):
        by_hand.forward_backward(sb.io.DataBatch([DATA[begin:end]], [LABEL[begin:end]]))
        by_hand.update()
    assert close(numbers(module), numbers(by_hand))


def _embedding(length):
    table = sb.sym.Embedding(sb.sym.Variable("data"), input_dim=9, output_dim=2, name="e")
    scores = sb.sym.FullyConnected(sb.sym.mean(table, axis=1), num_hidden=3, name="fc")
    return sb.sym.SoftmaxOutput(scores, name="softmax"), ["data"], ["softmax_label"]


@pytest.mark.parametrize("params", [{}, {"momentum": 0.9}])
def test_batches_of_several_keys_make_one_update(params):
    """With plain descent the embedding's gradient would otherwise be one of rows."""
    keys = [3] * 4 + [5] * 4
    ids = [RNG.integers(0, 9, key) for key in keys]
    data = sb.io.KeyedIter(keys, ids, np.arange(8) % 3, 4, shuffle=False)
    module = sb.mod.BucketingModule(_embedding, 5)
    params = {"learning_rate": 0.5, **params}
    module.fit(
        data, num_epoch=1, initializer=sb.init.Xavier(), accumulate=2, optimizer_params=params
    )
    assert module.updater.optimizer.num_update == 1

    sb.random.seed(0)
    other = sb.mod.BucketingModule(_embedding, 5)
    other.bind(data.provide_data, data.provide_label)
    other.init_params(sb.init.Xavier())
    before = {n: a.asnumpy() for n, a in other.get_params()[0].items()}
    sums = dict.fromkeys(before, 0.0)
    data.reset()
    for batch in data:
        other.forward_backward(batch)
        other.results()
        gradients = {n: a.asnumpy() for n, a in other.gradients().items()}
        sums = {n: sums[n] + gradients[n] for n in sums}
    expected = {n: before[n] - 0.5 * sums[n] / 8 for n in before}
    assert close(numbers(module), expected)


def test_accumulation_goes_on_after_a_stop(tmp_path):
    class StopError(Exception):
        pass

    def stop(param):
        if (param.epoch, param.nbatch) == (1, 3):
            raise StopError

    def run(**options):
        return fit(4, accumulate=4, **options)

    manager = sb.CheckpointManager(tmp_path, every_batches=1)
    with pytest.raises(StopError):
        run(checkpoint=manager, batch_end_callback=stop)
    assert manager.latest().batch == 3
    resumed = run(checkpoint=manager, resume="auto")
    whole = run()
    assert same(numbers(resumed), numbers(whole))
    assert resumed.updater.optimizer.num_update == whole.updater.optimizer.num_update == 4


def test_accumulation_needs_gradients_that_add_up():
    module = fit()
    with pytest.raises(InvalidArgumentError, match=r'accumulate=2 needs .* grad_req="write"'):
        fit(module=module, accumulate=2)
    with pytest.raises(InvalidArgumentError, match="accumulate is 0"):
        fit(accumulate=0)
    assert fit(module=module, accumulate=2, force_rebind=True).sums_gradients
    with pytest.raises(InvalidArgumentError, match="on_divergence"):
        fit(accumulate=2, on_divergence="skip")


# Early stopping ---------------------------------------------------------------------------------


class Scripted(sb.metric.EvalMetric):
    """A metric whose value of each epoch of validation is known."""

    def __init__(self, values):
        self.values = iter(values)
        super().__init__("loss")

    def update(self, labels, preds):
        pass

    def reset(self):
        self.now = next(self.values, None)

    def get_global(self):
        return self.name, self.now

    def get(self):
        return self.name, self.now


def stopped(values, epochs=9, **options):
    """The epochs that ran, the parameters after each of them, the module, and what stopped it."""
    params, module = [], sb.mod.Module(net())
    stopping = sb.callback.EarlyStopping("val-loss", **options)
    metric = Scripted([None, *values])
    fit(
        module=module,
        epochs=epochs,
        eval_data=sb.io.NDArrayIter(DATA[:8], LABEL[:8], 4),
        validation_metric=metric,
        epoch_end_callback=lambda epoch, symbol, arg, aux: params.append(numbers(module)),
        early_stopping=stopping,
    )
    return params, module, stopping


def test_training_ends_and_the_best_parameters_are_set():
    params, module, stopping = stopped([5, 3, 4, 3.5, 2], patience=2)
    assert len(params) == 4
    assert (stopping.best, stopping.best_epoch) == (3, 1)
    assert same(numbers(module), params[1])
    params, module, stopping = stopped([5, 3, 4, 2, 3, 3], patience=2, restore_best=False)
    assert len(params) == 6
    assert same(numbers(module), params[-1])
    # The last epoch comes first.
    params, module, stopping = stopped([5, 3, 4], epochs=3)
    assert same(numbers(module), params[1])


def test_what_is_better():
    params, _, stopping = stopped([5, 4.9, 4.8], epochs=3, min_delta=0.5, patience=2)
    assert stopping.best == 5
    assert len(params) == 3
    _, _, stopping = stopped([1, 2, float("nan")], epochs=3, mode="max")
    assert stopping.best == 2
    assert sb.callback.EarlyStopping("val-accuracy").mode == "max"
    assert sb.callback.EarlyStopping("train-perplexity").mode == "min"


def test_early_stopping_goes_on_after_a_stop(tmp_path):
    def run(epochs, values, resume="auto"):
        module = sb.mod.Module(net())
        stopping = sb.callback.EarlyStopping("val-loss", patience=2)
        fit(
            module=module,
            epochs=epochs,
            eval_data=sb.io.NDArrayIter(DATA[:8], LABEL[:8], 4),
            validation_metric=Scripted([None, *values]),
            early_stopping=stopping,
            checkpoint=tmp_path,
            resume=resume,
        )
        return numbers(module), stopping

    run(2, [3, 4])
    params, stopping = run(9, [5, 1])
    assert (stopping.best, stopping.best_epoch, stopping.waited) == (3, 0, 2)
    again, over = run(9, [])  # nothing is left to do
    assert same(again, params)
    assert over.waited == 2


def test_a_metric_that_is_not_there():
    with pytest.raises(InvalidArgumentError, match=r"no 'val-mse' among .* train-mse; fit needs"):
        fit(early_stopping=sb.callback.EarlyStopping("val-mse"))
    with pytest.raises(InvalidArgumentError, match="expected val-NAME or train-NAME"):
        sb.callback.EarlyStopping("mse")
