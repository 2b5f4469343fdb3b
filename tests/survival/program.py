"""A program that trains and prints a digest of what it ends with; the tests kill it.

``python -m tests.survival.program KIND FOLDER [KILL_AFTER]``: with KILL_AFTER, the process kills
itself (SIGKILL) that many microseconds after its first batch, wherever it is then.
"""

from __future__ import annotations

import functools
import hashlib
import os
import signal
import sys
import threading
import time
from typing import Any

import numpy as np

import symbucket as sb
from symbucket.types import Array

EPOCHS = 3


def sentences() -> list[list[int]]:
    rng = np.random.default_rng(0)
    return [rng.integers(1, 20, n).tolist() for n in rng.integers(2, 7, 44)]


def language_model(**kwargs: Any) -> tuple[sb.mod.BucketingModule, Any, Any]:
    """Bucketing, dropout, shuffled buckets that roll over, a rate that falls, momentum."""

    def sym_gen(key: int) -> tuple[sb.Symbol, list[str], list[str]]:
        cell = sb.rnn.SequentialRNNCell()
        cell.add(sb.rnn.LSTMCell(5, prefix="l_"))
        cell.add(sb.rnn.DropoutCell(0.3, prefix="d_"))
        vectors = sb.sym.Embedding(sb.sym.Variable("data"), input_dim=20, output_dim=4, name="e")
        outputs, _ = cell.unroll(key, vectors, merge_outputs=True)
        rows = sb.sym.Reshape(outputs, shape=(-1, 5))
        scores = sb.sym.FullyConnected(rows, num_hidden=20, name="p")
        label = sb.sym.Reshape(sb.sym.Variable("softmax_label"), shape=(-1,))
        return sb.sym.SoftmaxOutput(scores, label, name="softmax"), ["data"], ["softmax_label"]

    train = sb.rnn.BucketSentenceIter(sentences(), 4, [3, 6], 0, last_batch="roll_over")
    valid = sb.rnn.BucketSentenceIter(sentences()[:16], 4, [3, 6], 0)
    module = sb.mod.BucketingModule(sym_gen, default_bucket_key=6, **kwargs)
    return module, train, valid


def regression(**kwargs: Any) -> tuple[sb.mod.Module, Any, Any]:
    """One network with BatchNorm over several contexts, rows in random order."""
    x = sb.sym.FullyConnected(sb.sym.Variable("data"), num_hidden=4, name="a")
    x = sb.sym.Dropout(sb.sym.BatchNorm(x, fix_gamma=False, name="bn"), p=0.2, name="drop")
    x = sb.sym.FullyConnected(x, num_hidden=1, name="b")
    net = sb.sym.LinearRegressionOutput(x, sb.sym.Variable("softmax_label"), name="out")
    rng = np.random.default_rng(1)
    data, label = rng.normal(size=(46, 3)), rng.normal(size=(46, 1))
    train = sb.io.NDArrayIter(data, label, 6, shuffle=True, last_batch_handle="roll_over")
    return sb.mod.Module(net, **kwargs), train, sb.io.NDArrayIter(data[:12], label[:12], 6)


class OwnIter(sb.io.DataIter):
    """An iterator of a user's own, which shuffles with numpy's global generator."""

    def __init__(self) -> None:
        super().__init__(6)
        self._rows = np.random.default_rng(1).normal(size=(46, 4))
        self.provide_data = [sb.io.DataDesc("data", (6, 3))]
        self.provide_label = [sb.io.DataDesc("softmax_label", (6, 1))]
        self.reset()

    def reset(self) -> None:
        self._order, self._at = np.random.permutation(46), 0

    def next(self) -> sb.io.DataBatch:
        rows = self._rows[self._order[self._at : self._at + 6]]
        if len(rows) < 6:
            raise StopIteration
        self._at += 6
        return sb.io.DataBatch([rows[:, :3]], [rows[:, 3:]])


def own(**kwargs: Any) -> tuple[sb.mod.Module, Any, Any]:
    module, _, valid = regression(**kwargs)
    return module, OwnIter(), valid


def recurrent() -> tuple[sb.mod.RecurrentModule, Any, Any]:
    """States that one batch hands on to the next."""

    def sym_gen(steps: int) -> tuple[sb.Symbol, list[str], list[str]]:
        cell = sb.rnn.RNNCell(4, prefix="r_")
        begin = cell.begin_state(sb.sym.Variable)
        outputs, states = cell.unroll(steps, sb.sym.Variable("data"), begin, merge_outputs=True)
        flat = sb.sym.Reshape(outputs, shape=(-1, 4))
        scores = sb.sym.FullyConnected(flat, num_hidden=3, name="p")
        label = sb.sym.Reshape(sb.sym.Variable("softmax_label"), shape=(-1,))
        loss = sb.sym.SoftmaxOutput(scores, label, name="softmax")
        return sb.sym.Group([loss, *states]), ["data"], ["softmax_label"]

    names = [s.name for s in sb.rnn.RNNCell(4, prefix="r_").begin_state(sb.sym.Variable)]
    module = sb.mod.RecurrentModule(sym_gen, names, unroll=2, carry_states=True)
    rng = np.random.default_rng(2)
    data, label = rng.normal(size=(36, 4, 2)), rng.integers(0, 3, (36, 4))
    return module, sb.io.NDArrayIter(data, label, 4, shuffle=True), None


KINDS: dict[str, Any] = {
    "language": (language_model, {"eval_metric": sb.metric.Perplexity(0)}),
    "evicting": (lambda: language_model(max_executors=1), {"eval_metric": "ce"}),
    "contexts": (lambda: regression(context=[sb.cpu(0), sb.cpu(1)]), {"eval_metric": "mse"}),
    "own": (own, {"eval_metric": "mse"}),
    "recurrent": (recurrent, {"eval_metric": sb.metric.Perplexity(None)}),
}
OPTIMIZERS: dict[str, Any] = {
    "language": ("sgd", {"momentum": 0.9}),
    "evicting": ("sgd", {}),  # rows of the embedding alone
    "contexts": ("adam", {}),
    "own": ("rmsprop", {}),
    "recurrent": ("nag", {"momentum": 0.9}),
}


def train(kind: str, folder: str | None, **options: Any) -> str:
    """Return a digest of what is left of training, a colon, and one of the last epoch's metrics.

    Nothing follows the colon if training was complete already when it was resumed.
    """
    make, metric = KINDS[kind]
    module, data, valid = make()
    name, numbers = OPTIMIZERS[kind]
    schedule = sb.lr_scheduler.FactorScheduler(step=5, factor=0.8)
    manager = None
    if folder is not None:
        manager = sb.CheckpointManager(folder, every_batches=2)
        options["resume"] = "auto"
    scores: list[Any] = []
    module.fit(
        data,
        valid,
        num_epoch=EPOCHS,
        optimizer=name,
        optimizer_params={"learning_rate": 0.05, "lr_scheduler": schedule, **numbers},
        initializer=sb.init.Xavier(),
        eval_end_callback=lambda param: scores.extend(param.eval_metric.get_global_name_value()),
        checkpoint=manager,
        **metric,
        **options,
    )
    arg, aux = module.get_params()
    trained = _digest({**arg, **aux, **module.updater.states()})
    return f"{trained}:{_digest({'scores': np.array(scores[-1])}) if scores else ''}"


@functools.cache
def whole(kind: str) -> str:
    """Return what a run that nobody stops ends with."""
    return fresh(kind, None)


def fresh(kind: str, folder: str | None, **options: Any) -> str:
    """Train as a new process does."""
    sb.random.seed(7)
    np.random.seed(7)
    return train(kind, folder, **options)


def _digest(arrays: dict[str, Any]) -> str:
    digest = hashlib.sha256()
    for name, values in sorted(arrays.items()):
        array: Array = np.asarray(values)
        digest.update(name.encode())
        digest.update(array.tobytes())
    return digest.hexdigest()


def die_later(seconds: float) -> None:
    """Kill this process after so many seconds."""

    def die() -> None:
        time.sleep(seconds)
        os.kill(os.getpid(), signal.SIGKILL)

    threading.Thread(target=die, daemon=True).start()


def main() -> None:
    kind, folder, *rest = sys.argv[1:]
    started: list[bool] = []

    def callback(param: Any) -> None:
        if rest and not started:
            started.append(True)
            die_later(int(rest[0]) / 1e6)

    print(fresh(kind, folder or None, batch_end_callback=callback), flush=True)


if __name__ == "__main__":
    main()
