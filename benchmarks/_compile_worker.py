"""The worker's side of the compile benchmark: one network made ready, in a process of its own.

The job comes as JSON in the first argument, the result goes as JSON to standard output. Times are
CPU seconds of the main thread, which makes symbols, compiles, and does its share of a step. Other
threads of the runtime do the rest of it; a new one spins for some 20 milliseconds while it waits.

A first step takes longer than the next ones because it is the first to touch the memory of the
activations: a page fault for every 4 KB. That is no part of compiling, so the time that sessions
run is measured by itself.
"""

from __future__ import annotations

import gc
import json
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

import symbucket as sb
from symbucket.compiler import CompilerOptions
from symbucket.runtime.arena import Arena
from symbucket.runtime.session import Session


class RunClock:
    """Counts the seconds that sessions run, without what the arena does to make room for them.

    As all seconds here they are those of the main thread, which runs one of the shards of a step.
    """

    def __init__(self) -> None:
        self.seconds = 0.0
        self._runs = False
        run, expect = Session.run, Arena.expect

        def timed_run(session: Session) -> None:
            if threading.current_thread() is threading.main_thread():
                start, self._runs = time.thread_time(), True
                run(session)
                self._runs = False
                self.seconds += time.thread_time() - start
            else:
                run(session)

        def timed_expect(arena: Arena, need: int) -> None:
            start = time.thread_time()
            expect(arena, need)
            if self._runs:  # shards make room before they run
                self.seconds -= time.thread_time() - start

        Session.run, Arena.expect = timed_run, timed_expect  # type: ignore[method-assign]


def resident() -> float:
    """KB of the process in memory; 0 where there is no /proc."""
    gc.collect()
    status = Path("/proc/self/status")
    if not status.exists():
        return 0.0
    lines = status.read_text(encoding="ascii").splitlines()
    return next(float(line.split()[1]) for line in lines if line.startswith("VmRSS:"))


def cell(kind: str, hidden: int, prefix: str) -> Any:
    """A cell of one layer by its name."""
    if kind == "bi-gru":
        left, right = (sb.rnn.GRUCell(hidden // 2, prefix=f"{prefix}{way}_") for way in "lr")
        return sb.rnn.BidirectionalCell(left, right, output_prefix=prefix)
    if kind == "zoneout":
        return sb.rnn.ZoneoutCell(sb.rnn.LSTMCell(hidden, prefix=prefix), zoneout_states=0.1)
    if kind == "residual":
        return sb.rnn.ResidualCell(sb.rnn.LSTMCell(hidden, prefix=prefix))
    if kind == "fused":
        return sb.rnn.FusedRNNCell(hidden, mode="lstm", prefix=prefix)
    cells = {"rnn": sb.rnn.RNNCell, "lstm": sb.rnn.LSTMCell, "gru": sb.rnn.GRUCell}
    return cells[kind](hidden, prefix=prefix)


def network(job: dict[str, Any]) -> Callable[[int], Any]:
    """``sym_gen`` of a language model."""

    def sym_gen(length: int) -> Any:
        hidden, vocabulary = job["hidden"], job["vocabulary"]
        embedded = sb.sym.Embedding(
            sb.sym.Variable("data"), input_dim=vocabulary, output_dim=hidden, name="embed"
        )
        stack = sb.rnn.SequentialRNNCell()
        for layer in range(job["layers"]):
            stack.add(cell(job["cell"], hidden, f"layer{layer}_"))
        outputs, _ = stack.unroll(length, embedded, layout="NTC", merge_outputs=True)
        scores = sb.sym.FullyConnected(
            sb.sym.Reshape(outputs, shape=(-1, hidden)), num_hidden=vocabulary, name="pred"
        )
        label = sb.sym.Reshape(sb.sym.Variable("softmax_label"), shape=(-1,))
        symbol = sb.sym.SoftmaxOutput(
            scores, label, name="softmax", use_ignore=True, ignore_label=0, normalization="valid"
        )
        return symbol, ("data",), ("softmax_label",)

    return sym_gen


class Trainer:
    """A module that is trained on one batch of each length."""

    def __init__(self, job: dict[str, Any], longest: int) -> None:
        self.batch = job["batch"]
        self.symbol_seconds = 0.0
        self._sym_gen = network(job)
        self._metric = sb.metric.Perplexity(0)
        self.module = sb.mod.BucketingModule(
            self._timed, longest, options=CompilerOptions(cache_dir=job.get("cache_dir"))
        )
        shape = (self.batch, longest)
        self.module.bind([("data", shape)], [("softmax_label", shape)])
        start = time.thread_time()
        self.module.init_params(sb.init.Uniform(0.08))
        self.init_seconds = time.thread_time() - start
        self.module.init_optimizer(optimizer="sgd", optimizer_params={"rescale_grad": 1.0})

    def _timed(self, length: int) -> Any:
        start = time.thread_time()
        symbol = self._sym_gen(length)
        self.symbol_seconds += time.thread_time() - start
        return symbol

    def step(self, length: int) -> None:
        """One step on ids that are all 1."""
        shape = (self.batch, length)
        ids = sb.nd.array(np.ones(shape, np.float32))
        described = [("data", shape)], [("softmax_label", shape)]
        batch = sb.io.DataBatch([ids], [ids], 0, None, length, *described)
        self.module.forward_backward(batch)
        self.module.update()


def measure(job: dict[str, Any]) -> dict[str, Any]:
    """Seconds from nothing to the end of each length's first step, and of one more step each."""
    lengths = job["lengths"]
    warm = {**job, "cell": "rnn", "layers": 1, "hidden": 8, "vocabulary": 10, "cache_dir": None}
    Trainer(warm, 5).step(5)  # what the process does once
    clock = RunClock()
    start = time.thread_time()
    trainer = Trainer(job, max(lengths))
    trainer.step(max(lengths))
    largest = time.thread_time() - start - trainer.init_seconds
    rest = [length for length in lengths if length != max(lengths)]
    before, first = resident(), time.thread_time()
    for length in rest:
        trainer.step(length)
    end, runs = time.thread_time(), clock.seconds
    after = resident()
    again = time.thread_time()
    for length in lengths:
        trainer.step(length)
    return {
        "symbols": trainer.symbol_seconds,
        "ready": largest + end - first,
        "runs": runs,
        "later": end - first,
        "steps": time.thread_time() - again,
        "kilobytes": (after - before) / max(len(rest), 1),
        "threads": threads(),
    }


def threads() -> int:
    """Threads of the process."""
    tasks = Path("/proc/self/task")
    return len(list(tasks.iterdir())) if tasks.exists() else 0


if __name__ == "__main__":
    print(json.dumps(measure(json.loads(sys.argv[1]))))
