"""PyTorch modules of the usual kinds, small, with inputs for two bucket keys each."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from tests.pytorch.text_cnn import TextCNN

CLASSES = 5
WORDS = 11
BATCH = 4


@dataclass(frozen=True)
class Network:
    """A module, what it reads for a key, and how near to PyTorch's training it must stay."""

    name: str
    make: Callable[[], nn.Module]
    inputs: Callable[[np.random.Generator, Any], tuple[np.ndarray, ...]]
    keys: tuple[Any, Any]
    rows: Callable[[Any], int] = lambda key: BATCH
    """How many rows of scores there are for a key."""
    tolerance: float = 1e-5
    learning_rate: float = 0.1
    """Of SGD; Adam's is a hundredth."""
    refused: str = ""
    """Words of the error, if the module has to be refused."""


def every_token(key):
    """As many rows as the batch has tokens."""
    return BATCH * key


def vectors(rng, key):
    return (rng.normal(size=(BATCH, key)).astype(np.float32),)


def sequences(rng, key):
    return (rng.normal(size=(BATCH, key, 8)).astype(np.float32),)


def sentences(rng, key):
    ids = rng.integers(1, WORDS, (BATCH, key))
    ids[1, -2:] = 0  # padding
    return (ids,)


def short_sentences(rng, key):
    ids = rng.integers(1, WORDS, (BATCH, key))
    ids[:, key // 2 :] = 0
    ids[0] = 3  # one word all the time
    return (ids,)


def pictures(rng, key):
    return (rng.normal(size=(BATCH, 3, key, key)).astype(np.float32),)


class MLP(nn.Module):
    """Two layers over the sum of the inputs of any width."""

    def __init__(self):
        super().__init__()
        self.first, self.norm = nn.Linear(1, 16), nn.LayerNorm(16)
        self.out = nn.Linear(16, CLASSES)

    def forward(self, x):
        return self.out(functional.gelu(self.norm(self.first(x.unsqueeze(-1)).mean(1))))


class CNN(nn.Module):
    """Convolutions with BatchNorm, global mean."""

    def __init__(self, dropout=0.0):
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(3, 6, 3, padding=1),
            nn.BatchNorm2d(6),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Conv2d(6, 8, 3, padding=1, bias=False),
            nn.BatchNorm2d(8),
            nn.ReLU(),
            nn.Dropout(dropout),
        )
        self.out = nn.Linear(8, CLASSES)

    def forward(self, x):
        return self.out(self.body(x).mean((2, 3)))


class FrozenStatistics(CNN):
    """Its first BatchNorm keeps its statistics and the parameters."""

    def __init__(self):
        super().__init__()
        self.body[1].requires_grad_(False)
        self.body[1].running_var.fill_(2.0)

    def train(self, mode=True):
        super().train(mode)
        self.body[1].eval()
        return self


class Recurrent(nn.Module):
    """Embedding, a recurrent layer, the mean over time."""

    def __init__(self, kind, **options):
        super().__init__()
        self.embed = nn.Embedding(WORDS, 8, padding_idx=0)
        self.rnn = kind(8, 6, batch_first=True, **options)
        self.out = nn.Linear(6 * (1 + bool(options.get("bidirectional"))), CLASSES)

    def forward(self, ids):
        return self.out(self.rnn(self.embed(ids))[0].mean(1))


class Packed(Recurrent):
    """An LSTM over packed sequences."""

    def __init__(self):
        super().__init__(nn.LSTM)

    def forward(self, ids):
        lengths = (ids != 0).sum(1).cpu()
        packed = nn.utils.rnn.pack_padded_sequence(
            self.embed(ids), lengths, batch_first=True, enforce_sorted=False
        )
        return self.out(self.rnn(packed)[1][0][-1])


class Cells(nn.Module):
    """LSTMCell in a Python loop."""

    def __init__(self):
        super().__init__()
        self.cell, self.out = nn.LSTMCell(8, 6), nn.Linear(6, CLASSES)

    def forward(self, x):
        h = c = x.new_zeros(x.shape[0], 6)
        for t in range(x.shape[1]):
            h, c = self.cell(x[:, t], (h, c))
        return self.out(h)


class Encoder(nn.Module):
    """nn.TransformerEncoder with a mask of the padding."""

    def __init__(self, norm_first=False, dropout=0.0):
        super().__init__()
        layer = nn.TransformerEncoderLayer(
            8, 2, 16, dropout=dropout, batch_first=True, norm_first=norm_first
        )
        self.embed = nn.Embedding(WORDS, 8, padding_idx=0)
        self.encoder = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
        self.out = nn.Linear(8, CLASSES)

    def forward(self, ids):
        return self.out(self.encoder(self.embed(ids), src_key_padding_mask=ids == 0).mean(1))


class SelfAttention(nn.Module):
    """nn.MultiheadAttention with a causal mask."""

    def __init__(self):
        super().__init__()
        self.attention, self.out = nn.MultiheadAttention(8, 2, batch_first=True), nn.Linear(8, 5)

    def forward(self, x):
        length = x.shape[1]
        mask = torch.ones(length, length, dtype=torch.bool).triu(1)
        return self.out(self.attention(x, x, x, attn_mask=mask, need_weights=False)[0].mean(1))


class TCN(nn.Module):
    """Causal dilated convolutions with weight normalization."""

    def __init__(self):
        super().__init__()
        norm = nn.utils.parametrizations.weight_norm
        self.first = norm(nn.Conv1d(8, 8, 3, padding=2))
        self.second = norm(nn.Conv1d(8, 8, 3, padding=4, dilation=2))
        self.out = nn.Linear(8, CLASSES)

    def forward(self, x):
        x = x.transpose(1, 2)
        h = functional.relu(self.first(x)[..., :-2])
        return self.out(functional.relu(self.second(h)[..., :-4] + x)[..., -1])


class GPTBlock(nn.Module):
    """Pre-norm attention with one product for query, key and value, and a feed-forward part."""

    def __init__(self, dropout):
        super().__init__()
        self.ln_1, self.ln_2 = nn.LayerNorm(8), nn.LayerNorm(8)
        self.c_attn, self.c_proj = nn.Linear(8, 24), nn.Linear(8, 8)
        self.mlp = nn.Sequential(nn.Linear(8, 32), nn.GELU(approximate="tanh"), nn.Linear(32, 8))
        self.dropout = dropout

    def forward(self, x):
        n, t, d = x.shape
        q, k, v = (
            part.view(n, t, 2, d // 2).transpose(1, 2)
            for part in self.c_attn(self.ln_1(x)).split(d, dim=2)
        )
        share = self.dropout if self.training else 0.0
        h = functional.scaled_dot_product_attention(q, k, v, is_causal=True, dropout_p=share)
        x = x + self.c_proj(h.transpose(1, 2).reshape(n, t, d))
        return x + self.mlp(self.ln_2(x))


class GPT2(nn.Module):
    """Learned positions, and an output layer that shares the embedding's table."""

    def __init__(self, dropout=0.0):
        super().__init__()
        self.wte, self.wpe = nn.Embedding(WORDS, 8), nn.Embedding(16, 8)
        self.h = nn.ModuleList(GPTBlock(dropout) for _ in range(2))
        self.ln_f, self.lm_head = nn.LayerNorm(8), nn.Linear(8, WORDS, bias=False)
        self.lm_head.weight = self.wte.weight

    def forward(self, ids):
        x = self.wte(ids) + self.wpe(torch.arange(ids.shape[1]))
        for block in self.h:
            x = block(x)
        return self.lm_head(self.ln_f(x)).reshape(-1, WORDS)


class LlamaBlock(nn.Module):
    """RMSNorm, rotary positions, two query heads for a key head, SwiGLU."""

    def __init__(self):
        super().__init__()
        self.input_norm, self.post_norm = nn.RMSNorm(8, eps=1e-6), nn.RMSNorm(8, eps=1e-6)
        self.q, self.k, self.v, self.o = (nn.Linear(8, n, bias=False) for n in (8, 4, 4, 8))
        self.gate, self.up = nn.Linear(8, 16, bias=False), nn.Linear(8, 16, bias=False)
        self.down = nn.Linear(16, 8, bias=False)

    def forward(self, x, cos, sin):
        n, t, _ = x.shape
        h = self.input_norm(x)
        q = rotate(self.q(h).view(n, t, 2, 4).transpose(1, 2), cos, sin)
        k = rotate(self.k(h).view(n, t, 1, 4).transpose(1, 2), cos, sin).expand(n, 2, t, 4)
        v = self.v(h).view(n, t, 1, 4).transpose(1, 2).expand(n, 2, t, 4)
        mask = torch.full((t, t), float("-inf")).triu(1)
        p = torch.softmax(q @ k.transpose(2, 3) / 2.0 + mask, dim=-1)
        x = x + self.o((p @ v).transpose(1, 2).reshape(n, t, 8))
        h = self.post_norm(x)
        return x + self.down(functional.silu(self.gate(h)) * self.up(h))


def rotate(x, cos, sin):
    left, right = x.chunk(2, dim=-1)
    return x * cos + torch.cat([-right, left], dim=-1) * sin


class Llama(nn.Module):
    """Two blocks; inv_freq is a buffer."""

    def __init__(self):
        super().__init__()
        self.embed_tokens = nn.Embedding(WORDS, 8, padding_idx=0)
        self.layers = nn.ModuleList(LlamaBlock() for _ in range(2))
        self.norm, self.lm_head = nn.RMSNorm(8, eps=1e-6), nn.Linear(8, WORDS, bias=False)
        self.register_buffer("inv_freq", 1.0 / 10000 ** (torch.arange(0, 4, 2) / 4), False)

    def forward(self, ids):
        angles = torch.arange(ids.shape[1])[:, None] * self.inv_freq
        angles = torch.cat([angles, angles], dim=-1)
        x = self.embed_tokens(ids)
        for layer in self.layers:
            x = layer(x, angles.cos(), angles.sin())
        return self.lm_head(self.norm(x)).reshape(-1, WORDS)


class BERT(nn.Module):
    """Word, position and token type tables, post-norm blocks, a pooled first token."""

    def __init__(self):
        super().__init__()
        self.word = nn.Embedding(WORDS, 8, padding_idx=0)
        self.position, self.kind = nn.Embedding(16, 8), nn.Embedding(2, 8)
        self.norm = nn.LayerNorm(8, eps=1e-12)
        layer = nn.TransformerEncoderLayer(8, 2, 16, 0.0, "gelu", batch_first=True)
        self.encoder = nn.TransformerEncoder(layer, 1, enable_nested_tensor=False)
        self.pooler, self.out = nn.Linear(8, 8), nn.Linear(8, CLASSES)
        self.register_buffer("position_ids", torch.arange(16)[None])

    def forward(self, ids):
        kinds = torch.zeros_like(ids)
        x = self.word(ids) + self.position(self.position_ids[:, : ids.shape[1]]) + self.kind(kinds)
        x = self.encoder(self.norm(x), src_key_padding_mask=ids == 0)
        return self.out(torch.tanh(self.pooler(x[:, 0])))


class Residual(nn.Module):
    """Two convolutions with BatchNorm, and a way around them."""

    def __init__(self, channels, out, stride):
        super().__init__()
        self.conv1 = nn.Conv2d(channels, out, 3, stride, 1, bias=False)
        self.conv2 = nn.Conv2d(out, out, 3, 1, 1, bias=False)
        self.bn1, self.bn2 = nn.BatchNorm2d(out), nn.BatchNorm2d(out)
        self.down = None
        if stride != 1:
            self.down = nn.Sequential(
                nn.Conv2d(channels, out, 1, stride, bias=False), nn.BatchNorm2d(out)
            )

    def forward(self, x):
        way = x if self.down is None else self.down(x)
        return functional.relu(way + self.bn2(self.conv2(functional.relu(self.bn1(self.conv1(x))))))


class ResNet(nn.Module):
    """A stem, two stages, a linear layer."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 8, 3, 1, 1, bias=False), nn.BatchNorm2d(8))
        self.layers = nn.Sequential(Residual(8, 8, 1), Residual(8, 16, 2))
        self.out = nn.Linear(16, CLASSES)

    def forward(self, x):
        x = functional.adaptive_avg_pool2d(self.layers(functional.relu(self.stem(x))), 1)
        return self.out(torch.flatten(x, 1))


class ViT(nn.Module):
    """Patches, a class token, sinusoidal positions that are not trained."""

    def __init__(self):
        super().__init__()
        self.patch = nn.Conv2d(3, 8, 4, 4)
        self.cls_token = nn.Parameter(torch.randn(1, 1, 8) * 0.1)
        place = torch.arange(17)[:, None] * torch.exp(-math.log(1e4) * torch.arange(4) / 4)
        self.pos_embed = nn.Parameter(torch.cat([place.sin(), place.cos()], 1)[None], False)
        layer = nn.TransformerEncoderLayer(8, 2, 16, 0.0, "gelu", batch_first=True, norm_first=True)
        self.blocks = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
        self.norm, self.out = nn.LayerNorm(8), nn.Linear(8, CLASSES)

    def forward(self, x):
        x = self.patch(x).flatten(2).transpose(1, 2)
        x = torch.cat([self.cls_token.expand(x.shape[0], -1, -1), x], dim=1)
        return self.out(self.norm(self.blocks(x + self.pos_embed[:, : x.shape[1]]))[:, 0])


def recurrent(name, **options) -> Network:
    kind = {"LSTM": nn.LSTM, "GRU": nn.GRU, "RNN": nn.RNN}[name]
    layers = ", ".join(f"{key}={value}" for key, value in options.items())
    title = f"{name}({layers})" if layers else name
    return Network(title, lambda: Recurrent(kind, **options), sentences, (6, 4))


LAYERS = [
    {},
    {"num_layers": 2},
    {"bidirectional": True},
    {"num_layers": 2, "bidirectional": True},
]

NETWORKS = [
    Network("MLP", MLP, vectors, (6, 4)),
    Network("CNN with BatchNorm", CNN, pictures, (8, 6), tolerance=1e-4),
    Network("CNN, one BatchNorm frozen", FrozenStatistics, pictures, (8, 6), tolerance=1e-4),
    *(recurrent(kind, **options) for kind in ("LSTM", "GRU", "RNN") for options in LAYERS),
    recurrent("RNN", nonlinearity="relu"),
    Network("LSTMCell in a loop", Cells, sequences, (6, 4)),
    Network("TransformerEncoder, mask", Encoder, sentences, (6, 4)),
    Network("TransformerEncoder, norm_first", lambda: Encoder(True), sentences, (6, 4)),
    Network("MultiheadAttention, causal", SelfAttention, sequences, (6, 4)),
    Network("TCN with weight_norm", TCN, sequences, (6, 4)),
    Network("TextCNN", lambda: TextCNN(WORDS, CLASSES), short_sentences, (8, 6)),
    Network("GPT-2", GPT2, sentences, (6, 4), rows=every_token),
    Network("Llama", Llama, sentences, (6, 4), rows=every_token),
    Network("BERT", BERT, sentences, (6, 4)),
    Network("ResNet", ResNet, pictures, (12, 8), tolerance=1e-4),
    Network("ViT", ViT, pictures, (16, 8)),
    Network(
        "RNN, dropout between layers",
        lambda: Recurrent(nn.RNN, num_layers=2, dropout=0.2),
        sentences,
        (6, 4),
        refused="drops out in 1 places",
    ),
    Network("LSTM, packed", Packed, sentences, (6, 4), refused="Packed sequences cannot"),
]
