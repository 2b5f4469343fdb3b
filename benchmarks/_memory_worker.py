"""The worker's side of the memory benchmark: one scenario in a process of its own.

The scenario comes as JSON in the first argument, the result goes as JSON to standard output.
"""

from __future__ import annotations

import contextlib
import gc
import json
import sys
import time
from pathlib import Path
from typing import Any


def resident(what: str = "VmRSS") -> float:
    """MB of the process in memory now; ``VmHWM``: the most so far."""
    for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines():
        if line.startswith(what + ":"):
            return int(line.split()[1]) / 1024
    raise OSError(f"/proc/self/status has no {what}")


STARTED = resident()

import numpy as np  # noqa: E402
import onnxruntime  # noqa: E402

import symbucket as sb  # noqa: E402
from symbucket.runtime.arena import arena_of, separate_arenas, trim  # noqa: E402

IMPORTED = resident()


class Trainer:
    """A bucketed language model, as small or large as the scenario says."""

    def __init__(self, job: dict[str, Any]) -> None:
        self.job = job
        self.rng = np.random.default_rng(job.get("seed", 0))
        self.metric = sb.metric.Perplexity(0)
        longest = max(job["buckets"])
        self.module = sb.mod.BucketingModule(self.network, default_bucket_key=longest)
        shape = (job["batch"], longest)
        self.module.bind([("data", shape)], [("softmax_label", shape)])
        self.module.init_params(sb.init.Uniform(0.08))
        self.module.init_optimizer(
            optimizer="sgd", optimizer_params={"learning_rate": 0.1, "rescale_grad": 1.0}
        )

    def network(self, length: int) -> Any:
        job = self.job
        x = sb.sym.Embedding(
            sb.sym.Variable("data"),
            input_dim=job["vocabulary"],
            output_dim=job["hidden"],
            name="embed",
        )
        cells = sb.rnn.SequentialRNNCell()
        for layer in range(job["layers"]):
            cells.add(sb.rnn.LSTMCell(job["hidden"], prefix=f"lstm_l{layer}_"))
        out, _ = cells.unroll(length, x, layout="NTC", merge_outputs=True)
        flat = sb.sym.Reshape(out, shape=(-1, job["hidden"]))
        scores = sb.sym.FullyConnected(flat, num_hidden=job["vocabulary"], name="pred")
        label = sb.sym.Reshape(sb.sym.Variable("softmax_label"), shape=(-1,))
        return sb.sym.SoftmaxOutput(
            scores, label, name="softmax", use_ignore=True, ignore_label=0, normalization="valid"
        )

    def batch(self, length: int) -> sb.io.DataBatch:
        """Sentences of up to ``length`` words, all longer than the next smaller bucket."""
        rows = self.job["batch"]
        shorter = max((k for k in self.job["buckets"] if k < length), default=0)
        data = self.rng.integers(1, self.job["vocabulary"], (rows, length))
        for row, words in enumerate(self.rng.integers(shorter + 1, length + 1, rows)):
            data[row, words:] = 0
        label = np.zeros_like(data)
        label[:, :-1] = data[:, 1:]
        return sb.io.DataBatch(
            [data.astype(np.float32)],
            [label.astype(np.float32)],
            bucket_key=length,
            provide_data=[("data", data.shape)],
            provide_label=[("softmax_label", data.shape)],
        )

    def step(self, batch: sb.io.DataBatch) -> float:
        """One step as ``fit`` takes it; gives its seconds."""
        start = time.perf_counter()
        measuring = self.module.measuring(self.metric)
        with contextlib.nullcontext() if self.job["outputs"] else measuring:
            self.module.forward_backward(batch)
        self.module.update()
        self.module.update_metric(self.metric, batch.label)
        return time.perf_counter() - start


def memory(job: dict[str, Any]) -> dict[str, Any]:
    """Train on ``job["order"]``, then ``job["late"]``, and take the process apart."""
    apart = separate_arenas() if job.get("separate") else contextlib.nullcontext()
    trainer = Trainer(job)
    bound = resident()
    with apart:
        for key in [*job["order"], *job.get("late", [])]:
            trainer.step(trainer.batch(key))
    whole, peak = resident(), resident("VmHWM")
    store = trainer.module.store
    arrays = [*store.args.values(), *store.grads.values()]
    pool = trainer.module.executor_stats().pool_nbytes / 2**20
    parts = {"start": STARTED, "import": IMPORTED, "bound": bound, "whole": whole, "peak": peak}
    arena_of(sb.cpu()).release()
    released = resident()
    trainer.module = None
    del store
    gc.collect()
    trim()
    parts["parameters"] = sum(a.nbytes for a in arrays) / 2**20
    parts["outputs"] = pool
    parts["activations"] = whole - released + pool
    parts["sessions"] = released - resident() - pool
    parts["rest"] = whole - parts["activations"] - parts["sessions"] - parts["parameters"]
    return parts


def speed(job: dict[str, Any]) -> dict[str, Any]:
    """Medians of steps with the shared arena and with separate ones, in alternation."""
    together, alone = Trainer(job), Trainer(job)
    for key in job["buckets"]:
        together.step(together.batch(key))
        with separate_arenas():
            alone.step(alone.batch(key))
    times: dict[int, tuple[list[float], list[float]]] = {k: ([], []) for k in job["buckets"]}
    for turn in range(job["turns"]):
        for key in together.rng.permutation(job["buckets"]):
            batch = together.batch(int(key))
            pair = [(together, 0), (alone, 1)]
            for trainer, side in pair if turn % 2 else pair[::-1]:
                times[int(key)][side].append(trainer.step(batch))
    ratios = {k: float(np.median(a) / np.median(b)) for k, (a, b) in times.items()}
    seconds = {k: float(np.median(a)) for k, (a, _) in times.items()}
    return {"ratios": ratios, "seconds": seconds}


def endurance(job: dict[str, Any]) -> dict[str, Any]:
    """Memory over many steps with random keys."""
    trainer = Trainer(job)
    for key in job["buckets"]:
        trainer.step(trainer.batch(key))
    points = []
    every = max(1, job["steps"] // 20)
    start = time.perf_counter()
    for number in range(job["steps"]):
        trainer.step(trainer.batch(int(trainer.rng.choice(job["buckets"]))))
        if (number + 1) % every == 0:
            points.append([number + 1, resident()])
    return {"points": points, "seconds": time.perf_counter() - start}


def main() -> None:
    job = json.loads(sys.argv[1])
    result = {"memory": memory, "speed": speed, "endurance": endurance}[job["do"]](job)
    versions = {"onnxruntime": onnxruntime.__version__, "numpy": np.__version__}
    versions |= {"symbucket": sb.__version__, "python": sys.version.split()[0]}
    print(json.dumps({**result, "versions": versions}))


if __name__ == "__main__":
    main()
