"""Training by symbucket beside PyTorch's own: the same batches, the same optimizer."""

from __future__ import annotations

import copy
from dataclasses import dataclass

import numpy as np
import torch

import symbucket as sb
from tests.pytorch.networks import Network

STEPS = 5
EPSILON = 1e-6
"""Of Adam, as MXNet adds it: to the root of the mean square before its bias is corrected."""


@dataclass
class Differences:
    """Largest differences over all steps, and of the state after the last one.

    ``drift`` is that of PyTorch's outputs in float32 from its own in float64.
    """

    outputs: float
    state: float
    drift: float


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


def train_torch(module, batches, optimizer: str):
    """The probabilities of every step."""
    module = module.train()
    trained = [p for p in module.parameters() if p.requires_grad]
    if optimizer == "sgd":
        updates = torch.optim.SGD(trained, 0.1)
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


def train_here(sym_gen, batches, optimizer: str, default_key):
    """The probabilities of every step, and the module."""
    module = sb.mod.BucketingModule(sym_gen, default_bucket_key=default_key)
    _, names, labels_names = sym_gen(default_key)
    outputs = []
    for key, inputs, labels in batches:
        data = [sb.io.DataDesc(n, x.shape, x.dtype) for n, x in zip(names, inputs)]
        label = [sb.io.DataDesc(labels_names[0], labels.shape, np.float32)]
        if not module.binded:
            module.bind(data, label)
            module.init_params()
            options = {"learning_rate": 0.1 if optimizer == "sgd" else 1e-3, "rescale_grad": 1.0}
            if optimizer == "adam":
                options["epsilon"] = EPSILON
            module.init_optimizer(optimizer=optimizer, optimizer_params=options)
        batch = sb.io.DataBatch(
            list(inputs),
            [labels.astype(np.float32)],
            bucket_key=key,
            provide_data=data,
            provide_label=label,
        )
        module.forward_backward(batch)
        outputs.append(module.get_outputs()[0].asnumpy())
        module.update()
    return outputs, module


def head(scores: sb.Symbol) -> sb.Symbol:
    """The loss: cross entropy, its gradient averaged over the rows, as PyTorch's is."""
    return sb.sym.SoftmaxOutput(scores, normalization="batch", name="softmax")


def compare(network: Network, sym_gen, module, optimizer: str) -> Differences:
    """Train both for a few steps over two keys."""
    classes = int(
        copy.deepcopy(module)(*map(torch.from_numpy, examples(network)(network.keys[0]))).shape[1]
    )
    batches = Batches(network, classes).batches
    reference, double = copy.deepcopy(module), copy.deepcopy(module).double()
    expected = train_torch(reference, batches, optimizer)
    exact = train_torch(double, batches, optimizer)
    outputs, trained = train_here(sym_gen, batches, optimizer, network.keys[0])
    copy.deepcopy(module).load_state_dict(sym_gen.state_dict(trained))
    state, expected_state = sym_gen.state_dict(trained), reference.state_dict()
    assert state.keys() == expected_state.keys()
    return Differences(
        max(_largest(a - b) for a, b in zip(outputs, expected)),
        max(
            _largest(value.double().numpy() - expected_state[name].double().numpy())
            for name, value in state.items()
            if not name.endswith("num_batches_tracked")
        ),
        max(_largest(a - b) for a, b in zip(exact, expected)),
    )


def _largest(difference) -> float:
    return float(np.max(np.abs(difference), initial=0.0))
