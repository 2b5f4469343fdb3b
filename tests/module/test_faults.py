"""A fault anywhere (no memory, an interrupt) leaves a module that trains on as if nothing was.

Every allocation, creation of a session, binding and run is an event. The tests fail one event after
the other, repeat the call of the module that failed, and compare all numbers with those of a run
without a fault, bit by bit.
"""

import numpy as np
import pytest

import symbucket as sb
from symbucket import sym
from symbucket.compiler import CompilerOptions
from symbucket.engine.shared_models import SharedModels
from symbucket.runtime import buffers, ndarray
from symbucket.runtime.backend import ort


class Faults:
    """Counts events; raises ``error`` at event number ``at``, before or after it happens."""

    def __init__(self, monkeypatch):
        self.count, self.at, self.error, self.after = 0, None, None, False
        self.places = []
        for module in (ndarray, buffers):
            self._patch(monkeypatch, module, "aligned_empty")
        self._patch(monkeypatch, ort.InferenceSession, "__init__")
        self._patch(monkeypatch, ort.InferenceSession, "run_with_iobinding")
        self._patch(monkeypatch, ort.IOBinding, "bind_ortvalue_output")

    def _patch(self, monkeypatch, owner, name):
        original = getattr(owner, name)

        def replacement(*args, **kwargs):
            self.count += 1
            self.places.append(name)
            fails = self.count == self.at
            if fails and not self.after:
                raise self.error
            result = original(*args, **kwargs)
            if fails:
                raise self.error
            return result

        monkeypatch.setattr(owner, name, replacement)

    def begin(self, at=None, error=None, after=False):
        self.count, self.at, self.error, self.after = 0, at, error, after
        self.places.clear()


ROWS = {3: 2, 5: 4, 8: 3}  # rows of a batch by key: each needs more of some buffers


def _generate(length):
    x = sym.Embedding(sym.Variable("data"), input_dim=9, output_dim=4, name="embed")
    x = sym.BatchNorm(sym.sum(x, axis=1), fix_gamma=False, name="norm")
    x = sym.Dropout(sym.Activation(x, act_type="tanh"), p=0.3, name="drop")
    x = sym.FullyConnected(x, num_hidden=5, name="scores")
    loss = sym.SoftmaxOutput(x, sym.Variable("softmax_label"), name="softmax")
    return loss, ["data"], ["softmax_label"]


def _with_heads(length):
    net, data, _ = _generate(length)
    return net.get_internals()["scores_output"], data, []


def _batch(key, rng):
    rows = ROWS[key]
    data, label = rng.integers(0, 9, (rows, key)), rng.integers(0, 5, rows)
    return sb.io.DataBatch(
        [data],
        [label],
        bucket_key=key,
        provide_data=[("data", data.shape)],
        provide_label=[("softmax_label", label.shape)],
    )


class Training:
    """A bucketing module, and the calls that train it on three keys; two executors are kept."""

    def __init__(self, options, optimizer, heads=False, in_graph=False, contexts=1, **arguments):
        sb.random.seed(5)
        rng = np.random.default_rng(2)
        self.heads = heads
        module = self.module = sb.mod.BucketingModule(
            _with_heads if heads else _generate,
            default_bucket_key=3,
            max_executors=2,
            options=options,
            context=[sb.cpu(i) for i in range(contexts)],
        )
        metric = sb.metric.Accuracy()
        self.numbers, self.updates = [], 0

        def forward(batch):
            with module.measuring(metric if in_graph else None):
                if heads:
                    module.forward(batch, is_train=True)
                else:
                    module.forward_backward(batch)

        def backward(batch):
            if heads:
                module.backward(head[batch.bucket_key])

        def update():
            if module.updater.optimizer.num_update < self.updates:
                module.update()

        def begin_update():
            self.updates += 1

        def look():
            if not in_graph:
                self.numbers.append(module.get_outputs()[0].asnumpy())

        head = {k: rng.normal(size=(n, 5)).astype(np.float32) for k, n in ROWS.items()}
        label = None if heads else [("softmax_label", (2,))]
        self.calls = [
            lambda: module.bind([("data", (2, 3))], label, force_rebind=module.binded),
            lambda: module.init_params(sb.init.Uniform(0.5)),
            lambda: module.init_optimizer(optimizer=optimizer, optimizer_params=arguments),
        ]
        for key in (3, 5, 8, 3, 5):
            batch = _batch(key, rng)
            self.calls += [lambda b=batch: forward(b), lambda b=batch: backward(b), look]
            # An interrupt that comes when the update has ended does not undo it.
            self.calls += [begin_update, update]
            self.calls.append(lambda b=batch: module.forward(b, is_train=False))
            self.calls.append(lambda: self.numbers.append(module.get_outputs()[0].asnumpy()))

    def run(self, error=None):
        """Make all calls; one that raises ``error`` is repeated. Returns how many failed."""
        failed = 0
        for call in self.calls:
            try:
                call()
            except BaseException as raised:
                if raised is not error:
                    raise
                failed += 1
                call()
        return failed

    def results(self):
        arg, aux = self.module.get_params()
        states = self.module.updater.states()
        arrays = [a.asnumpy() for a in [*arg.values(), *aux.values()]]
        return [*self.numbers, *arrays, *states.values()], self.module.updater.counters()


KINDS = {
    "adam": {"optimizer": "adam", "learning_rate": 0.01},
    "row-sparse": {"optimizer": "sgd", "learning_rate": 0.1, "in_graph": True},
    "contexts": {"optimizer": "adam", "learning_rate": 0.01, "contexts": 2},
    "head gradients": {"optimizer": "sgd", "momentum": 0.9, "heads": True},
}


FAULTS = {
    "no memory": (MemoryError, False),
    "interrupt before": (KeyboardInterrupt, False),
    "interrupt after": (KeyboardInterrupt, True),
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("stride", [pytest.param(1, marks=pytest.mark.slow), 11])
def test_training_goes_on_after_every_single_fault(kind, fault, stride, monkeypatch, tmp_path):
    options = CompilerOptions(cache_dir=tmp_path)
    Training(options, **KINDS[kind]).run()  # what belongs to the process is there now
    _fail_every(monkeypatch, fault, stride, lambda: Training(options, **KINDS[kind]))


def _fail_every(monkeypatch, fault, stride, make):
    """Compare trainings in which one event fails with one in which none does."""
    faults = Faults(monkeypatch)

    def begin():
        # Models that other modules of the process hold would be loaded in some runs only.
        monkeypatch.setattr("symbucket.engine.runner.SHARED_MODELS", SharedModels())
        return make()

    whole = begin()
    whole.run()
    places = list(faults.places)
    expected, counters = whole.results()
    (error, after), start = FAULTS[fault], list(FAULTS).index(fault) * stride // len(FAULTS)
    for at in range(1 + start, len(places) + 1, stride):
        raised = error(f"event {at}, {places[at - 1]}")
        faults.begin(at, raised, after)
        training = begin()
        assert training.run(raised) == 1, f"{raised} was lost"
        faults.begin()
        numbers, counts = training.results()
        assert counts == counters, str(raised)
        for one, other in zip(numbers, expected):
            np.testing.assert_array_equal(one, other, str(raised))


class Recurrence:
    """A recurrent module over sequences of several lengths, with states that are carried over."""

    def __init__(self):
        sb.random.seed(5)
        rng = np.random.default_rng(2)
        module = self.module = sb.mod.RecurrentModule(
            _steps, ["h"], unroll=2, carry_states=True, layout="NTC"
        )
        shapes = [("data", (3, 4))], [("softmax_label", (3, 4))]
        self.calls = [
            lambda: module.bind(*shapes, force_rebind=module.binded),
            lambda: module.init_params(sb.init.Uniform(0.5)),
            lambda: module.init_optimizer(optimizer="adam"),
        ]
        self.numbers, self.updates = [], 0
        for length in (4, 3, 6, 3):
            data = rng.integers(0, 5, (3, length))
            batch = sb.io.DataBatch(
                [data],
                [data],
                provide_data=[("data", data.shape)],
                provide_label=[("softmax_label", data.shape)],
            )
            self.calls += [
                lambda b=batch: module.forward_backward(b),
                lambda: self.numbers.append(module.get_outputs()[0].asnumpy()),
                self._begin_update,
                self._update,
            ]

    def _begin_update(self):
        self.updates += 1

    def _update(self):
        if self.module.updater.optimizer.num_update < self.updates:
            self.module.update()

    run, results = Training.run, Training.results


def _steps(count):
    data = sym.Embedding(sym.Variable("data"), input_dim=5, output_dim=4, name="embed")
    cell = sb.rnn.RNNCell(4, prefix="rnn_")
    outputs, states = cell.unroll(
        count, data, layout="NTC", merge_outputs=True, begin_state=[sym.Variable("h", shape=(3, 4))]
    )
    outputs = sym.Dropout(sym.Reshape(outputs, shape=(-1, 4)), p=0.3, name="drop")
    scores = sym.FullyConnected(outputs, num_hidden=5, name="pred")
    label = sym.Reshape(sym.Variable("softmax_label"), shape=(-1,))
    loss = sym.SoftmaxOutput(scores, label, name="softmax")
    return sym.Group([loss, *states]), ["data"], ["softmax_label"]


@pytest.mark.parametrize("fault", FAULTS)
def test_a_recurrence_goes_on_after_a_fault(fault, monkeypatch):
    Recurrence().run()
    _fail_every(monkeypatch, fault, 9, Recurrence)


def test_a_large_key_that_finds_no_memory_leaves_the_others_as_they_were(monkeypatch):
    module = Training(CompilerOptions(), "adam").module
    module.bind([("data", (2, 3))], [("softmax_label", (2,))])
    module.init_params(sb.init.Uniform(0.5))
    module.init_optimizer(optimizer="adam")
    rng = np.random.default_rng(1)
    for key in (3, 8):
        module.forward_backward(_batch(key, rng))
        module.update()
    outputs = module.get_outputs()[0].asnumpy()
    allocate, missing = buffers.aligned_empty, []

    def no_memory(shape, dtype, zeros=False):
        missing.append(shape)
        raise MemoryError("no memory")

    monkeypatch.setattr(buffers, "aligned_empty", no_memory)
    with pytest.raises(MemoryError):
        module.forward_backward(_batch(5, rng))
    assert missing
    np.testing.assert_array_equal(module.get_outputs()[0].asnumpy(), outputs)
    monkeypatch.setattr(buffers, "aligned_empty", allocate)
    for key in (5, 3, 8, 5):
        module.forward_backward(_batch(key, rng))
        module.update()
