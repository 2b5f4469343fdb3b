"""The suite's networks in symbucket: for each workload a ``sym_gen`` as a user writes it."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from _suite_workloads import IGNORED, Workload

import symbucket as sb

sym = sb.sym
NETWORKS: dict[str, Callable[[Workload], Callable[[Any], sb.Symbol]]] = {}
"""Workload's name, or the part before its first hyphen, -> the network of a key."""


def network_of(workload: Workload) -> Callable[[Any], sb.Symbol]:
    """The network of each key."""
    name = workload.name
    return NETWORKS.get(name, NETWORKS.get(name.partition("-")[0]))(workload)  # type: ignore[misc]


def _network(*names: str) -> Callable[[Any], Any]:
    def add(function: Any) -> Any:
        NETWORKS.update(dict.fromkeys(names, function))
        return function

    return add


def _softmax(rows: sb.Symbol, classes: int, ignore: bool) -> sb.Symbol:
    scores = sym.FullyConnected(rows, num_hidden=classes, name="pred")
    label = sym.Reshape(sym.Variable("softmax_label"), shape=(-1,))
    options = {"use_ignore": True, "ignore_label": IGNORED} if ignore else {}
    return sym.SoftmaxOutput(scores, label, name="softmax", normalization="valid", **options)


def _embedding(data: str, name: str, vocab: int, size: int) -> sb.Symbol:
    return sym.Embedding(sym.Variable(data), input_dim=vocab, output_dim=size, name=name)


@_network("lm", "lstm")
def _lstm(workload: Workload) -> Callable[[Any], sb.Symbol]:
    sizes = workload.sizes
    hidden, vocab = sizes["hidden"], sizes["vocab"]

    def network(key: int) -> sb.Symbol:
        stack = sb.rnn.SequentialRNNCell()
        for layer in range(sizes["layers"]):
            stack.add(sb.rnn.LSTMCell(hidden, prefix=f"lstm_l{layer}_"))
        words = _embedding("data", "embed", vocab, hidden)
        outputs, _ = stack.unroll(key, words, merge_outputs=True)
        return _softmax(sym.Reshape(outputs, shape=(-1, hidden)), vocab, workload.ignores)

    return network


@_network("gru-tagger")
def _tagger(workload: Workload) -> Callable[[Any], sb.Symbol]:
    sizes = workload.sizes
    hidden = sizes["hidden"]

    def network(key: int) -> sb.Symbol:
        both = sb.rnn.BidirectionalCell(
            sb.rnn.GRUCell(hidden, prefix="left_"), sb.rnn.GRUCell(hidden, prefix="right_")
        )
        words = _embedding("data", "embed", sizes["vocab"], hidden)
        outputs, _ = both.unroll(key, words, merge_outputs=True)
        return _softmax(
            sym.Reshape(outputs, shape=(-1, 2 * hidden)), sizes["tags"], workload.ignores
        )

    return network


@_network("seq2seq")
def _seq2seq(workload: Workload) -> Callable[[Any], sb.Symbol]:
    hidden, vocab = workload.sizes["hidden"], workload.sizes["vocab"]

    def network(key: tuple[int, int]) -> sb.Symbol:
        encoder = sb.rnn.BidirectionalCell(
            sb.rnn.GRUCell(hidden, prefix="forward_"), sb.rnn.GRUCell(hidden, prefix="backward_")
        )
        source = _embedding("source", "source_embed", vocab, hidden)
        both, last = encoder.unroll(key[0], source, merge_outputs=True)
        memory = sym.FullyConnected(both, num_hidden=hidden, flatten=False, name="memory")
        ends = [state for (state,) in last]
        start = sym.FullyConnected(sym.concat(*ends, dim=1), num_hidden=hidden, name="start")
        state = sym.tanh(start)
        query, score = sym.Variable("query_weight"), sym.Variable("score_weight")
        decoder = sb.rnn.GRUCell(hidden, prefix="decoder_")
        target = _embedding("target", "target_embed", vocab, hidden)
        rows = []
        for word in sym.split(target, num_outputs=key[1], axis=1, squeeze_axis=True):
            asked = sym.FullyConnected(state, query, num_hidden=hidden, no_bias=True)
            met = sym.tanh(sym.broadcast_add(memory, sym.expand_dims(asked, axis=1)))
            scores = sym.FullyConnected(met, score, num_hidden=1, no_bias=True, flatten=False)
            weights = sym.softmax(sym.Reshape(scores, shape=(0, -1)))
            seen = sym.batch_dot(sym.expand_dims(weights, axis=1), both)
            seen = sym.Reshape(seen, shape=(0, -1))
            output, (state,) = decoder(sym.concat(word, seen, dim=1), [state])
            rows.append(sym.concat(output, seen, dim=1))
        stacked = sym.Reshape(sym.stack(*rows, axis=1), shape=(-1, 3 * hidden))
        return _softmax(stacked, vocab, False)

    return network


@_network("tree")
def _tree(workload: Workload) -> Callable[[Any], sb.Symbol]:
    sizes = workload.sizes

    def network(key: str) -> sb.Symbol:
        weight, bias = sym.Variable("join_weight"), sym.Variable("join_bias")
        embedded = _embedding("leaves", "embed", sizes["vocab"], sizes["hidden"])
        leaves = iter(sym.split(embedded, num_outputs=key.count("."), axis=1, squeeze_axis=True))
        stack: list[sb.Symbol] = []
        for sign in key:
            if sign == ".":
                stack.append(next(leaves))
            elif sign == ")":
                pair = sym.concat(*stack[-2:], dim=1)
                joined = sym.FullyConnected(pair, weight, bias, num_hidden=sizes["hidden"])
                stack[-2:] = [sym.tanh(joined)]
        return _softmax(stack[0], sizes["kinds"], False)

    return network


@_network("transformer")
def _transformer(workload: Workload) -> Callable[[Any], sb.Symbol]:
    sizes = workload.sizes
    width, heads = sizes["width"], sizes["heads"]

    def attention(x: sb.Symbol, steps: int, hidden: sb.Symbol, name: str) -> sb.Symbol:
        qkv = sym.FullyConnected(x, num_hidden=3 * width, flatten=False, name=f"{name}_qkv")
        qkv = sym.Reshape(qkv, shape=(0, 0, 3 * heads, -1))
        qkv = sym.transpose(qkv, axes=(0, 2, 1, 3))
        parts = sym.split(qkv, num_outputs=3, axis=1)
        query, key, value = (sym.Reshape(p, shape=(-3, 0, 0)) for p in parts)
        scores = sym.batch_dot(query, key, transpose_b=True) * (1 / math.sqrt(width // heads))
        weights = sym.softmax(sym.broadcast_add(scores, hidden))
        seen = sym.Reshape(sym.batch_dot(weights, value), shape=(-4, -1, heads, 0, 0))
        seen = sym.Reshape(sym.transpose(seen, axes=(0, 2, 1, 3)), shape=(0, 0, -3))
        return sym.FullyConnected(seen, num_hidden=width, flatten=False, name=f"{name}_out")

    def network(steps: int) -> sb.Symbol:
        place = sym.arange(0, steps)
        rows, columns = (sym.Reshape(place, shape=s) for s in ((1, -1, 1), (1, 1, -1)))
        hidden = sym.broadcast_greater(columns, rows) * -1e30
        position = sym.Variable("position_weight", shape=(60, width))
        position = sym.expand_dims(sym.slice_axis(position, axis=0, begin=0, end=steps), axis=0)
        x = sym.broadcast_add(_embedding("data", "embed", sizes["vocab"], width), position)
        for layer in range(sizes["layers"]):
            name = f"l{layer}"
            x = x + attention(sym.LayerNorm(x, name=f"{name}_before"), steps, hidden, name)
            y = sym.LayerNorm(x, name=f"{name}_after")
            y = sym.FullyConnected(y, num_hidden=4 * width, flatten=False, name=f"{name}_up")
            y = sym.LeakyReLU(y, act_type="gelu")
            y = sym.FullyConnected(y, num_hidden=width, flatten=False, name=f"{name}_down")
            x = x + y
        x = sym.LayerNorm(x, name="last")
        return _softmax(sym.Reshape(x, shape=(-1, width)), sizes["vocab"], workload.ignores)

    return network


@_network("cnn")
def _cnn(workload: Workload) -> Callable[[Any], sb.Symbol]:
    def network(key: tuple[int, int]) -> sb.Symbol:
        x = sym.Variable("data")
        for i in range(workload.sizes["layers"]):
            x = sym.Convolution(
                x, kernel=(3, 3), pad=(1, 1), num_filter=32 << i, no_bias=True, name=f"conv{i}"
            )
            x = sym.BatchNorm(x, fix_gamma=False, eps=1e-5, name=f"norm{i}")
            x = sym.Pooling(sym.relu(x), kernel=(2, 2), stride=(2, 2), pool_type="max")
        return _softmax(sym.Flatten(x), 10, False)

    return network


@_network("ctc")
def _ctc(workload: Workload) -> Callable[[Any], sb.Symbol]:
    hidden, classes = workload.sizes["hidden"], workload.sizes["classes"]

    def network(steps: int) -> sb.Symbol:
        both = sb.rnn.BidirectionalCell(
            sb.rnn.LSTMCell(hidden, prefix="left_"), sb.rnn.LSTMCell(hidden, prefix="right_")
        )
        sound = sym.transpose(sym.Variable("data"), axes=(1, 0, 2))
        outputs, _ = both.unroll(steps, sound, layout="TNC", merge_outputs=True)
        scores = sym.FullyConnected(outputs, num_hidden=classes, flatten=False, name="pred")
        loss = sym.ctc_loss(scores, sym.Variable("label"))
        return sym.MakeLoss(loss, normalization="batch", name="loss")

    return network
