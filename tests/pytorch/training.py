"""Training by symbucket beside PyTorch's own: the same batches, the same optimizer."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

import symbucket as sb
from tests.pytorch.networks import Network

STEPS = 5
EPSILON = 1e-6
"""Of Adam, as MXNet adds it: to the root of the mean square before its bias is corrected."""


@dataclass
class Differences:
    """Largest differences of probabilities over all steps, and of the state after the last one."""

    outputs: float
    state: float
    drift: float
    """Of PyTorch's outputs in float32 from its own in float64."""
    state_drift: float


class Batches:
    """Batches of the two keys in turns, with their labels."""

    def __init__(self, network: Network, classes: int) -> None:
        rng = np.random.default_rng(3)
        self.batches = []
        for step in range(STEPS):
            key = network.keys[step % 2]
            labels = rng.integers(0, classes, network.rows(key))
            self.batches.append((key, network.inputs(rng, key), labels))


def examples(network: Network):
    """A function from keys to example inputs."""
    return lambda key: network.inputs(np.random.default_rng(1), key)


def train_torch(module, batches, optimizer: str, learning_rate: float = 0.1):
    """The probabilities of every step."""
    module = module.train()
    trained = [p for p in module.parameters() if p.requires_grad]
    if optimizer == "sgd":
        updates = torch.optim.SGD(trained, learning_rate)
    else:
        updates = torch.optim.Adam(trained, 1e-3, eps=EPSILON)
    dtype = trained[0].dtype
    outputs = []
    for step, (_, inputs, labels) in enumerate(batches, 1):
        if optimizer == "adam":  # PyTorch adds it after the correction
            updates.param_groups[0]["eps"] = EPSILON / (1 - 0.999**step) ** 0.5
        tensors = [torch.from_numpy(x) for x in inputs]
        tensors = [t.to(dtype) if t.is_floating_point() else t for t in tensors]
        updates.zero_grad()
        scores = module(*tensors)
        torch.nn.functional.cross_entropy(scores, torch.from_numpy(labels)).backward()
        updates.step()
        outputs.append(torch.softmax(scores, 1).detach().numpy())
    return outputs


class Trainer:
    """A bound module that starts anew for each optimizer; its graphs are compiled once."""

    def __init__(self, sym_gen, default_key):
        self.module = sb.mod.BucketingModule(sym_gen, default_bucket_key=default_key)
        _, self._names, self._labels = sym_gen(default_key)
        self._start = None

    def train(self, batches, optimizer: str, learning_rate: float = 0.1):
        """The probabilities of every step."""
        outputs = []
        for step, (key, inputs, labels) in enumerate(batches):
            batch = self._batch(key, inputs, labels)
            if step == 0:
                self._begin(batch, optimizer, learning_rate)
            self.module.forward_backward(batch)
            outputs.append(self.module.get_outputs()[0].asnumpy())
            self.module.update()
        return outputs

    def _batch(self, key, inputs, labels):
        data = [sb.io.DataDesc(n, x.shape, x.dtype) for n, x in zip(self._names, inputs)]
        label = [sb.io.DataDesc(self._labels[0], labels.shape, np.float32)]
        return sb.io.DataBatch(
            list(inputs),
            [labels.astype(np.float32)],
            bucket_key=key,
            provide_data=data,
            provide_label=label,
        )

    def _begin(self, batch, optimizer: str, learning_rate: float) -> None:
        module = self.module
        if not module.binded:
            module.bind(batch.provide_data, batch.provide_label)
            module.init_params()
            arguments, states = module.get_params()
            self._start = tuple({n: v.copy() for n, v in p.items()} for p in (arguments, states))
        module.set_params(*self._start)
        options = {"learning_rate": learning_rate, "rescale_grad": 1.0}
        if optimizer == "adam":
            options |= {"learning_rate": 1e-3, "epsilon": EPSILON}
        module.init_optimizer(optimizer=optimizer, optimizer_params=options, force_init=True)


def head(scores: sb.Symbol) -> sb.Symbol:
    """The loss: cross entropy, its gradient averaged over the rows, as PyTorch's is."""
    return sb.sym.SoftmaxOutput(scores, normalization="batch", name="softmax")


def compare(network: Network, sym_gen, module) -> dict[str, Differences]:
    """Train both for a few steps over two keys, by SGD and by Adam."""
    reference = copy.deepcopy(module).train()
    with torch.no_grad():
        scores = reference(*map(torch.from_numpy, examples(network)(network.keys[0])))
    batches = Batches(network, int(scores.shape[1])).batches
    trainer = Trainer(sym_gen, network.keys[0])
    differences = {}
    for optimizer in ("sgd", "adam"):
        reference, double = copy.deepcopy(module), copy.deepcopy(module).double()
        expected = train_torch(reference, batches, optimizer, network.learning_rate)
        exact = train_torch(double, batches, optimizer, network.learning_rate)
        outputs = trainer.train(batches, optimizer, network.learning_rate)
        differences[optimizer] = Differences(
            max(_largest(a - b) for a, b in zip(outputs, expected, strict=True)),
            _of_state(_state(sym_gen, trainer.module, module), reference.state_dict()),
            max(_largest(a - b) for a, b in zip(exact, expected, strict=True)),
            _of_state(double.state_dict(), reference.state_dict()),
        )
    return differences


def _state(sym_gen, trained, module) -> dict[str, Any]:
    """Parameters and statistics by name: those of the module, or of a file."""
    if not hasattr(sym_gen, "state_dict"):
        return {name: v.asnumpy() for part in trained.get_params() for name, v in part.items()}
    state = sym_gen.state_dict(trained)
    assert state.keys() == module.state_dict().keys()
    copy.deepcopy(module).load_state_dict(state)
    return state


def _of_state(state, expected) -> float:
    """The largest difference, over what has the same name and shape."""
    return max(
        (
            _largest(np.asarray(value, np.float64) - np.asarray(expected[name], np.float64))
            for name, value in state.items()
            if name in expected
            and value.shape == tuple(expected[name].shape)
            and not name.endswith("num_batches_tracked")
        ),
        default=0.0,
    )


def _largest(difference) -> float:
    return float(np.max(np.abs(difference), initial=0.0))
