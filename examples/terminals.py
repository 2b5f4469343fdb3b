"""One symbol that holds a network for every length: a step names its data and one terminal.

    python examples/terminals.py

Bucketing is often written as a function that makes a network for a key. It can also be written as
one large symbol: for every length a subgraph with its own data, label and loss (its *terminal*),
and below them all the same parameters. Such a symbol can be looked at, saved and loaded as one
thing. A step names a terminal and feeds that terminal's data; the rest of the symbol does not run,
has no buffers, and is never compiled unless its turn comes.

The networks run one at a time, so what one needs for its activations the next can use: the memory
is that of the largest terminal, not the sum. The program prints both.

The task: every Unicode character has a name, such as LATIN SMALL LETTER E WITH ACUTE, and a
category, such as Ll (a lower case letter). A recurrent network reads the words of a name and says
the category; it is right for 97% of characters that it did not learn from. Since there is a
terminal for every number of words, nothing is ever padded.
"""

from __future__ import annotations

import argparse
import sys
import time
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

import symbucket as sb
from symbucket.apps.arguments import argument_parser, integer, positive, run_program

UNKNOWN = 0  # stands for every word that is too rare to be learned


class Data(NamedTuple):
    """Names as numbers, (count, length) for every length, with the numbers of their categories."""

    words: dict[int, np.ndarray]
    labels: dict[int, np.ndarray]


def all_terminals(lengths: Sequence[int], words: int, classes: int, hidden: int) -> sb.Symbol:
    """One symbol with an output ``category2_output``, ``category3_output``, ... for each length."""
    # Inside one symbol a name means one variable, so what is shared is made once. The cell does
    # the same for its own weights.
    embed = sb.sym.Variable("embed_weight")
    weight, bias = sb.sym.Variable("pred_weight"), sb.sym.Variable("pred_bias")
    cell = sb.rnn.GRUCell(hidden, prefix="gru_")
    terminals = []
    for length in lengths:
        # The names of what is fed tell the subgraphs apart.
        data, label = sb.sym.Variable(f"words{length}"), sb.sym.Variable(f"label{length}")
        vectors = sb.sym.Embedding(data, embed, input_dim=words, output_dim=hidden)
        outputs, _ = cell.unroll(length, vectors, merge_outputs=False)
        scores = sb.sym.FullyConnected(outputs[-1], weight, bias, num_hidden=classes)
        terminals.append(sb.sym.SoftmaxOutput(scores, label, name=f"category{length}"))
    return sb.sym.Group(terminals)


def unicode_names(args: argparse.Namespace) -> tuple[list[tuple[list[str], str]], list[str]]:
    """(words of the name, category) of every character in a fixed random order; categories."""
    names = []
    for code in range(sys.maxunicode + 1):
        character = chr(code)
        name = unicodedata.name(character, "")
        # These have no names of their own, only a rule that makes one from the number.
        if not name or name.startswith(("CJK ", "HANGUL SYLLABLE", "TANGUT ", "KHITAN ", "NUSHU ")):
            continue
        words = name.replace("-", " - ").split()
        if args.shortest <= len(words) <= args.longest:
            names.append((words, unicodedata.category(character)))
    counts = Counter(category for _, category in names)
    common = [(words, c) for words, c in names if counts[c] >= 50]
    np.random.default_rng(args.seed).shuffle(common)  # type: ignore[arg-type]
    return common[: args.names], sorted(c for c, count in counts.items() if count >= 50)


def encode(
    names: Sequence[tuple[list[str], str]], numbers: dict[str, int], categories: Sequence[str]
) -> Data:
    """Names as arrays, those of one length together."""
    words, labels = defaultdict(list), defaultdict(list)
    for name, category in names:
        words[len(name)].append([numbers.get(word, UNKNOWN) for word in name])
        labels[len(name)].append(categories.index(category))
    return Data(*({n: np.array(rows[n]) for n in sorted(rows)} for rows in (words, labels)))


def batches(data: Data, batch_size: int, seed: int, last_batch: str) -> sb.io.KeyedIter:
    """Batches of names of one length, in random order; each names its data and its terminal."""
    rows = [(n, *row) for n in data.words for row in zip(data.words[n], data.labels[n])]
    return sb.io.KeyedIter(
        [n for n, _, _ in rows],
        [{f"words{n}": words} for n, words, _ in rows],
        [{f"label{n}": label} for n, _, label in rows],
        batch_size,
        last_batch=last_batch,
        seed=seed,
    )


def memory(module: sb.mod.BucketingModule, lengths: Sequence[int], batch_size: int) -> str:
    """What the activations of all terminals take together, and what they would take apart."""

    def shapes(length: int) -> tuple[list, list]:
        return [(f"words{length}", (batch_size, length))], [(f"label{length}", (batch_size,))]

    metric = sb.metric.Accuracy()
    alone = [module.plan_memory([n], shapes, metric).peak for n in lengths]
    together = module.plan_memory(lengths, shapes, metric).peak
    return (
        f"Activations of {len(lengths)} terminals: {together / 1e6:.2f} MB, as the largest alone "
        f"({max(alone) / 1e6:.2f} MB); kept apart they would be {sum(alone) / 1e6:.2f} MB."
    )


def run(args: argparse.Namespace) -> None:
    sb.random.seed(args.seed)
    names, categories = unicode_names(args)
    cut = len(names) * 9 // 10
    counts = Counter(word for name, _ in names[:cut] for word in name)
    words = [word for word, count in counts.items() if count >= args.min_count]
    numbers = {word: i + 1 for i, word in enumerate(words)}
    train, held_out = (encode(part, numbers, categories) for part in (names[:cut], names[cut:]))
    # A length that only a few held-out names have gets no terminal.
    lengths = [n for n, rows in train.words.items() if len(rows) >= args.batch_size]
    train, held_out = (
        Data(*({n: rows[n] for n in lengths if n in rows} for rows in part))
        for part in (train, held_out)
    )
    answers = np.concatenate(list(held_out.labels.values()))
    print(
        f"{sum(map(len, train.labels.values())):,} names to learn from, {len(answers):,} held out; "
        f"{len(numbers):,} words, {len(categories)} categories\n"
        f"Always the most frequent category: {np.bincount(answers).max() / len(answers):.1%} right"
    )

    group = all_terminals(lengths, len(numbers) + 1, len(categories), args.num_hidden)
    nodes = {n: len(group[f"category{n}_output"].nodes()) for n in lengths}
    print(
        f"The symbol has {len(group.nodes())} nodes and {len(group)} terminals; a step runs "
        f"{min(nodes.values())} to {max(nodes.values())} of them."
    )
    module = sb.mod.BucketingModule.from_terminals(
        group, {n: f"category{n}_output" for n in lengths}
    )
    began = time.perf_counter()

    def tell(param: sb.callback.BatchEndParam) -> None:
        assert param.eval_metric is not None
        ((_, accuracy),) = param.eval_metric.get_global_name_value()
        took = time.perf_counter() - began
        print(f"epoch {param.epoch + 1}: {took:.1f} s, held-out accuracy {accuracy:.2%}")

    module.fit(
        batches(train, args.batch_size, args.seed, "discard"),
        # Every held-out name counts once, so a last batch is as small as it is.
        eval_data=batches(held_out, args.batch_size, args.seed, "keep"),
        eval_metric="acc",
        eval_end_callback=tell,
        initializer=sb.init.Xavier(),
        optimizer="adam",
        optimizer_params={"learning_rate": args.lr},
        num_epoch=args.num_epochs,
    )
    print(memory(module, lengths, args.batch_size))


def parse_arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argument_parser(
        "terminals.py", "Tell the category of Unicode characters from the words of their names."
    )
    add = parser.add_argument
    add("--names", type=integer(1), default=100_000, help="how many characters to take at most")
    add("--shortest", type=integer(1), default=2, help="words of the shortest names")
    add("--longest", type=integer(1), default=9, help="words of the longest names")
    add("--min-count", type=integer(1), default=5, help="rarer words are all one unknown word")
    add("--num-hidden", type=integer(1), default=64, help="size of the GRU and of word vectors")
    add("--batch-size", type=integer(1), default=64, help="names in a batch")
    add("--num-epochs", type=integer(1), default=4, help="times through the names")
    add("--lr", type=positive, default=0.005, help="learning rate of Adam")
    add("--seed", type=int, default=1, help="the same one repeats a run exactly")
    args = parser.parse_args(argv)
    if args.shortest > args.longest:
        parser.error(f"--shortest {args.shortest} is more than --longest {args.longest}")
    return args


def main(argv: Sequence[str] | None = None) -> int:
    return run_program("terminals.py", run, parse_arguments(argv))


if __name__ == "__main__":
    sys.exit(main())
