"""Maxima over time, which equal words reach together."""

import torch
from torch import nn
from torch.nn import functional


class TextCNN(nn.Module):
    """Convolutions of words and the extremes over time, which windows of equal words share."""

    def __init__(self, words, classes):
        super().__init__()
        self.embed = nn.Embedding(words, 8, padding_idx=0)
        self.convs = nn.ModuleList(nn.Conv1d(8, 6, k, padding=k - 1) for k in (1, 2, 2))
        self.out = nn.Linear(18, classes)

    def forward(self, ids):
        x = self.embed(ids).transpose(1, 2)
        a, b, c = (torch.tanh(conv(x)) for conv in self.convs)
        h = torch.cat([a.amax(2), b.max(2)[0], functional.adaptive_max_pool1d(c, 1)[..., 0]], 1)
        return self.out(h)
