"""A character model that remembers: segments of any length, states carried from one to the next.

    python examples/char_lm.py

The text, Python's own help pages, is one long row of characters; it has no sentences that could be
put into buckets. It is cut into as many streams as a batch has rows, and a step trains on the next
segment of every stream. The states of the LSTM layers at the end of a segment are where the next
one begins, so the model may use what it read long ago, though gradients end at the cut (truncated
backpropagation through time).

What bucketing buys: a network for every length of a segment, all with the same parameters.

* Cuts at the same places in every epoch would never let a gradient cross them. So lengths are
  drawn at random from a few keys (as Merity, Keskar and Socher, 2018, do), and every epoch cuts
  elsewhere.
* The end of the text is a segment of whatever length is left.
* Writing takes a network of length 1 that has no loss: the key ("read", 1). A prompt is read by the
  network of the prompt's length, in one run, and its last states are where the writing begins.

States are plain inputs and outputs of the networks. BlockGrad tells that the outputs are no losses.

After two minutes the model needs about 2.1 bits for a character that it has not seen. The program
prints what lzma needs too, which is less for this text: the pages repeat whole passages, and lzma
copies them from hundreds of thousands of characters back.
"""

from __future__ import annotations

import argparse
import lzma
import math
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from pydoc_data import topics

import numpy as np

import symbucket as sb
from symbucket.apps.arguments import argument_parser, integer, positive, run_program

States = list[np.ndarray]
Key = int | tuple[str, int]


def char_model(
    characters: int, layers: int, hidden: int
) -> Callable[[Key], tuple[sb.Symbol, list[str], list[str]]]:
    """``sym_gen`` of segments to learn from (key: length) and to read only (("read", length))."""
    cells = sb.rnn.SequentialRNNCell()
    for i in range(layers):
        cells.add(sb.rnn.LSTMCell(hidden, prefix=f"lstm_l{i}_"))

    def sym_gen(key: Key) -> tuple[sb.Symbol, list[str], list[str]]:
        length = key if isinstance(key, int) else key[1]
        cells.reset()
        begin = cells.begin_state(sb.sym.Variable)  # inputs in place of zeros
        vectors = sb.sym.Embedding(
            sb.sym.Variable("data"), input_dim=characters, output_dim=hidden // 2, name="embed"
        )
        outputs, states = cells.unroll(length, vectors, begin, merge_outputs=True)
        rows = sb.sym.Reshape(outputs, shape=(-1, hidden))
        scores = sb.sym.FullyConnected(rows, num_hidden=characters, name="pred")
        names = ["data", *(state.name for state in begin)]
        if not isinstance(key, int):
            return sb.sym.Group([sb.sym.softmax(scores), *states]), names, []
        label = sb.sym.Reshape(sb.sym.Variable("softmax_label"), shape=(-1,))
        loss = sb.sym.SoftmaxOutput(scores, label, name="softmax", normalization="batch")
        carried = [sb.sym.BlockGrad(state) for state in states]
        return sb.sym.Group([loss, *carried]), names, ["softmax_label"]

    return sym_gen


class Model:
    """The module together with the states that wait for the next segment."""

    def __init__(self, characters: int, args: argparse.Namespace) -> None:
        sym_gen = char_model(characters, args.num_layers, args.num_hidden)
        longest = max(args.lengths)
        self.hidden = args.num_hidden
        self.inputs = sym_gen(longest)[1]
        self.module = sb.mod.BucketingModule(sym_gen, longest)
        batch = self.batch(np.zeros((args.batch_size, longest + 1)), self.zeros(args.batch_size))
        self.module.bind(batch.provide_data, batch.provide_label)
        self.module.init_params(sb.init.Xavier())

    def zeros(self, rows: int) -> States:
        """The states before anything was read."""
        return [np.zeros((rows, self.hidden), np.float32) for _ in self.inputs[1:]]

    def batch(self, segment: np.ndarray, states: States, labelled: bool = True) -> sb.io.DataBatch:
        """A segment (rows, length + 1), of which every character is guessed from those before.

        Where it is not ``labelled`` there is no character to guess, and all are read.
        """
        read = segment[:, :-1] if labelled else segment
        arrays = [read, *states]
        return sb.io.DataBatch(
            arrays,
            [segment[:, 1:]] if labelled else None,
            bucket_key=read.shape[1] if labelled else ("read", read.shape[1]),
            provide_data=[(name, a.shape) for name, a in zip(self.inputs, arrays)],
            provide_label=[("softmax_label", read.shape)] if labelled else None,
        )

    def read(
        self, segment: np.ndarray, states: States, train: bool = False, labelled: bool = True
    ) -> tuple[np.ndarray, States]:
        """Probabilities (rows * length, characters) of what follows each character; new states."""
        batch = self.batch(segment, states, labelled)
        if train:
            self.module.forward_backward(batch)
            self.module.update()
        else:
            self.module.forward(batch, is_train=False)
        # Copies: the next segment's network writes into the same memory.
        probabilities, *states = (output.asnumpy() for output in self.module.get_outputs())
        return probabilities, states

    def bits(self, streams: np.ndarray, lengths: Iterator[int], train: bool) -> float:
        """Read streams (rows, characters) segment by segment; bits for each character."""
        states, total, count = self.zeros(len(streams)), 0.0, 0
        for segment in segments(streams, lengths):
            probabilities, states = self.read(segment, states, train)
            following = segment[:, 1:].reshape(-1)
            total -= np.log2(probabilities[np.arange(len(following)), following] + 1e-12).sum()
            count += len(following)
        return total / count

    def write(
        self, prompt: np.ndarray, rows: int, count: int, temperature: float, seed: int
    ) -> np.ndarray:
        """Continue a prompt in several ways, (rows, count) characters.

        Probabilities are taken to the power of 1 / temperature: below 1 the likely characters get
        likelier, and towards 0 only the likeliest is left.
        """
        generator = np.random.default_rng(seed)
        probabilities, states = self.read(
            np.tile(prompt, (rows, 1)), self.zeros(rows), labelled=False
        )
        # Of the prompt's characters only the last one has a next one that is not known.
        probabilities = probabilities.reshape(rows, len(prompt), -1)[:, -1]
        written = []
        for _ in range(count):
            scores = np.log(probabilities + 1e-12) / temperature
            # The largest of scores + Gumbel noise is a draw from their softmax.
            words = (scores + generator.gumbel(size=scores.shape)).argmax(axis=1)[:, None]
            written.append(words)
            probabilities, states = self.read(words, states, labelled=False)
        return np.hstack(written)


def segments(streams: np.ndarray, lengths: Iterator[int]) -> Iterator[np.ndarray]:
    """Consecutive segments; the last character of one is the first of the next."""
    start, end = 0, streams.shape[1] - 1
    while start < end:
        length = min(next(lengths), end - start)
        yield streams[:, start : start + length + 1]
        start += length


def drawn(lengths: Sequence[int], rng: np.random.Generator) -> Iterator[int]:
    while True:
        yield int(rng.choice(lengths))


def streams_of(text: str, numbers: dict[str, int], rows: int) -> np.ndarray:
    """The text as ``rows`` streams side by side; what is left over at the end is left out."""
    ids = np.array([numbers[c] for c in text])
    length = len(ids) // rows
    return ids[: rows * length].reshape(rows, length)


def load_text(args: argparse.Namespace) -> str:
    if args.data is not None:
        try:
            text = Path(args.data).read_text(encoding="utf-8")
        except (OSError, ValueError) as error:
            raise sb.errors.DataError(f"cannot read {args.data!r}: {error}") from error
    else:
        # Sphinx pads its tables with blanks; runs of them teach nothing.
        pages = [topics.topics[name] for name in sorted(topics.topics)]
        text = "\n".join(" ".join(line.split()) for page in pages for line in page.split("\n"))
    text = text[: args.characters]
    if len(text) < 100 * args.batch_size:
        raise sb.errors.DataError(
            f"{len(text)} characters are too few for {args.batch_size} streams: give 100 for each"
        )
    return text


def packed_bits(train: str, held_out: str) -> float:
    """What a good general compressor needs for a character of ``held_out`` after ``train``."""
    sizes = [len(lzma.compress(text.encode(), preset=9)) for text in (train, train + held_out)]
    return 8 * (sizes[1] - sizes[0]) / len(held_out)


def run(args: argparse.Namespace) -> None:
    sb.random.seed(args.seed)
    text = load_text(args)
    characters = sorted(set(text))
    numbers = {c: i for i, c in enumerate(characters)}
    cut = len(text) * 9 // 10
    train = streams_of(text[:cut], numbers, args.batch_size)
    held_out = streams_of(text[cut:], numbers, args.batch_size)
    _, counts = np.unique(train, return_counts=True)
    shares = counts / counts.sum()
    print(
        f"{cut:,} characters to learn from, {len(text) - cut:,} held out; {len(characters)} "
        f"different ones\nBits for a character: {math.log2(len(characters)):.2f} if all were "
        f"equally likely, {-(shares * np.log2(shares)).sum():.2f} from their frequencies, "
        f"{packed_bits(text[:cut], text[cut:]):.2f} by lzma"
    )
    model = Model(len(characters), args)
    rng = np.random.default_rng(args.seed)
    steps = args.num_epochs * train.shape[1] // int(np.mean(args.lengths))
    model.module.init_optimizer(
        optimizer="adam",
        optimizer_params={
            "learning_rate": args.lr,
            "rescale_grad": 1.0,  # the loss is a mean over characters already
            "clip_gradient": 1.0,
            "lr_scheduler": sb.lr_scheduler.CosineScheduler(
                max(1, steps), base_lr=args.lr, final_lr=args.lr / 20
            ),
        },
    )
    longest = max(args.lengths)
    for epoch in range(args.num_epochs):
        began = time.perf_counter()
        trained = model.bits(train, drawn(args.lengths, rng), train=True)
        took = time.perf_counter() - began
        tested = model.bits(held_out, iter(lambda: longest, None), train=False)
        print(
            f"epoch {epoch + 1}: {took:.1f} s, {train.size / took:,.0f} characters/s, "
            f"{trained:.3f} bits for a character, held out {tested:.3f}",
            flush=True,
        )
    prompt = [numbers[c] for c in args.prompt if c in numbers] or [0]
    written = model.write(
        np.array(prompt), args.samples, args.sample_length, args.temperature, args.seed
    )
    print(f"bucket keys: {', '.join(map(str, model.module.bucket_keys))}\n")
    for row in written:
        print(f"  {args.prompt}|{''.join(characters[i] for i in row)}".replace("\n", "\n  "))
        print()


def parse_arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argument_parser("char_lm.py", "Train a character model on a text and let it write.")
    add = parser.add_argument
    add("--data", metavar="FILE", help="a text; else Python's own help pages")
    add("--characters", type=integer(1), default=600_000, help="how much of it to take at most")
    add("--lengths", type=integer(1), nargs="+", default=[32, 48, 64], help="lengths of segments")
    add("--num-layers", type=integer(1), default=2, help="LSTM layers")
    add("--num-hidden", type=integer(1), default=128, help="size of an LSTM layer")
    add("--batch-size", type=integer(1), default=16, help="streams")
    add("--num-epochs", type=integer(1), default=4, help="times through the text")
    add("--lr", type=positive, default=0.006, help="learning rate of Adam at the beginning")
    add("--prompt", default="The ", help="what samples begin with")
    add("--samples", type=integer(1), default=3, help="texts to write at the end")
    add("--sample-length", type=integer(1), default=200, help="characters of each")
    add("--temperature", type=positive, default=0.6, help="lower writes more cautiously")
    add("--seed", type=int, default=1, help="the same one repeats a run exactly")
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> int:
    return run_program("char_lm.py", run, parse_arguments(argv))


if __name__ == "__main__":
    sys.exit(main())
