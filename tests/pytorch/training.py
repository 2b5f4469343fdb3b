"""Training by symbucket beside PyTorch's own: the same batches, the same optimizer."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from tests.pytorch.networks import Network
from tests.pytorch.trainer import EPSILON, Trainer

STEPS = 5


@dataclass
class Differences:
    """Largest differences of probabilities over all steps, and of the state after the last one."""

    outputs: float
    state: float
    drift: float
    """Of PyTorch's outputs from its own in float64, and from parameters moved by 1e-7."""
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
        updates = torch.optim.Adam(trained, learning_rate / 100, eps=EPSILON)
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
        moved = [_moved(module, seed) for seed in range(5)]
        others = [(train_torch(m, batches, optimizer, network.learning_rate), m) for m in moved]
        outputs = trainer.train(batches, optimizer, network.learning_rate)
        differences[optimizer] = Differences(
            _difference(outputs, expected),
            _of_state(_state(sym_gen, trainer.module, module), reference.state_dict()),
            max(_difference(one, expected) for one, _ in [(exact, double), *others]),
            max(_of_state(m.state_dict(), reference.state_dict()) for m in (double, *moved)),
        )
    return differences


def _moved(module, seed: int):
    """A copy that begins next to it: whether that decides about an element of a Relu or a pool."""
    moved, generator = copy.deepcopy(module), torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in moved.parameters():
            parameter *= 1 + 1e-7 * torch.randn(parameter.shape, generator=generator)
    return moved


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


def _difference(outputs, expected) -> float:
    """The largest difference of the outputs of all steps."""
    return max(_largest(a - b) for a, b in zip(outputs, expected, strict=True))


def _largest(difference) -> float:
    return float(np.max(np.abs(difference), initial=0.0))
