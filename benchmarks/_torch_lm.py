"""The language model in PyTorch.

Variant "plain" is how the model is usually written; "tuned" adds what an expert may try on top:
row-sparse gradients of the embedding, and no vocabulary product for rows whose label is ignored.
Steps are taken one sentence position after another ("time-major"), nn.LSTM's own order.
"""

from __future__ import annotations

import time
from collections.abc import Sequence

import torch
from _lm_data import IGNORED, Batch
from _lm_worker import Engine, Step, serve
from torch import nn
from torch.nn import functional


class LanguageModel(nn.Module):
    """Embedding, LSTM, vocabulary product, mean cross entropy."""

    def __init__(self, vocab: int, hidden: int, layers: int, tuned: bool) -> None:
        super().__init__()
        self.tuned = tuned
        self.embed = nn.Embedding(vocab, hidden, sparse=tuned)
        self.lstm = nn.LSTM(hidden, hidden, layers)
        self.pred = nn.Linear(hidden, vocab)

    def forward(self, data: torch.Tensor, label: torch.Tensor) -> torch.Tensor:
        """Mean loss of ``data`` and ``label`` of shape (steps, batch)."""
        states, _ = self.lstm(self.embed(data))
        states, label = states.flatten(0, 1), label.flatten()
        if self.tuned:
            rows = label.nonzero().squeeze(1)
            states, label = states.index_select(0, rows), label.index_select(0, rows)
        return functional.cross_entropy(self.pred(states), label, ignore_index=IGNORED)


class TorchEngine(Engine):
    """Trains with torch.optim.SGD."""

    def describe(self) -> dict[str, str]:
        return {"torch": torch.__version__}

    def build(self) -> None:
        torch.set_num_threads(self.setup.threads)
        setup = self.setup
        self.model = LanguageModel(setup.vocab, setup.hidden, setup.layers, self.variant == "tuned")
        self.restore()
        self.optimizer = torch.optim.SGD(self.model.parameters(), lr=setup.rate, foreach=True)
        self.tensors = {id(b): (_time_major(b.data), _time_major(b.label)) for b in self.batches}

    def restore(self) -> None:
        names = {"embed.weight": "embed_weight"}
        names.update({f"pred.{kind}": f"pred_{kind}" for kind in ("weight", "bias")})
        for layer in range(self.setup.layers):
            for kind in ("weight", "bias"):
                names[f"lstm.{kind}_ih_l{layer}"] = f"lstm_l{layer}_i2h_{kind}"
                names[f"lstm.{kind}_hh_l{layer}"] = f"lstm_l{layer}_h2h_{kind}"
        self.model.load_state_dict(
            {theirs: torch.from_numpy(self.params[ours]) for theirs, ours in names.items()}
        )

    def train(self, batches: Sequence[Batch]) -> list[Step]:
        steps = []
        for batch in batches:
            start = time.perf_counter()
            self.optimizer.zero_grad()
            loss = self.model(*self.tensors[id(batch)])
            loss.backward()
            self.optimizer.step()
            steps.append(Step(loss.item(), time.perf_counter() - start))
        return steps


def _time_major(array: object) -> torch.Tensor:
    return torch.as_tensor(array).t().contiguous()


if __name__ == "__main__":
    serve(TorchEngine)
