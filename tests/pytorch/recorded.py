"""Files of PyTorch's exporters, and how their modules train in PyTorch, kept in ``tests/data``.

``python -m tests.pytorch.recorded`` writes them anew; ``tests/symbol/test_torch_files.py`` reads
them where PyTorch is not installed.
"""

from __future__ import annotations

import copy
import json
import sys
from pathlib import Path

import numpy as np

FOLDER = Path(__file__).parents[1] / "data" / "torch_files"
KEYS = (5, 3)
NOTES = ("pkg.torch.onnx.fx_node", "pkg.torch.onnx.name_scopes")


def batches(inputs, classes: int):
    """Five batches of the two keys in turns, with their labels; ``inputs`` makes them for a key."""
    rng = np.random.default_rng(5)
    for step in range(5):
        key = KEYS[step % 2]
        data = inputs(rng, key)
        yield key, (data,), rng.integers(0, classes, len(data))


def sentences(rng, key):
    """Sentences with padding."""
    ids = rng.integers(1, 7, (4, key))
    ids[1, -2:] = 0
    return ids


def pictures(rng, key):
    """Pictures of one channel."""
    return rng.normal(size=(4, 1, key, key)).astype(np.float32)


INPUTS = {"reader": (sentences, 7), "seer": (pictures, 3)}


def main() -> int:
    import torch
    from torch import nn

    from tests.pytorch.routes import ROUTES, write
    from tests.pytorch.training import train_torch

    class Reader(nn.Module):
        """A padded table that the output layer shares, and a layer that is applied twice."""

        def __init__(self):
            super().__init__()
            self.embed = nn.Embedding(7, 4, padding_idx=0)
            self.first, self.second = nn.LayerNorm(4), nn.LayerNorm(4)
            self.layer, self.out = nn.Linear(4, 4), nn.Linear(4, 7, bias=False)
            self.out.weight = self.embed.weight

        def forward(self, ids):
            x = self.layer(self.first(self.embed(ids)))
            return self.out(self.second(self.layer(torch.tanh(x))).mean(1))

    class Seer(nn.Module):
        """A convolution with BatchNorm."""

        def __init__(self):
            super().__init__()
            self.conv, self.norm = nn.Conv2d(1, 2, 3, padding=1), nn.BatchNorm2d(2)
            self.out = nn.Linear(2, 3)

        def forward(self, x):
            return self.out(torch.relu(self.norm(self.conv(x))).mean((2, 3)))

    FOLDER.mkdir(exist_ok=True)
    numbers = {"torch": torch.__version__}
    for name, make in (("reader", Reader), ("seer", Seer)):
        inputs, classes = INPUTS[name]
        for route in ROUTES:
            if not route.dynamic or not route.options:
                continue
            torch.manual_seed(0)
            module = make().train()
            example = (torch.from_numpy(inputs(np.random.default_rng(0), KEYS[0])),)
            axes = [[0, 1] if name == "reader" else [0, 2, 3]]
            model = write(module, example, axes, route.options)
            for node in model.graph.node:  # where files of this machine lie is left out
                notes = [p for p in node.metadata_props if p.key in NOTES]
                del node.metadata_props[:]
                node.metadata_props.extend(notes)
                node.doc_string = ""
            title = f"{name}-{route.name.replace(', ', '-').replace('=', '-')}"
            (FOLDER / f"{title}.onnx").write_bytes(model.SerializeToString())
            numbers[title] = {}
            for optimizer in ("sgd", "adam"):
                trained = copy.deepcopy(module)
                outputs = train_torch(trained, list(batches(inputs, classes)), optimizer)
                numbers[title][optimizer] = {
                    "outputs": [np.round(p.astype(float), 8).tolist() for p in outputs],
                    "states": {
                        key: value.double().numpy().round(7).tolist()
                        for key, value in trained.state_dict().items()
                        if "running" in key
                    },
                }
    (FOLDER / "numbers.json").write_text(json.dumps(numbers) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
