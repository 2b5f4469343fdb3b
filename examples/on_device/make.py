#!/usr/bin/env python3
"""Write a network's training to files, for devices that have only ONNX Runtime.

    python examples/on_device/make.py device
    python examples/on_device/train.py device         # numpy and onnxruntime, no symbucket
    node examples/on_device/train.mjs device          # after: npm install onnxruntime-node

The network says whether a sequence of numbers rises or falls: an LSTM for two bucket keys, trained
for a while here. Then the gradient graph of each key, the optimizer's graph and all values go into
files, and batches with what this program learns from them, for the other two to compare with.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np

import symbucket as sb

KEYS = [6, 12]
BATCH = 8


def sym_gen(key: int) -> tuple[sb.Symbol, tuple[str, ...], tuple[str, ...]]:
    """Return the network of a length: LSTM, last output, two classes."""
    cell = sb.rnn.LSTMCell(num_hidden=16, prefix="lstm_")
    outputs, _ = cell.unroll(key, sb.sym.Variable("data"), layout="NTC", merge_outputs=False)
    scores = sb.sym.FullyConnected(outputs[-1], num_hidden=2, name="scores")
    return sb.sym.SoftmaxOutput(scores, name="softmax"), ("data",), ("softmax_label",)


def samples(count: int, seed: int) -> tuple[list[int], list[np.ndarray], list[int]]:
    """Return keys, sequences that rise or fall with noise, and classes."""
    rng = np.random.default_rng(seed)
    keys = rng.choice(KEYS, count).tolist()
    classes = rng.integers(0, 2, count).tolist()
    data = [
        (np.linspace(0, 1 if rising else -1, key) + rng.normal(0, 0.5, key))[:, None]
        for key, rising in zip(keys, classes)
    ]
    return keys, data, classes


def iterator(count: int, seed: int) -> sb.io.KeyedIter:
    """Return batches of both keys."""
    keys, data, classes = samples(count, seed)
    return sb.io.KeyedIter(keys, data, classes, BATCH, seed=seed)


def main() -> None:
    """Train, export, train on, and write what was learnt."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, help="where to write")
    parser.add_argument("--steps", type=int, default=100, help="updates to compare")
    args = parser.parse_args()
    sb.random.seed(0)
    train = iterator(400, seed=1)
    module = sb.mod.BucketingModule(sym_gen, train.default_bucket_key)
    schedule = sb.lr_scheduler.FactorScheduler(step=30, factor=0.9)
    module.fit(
        train,
        num_epoch=1,
        optimizer="adam",
        optimizer_params={"learning_rate": 0.005, "lr_scheduler": schedule, "wd": 1e-3},
    )
    module.export_training(args.folder / "training", updates=args.steps)
    print(f"wrote {args.folder / 'training'}")

    # The same steps here, for the others to compare with.
    more = sb.io.ResizeIter(iterator(400, seed=2), args.steps)
    batches, losses = [], []
    for batch in more:
        data, label = (np.asarray(a[0], np.float32) for a in (batch.data, batch.label))
        module.forward_backward(batch)
        module.update()
        probability = module.get_outputs()[0].asnumpy()[np.arange(BATCH), label.astype(int)]
        losses.append(float(-np.log(probability).mean()))
        batches.append(
            {
                "key": batch.bucket_key,
                "data": data.ravel().tolist(),
                "softmax_label": label.ravel().tolist(),
            }
        )
    values = {n: a.asnumpy().ravel().tolist() for n, a in module.get_params()[0].items()}
    text = json.dumps({"batches": batches, "losses": losses, "parameters": values})
    (args.folder / "batches.json").write_text(text)
    print(
        f"loss of the first ten steps {np.mean(losses[:10]):.4f}, "
        f"of the last ten {np.mean(losses[-10:]):.4f}"
    )


if __name__ == "__main__":
    main()
