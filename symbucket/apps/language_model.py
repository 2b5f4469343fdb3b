"""A language model over buckets: LSTM layers learn to guess the next word of a sentence.

``symbucket train`` and ``examples/lstm_bucketing.py`` both run this file. It is meant to be read,
from ``language_model`` down, and to be copied for other networks.

Why buckets? A recurrent network is unrolled over time, so a sentence of 12 words and one of 60 need
networks of different lengths. Unrolling for the longest and padding the others with nothing wastes
most of the work. A bucket holds the sentences of about one length and has a network of just that
length. All these networks share one set of parameters: a step on short sentences teaches the
network for long ones as well, and the optimizer sees a single model.
"""

from __future__ import annotations

import argparse
import logging
import sys
import time
from collections.abc import Callable, Hashable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

import symbucket as sb
from symbucket.apps.arguments import device
from symbucket.apps.corpus import Vocabulary, python_sentences, read_sentences, split
from symbucket.apps.language_model_arguments import AUTO
from symbucket.apps.language_model_files import SIZES, load_model, save_model, vocabulary_path

Sentences = list[list[str]]
Network = tuple[sb.Symbol, Sequence[str], Sequence[str]]

# A bucket key may be any hashable object, and the networks need not differ in length alone. This
# key stands for the network that writes text: one step long, with states going in and coming out.
NEXT_WORD = "next word"

_MINUTES = 5  # between checkpoints of a run


def language_model(
    vocab_size: int, num_layers: int, num_hidden: int, num_embed: int, dropout: float = 0.0
) -> Callable[[Hashable], Network]:
    """Return ``sym_gen``, which makes the network for a bucket key.

    The cells are made once, so every key gets variables of the same names: ``embed_weight``,
    ``lstm_l0_i2h_weight``, and so on. That is what makes them share their parameters.
    """
    cells = sb.rnn.SequentialRNNCell()
    for i in range(num_layers):
        cells.add(sb.rnn.LSTMCell(num_hidden, prefix=f"lstm_l{i}_"))
        cells.add(sb.rnn.DropoutCell(dropout))

    def unrolled(
        length: int, begin: list[sb.Symbol] | None = None
    ) -> tuple[sb.Symbol, list[sb.Symbol]]:
        """Return scores (batch * length, vocab_size) of each next word, and the last states."""
        words = sb.sym.Variable("data")  # (batch, length), word ids
        vectors = sb.sym.Embedding(words, input_dim=vocab_size, output_dim=num_embed, name="embed")
        outputs, states = cells.unroll(length, vectors, begin, merge_outputs=True)
        assert isinstance(outputs, sb.Symbol)
        rows = sb.sym.Reshape(outputs, shape=(-1, num_hidden))
        return sb.sym.FullyConnected(rows, num_hidden=vocab_size, name="pred"), states

    def sym_gen(key: Hashable) -> Network:
        if key == NEXT_WORD:
            cells.reset()
            begin = cells.begin_state(sb.sym.Variable)
            scores, states = unrolled(1, begin)
            inputs = ["data", *sb.sym.Group(begin).list_arguments()]
            return sb.sym.Group([scores, *states]), inputs, []
        assert isinstance(key, int)  # the key of the other networks is their length
        scores, _ = unrolled(key)
        label = sb.sym.Reshape(sb.sym.Variable("softmax_label"), shape=(-1,))
        # Padding is no word: it neither counts in the loss nor in the number it is divided by.
        loss = sb.sym.SoftmaxOutput(
            scores,
            label,
            name="softmax",
            use_ignore=True,
            ignore_label=Vocabulary.pad_id,
            normalization="valid",
        )
        return loss, ["data"], ["softmax_label"]

    return sym_gen


def load_text(args: argparse.Namespace) -> tuple[Sentences, Sentences]:
    """Return training and validation sentences, each a list of words."""
    if args.data_train is None:
        return split(python_sentences())
    sentences = read_sentences(args.data_train)
    if args.data_test is None:
        return split(sentences)
    return sentences, read_sentences(args.data_test)


def length_of(sentence: Sequence[str]) -> int:
    """Return the tokens that training has of a sentence: its words, <eos> before and after them."""
    return len(sentence) + 2


def bucketed(
    sentences: Sentences, vocabulary: Vocabulary, args: argparse.Namespace, **kwargs: Any
) -> sb.io.BucketSentenceIter:
    """Return an iterator of batches whose sentences all belong to one bucket."""
    # <eos> stands before each sentence too, so that the model learns how sentences begin.
    encoded = [[vocabulary.eos_id, *words] for words in vocabulary.encode(sentences)]
    return sb.io.BucketSentenceIter(
        encoded,
        args.batch_size,
        buckets=args.buckets,
        invalid_label=vocabulary.pad_id,
        seed=args.seed,
        **kwargs,
    )


def describe(train: sb.io.BucketSentenceIter, vocabulary: Vocabulary) -> str:
    """Return a table of the buckets and the padding that they save."""
    rows = train.bucket_table()
    sentences = sum(row.sentences for row in rows)
    tokens = sum(
        key * row.sentences * (1 - row.padding_share) for key, row in zip(train.buckets, rows)
    )
    longest = train.default_bucket_key
    unknown = vocabulary.counts[vocabulary.unk_id] / sum(vocabulary.counts)
    return (
        f"{tokens:,.0f} tokens in {sentences:,} sentences; vocabulary of {len(vocabulary):,} "
        f"({unknown:.1%} of the text is <unk>)\n\n{sb.io.format_bucket_table(rows)}\n\n"
        f"In a single bucket of {longest}, padding would be "
        f"{1 - tokens / (sentences * longest):.1%}.\n"
    )


class EpochLines:
    """Callbacks of ``fit`` that print a line at the end of an epoch."""

    def __init__(self) -> None:
        self.began = time.perf_counter()
        self.trained = ""

    def __call__(self, param: sb.callback.BatchEndParam) -> None:
        """After a batch of training."""
        metric = param.eval_metric
        assert metric is not None
        ((_, perplexity),) = metric.get_global_name_value()
        # The metric counts the labels that are not padding: these are the real tokens.
        speed = metric.global_num_inst / (time.perf_counter() - self.began)
        self.trained = f"{speed:,.0f} tokens/s, train perplexity {perplexity:.2f}"

    def validated(self, param: sb.callback.BatchEndParam) -> None:
        """After the validation that ends an epoch."""
        assert param.eval_metric is not None
        ((_, perplexity),) = param.eval_metric.get_global_name_value()
        now = time.perf_counter()
        print(
            f"epoch {param.epoch + 1}: {now - self.began:.1f} s, {self.trained}, "
            f"validation perplexity {perplexity:.2f}",
            flush=True,
        )
        self.began = now


def sample(
    module: sb.mod.BucketingModule,
    inputs: Sequence[str],
    vocabulary: Vocabulary,
    args: argparse.Namespace,
) -> list[str]:
    """Sample sentences, all ``args.samples`` of them together, a word per step.

    ``inputs`` are the inputs of the network of ``NEXT_WORD``: the previous word, then the states.
    """
    generator = np.random.default_rng(args.seed)
    words = np.full((args.samples, 1), vocabulary.eos_id)
    states = [np.zeros((args.samples, args.num_hidden), np.float32) for _ in inputs[1:]]
    written = []
    for _ in range(args.buckets[-1]):
        arrays = [words, *states]
        shapes = [(name, array.shape) for name, array in zip(inputs, arrays)]
        # The first of these batches builds the network, and it finds its parameters trained.
        batch = sb.io.DataBatch(arrays, bucket_key=NEXT_WORD, provide_data=shapes)
        module.forward(batch, is_train=False)
        scores, *states = (output.asnumpy() for output in module.get_outputs())
        scores[:, [vocabulary.pad_id, vocabulary.unk_id]] = -np.inf
        # The largest of scores / temperature + Gumbel noise is a draw from their softmax.
        noisy = scores / args.temperature + generator.gumbel(size=scores.shape)
        words = noisy.argmax(axis=1, keepdims=True)
        written.append(words)
    texts = (vocabulary.decode(ids) for ids in np.hstack(written))
    return [text.partition("\n")[0] for text in texts]  # up to the first <eos>


def train_and_sample(args: argparse.Namespace) -> sb.mod.BucketingModule:
    """Train as the arguments say, print the progress, and sample sentences."""
    sb.random.seed(args.seed)
    epoch = 0 if args.resume == AUTO else args.resume
    run = _run_of(args)
    goes_on = run is not None and args.resume == AUTO and bool(run.paths())
    source = "Python's documentation" if args.data_train is None else args.data_train
    print(f"reading the sentences of {source} ...", flush=True)
    train_text, valid_text = load_text(args)
    if epoch or goes_on:
        vocabulary = Vocabulary.load(vocabulary_path(args.checkpoint))
    else:
        vocabulary = Vocabulary(train_text, min_count=args.min_count)

    train = bucketed(train_text, vocabulary, args)
    valid = bucketed(valid_text, vocabulary, args, shuffle=False, last_batch="pad")
    train.epoch = epoch  # the order of the batches follows from seed and epoch
    print(describe(train, vocabulary))

    sym_gen = language_model(len(vocabulary), **{name: getattr(args, name) for name in SIZES})
    module = _module(sym_gen, train, epoch, args)
    if run is not None and not goes_on:  # a run that fails before it begins replaces no files
        _forget(run)
        if not epoch:
            vocabulary.save(vocabulary_path(args.checkpoint))
            save_model(args)
    _fit(module, train, valid, vocabulary.pad_id, epoch, run, args)
    if epoch or goes_on:
        save_model(args)  # its buckets may be others than those of the first run
    if args.samples:
        _, inputs, _ = sym_gen(NEXT_WORD)
        print("\nSentences that the model writes:")
        for text in sample(module, inputs, vocabulary, args):
            print(f"  {text}")
    return module


def _module(
    sym_gen: Callable[[Hashable], Network],
    train: sb.io.BucketSentenceIter,
    epoch: int,
    args: argparse.Namespace,
) -> sb.mod.BucketingModule:
    """Return the module to train: a new one, or that of the checkpoint of an epoch."""
    settings: dict[str, Any] = {
        "sym_gen": sym_gen,
        "default_bucket_key": train.default_bucket_key,
        "context": device(args.gpus),
        "logger": _warnings_only(),
    }
    if not epoch:
        return sb.mod.BucketingModule(**settings)
    settings["load_optimizer_states"] = True
    module = sb.mod.BucketingModule.load(args.checkpoint, epoch, **settings)
    module.bind(train.provide_data, train.provide_label)  # refuses other sizes
    return module


def _fit(
    module: sb.mod.BucketingModule,
    train: sb.io.BucketSentenceIter,
    valid: sb.io.BucketSentenceIter,
    pad_id: int,
    epoch: int,
    run: sb.CheckpointManager | None,
    args: argparse.Namespace,
) -> None:
    """Train from an epoch on, with checkpoints after each one if they are wanted."""
    saved = None
    if args.checkpoint:
        saved = sb.callback.module_checkpoint(module, args.checkpoint, save_optimizer_states=True)
    lines = EpochLines()
    module.fit(
        sb.io.ResizeIter(train, min(len(train), args.max_batches or len(train))),
        eval_data=valid,
        eval_metric=sb.metric.Perplexity(pad_id),
        validation_metric=sb.metric.Perplexity(pad_id),
        batch_end_callback=lines,
        eval_end_callback=lines.validated,
        epoch_end_callback=saved,
        initializer=sb.init.Xavier(factor_type="in", magnitude=2.34),
        optimizer=args.optimizer,
        # The loss is a mean over words already.
        optimizer_params={"learning_rate": args.lr, "rescale_grad": 1.0},
        force_rebind=bool(epoch),
        begin_epoch=epoch,
        num_epoch=args.num_epochs,
        progress="bar" if sys.stderr.isatty() else "lines",
        report=args.report,
        checkpoint=run,
        resume=None if run is None else AUTO,
    )


def _warnings_only() -> logging.Logger:
    """Return a logger for ``fit``, whose lines of an epoch the program has in its own words."""
    logger = logging.getLogger("symbucket.apps")
    if logging.lastResort is not None and not logger.hasHandlers():
        logger.addHandler(logging.lastResort)
    return logger


def _run_of(args: argparse.Namespace) -> sb.CheckpointManager | None:
    """Return where the state of the run is kept, from which ``--resume auto`` goes on."""
    if not args.checkpoint:
        return None
    run = sb.CheckpointManager(f"{args.checkpoint}-run", keep=1, every_minutes=_MINUTES)
    if args.resume == AUTO and run.paths():
        print(f"goes on from {run.paths()[0]}")
    return run


def _forget(run: sb.CheckpointManager) -> None:
    """Remove the state of the run before one that begins anew, or from the files of an epoch."""
    for path in run.paths():
        Path(path).unlink()


def shapes_of(key: int, batch_size: int) -> tuple[list[sb.io.DataDesc], list[sb.io.DataDesc]]:
    """Return (data_shapes, label_shapes) of a bucket."""
    descs = [sb.io.DataDesc(n, (batch_size, key), layout="NT") for n in ("data", "softmax_label")]
    return descs[:1], descs[1:]


def trained_model(
    prefix: str, epoch: int, for_training: bool = False
) -> tuple[sb.mod.BucketingModule, Vocabulary]:
    """Return the networks of a checkpoint, bound for all their keys, and the vocabulary."""
    model = load_model(prefix)
    vocabulary = Vocabulary.load(vocabulary_path(prefix))
    buckets, batch = model.pop("buckets"), model.pop("batch_size")
    sym_gen = language_model(len(vocabulary), **model)
    module = sb.mod.BucketingModule.load(
        prefix, epoch, sym_gen=sym_gen, default_bucket_key=buckets[-1]
    )
    module.bind(*shapes_of(buckets[-1], batch), for_training=for_training)
    for key in buckets:
        module.switch_bucket(key, *shapes_of(key, batch))
    _, inputs, _ = sym_gen(NEXT_WORD)
    states = [(name, (batch, model["num_hidden"])) for name in inputs[1:]]
    module.switch_bucket(NEXT_WORD, [("data", (batch, 1)), *states])
    return module, vocabulary
