"""Translation with attention: the bucket key is a pair (source length, target length).

    python examples/seq2seq_attention.py

Numbers written out in English are translated into German: "three hundred twenty-five" becomes
"dreihundertfünfundzwanzig". German says the units before the tens and drops a letter here and
there (sechs, but sechzehn; eins, but einundzwanzig), so words move and change on the way. Both
languages are cut into words or parts of words, and the translations that the network is tested on
are of numbers that it never saw.

The encoder reads the source from both ends with a GRU each. The decoder, one more GRU, starts from
a projection of the final states of both; before every word that it writes it looks at the source
again, at a mixture of the encoder's outputs that it chooses itself (additive attention, Bahdanau,
Cho and Bengio, 2015).

What bucketing buys: a sentence pair has two lengths, and the network is unrolled over both. So the
key has two numbers; a batch of short pairs runs on a network of 3 source and 4 target steps, a
batch of long ones on one of 10 and 13, and all of them train the same parameters. Writing a
translation takes two networks more: one that reads a source, and one that makes a single step of
the decoder. They are keys like any other, and find their parameters trained.

Rows of one batch differ in length within their bucket, and padding must not matter. Four places
see to it: SequenceReverse turns each source round at its own end, SequenceLast takes each final
state at its own end, softmax(use_length=True) lets attention see only positions that exist, and the
loss passes over padded labels. ``symbucket.check_padding`` confirms it before the training starts.

After a minute more than 99 of 100 numbers that were held out are translated without a mistake.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Hashable, Sequence
from typing import Any

import numpy as np

import symbucket as sb
from symbucket.apps.arguments import argument_parser, integer, positive, run_program

PAD, BEGIN, END = 0, 1, 2  # numbers that stand for no word
SPECIAL = ["<pad>", "<s>", "</s>"]

Pair = tuple[list[int], list[int]]
Key = tuple[int, int]


# Numbers in words --------------------------------------------------------------------------------

ENGLISH = (
    "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen "
    "sixteen seventeen eighteen nineteen"
).split()
ENGLISH_TENS = "- - twenty thirty forty fifty sixty seventy eighty ninety".split()
GERMAN = (
    "null eins zwei drei vier fünf sechs sieben acht neun zehn elf zwölf dreizehn vierzehn "
    "fünfzehn sechzehn siebzehn achtzehn neunzehn"
).split()
GERMAN_TENS = "- - zwanzig dreißig vierzig fünfzig sechzig siebzig achtzig neunzig".split()


def english(number: int) -> list[str]:
    """The words of a number below a million; hyphens separate words here."""
    if number >= 1000:
        rest = english(number % 1000) if number % 1000 else []
        return [*english(number // 1000), "thousand", *rest]
    if number >= 100:
        rest = english(number % 100) if number % 100 else []
        return [ENGLISH[number // 100], "hundred", *rest]
    if number >= 20:
        return [ENGLISH_TENS[number // 10], *([ENGLISH[number % 10]] if number % 10 else [])]
    return [ENGLISH[number]]


def german(number: int) -> list[str]:
    """The parts of the one long word that a number below a million is."""

    def before(count: int) -> list[str]:
        """As it stands before another part: einhundert, not einshundert."""
        parts = german(count)
        return [*parts[:-1], "ein"] if parts[-1] == "eins" else parts

    if number >= 1000:
        rest = german(number % 1000) if number % 1000 else []
        return [*before(number // 1000), "tausend", *rest]
    if number >= 100:
        rest = german(number % 100) if number % 100 else []
        return [*before(number // 100), "hundert", *rest]
    if number >= 20:
        units = [*before(number % 10), "und"] if number % 10 else []
        return [*units, GERMAN_TENS[number // 10]]
    return [GERMAN[number]]


def numbers(count: int, digits: int, rng: np.random.Generator) -> list[int]:
    """Different numbers, of few digits as often as of many while there are enough of them."""
    drawn: dict[int, None] = {}
    while len(drawn) < min(count, 10**digits * 3 // 4):
        drawn[int(rng.integers(10 ** rng.integers(1, digits + 1)))] = None
    return list(drawn)


class Words:
    """The words of one language and their numbers."""

    def __init__(self, sentences: Sequence[list[str]]) -> None:
        self.words = SPECIAL + sorted({word for sentence in sentences for word in sentence})
        self.numbers = {word: i for i, word in enumerate(self.words)}

    def __len__(self) -> int:
        return len(self.words)

    def encode(self, sentence: Sequence[str]) -> list[int]:
        return [self.numbers[word] for word in sentence]

    def decode(self, row: Sequence[int]) -> list[str]:
        """The words up to the end of the sentence."""
        row = list(row)
        return [self.words[i] for i in row[: row.index(END) if END in row else None]]


# The networks ------------------------------------------------------------------------------------


class Translator:
    """``sym_gen`` of all networks.

    Keys: (source length, target length) for training, ("read", source length) for the encoder alone
    and ("write", source length) for one step of the decoder.
    """

    def __init__(self, source_words: int, target_words: int, embed: int, hidden: int) -> None:
        self.sizes = source_words, target_words, embed, hidden
        # Made once, so that all networks (and all steps within one) mean the same parameters.
        self.forward = sb.rnn.GRUCell(hidden, prefix="forward_")
        self.backward = sb.rnn.GRUCell(hidden, prefix="backward_")
        self.decoder = sb.rnn.GRUCell(hidden, prefix="decoder_")
        self.shared = {
            name: sb.sym.Variable(name)
            for name in ("target_embed_weight", "query_weight", "score_weight")
        }
        self.lengths = sb.sym.Variable("source_length")  # (batch,)

    def __call__(self, key: Hashable) -> tuple[sb.Symbol, list[str], list[str]]:
        assert isinstance(key, tuple)
        kind, length = key
        if kind == "read":
            return sb.sym.Group(self.read(length)), ["source", "source_length"], []
        if kind == "write":
            names = ["target", "memory", "projected", "state", "source_length"]
            target, memory, projected, state = map(sb.sym.Variable, names[:4])
            self.decoder.reset()
            row, state = self.write(self.embedded(target), memory, projected, state)
            return sb.sym.Group([self.scores(row), state]), names, []
        memory, projected, state = self.read(kind)
        rows = []
        words = self.embedded(sb.sym.Variable("target"))
        self.decoder.reset()
        # Training tells the decoder the right word before, whatever it would have written itself.
        for word in sb.sym.split(words, num_outputs=length, axis=1, squeeze_axis=True):
            row, state = self.write(word, memory, projected, state)
            rows.append(row)
        stacked = sb.sym.Reshape(sb.sym.stack(*rows, axis=1), shape=(-1, 3 * self.sizes[3]))
        label = sb.sym.Reshape(sb.sym.Variable("target_label"), shape=(-1,))
        over_words = {"use_ignore": True, "ignore_label": PAD, "normalization": "valid"}
        loss = sb.sym.SoftmaxOutput(self.scores(stacked), label, name="softmax", **over_words)
        return loss, ["source", "source_length", "target"], ["target_label"]

    def read(self, length: int) -> list[sb.Symbol]:
        """What the decoder sees of a source (batch, length).

        The outputs of both directions (batch, length, 2 * hidden), the same projected for the
        attention (batch, length, hidden), and the decoder's first state (batch, hidden).
        """
        words, _, embed, hidden = self.sizes
        vectors = sb.sym.Embedding(
            sb.sym.Variable("source"), input_dim=words, output_dim=embed, name="source_embed"
        )
        steps = sb.sym.swapaxes(vectors, dim1=0, dim2=1)  # the Sequence operators want time first
        own_end = {"sequence_length": self.lengths, "use_sequence_length": True}
        ahead, _ = self.forward.unroll(length, steps, layout="TNC", merge_outputs=True)
        turned = sb.sym.SequenceReverse(steps, **own_end)
        back, _ = self.backward.unroll(length, turned, layout="TNC", merge_outputs=True)
        final = [sb.sym.SequenceLast(outputs, **own_end) for outputs in (ahead, back)]
        state = sb.sym.FullyConnected(sb.sym.concat(*final, dim=1), num_hidden=hidden, name="start")
        both = sb.sym.concat(ahead, sb.sym.SequenceReverse(back, **own_end), dim=2)
        memory = sb.sym.swapaxes(both, dim1=0, dim2=1)
        projected = sb.sym.FullyConnected(memory, num_hidden=hidden, flatten=False, name="memory")
        return [memory, projected, sb.sym.tanh(state)]

    def write(
        self, word: sb.Symbol, memory: sb.Symbol, projected: sb.Symbol, state: sb.Symbol
    ) -> tuple[sb.Symbol, sb.Symbol]:
        """One step: what the next word is chosen from (batch, 3 * hidden), and the next state."""
        hidden, shared = self.sizes[3], self.shared
        query = sb.sym.FullyConnected(
            state, shared["query_weight"], num_hidden=hidden, no_bias=True
        )
        met = sb.sym.tanh(sb.sym.broadcast_add(projected, sb.sym.expand_dims(query, axis=1)))
        scores = sb.sym.FullyConnected(
            met, shared["score_weight"], num_hidden=1, no_bias=True, flatten=False
        )
        # The positions behind the end of a source get the weight 0, exactly.
        weights = sb.sym.softmax(
            sb.sym.Reshape(scores, shape=(0, -1)), self.lengths, use_length=True
        )
        seen = sb.sym.batch_dot(sb.sym.expand_dims(weights, axis=1), memory)
        seen = sb.sym.Reshape(seen, shape=(0, -1))
        output, (state,) = self.decoder(sb.sym.concat(word, seen, dim=1), [state])
        return sb.sym.concat(output, seen, dim=1), state

    def embedded(self, words: sb.Symbol) -> sb.Symbol:
        _, count, embed, _ = self.sizes
        return sb.sym.Embedding(
            words, self.shared["target_embed_weight"], input_dim=count, output_dim=embed
        )

    def scores(self, rows: sb.Symbol) -> sb.Symbol:
        return sb.sym.FullyConnected(rows, num_hidden=self.sizes[1], name="pred")


# Batches -----------------------------------------------------------------------------------------


def padded(words: Sequence[int], length: int) -> list[int]:
    return [*words, *[PAD] * (length - len(words))]


def batches(
    pairs: Sequence[Pair], keys: Sequence[Key], batch_size: int, **options: Any
) -> sb.io.KeyedIter:
    """Sources with their lengths, targets with <s> before, and as labels with </s> behind."""
    data = [
        {
            "source": padded(source, length),
            "source_length": len(source),
            "target": padded([BEGIN, *target], steps),
        }
        for (source, target), (length, steps) in zip(pairs, keys)
    ]
    label = [padded([*target, END], steps) for (_, target), (_, steps) in zip(pairs, keys)]
    return sb.io.KeyedIter(keys, data, label, batch_size, label_name="target_label", **options)


def batch_of(pairs: Sequence[Pair], key: Key) -> sb.io.DataBatch:
    """A single batch of all pairs, in their order."""
    return batches(pairs, [key] * len(pairs), len(pairs), shuffle=False).next()


def keys_of(pairs: Sequence[Pair], sources: Sequence[int], targets: Sequence[int]) -> list[Key]:
    """For each pair the least of the source and of the target lengths that it fits into."""
    return [
        (
            next(n for n in sorted(sources) if n >= len(source)),
            next(n for n in sorted(targets) if n >= len(target) + 1),
        )
        for source, target in pairs
    ]


def translate(
    module: sb.mod.BucketingModule, sources: Sequence[list[int]], longest: int
) -> list[list[int]]:
    """The most likely word after each word, for sources of any lengths together."""

    def run(key: Hashable, arrays: dict[str, np.ndarray]) -> list[np.ndarray]:
        shapes = [(name, array.shape) for name, array in arrays.items()]
        batch = sb.io.DataBatch(list(arrays.values()), bucket_key=key, provide_data=shapes)
        module.forward(batch, is_train=False)
        return [output.asnumpy() for output in module.get_outputs()]

    length = max(map(len, sources))
    lengths = np.array([len(source) for source in sources])
    words = np.array([padded(source, length) for source in sources])
    read = {"source": words, "source_length": lengths}
    memory, projected, state = run(("read", length), read)
    words, written = np.full(len(sources), BEGIN), []
    for _ in range(longest):
        arrays = {"target": words, "memory": memory, "projected": projected, "state": state}
        scores, state = run(("write", length), {**arrays, "source_length": lengths})
        words = scores.argmax(axis=1)
        written.append(words)
        if (np.array(written) == END).any(axis=0).all():
            break
    return np.stack(written, axis=1).tolist()


def exact(
    module: sb.mod.BucketingModule, pairs: Sequence[Pair], batch_size: int, longest: int
) -> float:
    """Share of pairs whose whole translation is right."""
    right = 0
    for start in range(0, len(pairs), batch_size):
        part = pairs[start : start + batch_size]
        written = translate(module, [s for s, _ in part], longest)
        for (_, target), words in zip(part, written):
            end = words.index(END) if END in words else len(words)
            right += words[:end] == target
    return right / len(pairs)


# The program -------------------------------------------------------------------------------------


def run(args: argparse.Namespace) -> None:
    sb.random.seed(args.seed)
    drawn = numbers(args.pairs, args.digits, np.random.default_rng(args.seed))
    texts = [(english(n), german(n)) for n in drawn]
    source, target = Words([e for e, _ in texts]), Words([g for _, g in texts])
    pairs = [(source.encode(e), target.encode(g)) for e, g in texts]
    cut = len(pairs) * 9 // 10
    longest = max(len(t) + 1 for _, t in pairs)
    bounds = (
        [max(len(s) for s, _ in pairs) * i // args.buckets for i in range(1, args.buckets + 1)],
        [longest * i // args.buckets for i in range(1, args.buckets + 1)],
    )
    keys = keys_of(pairs[:cut], *bounds)
    # What fills no batch waits for the next epoch, which begins in another order.
    train = batches(pairs[:cut], keys, args.batch_size, seed=args.seed)
    words = sum(len(s) + len(t) + 1 for s, t in pairs[:cut])
    steps = sum(map(sum, keys))
    alone = sum(map(max, zip(*keys))) * cut
    print(
        f"{cut:,} numbers to learn from, {len(pairs) - cut:,} held out\n"
        f"{len(train.buckets)} keys (source, target): "
        f"{', '.join(f'{k[0]}/{k[1]}' for k in sorted(train.buckets))}\n"
        f"Padding is {1 - words / steps:.0%} of the steps; with the longest of both alone it would "
        f"be {1 - words / alone:.0%}."
    )
    networks = Translator(len(source), len(target), args.num_embed, args.num_hidden)
    report = sb.check_padding(networks, batch_of(pairs[:4], tuple(map(max, zip(*keys)))))
    if not report.ok:
        raise sb.errors.DataError(str(report))
    print(report)
    module = sb.mod.BucketingModule(networks, train.default_bucket_key)
    began = time.perf_counter()

    def tell(epoch: int, *_: Any) -> None:
        if (epoch + 1) % args.tell and epoch + 1 != args.num_epochs:
            return
        share = exact(module, pairs[cut:], args.batch_size, longest)
        print(
            f"epoch {epoch + 1}: {time.perf_counter() - began:.1f} s, held-out translations "
            f"without a mistake {share:.2%}",
            flush=True,
        )

    steps_in_all = args.num_epochs * len(train)
    module.fit(
        train,
        eval_metric=sb.metric.Perplexity(PAD),
        epoch_end_callback=tell,
        initializer=sb.init.Xavier(),
        optimizer="adam",
        optimizer_params={
            "learning_rate": args.lr,
            # The loss is a mean over words already.
            "rescale_grad": 1.0,
            "clip_gradient": 1.0,
            "lr_scheduler": sb.lr_scheduler.CosineScheduler(
                max(1, steps_in_all), base_lr=args.lr, final_lr=args.lr / 50
            ),
        },
        num_epoch=args.num_epochs,
    )
    print()
    shown = sorted(drawn[cut:], key=lambda n: len(english(n)))[:: max(1, (len(pairs) - cut) // 5)]
    sources = [source.encode(english(n)) for n in shown]
    for number, words_ in zip(shown, translate(module, sources, longest)):
        print(f"{number:>9,}  {' '.join(english(number))}: {''.join(target.decode(words_))}")


def parse_arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argument_parser(
        "seq2seq_attention.py", "Translate numbers from English words into German ones."
    )
    add = parser.add_argument
    add("--pairs", type=integer(40), default=8_000, help="how many numbers to take at most")
    add("--digits", type=integer(2, 6), default=6, help="digits of the largest numbers")
    add("--buckets", type=integer(1), default=3, help="lengths to choose from, in each language")
    add("--num-hidden", type=integer(1), default=64, help="size of each GRU")
    add("--num-embed", type=integer(1), default=32, help="size of word vectors")
    add("--batch-size", type=integer(1), default=32, help="pairs in a batch")
    add("--num-epochs", type=integer(1), default=5, help="times through the pairs")
    add("--tell", type=integer(1), default=1, help="epochs between tests on what is held out")
    add("--lr", type=positive, default=0.005, help="learning rate of Adam at the beginning")
    add("--seed", type=int, default=1, help="the same one repeats a run exactly")
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> int:
    return run_program("seq2seq_attention.py", run, parse_arguments(argv))


if __name__ == "__main__":
    sys.exit(main())
