"""Checkpoints with right checksums and strange contents: restored, or refused with no change."""

from __future__ import annotations

import json
import sys
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

import symbucket as sb
from symbucket.checkpoint.whole import WholeCheckpoint
from symbucket.errors import SymbucketError
from tests.fuzz.damage import damaged
from tests.fuzz.folders import folder_of
from tests.fuzz.reading import Case, main, replaced


@cache
def _trained() -> tuple[sb.mod.Module, Any, WholeCheckpoint, bytes]:
    with sb.NameManager():
        net = sb.sym.FullyConnected(sb.sym.Variable("data"), num_hidden=2, name="fc")
        net = sb.sym.SoftmaxOutput(sb.sym.BatchNorm(net, name="bn"), name="softmax")
        module = sb.mod.Module(net)
    batches = sb.io.NDArrayIter(np.eye(8, 3), np.arange(8) % 2, 2, shuffle=True)
    module.bind(batches.provide_data, batches.provide_label)
    module.init_params()
    module.init_optimizer(optimizer="adam")
    module.forward_backward(batches.next())
    module.update()
    manager = sb.CheckpointManager(folder_of("checkpoints"))
    path = Path(manager.save(module, batches, scores={"val-mse": 1.0}).path)
    checkpoint = WholeCheckpoint.read(path)
    content = path.read_bytes()
    path.unlink()
    return module, batches, checkpoint, content


def case(seed: int) -> Case:
    """Return the restoring of a checkpoint with other bytes, values, arrays or names."""
    rng = np.random.default_rng(seed)
    _, _, checkpoint, content = _trained()
    path = folder_of("checkpoints") / "checkpoint-00000001.safetensors"
    arrays, record = dict(checkpoint.arrays), dict(checkpoint.record)
    kind = seed % 6
    if kind == 0:
        content = damaged(content, rng)
        return lambda: _restore(path, content)
    if kind == 1:
        name = list(arrays)[rng.integers(len(arrays))]
        array = arrays.pop(name)
        if rng.random() < 0.7:
            others = [array.astype(np.int32), array[..., None], np.resize(array, 1 << 8)]
            arrays[name + "x" * int(rng.integers(2))] = others[rng.integers(3)]
    else:
        for _ in range(rng.integers(1, 3)):
            tree = replaced(record, rng)
            record = tree if isinstance(tree, dict) else record
    record = json.loads(json.dumps(record))
    return lambda: _restore(path, WholeCheckpoint(arrays, record))


def _restore(path: Path, checkpoint: WholeCheckpoint | bytes) -> None:
    module, batches, _, _ = _trained()
    if isinstance(checkpoint, bytes):
        path.write_bytes(checkpoint)
    else:
        checkpoint.write(path)
    manager = sb.CheckpointManager(path.parent, keep_best="val-mse")
    before = {n: a.asnumpy() for n, a in module.get_params()[0].items()}
    state = batches.state()
    try:
        manager.restore(module, batches, sb.metric.create("mse"))
        manager.best()
    except SymbucketError:
        after = module.get_params()[0]
        assert all(np.array_equal(before[n], after[n].asnumpy()) for n in before), "half restored"
        assert batches.state() == state, "the iterator has moved"
        raise


if __name__ == "__main__":
    sys.exit(main(case, __doc__))
