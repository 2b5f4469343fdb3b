"""Two tasks that share what they know of words: the bucket key names the task and the lengths.

    python examples/multi_task.py

One model translates numbers from English words into German ones. For it there are only a few
hundred translated numbers. Another, a language model, guesses the next part of a German number from
those before; for it there is plenty of text, since nobody has to translate that. Both have a GRU of
their own and tie their embedding: a single matrix holds the vectors of the German parts, and as
both models read them with it and also choose the next one by its product with them (Press and
Wolf, 2017), it appears four times in all.

What bucketing buys: the key of a batch may name anything. Here it is ("translate", source length,
target length) or ("continue", length), so batches of both tasks alternate in one training loop,
with one optimizer. A step on one task changes the tied matrix for both and leaves what belongs to
the other task alone, as it is: no decay, no momentum, no count of steps.

The two tasks differ in their parameters, and optimizer and checkpoints must know all of them. That
is what the default key is for: its network is a Group of one network of each task. It is never run,
thus never compiled; it only says what there is.

The program trains the translation alone and then both tasks, and prints how well each is done. One
matrix turns out to serve both: the language model comes close to the best that is possible, and the
translations are about as good as without it. (With a vocabulary this small they do not get better
either; a translator learns 35 vectors from a few hundred numbers.)
"""

from __future__ import annotations

import argparse
import itertools
import logging
import sys
import time
from collections.abc import Callable, Hashable, Iterator, Sequence

import numpy as np

import symbucket as sb
from symbucket.apps.arguments import argument_parser, integer, positive, run_program

PAD, BEGIN, END = 0, 1, 2  # numbers that stand for no word
SPECIAL = ["<pad>", "<s>", "</s>"]
EVERYTHING = "everything"
WRITE = "write"

Row = tuple[list[int], list[int]]


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
    """The words of a number below ten thousand."""
    for size, name in ((1000, "thousand"), (100, "hundred")):
        if number >= size:
            rest = english(number % size) if number % size else []
            return [ENGLISH[number // size], name, *rest]
    if number >= 20:
        return [ENGLISH_TENS[number // 10], *([ENGLISH[number % 10]] if number % 10 else [])]
    return [ENGLISH[number]]


def german(number: int) -> list[str]:
    """The parts of the one long word that a number below ten thousand is."""

    def digit(count: int) -> str:
        return "ein" if count == 1 else GERMAN[count]  # einhundert, einundzwanzig

    for size, name in ((1000, "tausend"), (100, "hundert")):
        if number >= size:
            rest = german(number % size) if number % size else []
            return [digit(number // size), name, *rest]
    if number >= 20:
        return [*([digit(number % 10), "und"] if number % 10 else []), GERMAN_TENS[number // 10]]
    return [GERMAN[number]]


class Words:
    """The words of one language and their numbers."""

    def __init__(self, sentences: Sequence[list[str]]) -> None:
        self.words = SPECIAL + sorted({word for sentence in sentences for word in sentence})
        self.numbers = {word: i for i, word in enumerate(self.words)}

    def __len__(self) -> int:
        return len(self.words)

    def encode(self, sentence: Sequence[str]) -> list[int]:
        return [self.numbers[word] for word in sentence]


# The networks ------------------------------------------------------------------------------------


def two_tasks(source_words: int, target_words: int, hidden: int) -> Callable[[Hashable], tuple]:
    """``sym_gen`` of both tasks."""
    reader = sb.rnn.GRUCell(hidden, prefix="reader_")
    writer = sb.rnn.GRUCell(hidden, prefix="writer_")
    continuer = sb.rnn.GRUCell(hidden, prefix="continuer_")
    # A variable that is made once is one parameter, wherever it is used.
    tied = sb.sym.Variable("german_embed_weight")

    def embedded(name: str) -> sb.Symbol:
        return sb.sym.Embedding(
            sb.sym.Variable(name), tied, input_dim=target_words, output_dim=hidden
        )

    def scores(rows: sb.Symbol, name: str) -> sb.Symbol:
        rows = sb.sym.FullyConnected(rows, num_hidden=hidden, flatten=False, name=f"{name}_pred")
        rows = sb.sym.Reshape(rows, shape=(-1, hidden))
        # The same matrix again: a part scores high when its vector is like the prediction.
        return sb.sym.FullyConnected(
            rows, tied, num_hidden=target_words, no_bias=True, name=f"{name}_scores"
        )

    def loss(rows: sb.Symbol, name: str) -> sb.Symbol:
        label = sb.sym.Reshape(sb.sym.Variable(f"{name}_label"), shape=(-1,))
        return sb.sym.SoftmaxOutput(
            scores(rows, name),
            label,
            name=name,
            use_ignore=True,
            ignore_label=PAD,
            normalization="valid",
        )

    def read(length: int) -> sb.Symbol:
        """A vector of each source, taken at the source's own end."""
        words = sb.sym.Embedding(
            sb.sym.Variable("source"),
            input_dim=source_words,
            output_dim=hidden,
            name="source_embed",
        )
        steps = sb.sym.swapaxes(words, dim1=0, dim2=1)
        outputs, _ = reader.unroll(length, steps, layout="TNC", merge_outputs=True)
        lengths = sb.sym.Variable("source_length")
        return sb.sym.SequenceLast(outputs, lengths, use_sequence_length=True)

    def write(
        words: Sequence[sb.Symbol], state: sb.Symbol, meaning: sb.Symbol
    ) -> tuple[sb.Symbol, sb.Symbol]:
        """The writer's outputs (batch, steps, hidden); every step sees what was read."""
        inputs = [sb.sym.concat(word, meaning, dim=1) for word in words]
        outputs, states = writer.unroll(len(inputs), inputs, [state], merge_outputs=True)
        return outputs, states[0]

    def translation(source: int, target: int) -> sb.Symbol:
        meaning = read(source)
        words = sb.sym.split(embedded("target"), num_outputs=target, axis=1, squeeze_axis=True)
        outputs, _ = write(list(words), meaning, meaning)
        return loss(outputs, "translate")

    def continuation(length: int) -> sb.Symbol:
        outputs, _ = continuer.unroll(length, embedded("text"), merge_outputs=True)
        return loss(outputs, "continue")

    inputs = {
        "translate": (["source", "source_length", "target"], ["translate_label"]),
        "continue": (["text"], ["continue_label"]),
    }

    def sym_gen(key: Hashable) -> tuple[sb.Symbol, list[str], list[str]]:
        if key == EVERYTHING:
            both = sb.sym.Group([translation(2, 2), continuation(2)])
            data, labels = zip(*inputs.values())
            return (
                both,
                [n for names in data for n in names],
                [n for names in labels for n in names],
            )
        if key == WRITE:  # one step, to translate with
            state, meaning = sb.sym.Variable("state"), sb.sym.Variable("meaning")
            outputs, state = write([embedded("target")], state, meaning)
            return sb.sym.Group([scores(outputs, "translate"), state]), [
                "target", "state", "meaning"
            ], []  # fmt: skip
        assert isinstance(key, tuple)
        if key[0] == "read":
            return read(key[1]), inputs["translate"][0][:2], []
        task, *lengths = key
        network = {"translate": translation, "continue": continuation}[task]
        return network(*lengths), *inputs[task]

    return sym_gen


# Batches -----------------------------------------------------------------------------------------


def padded(words: Sequence[int], length: int) -> list[int]:
    return [*words, *[PAD] * (length - len(words))]


def batches(rows: Sequence[Row], keys: Sequence[tuple], *args: int, **options) -> sb.io.KeyedIter:
    """Batches of rows of one task and of the lengths of their key."""
    data, label = [], []
    for (source, target), (task, *lengths) in zip(rows, keys):
        text = padded([BEGIN, *target], lengths[-1])
        if task == "translate":
            words = padded(source, lengths[0])
            data.append({"source": words, "source_length": len(source), "target": text})
        else:  # a text to be continued has no source
            data.append({"text": text})
        label.append({f"{task}_label": padded([*target, END], lengths[-1])})
    return sb.io.KeyedIter(keys, data, label, *args, **options)


def batch_of(key: tuple, rows: Sequence[Row]) -> sb.io.DataBatch:
    """A single batch of all rows, in their order."""
    return batches(rows, [key] * len(rows), len(rows), shuffle=False).next()


def task_batches(task: str, rows: Sequence[Row], batch_size: int, seed: int) -> sb.io.KeyedIter:
    """Batches of one task, in random order; all rows of a batch have about the same lengths."""
    keys = []
    for source, target in rows:
        # Lengths are rounded up to 4 or 8, which leaves a few keys for each task.
        lengths = [-(-n // 4) * 4 for n in (len(source), len(target) + 1)]
        keys.append((task, *lengths) if task == "translate" else (task, lengths[1]))
    return batches(rows, keys, batch_size, seed=seed)


def described(batch_size: int) -> tuple[list, list]:
    """The inputs of the default key's network."""
    rows: list[Row] = [([BEGIN], [BEGIN])] * batch_size
    tasks = batch_of(("translate", 2, 2), rows), batch_of(("continue", 2), rows)
    return [d for b in tasks for d in b.provide_data], [d for b in tasks for d in b.provide_label]


def alternating(*tasks: sb.io.DataIter) -> Iterator[sb.io.DataBatch]:
    """A batch of each task in turn, for ever; a task that is through begins anew."""
    for task in itertools.cycle(tasks):
        try:
            yield task.next()
        except StopIteration:
            task.reset()
            yield task.next()


def translate(
    module: sb.mod.BucketingModule, sources: Sequence[list[int]], longest: int
) -> list[list[int]]:
    """The most likely part after each part, up to the end."""

    def run(key: Hashable, arrays: dict[str, np.ndarray]) -> list[np.ndarray]:
        shapes = [(name, array.shape) for name, array in arrays.items()]
        batch = sb.io.DataBatch(list(arrays.values()), bucket_key=key, provide_data=shapes)
        module.forward(batch, is_train=False)
        return [output.asnumpy() for output in module.get_outputs()]

    length = max(map(len, sources))
    lengths = np.array([len(source) for source in sources])
    read = np.array([padded(source, length) for source in sources])
    (meaning,) = run(("read", length), {"source": read, "source_length": lengths})
    state, words, written = meaning, np.full((len(sources), 1), BEGIN), []
    for _ in range(longest):
        scores, state = run(WRITE, {"target": words[:, 0], "state": state, "meaning": meaning})
        words = scores.argmax(axis=1)[:, None]
        written.append(words)
    return [row[: row.index(END) if END in row else None] for row in np.hstack(written).tolist()]


# The program -------------------------------------------------------------------------------------


def train(
    args: argparse.Namespace,
    sizes: tuple[int, int],
    tasks: Sequence[sb.io.DataIter],
    held_out: Sequence[Row],
) -> None:
    """Train on some tasks and print what the model can do."""
    sb.random.seed(args.seed)
    module = sb.mod.BucketingModule(two_tasks(*sizes, args.num_hidden), EVERYTHING)
    module.bind(*described(args.batch_size))
    module.init_params(sb.init.Xavier())
    module.init_optimizer(
        optimizer="adam",
        # The losses are means over words already.
        optimizer_params={"learning_rate": args.lr, "rescale_grad": 1.0, "clip_gradient": 1.0},
    )
    began = time.perf_counter()
    # As many steps of translating with the other task as without it.
    for batch in itertools.islice(alternating(*tasks), args.steps * len(tasks)):
        module.forward_backward(batch)
        module.update()
    longest = max(len(target) for _, target in held_out) + 1
    written = translate(module, [source for source, _ in held_out], longest)
    right = sum(words == target for words, (_, target) in zip(written, held_out))
    texts = task_batches("continue", held_out, min(args.batch_size, len(held_out)), args.seed)
    ((_, perplexity),) = module.score(texts, sb.metric.Perplexity(PAD))
    print(
        f"{len(tasks)} task{'s' * (len(tasks) > 1)}, {time.perf_counter() - began:.1f} s: "
        f"{right / len(held_out):.2%} of held-out numbers translated without a mistake, "
        f"perplexity of the language model {perplexity:.2f}\n"
        f"  keys: {', '.join(map(str, module.bucket_keys))}; "
        f"models built for {EVERYTHING!r}: {sum(module.builds()[EVERYTHING].values())}",
        flush=True,
    )


def run(args: argparse.Namespace) -> None:
    drawn = np.random.default_rng(args.seed).permutation(10_000).tolist()
    source, target = Words([english(n) for n in drawn]), Words([german(n) for n in drawn])
    rows = [(source.encode(english(n)), target.encode(german(n))) for n in drawn]
    held_out, pairs = rows[: args.held_out], rows[args.held_out :][: args.pairs]
    texts = rows[args.held_out :][: args.texts]
    # All numbers are equally likely: who knows them all, and nothing more, still has to guess.
    parts = sum(len(words) + 1 for _, words in rows) / len(rows)
    print(
        f"{len(pairs):,} translated numbers, {len(texts):,} in German only, "
        f"{len(held_out):,} held out\n"
        f"No language model can have a perplexity below {len(rows) ** (1 / parts):.2f}.\n"
        f"What fills no batch of {args.batch_size} is left out.\n",
        flush=True,
    )
    logging.getLogger("symbucket.io").setLevel(logging.ERROR)  # would say that again and again
    sizes = len(source), len(target)

    def task(name: str, data: Sequence[Row]) -> sb.io.KeyedIter:
        return task_batches(name, data, args.batch_size, args.seed)

    train(args, sizes, [task("translate", pairs)], held_out)
    train(args, sizes, [task("translate", pairs), task("continue", texts)], held_out)


def parse_arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argument_parser(
        "multi_task.py", "Translate numbers, alone and together with a language model."
    )
    add = parser.add_argument
    add("--pairs", type=integer(1), default=500, help="numbers with a translation")
    add("--texts", type=integer(1), default=5_000, help="numbers in German only")
    add("--held-out", type=integer(1), default=1_000, help="numbers to test with")
    add("--steps", type=integer(1), default=700, help="batches of each task to train on")
    add("--num-hidden", type=integer(1), default=64, help="size of each GRU and of word vectors")
    add("--batch-size", type=integer(1), default=32, help="rows in a batch")
    add("--lr", type=positive, default=0.005, help="learning rate of Adam")
    add("--seed", type=int, default=1, help="the same one repeats a run exactly")
    args = parser.parse_args(argv)
    for name in ("pairs", "texts"):
        if getattr(args, name) + args.held_out > 10_000:
            parser.error(f"--{name} and --held-out are more than 10,000 numbers together")
    return args


def main(argv: Sequence[str] | None = None) -> int:
    return run_program("multi_task.py", run, parse_arguments(argv))


if __name__ == "__main__":
    sys.exit(main())
