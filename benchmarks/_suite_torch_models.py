"""The suite's networks in PyTorch, as PyTorch runs them best: nn.LSTM, fused attention.

Every model takes a batch of tensors by name and returns the mean loss. Parameters have symbucket's
names; ``recurrent`` says what nn.LSTM and nn.GRU call theirs.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from _suite_workloads import IGNORED, Workload
from torch import nn
from torch.nn import functional

Tensors = Mapping[str, torch.Tensor]
MODELS: dict[str, Callable[[Workload, str], Model]] = {}


def model_of(workload: Workload, way: str) -> Model:
    """The model of a workload, written for one of its ways."""
    name = workload.name
    return MODELS.get(name, MODELS.get(name.partition("-")[0]))(workload, way)  # type: ignore[misc]


def _model(*names: str) -> Callable[[Any], Any]:
    def add(model: Any) -> Any:
        MODELS.update(dict.fromkeys(names, model))
        return model

    return add


class Model(nn.Module):
    """Parameters by symbucket's names with dots for what modules of PyTorch hold."""

    def __init__(self, workload: Workload, way: str) -> None:
        super().__init__()
        self.sizes = workload.sizes
        self.ignores = workload.ignores
        self.way = way
        self.held: dict[str, nn.Parameter] = {}

    def hold(self, parameters: Mapping[str, Any]) -> None:
        """Set the values of all parameters; those that no module has become the model's own."""
        for name, value in parameters.items():
            tensor = torch.from_numpy(value.copy())
            if name in self.held:
                self.held[name].data.copy_(tensor)
            else:
                self.register_parameter(name, nn.Parameter(tensor))

    def recurrent(self, module: nn.Module, prefixes: Mapping[str, str]) -> Any:
        """A module whose parameters end in ``suffix``, such as l0, under symbucket's ``prefix``."""
        for suffix, prefix in prefixes.items():
            for kind in ("weight", "bias"):
                self.held[f"{prefix}i2h_{kind}"] = getattr(module, f"{kind}_ih_{suffix}")
                self.held[f"{prefix}h2h_{kind}"] = getattr(module, f"{kind}_hh_{suffix}")
        return module

    def embed(self, ids: torch.Tensor, name: str = "embed") -> torch.Tensor:
        return functional.embedding(ids, getattr(self, f"{name}_weight"), sparse=self.way == "rows")

    def linear(self, x: torch.Tensor, name: str) -> torch.Tensor:
        weight, bias = getattr(self, f"{name}_weight"), getattr(self, f"{name}_bias")
        return functional.linear(x, weight, bias)

    def loss(self, x: torch.Tensor, label: torch.Tensor) -> torch.Tensor:
        """Mean cross entropy of rows; way "rows" leaves ignored ones out before the product."""
        x, label = x.flatten(0, -2), label.flatten()
        if self.ignores and self.way == "rows":
            rows = label.nonzero().squeeze(1)
            x, label = x.index_select(0, rows), label.index_select(0, rows)
        scores = self.linear(x, "pred")
        return functional.cross_entropy(
            scores, label, ignore_index=IGNORED if self.ignores else -100
        )


@_model("lm", "lstm")
class LSTMModel(Model):
    def __init__(self, workload: Workload, way: str) -> None:
        super().__init__(workload, way)
        hidden, layers = self.sizes["hidden"], self.sizes["layers"]
        prefixes = {f"l{layer}": f"lstm_l{layer}_" for layer in range(layers)}
        self.lstm = self.recurrent(nn.LSTM(hidden, hidden, layers), prefixes)

    def forward(self, batch: Tensors) -> torch.Tensor:
        # Time first, nn.LSTM's own order.
        states, _ = self.lstm(self.embed(batch["data"].t()))
        return self.loss(states, batch["softmax_label"].t())


@_model("gru-tagger")
class Tagger(Model):
    def __init__(self, workload: Workload, way: str) -> None:
        super().__init__(workload, way)
        gru = nn.GRU(self.sizes["hidden"], self.sizes["hidden"], bidirectional=True)
        self.gru = self.recurrent(gru, {"l0": "left_", "l0_reverse": "right_"})

    def forward(self, batch: Tensors) -> torch.Tensor:
        states, _ = self.gru(self.embed(batch["data"].t()))
        return self.loss(states, batch["softmax_label"].t())


@_model("seq2seq")
class Translator(Model):
    def __init__(self, workload: Workload, way: str) -> None:
        super().__init__(workload, way)
        hidden = self.sizes["hidden"]
        gru = nn.GRU(hidden, hidden, bidirectional=True)
        self.gru = self.recurrent(gru, {"l0": "forward_", "l0_reverse": "backward_"})

    def forward(self, batch: Tensors) -> torch.Tensor:
        both, last = self.gru(self.embed(batch["source"].t(), "source_embed"))
        both = both.transpose(0, 1).contiguous()
        memory = self.linear(both, "memory")
        state = torch.tanh(self.linear(torch.cat([last[0], last[1]], 1), "start"))
        words = self.embed(batch["target"].t(), "target_embed")
        rows = []
        for word in words.unbind(0):
            asked = functional.linear(state, self.query_weight)
            met = torch.tanh(memory + asked.unsqueeze(1))
            weights = torch.softmax(functional.linear(met, self.score_weight).squeeze(2), 1)
            seen = torch.bmm(weights.unsqueeze(1), both).squeeze(1)
            state = torch.gru_cell(
                torch.cat([word, seen], 1),
                state,
                self.decoder_i2h_weight,
                self.decoder_h2h_weight,
                self.decoder_i2h_bias,
                self.decoder_h2h_bias,
            )
            rows.append(torch.cat([state, seen], 1))
        return self.loss(torch.stack(rows), batch["softmax_label"].t())


@_model("tree")
class Tree(Model):
    def forward(self, batch: Tensors) -> torch.Tensor:
        key: Any = batch["key"]
        leaves = iter(self.embed(batch["leaves"].t()).unbind(0))
        stack: list[torch.Tensor] = []
        for sign in key:
            if sign == ".":
                stack.append(next(leaves))
            elif sign == ")":
                stack[-2:] = [torch.tanh(self.linear(torch.cat(stack[-2:], 1), "join"))]
        return self.loss(stack[0], batch["softmax_label"])


@_model("transformer")
class Transformer(Model):
    def norm(self, x: torch.Tensor, name: str) -> torch.Tensor:
        gamma, beta = getattr(self, f"{name}_gamma"), getattr(self, f"{name}_beta")
        return functional.layer_norm(x, gamma.shape, gamma, beta)

    def forward(self, batch: Tensors) -> torch.Tensor:
        data = batch["data"]
        rows, steps = data.shape
        width, heads = self.sizes["width"], self.sizes["heads"]
        x = functional.embedding(data, self.embed_weight) + self.position_weight[:steps]
        for layer in range(self.sizes["layers"]):
            qkv = self.linear(self.norm(x, f"l{layer}_before"), f"l{layer}_qkv")
            qkv = qkv.view(rows, steps, 3, heads, width // heads).permute(2, 0, 3, 1, 4)
            seen = functional.scaled_dot_product_attention(*qkv.unbind(0), is_causal=True)
            seen = seen.transpose(1, 2).reshape(rows, steps, width)
            x = x + self.linear(seen, f"l{layer}_out")
            y = self.linear(self.norm(x, f"l{layer}_after"), f"l{layer}_up")
            x = x + self.linear(functional.gelu(y), f"l{layer}_down")
        return self.loss(self.norm(x, "last"), batch["softmax_label"])


@_model("cnn")
class ConvolutionalNetwork(Model):
    def __init__(self, workload: Workload, way: str) -> None:
        super().__init__(workload, way)
        for i in range(self.sizes["layers"]):
            self.register_buffer(f"mean{i}", torch.zeros(32 << i))
            self.register_buffer(f"var{i}", torch.ones(32 << i))

    def forward(self, batch: Tensors) -> torch.Tensor:
        x = batch["data"]
        for i in range(self.sizes["layers"]):
            x = functional.conv2d(x, getattr(self, f"conv{i}_weight"), padding=1)
            x = functional.batch_norm(
                x,
                getattr(self, f"mean{i}"),
                getattr(self, f"var{i}"),
                getattr(self, f"norm{i}_gamma"),
                getattr(self, f"norm{i}_beta"),
                training=True,
            )
            x = functional.max_pool2d(functional.relu(x), 2)
        return self.loss(x.flatten(1), batch["softmax_label"])


@_model("ctc")
class Speech(Model):
    def __init__(self, workload: Workload, way: str) -> None:
        super().__init__(workload, way)
        lstm = nn.LSTM(40, self.sizes["hidden"], bidirectional=True)
        self.lstm = self.recurrent(lstm, {"l0": "left_", "l0_reverse": "right_"})

    def forward(self, batch: Tensors) -> torch.Tensor:
        states, _ = self.lstm(batch["data"].transpose(0, 1))
        scores = torch.log_softmax(self.linear(states, "pred"), 2)
        label = batch["label"]
        steps, rows, _ = scores.shape
        lengths = torch.full((rows,), steps), torch.full((rows,), label.shape[1])
        return functional.ctc_loss(scores, label, *lengths, reduction="sum") / rows
