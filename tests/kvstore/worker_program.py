"""A program that the tests start under ``mpiexec``: what a worker does, by name."""

from __future__ import annotations

import os
import signal
import sys
import time
from pathlib import Path

import numpy as np

import symbucket as sb
from symbucket import kvstore
from symbucket.errors import SymbucketError

BATCH = 12  # of all workers together


def corpus():
    """Sentences of 2 to 9 of 30 words."""
    rng = np.random.default_rng(0)
    return [rng.integers(1, 30, n).tolist() for n in rng.integers(2, 10, 150)]


def sym_gen(norm=False):
    """A network that guesses the next word; its loss is a sum over the batch."""

    def generate(key):
        words = sb.sym.Embedding(sb.sym.Variable("data"), input_dim=30, output_dim=8, name="embed")
        words = sb.sym.reshape(words, shape=(-1, 8))
        hidden = sb.sym.FullyConnected(words, num_hidden=8, name="hidden")
        if norm:
            hidden = sb.sym.BatchNorm(hidden, name="norm", fix_gamma=False)
        scores = sb.sym.FullyConnected(hidden, num_hidden=30, name="scores")
        label = sb.sym.reshape(sb.sym.Variable("softmax_label"), shape=(-1,))
        out = sb.sym.SoftmaxOutput(scores, label, name="softmax")
        return out, ("data",), ("softmax_label",)

    return generate


def train(
    store=None,
    optimizer="sgd",
    params=(("learning_rate", 0.05),),
    norm=False,
    epochs=2,
    seed=1,
    callback=None,
):
    """Train on this worker's part of every batch; return all parameters and states by name."""
    sb.random.seed(5)
    joint = sb.io.BucketSentenceIter(corpus(), BATCH, [4, 9], invalid_label=0, seed=seed)
    data = joint if store is None else sb.io.PartIter(joint, store.num_workers, store.rank)
    module = sb.mod.BucketingModule(sym_gen(norm), default_bucket_key=9)
    rank = 0 if store is None else store.rank
    module.bind(data.provide_data, data.provide_label)
    # Only worker 0's values count.
    module.init_params(sb.init.Uniform(0.1 * (1 + rank)))
    module.fit(
        data,
        num_epoch=epochs,
        eval_metric="acc",
        kvstore="local" if store is None else store,
        optimizer=optimizer,
        optimizer_params=dict(params),
        batch_end_callback=callback,
    )
    args, aux = module.get_params()
    return {name: array.asnumpy() for name, array in {**args, **aux}.items()}


CASES = {
    "rows": {"optimizer": "sgd"},  # the embedding's gradient travels as rows
    "momentum": {"params": (("learning_rate", 0.05), ("momentum", 0.9), ("wd", 0.01))},
    "adam": {"optimizer": "adam"},
    "norm": {"optimizer": "adam", "norm": True},
}


def train_cases(folder):
    """Train every case; write this worker's parameters and counts of messages."""
    for name, options in CASES.items():
        store = kvstore.create("dist_sync", timeout=60, check_every=3)
        values = train(store, **options)
        np.savez(folder / f"{name}-{store.rank}.npz", **values)
        if name == "rows":
            (folder / f"messages-{store.rank}").write_text(
                f"{store.group.messages} {store.group.bytes}"
            )
    store = kvstore.create("dist_sync", timeout=60)
    store.set_gradient_compression({"type": "fp16"})
    np.savez(folder / f"fp16-{store.rank}.npz", **train(store, "adam"))


def push_pull(folder):
    """Use a store by hand."""
    store = kvstore.create("dist_sync", timeout=60)
    assert store.type == "dist_sync"
    store.init("a", sb.nd.array([1.0 + store.rank, 2.0]))
    out = sb.nd.zeros((2,))
    store.pull("a", out)
    assert out.asnumpy().tolist() == [1.0, 2.0]  # of worker 0
    store.push("a", [sb.nd.ones((2,)) * (1 + store.rank), sb.nd.ones((2,))])
    store.pull("a", out)
    total = sum(range(1, store.num_workers + 1)) + store.num_workers
    assert out.asnumpy().tolist() == [total, total]
    store.barrier()
    (folder / f"pushed-{store.rank}").write_text("ok")


def masks(folder):
    """Write what dropout leaves of ones."""
    store = kvstore.create("dist_sync", timeout=60)
    sb.random.seed(3)
    executor = sb.sym.Dropout(sb.sym.Variable("x"), p=0.5).bind(sb.cpu(), {"x": sb.nd.ones((64,))})
    (kept,) = executor.forward(is_train=True)
    np.save(folder / f"masks-{store.rank}.npy", kept.asnumpy())


def differ(folder):
    """Differ in the way that the file ``how`` names; write the error."""
    how = (folder / "how").read_text()
    store = kvstore.create("dist_sync", timeout=20, check_every=2)
    options = {}
    if store.rank == 1:
        if how == "network":
            options["norm"] = True
        elif how == "optimizer":
            options["params"] = (("learning_rate", 0.06),)
        elif how == "buckets":
            options["seed"] = 2
    if how == "parameters":

        def disturb(param):
            if store.rank == 1 and param.nbatch == 2:
                param.locals["self"].default_module.store.args["hidden_bias"][:] = 7

        options["callback"] = disturb
    try:
        train(store, **options)
    except SymbucketError as error:
        (folder / f"error-{store.rank}").write_text(f"{type(error).__name__}: {error}")


def die(folder):
    """Worker 1 dies, or does not go on, in the middle of training; others write the error."""
    how = (folder / "how").read_text()
    store = kvstore.create("dist_sync", timeout=3)
    start = time.monotonic()

    def callback(param):
        if store.rank == 0 and param.nbatch == 1:
            param.locals["self"].save_checkpoint(str(folder / "run"), 1)
        if store.rank == 1 and param.nbatch == 3:
            if how == "killed":
                os.kill(os.getpid(), signal.SIGKILL)
            time.sleep(100)

    try:
        train(store, epochs=50, callback=callback)
    except SymbucketError as error:
        (folder / f"error-{store.rank}").write_text(
            f"{type(error).__name__}: {error}\n{time.monotonic() - start:.1f}"
        )


def fail(folder):
    """Worker 1 raises an error that it does not catch."""
    store = kvstore.create("dist_sync", timeout=300)
    if store.rank == 1:
        raise ValueError("no data here")
    store.barrier()


def diverge(folder):
    """Worker 1 has NaN in one batch: all leave it out."""
    store = kvstore.create("dist_sync", timeout=20, check_every=1)

    class Poisoned(sb.io.PartIter):
        count = 0

        def _following(self):
            batch = super()._following()
            self.count += 1
            if batch is not None and store.rank == 1 and self.count == 4:
                batch.label = [np.full(batch.label[0].shape, np.nan, np.float32)]
            return batch

    joint = sb.io.BucketSentenceIter(corpus(), BATCH, [9], invalid_label=0, seed=1)
    data = Poisoned(joint, store.num_workers, store.rank)
    x = sb.sym.sum(sb.sym.Variable("data"), axis=1, keepdims=True)
    net = sb.sym.LinearRegressionOutput(
        sb.sym.FullyConnected(x, num_hidden=9, name="fc"), sb.sym.Variable("softmax_label")
    )
    module = sb.mod.BucketingModule(lambda key: (net, ("data",), ("softmax_label",)), 9)
    sb.random.seed(1)
    module.fit(
        data,
        num_epoch=1,
        eval_metric="mse",
        kvstore=store,
        on_divergence="skip",
        optimizer_params={"learning_rate": 1e-5},
    )
    values = module.get_params()[0]["fc_weight"].asnumpy()
    assert np.isfinite(values).all()
    np.save(folder / f"weights-{store.rank}.npy", values)


if __name__ == "__main__":
    globals()[sys.argv[1]](Path(sys.argv[2]))
