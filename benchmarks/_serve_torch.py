"""PyTorch's part of the serving benchmark, in a process of its own: exports, and answers.

    python _serve_torch.py FILE.onnx     write the dynamic model, then read commands from stdin

Commands are ``mixed`` and ``single``; each prints the seconds that all requests took.
"""

from __future__ import annotations

import sys
import time
import warnings

import torch
from _serve_network import (
    BATCH,
    CLASSES,
    COUNTS,
    LAYERS,
    UNITS,
    WORDS,
    padded,
    parameters,
    requests,
    sorted_batches,
)


class Tagger(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embed = torch.nn.Embedding(WORDS, UNITS)
        self.lstm = torch.nn.LSTM(UNITS, UNITS, LAYERS, batch_first=True)
        self.pred = torch.nn.Linear(UNITS, CLASSES)

    def forward(self, words: torch.Tensor) -> torch.Tensor:
        outputs, _ = self.lstm(self.embed(words))
        return torch.softmax(self.pred(outputs), -1)


def model() -> Tagger:
    net, weights = Tagger().eval(), parameters()
    names = {"embed.weight": "embed_weight", "pred.weight": "pred_weight", "pred.bias": "pred_bias"}
    for layer in range(LAYERS):
        for kind in ("weight", "bias"):
            names[f"lstm.{kind}_ih_l{layer}"] = f"l{layer}_i2h_{kind}"
            names[f"lstm.{kind}_hh_l{layer}"] = f"l{layer}_h2h_{kind}"
    net.load_state_dict({ours: torch.from_numpy(weights[name]) for ours, name in names.items()})
    return net


def main() -> None:
    net, sentences = model(), requests(COUNTS["mixed"])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            net,
            (torch.zeros(2, 7, dtype=torch.long),),
            sys.argv[1],
            input_names=["words"],
            output_names=["tags"],
            dynamic_axes={"words": {0: "batch", 1: "length"}, "tags": {0: "batch", 1: "length"}},
            opset_version=17,
            dynamo=False,
        )
    print(torch.__version__, flush=True)
    with torch.inference_mode():
        for line in sys.stdin:
            began = time.perf_counter()
            if line.strip() == "mixed":
                answers = {}
                for members in sorted_batches(sentences, BATCH):
                    tags = net(torch.from_numpy(padded(sentences, members))).numpy()
                    for row, i in enumerate(members):
                        answers[i] = tags[row, : len(sentences[i])].copy()
            else:
                for words in sentences[: COUNTS["single"]]:
                    net(torch.from_numpy(words[None])).numpy()
            print(time.perf_counter() - began, flush=True)


if __name__ == "__main__":
    main()
