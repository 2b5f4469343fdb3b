"""Going on in the same process: at every batch, after signals, full disks, and changes."""

import logging
import os
import signal

import pytest

import symbucket as sb
from symbucket.errors import CheckpointError, InvalidArgumentError, UnsupportedError
from tests.survival import program
from tests.survival.program import KINDS, fresh, train, whole


class StoppedError(Exception):
    """What stands for a kill."""


def stop_after(batches):
    seen = []

    def callback(param):
        seen.append(param)
        if len(seen) > batches:
            raise StoppedError

    return callback


@pytest.mark.parametrize(
    ("kind", "batches"),
    [("language", 3), ("contexts", 9), ("own", 9), ("recurrent", 9)],
)
def test_stopped_runs_end_with_the_same_bits(kind, batches, tmp_path):
    for _ in range(2):  # the second one goes on from the first
        with pytest.raises(StoppedError):
            fresh(kind, tmp_path, batch_end_callback=stop_after(batches))
    assert fresh(kind, tmp_path) == whole(kind)
    # What has come to its end stays as it is.
    names = sorted(os.listdir(tmp_path))
    assert len(names) == 3
    sb.random.seed(7)
    train(kind, tmp_path, batch_end_callback=stop_after(0))
    assert sorted(os.listdir(tmp_path)) == names


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_a_run_stopped_after_each_batch_ends_with_the_same_bits(kind, tmp_path):
    for batches in range(1, 20):
        folder = tmp_path / str(batches)
        with pytest.raises(StoppedError):
            fresh(kind, folder, batch_end_callback=stop_after(batches))
        assert fresh(kind, folder) == whole(kind), batches


@pytest.mark.parametrize(
    ("number", "raised"), [(signal.SIGTERM, SystemExit), (signal.SIGINT, KeyboardInterrupt)]
)
def test_signals_finish_the_batch_and_write(number, raised, tmp_path, caplog):
    before = [signal.getsignal(n) for n in (signal.SIGTERM, signal.SIGINT)]
    seen = []

    def send(param):
        seen.append(param.nbatch)
        if len(seen) == 5:
            os.kill(os.getpid(), number)

    with pytest.raises(raised) as error:
        fresh("language", tmp_path, batch_end_callback=send)
    assert seen == [0, 1, 2, 3, 4]
    if raised is SystemExit:
        assert error.value.code == 143
    assert "in epoch 0, after 5 batches" in caplog.text
    assert "resume='auto') goes on from there" in caplog.text
    assert sb.CheckpointManager(tmp_path).latest().batch == 5
    assert [signal.getsignal(n) for n in (signal.SIGTERM, signal.SIGINT)] == before
    assert fresh("language", tmp_path) == whole("language")


def test_signals_during_validation_have_it_done_again(tmp_path):
    def send(param):
        os.kill(os.getpid(), signal.SIGTERM)

    with pytest.raises(SystemExit):
        fresh("language", tmp_path, eval_batch_end_callback=send)
    assert sb.CheckpointManager(tmp_path).latest().batch == 12  # of 12: no epoch is over yet
    assert fresh("language", tmp_path) == whole("language")


def test_the_second_signal_is_obeyed_at_once(tmp_path):
    def send(param):
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGINT)
        raise AssertionError("went on after two signals")

    with pytest.raises(KeyboardInterrupt):
        fresh("language", tmp_path, batch_end_callback=send)


def test_a_full_disk_does_not_end_training(tmp_path, monkeypatch, caplog):
    original, calls = sb.CheckpointManager.write, []

    def full(self, module, record, more):
        calls.append(record["progress"]["batch"])
        if 2 <= len(calls) <= 4:
            raise CheckpointError("cannot write 'x': No space left on device")
        return original(self, module, record, more)

    monkeypatch.setattr(sb.CheckpointManager, "write", full)
    assert fresh("language", tmp_path) == whole("language")
    messages = [r for r in caplog.records if r.levelno == logging.ERROR]
    assert len(messages) == 3
    assert "NO CHECKPOINT WAS WRITTEN: cannot write 'x': No space left" in messages[0].getMessage()
    assert "The newest one is" in messages[0].getMessage()
    assert calls[1:5] == [4, 6, 8, 10]  # tried again with the next one


def test_a_callback_that_cannot_write_does_not_end_training(tmp_path, caplog):
    module, data, _ = program.regression()
    save = sb.callback.do_checkpoint(str(tmp_path / "run" / "net"))
    os.rmdir(tmp_path / "run")
    (tmp_path / "run").write_text("")  # a file where the folder was
    module.fit(data, num_epoch=2, eval_metric="mse", epoch_end_callback=save)
    errors = [r for r in caplog.records if r.levelno == logging.ERROR]
    assert len(errors) == 2
    assert "NO CHECKPOINT WAS WRITTEN" in caplog.text
    module.fit(data, num_epoch=1, eval_metric="mse")

    def wrong(*_):
        raise CheckpointError("a fault of the callback's own")

    with pytest.raises(CheckpointError, match="own"):
        module.fit(data, num_epoch=1, eval_metric="mse", epoch_end_callback=wrong)


def test_other_buckets_and_batches_are_said(tmp_path, caplog, monkeypatch):
    with pytest.raises(StoppedError):
        fresh("language", tmp_path, batch_end_callback=stop_after(5))
    make, metric = KINDS["language"]

    def other():
        module, _, valid = make()
        sentences = program.sentences()
        return module, sb.rnn.BucketSentenceIter(sentences, 2, [3, 5, 6], 0), valid

    monkeypatch.setitem(KINDS, "language", (other, metric))
    fresh("language", tmp_path)
    assert "buckets [3, 6] is [3, 5, 6] now; batch sizes [4, 4] is [2, 2, 2] now" in caplog.text
    assert "rescale_grad was 0.25 and is 0.5 now" in caplog.text


def test_another_learning_rate_is_taken_and_said(tmp_path, caplog):
    def fit(rate, epochs, **options):
        module, data, _ = program.regression()
        params = {"learning_rate": rate}
        module.fit(data, num_epoch=epochs, optimizer_params=params, checkpoint=tmp_path, **options)
        return module.updater.optimizer

    fit(0.1, 1).lr = 0.05
    module, data, _ = program.regression()
    module.fit(
        data,
        num_epoch=2,
        optimizer_params={"learning_rate": 0.1},
        epoch_end_callback=lambda *_: setattr(module.updater.optimizer, "lr", 0.03),
        checkpoint=tmp_path,
        resume="auto",
    )
    assert fit(0.1, 3, resume="auto").lr == 0.03  # what a callback has set goes on
    assert "learning_rate" not in caplog.text
    assert fit(0.2, 4, resume="auto").lr == 0.2
    assert "learning_rate was 0.1 at the start and is 0.2 now" in caplog.text


def test_arguments(tmp_path):
    with pytest.raises(InvalidArgumentError, match="resume is 'always'; expected 'auto'"):
        fresh("own", None, resume="always")
    with pytest.raises(InvalidArgumentError, match="needs checkpoint="):
        fresh("own", None, resume="auto")
    fresh("own", tmp_path)
    module, data, _ = program.regression()
    with pytest.raises(InvalidArgumentError, match="has checkpoints already"):
        module.fit(data, num_epoch=1, checkpoint=str(tmp_path))
    assert not module.binded
    with pytest.raises(InvalidArgumentError, match="checkpoint is 3; expected a CheckpointManager"):
        module.fit(data, num_epoch=1, checkpoint=3)


def test_begin_epoch_takes_the_order_of_that_epoch():
    def fit(begin, end):
        module, data, _ = program.regression()
        data = sb.io.NDArrayIter(data.data[0][1], data.label[0][1], 6, shuffle=True, seed=5)
        rows = []
        module.fit(
            data,
            begin_epoch=begin,
            num_epoch=end,
            eval_metric="mse",
            batch_end_callback=lambda p: rows.append(data.getindex().tolist()),
        )
        return rows

    sb.random.seed(1)
    whole = fit(0, 3)
    sb.random.seed(1)
    assert fit(2, 3) == whole[16:]


def test_workers_in_step_are_refused(monkeypatch, tmp_path):
    module, data, _ = program.regression()
    original = type(module).init_optimizer

    def joined(self, *args, **kwargs):
        original(self, *args, **kwargs)
        self.updater.exchange = object()

    monkeypatch.setattr(type(module), "init_optimizer", joined)
    with pytest.raises(UnsupportedError, match="checkpoint= is for one process"):
        module.fit(data, num_epoch=1, checkpoint=tmp_path)
