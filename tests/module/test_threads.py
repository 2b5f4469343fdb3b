"""One owner at a time: what a module does if several threads use it."""

import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

import symbucket as sb
from symbucket import sym
from symbucket.errors import StateError
from tests.small_networks import bucketing, sentence_batch


def _in_thread(call):
    """Call in a new thread; return what it returns or raises."""
    with ThreadPoolExecutor(1) as threads:
        future = threads.submit(call)
        return future.exception() or future.result()


def _module():
    net = sym.FullyConnected(sym.Variable("data"), num_hidden=3, name="fc", no_bias=True)
    module = sb.mod.Module(net, label_names=None)
    module.bind([("data", (2, 4))])
    module.init_params(sb.init.One())
    return module


def _batch(value, rows=2):
    return sb.io.DataBatch([np.full((rows, 4), value, np.float32)], None)


@pytest.mark.parametrize(
    "call",
    [
        lambda m: m.forward(_batch(1)),
        lambda m: m.get_outputs(),
        lambda m: m.backward(),
        lambda m: m.update(),
        lambda m: m.get_params(),
        lambda m: m.save_checkpoint("never", 0),
        lambda m: m.export("never"),
        lambda m: m.export_onnx("never.onnx"),
        lambda m: m.export_training("never"),
        lambda m: m.fit(None, num_epoch=1),
        lambda m: m.score(None, "acc"),
        lambda m: m.predict(np.ones((2, 4))),
    ],
)
def test_a_second_thread_is_refused_while_a_call_is_running(call):
    module = _module()
    module.forward(_batch(1))
    inside, leave = threading.Event(), threading.Event()

    class Slow(sb.metric.EvalMetric):
        def update_dict(self, labels, outputs):
            inside.set()
            assert leave.wait(20)

    owner = threading.Thread(target=lambda: module.update_metric(Slow("slow"), []))
    owner.start()
    assert inside.wait(20)
    try:
        with pytest.raises(
            StateError, match=r"while another thread uses the module.*symbucket.Bundle"
        ):
            call(module)
    finally:
        leave.set()
        owner.join()
    module.forward(_batch(1))


def test_modules_that_share_parameters_take_part():
    module = _module()
    other = sb.mod.Module(module.symbol, label_names=None)
    other.bind([("data", (2, 4))], shared_module=module, for_training=False)
    with module.store.lock:
        assert isinstance(_in_thread(lambda: other.forward(_batch(1))), StateError)
    assert _in_thread(lambda: other.forward(_batch(1))) is None


def test_threads_that_take_turns_may_pass_results_on():
    module = _module()
    for value in range(1, 4):
        assert _in_thread(lambda v=value: module.forward(_batch(v))) is None
        np.testing.assert_array_equal(module.get_outputs()[0], np.full((2, 3), 4.0 * value))


@pytest.mark.parametrize("make", [_module, lambda: bucketing(rows=2)], ids=["module", "bucketing"])
def test_results_that_another_thread_overtook_are_refused(make):
    module, rng = make(), np.random.default_rng(0)
    batches = [_batch(1), _batch(2)]
    if make is not _module:
        batches = [sentence_batch(rng, length, rows=2) for length in (6, 4)]
    module.forward(batches[0], is_train=True)
    assert _in_thread(lambda: module.forward(batches[1], is_train=True)) is None
    for call in (module.get_outputs, module.backward):
        with pytest.raises(StateError, match="another thread has run the module since"):
            call()
    module.forward(batches[0], is_train=True)
    module.get_outputs()


def test_outputs_in_a_threads_hands_are_not_overwritten_by_another_thread():
    module = _module()
    module.forward(_batch(1))
    outputs = module.get_outputs()[0]
    assert _in_thread(lambda: module.forward(_batch(2))) is None
    np.testing.assert_array_equal(outputs, np.full((2, 3), 4.0))


def test_many_threads_get_right_outputs_or_an_error():
    module, wrong, right = _module(), [], []

    def work(value):
        for _ in range(150):
            try:
                module.forward(_batch(value))
                output = module.get_outputs()[0].asnumpy()
            except StateError:
                continue
            (right if (output == 4.0 * value).all() else wrong).append(value)

    with ThreadPoolExecutor(3) as threads:
        list(threads.map(work, (1, 2, 3)))
    assert not wrong
    assert right
